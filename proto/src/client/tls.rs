//! Whom the client trusts, and what it shows of itself, on `https://` addresses.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Certificates and keys as PEM. Read once: a program that outlives them makes another client.
#[derive(Clone)]
pub struct Tls {
    authorities: Vec<u8>,
    own: Option<(Vec<u8>, Vec<u8>)>,
    name: Option<String>,
}

impl Tls {
    /// Trusts servers with a certificate of these authorities.
    pub fn trusting(authorities: impl Into<Vec<u8>>) -> Tls {
        Tls { authorities: authorities.into(), own: None, name: None }
    }

    /// Shows this certificate, for which the admin port asks.
    pub fn showing(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Tls {
        Tls { own: Some((certificate.into(), key.into())), ..self }
    }

    /// Expects this name in the server's certificate instead of the host of its address.
    pub fn expecting(self, name: impl Into<String>) -> Tls {
        Tls { name: Some(name.into()), ..self }
    }

    pub(super) fn config(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authorities));
        if let Some((certificate, key)) = &self.own {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.name {
            config = config.domain_name(name);
        }
        config
    }
}

/// Says nothing of the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}
