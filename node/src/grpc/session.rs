//! Session tokens: 32 random bytes that only their owner has. The cluster keeps a digest.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carrel_domain::id::TokenDigest;
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::convert::refusal;

pub struct SessionToken([u8; 32]);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken")
    }
}

impl SessionToken {
    /// # Errors
    /// If the operating system has no random bytes.
    pub fn draw() -> Result<Self, Status> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| refusal::out_of_order())?;
        Ok(Self(bytes))
    }

    /// As [`SessionToken::to_text`] wrote it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        matches!(URL_SAFE_NO_PAD.decode_slice(text, &mut bytes), Ok(32)).then_some(Self(bytes))
    }

    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        let hash = Sha256::digest(self.0);
        TokenDigest(*hash.first_chunk().expect("a SHA-256 has 32 bytes"))
    }
}

/// The session that a call names. Whether it is in force only the state knows.
///
/// # Errors
/// If there is none, or what there is cannot be one.
pub fn named_by(metadata: &MetadataMap) -> Result<TokenDigest, Status> {
    let header = metadata.get("authorization").ok_or_else(refusal::no_session)?;
    let text = header.to_str().map_err(|_| refusal::malformed_session())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(refusal::malformed_session)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refusal::malformed_session());
    }
    SessionToken::parse(token.trim()).map(|token| token.digest()).ok_or_else(refusal::malformed_session)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(authorization: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().expect("a header"));
        metadata
    }

    #[test]
    fn a_token_leads_to_its_digest() {
        let token = SessionToken::draw().expect("random bytes");
        for scheme in ["Bearer", "bearer"] {
            let named = named_by(&call(&format!("{scheme} {}", token.to_text()))).expect("a session");
            assert_eq!(named, token.digest());
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert!(named_by(&MetadataMap::new()).is_err());
        let long = format!("Bearer {}", "A".repeat(5_000));
        for bad in ["", "Bearer", "Bearer ", "Bearer abc", "Basic YW15OnB3", "Bearer !!!", long.as_str()] {
            assert_eq!(named_by(&call(bad)).expect_err(bad).code(), tonic::Code::Unauthenticated);
        }
    }
}
