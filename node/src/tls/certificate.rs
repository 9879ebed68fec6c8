//! What a certificate is known by, and how long it is good for: for whoever replaces them and waits until all nodes
//! have.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// One that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Of its DER encoding.
    pub sha256: [u8; 32],
    /// In seconds since 1970; none if it says so in a way that nobody writes.
    pub not_after: Option<i64>,
}

/// What is shown and who is trusted, whatever the files say by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysInUse {
    pub shown: Certificate,
    pub authorities: Vec<Certificate>,
}

impl Certificate {
    pub(super) fn of(der: &CertificateDer<'_>) -> Self {
        Self { sha256: Sha256::digest(der).into(), not_after: not_after(der) }
    }
}

/// The end of its validity.
fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::certs::{Authority, Purpose};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("it was made here")
    }

    #[test]
    fn the_end_of_a_certificate_is_read_from_it() {
        let authority = Authority::new("ours", DAY).expect("an authority");
        let begin = UNIX_EPOCH;
        for end in [0, 86_399, 1_900_000_001, 2_524_607_999, 2_524_608_000, 253_402_300_799] {
            let to = UNIX_EPOCH + Duration::from_secs(end);
            let signed = authority.sign_for(Purpose::Peers, &["a.example".to_owned()], begin, to).expect("signed");
            let read = Certificate::of(&der(&signed.certificate));
            assert_eq!(read.not_after, Some(end.cast_signed()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs().cast_signed();
        let read = Certificate::of(&der(&authority.certificate())).not_after.expect("it has an end");
        assert!((now + 86_390..=now + 86_400).contains(&read), "{read} {now}");
    }

    #[test]
    fn what_is_cut_off_or_wrong_has_no_end_and_does_no_harm() {
        let authority = Authority::new("ours", DAY).expect("an authority");
        let whole = der(&authority.certificate());
        let end = not_after(&whole);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "of {length} bytes");
        }
        let mut bytes = whole.to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Whatever comes out, it comes out.
            let _ = not_after(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(not_after(&bytes), end);
    }
}
