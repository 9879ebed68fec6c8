//! Making authorities and certificates.

use std::fmt;
use std::time::SystemTime;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Clocks of machines differ a little.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Of the nodes, as servers and as clients of each other.
    Peers,
    /// Of whoever runs the cluster, on the admin port.
    Admin,
    /// Of the nodes on the port of clients.
    Clients,
}

/// Signs certificates. PEM, and what cannot be read out of PEM without a parser.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    pub name: String,
    pub certificate: String,
    pub key: String,
    pub expires: Timestamp,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    pub certificate: String,
    pub key: String,
    pub expires: Timestamp,
    /// The name of its authority.
    pub signed_by: String,
    pub hosts: Vec<String>,
}

impl Authority {
    /// # Errors
    /// If there is no randomness.
    pub fn new(name: String, now: Timestamp, valid: SignedDuration) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let expires = now + valid;
        let mut params = authority_params(&name);
        (params.not_before, params.not_after) = (system(now - BACKDATED).into(), system(expires).into());
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { name, certificate, key: key.serialize_pem(), expires })
    }

    /// # Errors
    /// If the key is unusable, or a host is none.
    pub fn sign(
        &self,
        purpose: Purpose,
        hosts: &[String],
        now: Timestamp,
        valid: SignedDuration,
    ) -> Result<Leaf, rcgen::Error> {
        // What an issuer needs of its certificate follows from its name and its key.
        let issuer = Issuer::new(authority_params(&self.name), KeyPair::from_pem(&self.key)?);
        let expires = now + valid;
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, purpose.common_name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match purpose {
            Purpose::Peers => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Admin => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Clients => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (system(now - BACKDATED).into(), system(expires).into());
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let signed_by = self.name.clone();
        Ok(Leaf { certificate, key: key.serialize_pem(), expires, signed_by, hosts: hosts.to_vec() })
    }
}

impl Purpose {
    /// Where it lies, for a cluster whose keys the operator makes.
    #[must_use]
    pub fn secret(self, cluster: &str) -> String {
        format!("{cluster}-{}-tls", self.word())
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Admin => "admin",
            Self::Clients => "clients",
        }
    }

    fn common_name(self) -> String {
        format!("carrel {}", self.word())
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn system(at: Timestamp) -> SystemTime {
    at.into()
}

/// Says nothing of the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Says nothing of the key.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("signed_by", &self.signed_by)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
