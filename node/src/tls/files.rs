//! What lies in a directory of keys, as Kubernetes mounts a Secret: `ca.crt`, `tls.crt`, `tls.key`.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;
use super::certificate::{Certificate, KeysInUse};

/// Authorities to trust; several while they change.
pub(super) const AUTHORITIES: &str = "ca.crt";
/// The certificate, then those between it and its authority.
pub(super) const CHAIN: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

/// Bytes that are not understood yet.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    authorities: Option<Vec<u8>>,
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// For libraries that ask for the process's choice. Made again, it stays as it is.
pub fn choose_cryptography() {
    // An error says that it was made before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The one implementation of cryptography, named: rustls would not choose if a second came into the program.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Contents {
    pub(super) fn read(dir: &Path) -> Result<Self, TlsError> {
        let read = |file| found(dir, file, std::fs::read(dir.join(file)));
        Ok(Self { authorities: optional(read(AUTHORITIES))?, chain: read(CHAIN)?, key: read(KEY)? })
    }

    pub(super) async fn read_async(dir: &Path) -> Result<Self, TlsError> {
        let read = async |file| found(dir, file, tokio::fs::read(dir.join(file)).await);
        let authorities = optional(read(AUTHORITIES).await)?;
        Ok(Self { authorities, chain: read(CHAIN).await?, key: read(KEY).await? })
    }

    pub(super) fn authorities(&self) -> Result<Option<Arc<RootCertStore>>, TlsError> {
        let Some(bytes) = &self.authorities else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for authority in certificates(AUTHORITIES, bytes)? {
            roots.add(authority).map_err(|source| TlsError::Authorities { source })?;
        }
        Ok(Some(Arc::new(roots)))
    }

    pub(super) fn in_use(&self) -> Result<KeysInUse, TlsError> {
        let authorities = match &self.authorities {
            Some(bytes) => certificates(AUTHORITIES, bytes)?.iter().map(Certificate::of).collect(),
            None => Vec::new(),
        };
        let shown = certificates(CHAIN, &self.chain)?.first().map(Certificate::of).ok_or(TlsError::Empty(CHAIN))?;
        Ok(KeysInUse { shown, authorities })
    }

    pub(super) fn pair(&self) -> Result<Pair, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsError::Pem { file: KEY, source })?;
        Ok(Pair { chain: certificates(CHAIN, &self.chain)?, key })
    }
}

/// Says nothing of the key.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

fn found(dir: &Path, file: &str, read: io::Result<Vec<u8>>) -> Result<Vec<u8>, TlsError> {
    read.map_err(|source| TlsError::Read { path: dir.join(file), source })
}

fn optional(read: Result<Vec<u8>, TlsError>) -> Result<Option<Vec<u8>>, TlsError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(TlsError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// At least one.
fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|source| TlsError::Pem { file, source })?;
    if all.is_empty() { Err(TlsError::Empty(file)) } else { Ok(all) }
}
