//! What a certificate allows its bearer, by the names in it.

use std::sync::Arc;

use http::Uri;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme, client,
};

use super::{ADMIN_NAME, TlsError, files};

/// Any of them makes the bearer what it claims to be.
pub(super) type Names = Arc<[ServerName<'static>]>;

/// The hosts of these addresses. A wildcard in a certificate stands for all it covers.
pub(super) fn peers(urls: &[String]) -> Result<Names, TlsError> {
    let mut names: Vec<ServerName<'static>> = Vec::new();
    for url in urls {
        let name = url.parse::<Uri>().ok().and_then(|uri| name_of(&uri));
        let name = name.ok_or_else(|| TlsError::Host { url: url.clone() })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names.into())
}

pub(super) fn admin() -> Names {
    Arc::new([ServerName::try_from(ADMIN_NAME).expect("the name is a DNS name")])
}

/// The name that a certificate of this address's host has in it.
pub(super) fn name_of(address: &Uri) -> Option<ServerName<'static>> {
    let host = address.host()?.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

/// Takes certificates of these authorities that are valid now, for clients, and for one of the names.
pub(super) fn verifier(roots: Arc<RootCertStore>, names: &Names) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let chain = WebPkiClientVerifier::builder_with_provider(roots, files::provider())
        .build()
        .map_err(|error| TlsError::Setup { source: Error::General(error.to_string()) })?;
    Ok(Arc::new(Named { chain, names: names.clone() }))
}

#[derive(Debug)]
struct Named {
    chain: Arc<dyn ClientCertVerifier>,
    names: Names,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        let is_named = self.names.iter().any(|name| verify_server_name(&parsed, name).is_ok());
        if is_named { Ok(verified) } else { Err(CertificateError::NotValidForName.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<client::danger::HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<client::danger::HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
