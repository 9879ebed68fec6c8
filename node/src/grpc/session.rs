//! Session tokens: 32 random bytes that only their owner has. The cluster keeps a digest.
//!
//! A program is given the token. A page asks for a cookie instead, which no script can read, not even one that has been
//! smuggled into the page.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carrel_domain::id::TokenDigest;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE as COOKIES};
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::convert::refusal;

/// Ends with the browser: many are at computers that are everybody's.
const COOKIE: &str = "carrel-session";
/// By this a page asks for the cookie: "secure" if the page came by TLS, which the node behind a proxy cannot know, and
/// "plain" if not.
const KEEP: &str = "carrel-keep-session";
/// Every call of gRPC-web has it, and no page of another origin can send it: the cookie counts with it alone.
const GRPC_WEB: &str = "x-grpc-web";

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

/// The cookie that a call has asked for, with this in it; empty: without anything, which removes it.
#[must_use]
pub fn cookie(metadata: &MetadataMap, text: &str) -> Option<MetadataValue<Ascii>> {
    let secure = match metadata.get(KEEP)?.as_bytes() {
        b"secure" => "; Secure",
        b"plain" => "",
        _ => return None,
    };
    let age = if text.is_empty() { "; Max-Age=0" } else { "" };
    let cookie = format!("{COOKIE}={text}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    Some(cookie.try_into().expect("a token is of letters, digits, '-' and '_'"))
}

/// The session that a call names. Whether it is in force only the state knows.
///
/// # Errors
/// If there is none, or what there is cannot be one.
pub fn named_by(metadata: &MetadataMap) -> Result<TokenDigest, Status> {
    named_in(metadata.as_ref())
}

/// The same of its headers.
///
/// # Errors
/// As [`named_by`].
pub fn named_in(headers: &HeaderMap) -> Result<TokenDigest, Status> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return digest_of(kept_in_cookie(headers).ok_or_else(refusal::no_session)?);
    };
    let text = header.to_str().map_err(|_| refusal::malformed_session())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(refusal::malformed_session)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refusal::malformed_session());
    }
    digest_of(token)
}

fn kept_in_cookie(headers: &HeaderMap) -> Option<&str> {
    headers.get(GRPC_WEB)?;
    let cookies = headers.get_all(COOKIES).into_iter().filter_map(|header| header.to_str().ok());
    cookies
        .flat_map(|header| header.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn digest_of(token: &str) -> Result<TokenDigest, Status> {
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

    #[test]
    fn a_page_gets_a_cookie_that_its_scripts_cannot_read() {
        let token = SessionToken::draw().expect("random bytes");
        let mut asking = MetadataMap::new();
        assert_eq!(cookie(&asking, &token.to_text()), None, "programs get the token");
        asking.insert(KEEP, "secure".parse().expect("a header"));
        let set = cookie(&asking, &token.to_text()).expect("a cookie");
        let set = set.to_str().expect("text");
        assert!(set.contains("; HttpOnly; SameSite=Strict; Secure"), "{set}");

        let mut call = MetadataMap::new();
        let kept = set.split(';').next().expect("a pair");
        call.insert("cookie", format!("theme=dark; {kept}").parse().expect("a header"));
        assert!(named_by(&call).is_err(), "a page of another origin can send a cookie, but not this header");
        call.insert(GRPC_WEB, "1".parse().expect("a header"));
        assert_eq!(named_by(&call).expect("a session"), token.digest());
    }

    #[test]
    fn a_cookie_is_taken_back_when_the_session_ends() {
        let mut asking = MetadataMap::new();
        asking.insert(KEEP, "plain".parse().expect("a header"));
        let set = cookie(&asking, "").expect("a cookie");
        assert_eq!(set.to_str().expect("text"), "carrel-session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    }
}
