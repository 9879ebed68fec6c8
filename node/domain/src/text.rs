//! Text that people type, checked once: what these types hold can be shown, stored and logged without a second thought.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name of a person.
pub const USER_NAME_BYTES_MAX: usize = 64;
/// Longest id in the catalogue.
pub const SLUG_BYTES_MAX: usize = 63;
/// Longest title or label in the catalogue.
pub const TITLE_BYTES_MAX: usize = 200;
/// Longest address of a mailbox, and of a receiver of events.
pub const ADDRESS_BYTES_MAX: usize = 254;
/// Longest message.
pub const MESSAGE_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {max_bytes} bytes")]
    TooLong { max_bytes: usize },
    #[error("a user name has letters, digits, '.', '_' and '-' only, and starts with a letter or digit")]
    NotAUserName,
    #[error("an id has lower-case letters, digits and '-' only, and starts with a letter or digit")]
    NotASlug,
    #[error("a mail address looks like amy@example.org")]
    NotAMailAddress,
    #[error("an address of a receiver looks like https://example.org/path: no user, password or fragment")]
    NotAWebhookUrl,
    #[error("it has control characters")]
    ControlCharacter,
    #[error("it has characters that turn the direction of writing around")]
    BidiOverride,
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// Says what is wrong with the text.
            pub fn new(text: &str) -> Result<Self, TextError> {
                let check: fn(&str) -> Result<(), TextError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A person's name to log in with. Two names that differ only in case are the same person's.
    UserName,
    |text| {
        length(text, USER_NAME_BYTES_MAX)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && text.chars().all(allowed) { Ok(()) } else { Err(TextError::NotAUserName) }
    }
);
text!(
    /// An id in the catalogue: "main", "reading-room", "r-101".
    Slug,
    |text| {
        length(text, SLUG_BYTES_MAX)?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.starts_with('-') && text.chars().all(allowed) { Ok(()) } else { Err(TextError::NotASlug) }
    }
);
text!(
    /// One line for people: a display name, a label, an amenity.
    Title,
    |text| {
        length(text, TITLE_BYTES_MAX)?;
        printable(text, |_| false)
    }
);
text!(
    /// A message or announcement; line feeds and tabs are welcome.
    MessageText,
    |text| {
        length(text, MESSAGE_BYTES_MAX)?;
        printable(text, |c| matches!(c, '\n' | '\t'))
    }
);

text!(
    /// Where somebody's mail goes, in the plain form of ASCII that every mail server takes.
    MailAddress,
    |text| {
        length(text, ADDRESS_BYTES_MAX)?;
        let (local, domain) = text.rsplit_once('@').ok_or(TextError::NotAMailAddress)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
        let is_local = (1..=64).contains(&local.len())
            && local.bytes().all(allowed)
            && !local.split('.').any(str::is_empty);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if is_local && domain.split('.').all(is_label) { Ok(()) } else { Err(TextError::NotAMailAddress) }
    }
);
text!(
    /// Where a program elsewhere is told of events.
    WebhookUrl,
    |text| {
        length(text, ADDRESS_BYTES_MAX)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or(TextError::NotAWebhookUrl)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let is_plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b));
        if is_plain && !authority.is_empty() && !authority.contains('@') {
            Ok(())
        } else {
            Err(TextError::NotAWebhookUrl)
        }
    }
);

impl UserName {
    /// What tells two names apart.
    #[must_use]
    pub fn key(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }
}

fn length(text: &str, max_bytes: usize) -> Result<(), TextError> {
    match text.len() {
        0 => Err(TextError::Empty),
        bytes if bytes > max_bytes => Err(TextError::TooLong { max_bytes }),
        _ => Ok(()),
    }
}

fn printable(text: &str, also: fn(char) -> bool) -> Result<(), TextError> {
    for c in text.chars() {
        if c.is_control() && !also(c) {
            return Err(TextError::ControlCharacter);
        }
        // The explicit embeddings, overrides and isolates of Unicode's bidirectional algorithm: one of them makes a
        // text read differently from how it is written.
        if matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') {
            return Err(TextError::BidiOverride);
        }
    }
    Ok(())
}

/// A glob over names: `*` is any run, `?` one character, case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<u8>);

impl Glob {
    /// # Errors
    /// If it is longer than a name, or has characters that no name has.
    pub fn new(pattern: &str) -> Result<Self, TextError> {
        if pattern.len() > USER_NAME_BYTES_MAX {
            return Err(TextError::TooLong { max_bytes: USER_NAME_BYTES_MAX });
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*' | b'?');
        if !pattern.bytes().all(allowed) {
            return Err(TextError::NotAUserName);
        }
        Ok(Self(pattern.to_ascii_lowercase().into_bytes()))
    }

    /// Linear in pattern times name: after a star that did not fit, only that star moves on.
    #[must_use]
    pub fn matches(&self, name: &UserName) -> bool {
        let name = name.key();
        let (pattern, name) = (self.0.as_slice(), name.as_str().as_bytes());
        let (mut p, mut n) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(&b) if b == b'?' || b == name[n] => (p, n) = (p + 1, n + 1),
                _ => match retry {
                    Some((after_star, from)) => {
                        (p, n) = (after_star, from + 1);
                        retry = Some((after_star, from + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&b| b == b'*')
    }

    /// The part before the first wildcard: every match starts with it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let end = self.0.iter().position(|b| matches!(b, b'*' | b'?')).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..end]).expect("checked to be ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_people_can_type_and_logs_can_show() {
        for good in ["amy", "Amy.B", "s-12_3", "7"] {
            assert!(UserName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-amy", "amy b", "amy\n", "ämy", "users/amy", &"a".repeat(65)] {
            assert!(UserName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(MessageText::new("a\u{202E}b"), Err(TextError::BidiOverride));
        assert_eq!(MessageText::new("a\u{7}b"), Err(TextError::ControlCharacter));
        assert!(MessageText::new("line\n\tline ☕").is_ok());
    }

    #[test]
    fn addresses_are_plain() {
        for good in ["amy@example.org", "a.b+c@x", "x_y@mail.a-b.example"] {
            assert!(MailAddress::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "amy",
            "@x",
            "a@",
            "a..b@x.org",
            "a@x..org",
            "a@-x.org",
            "a b@x.org",
            "ä@x.org",
            "a@b@c,d",
            "a@x\r\nRCPT TO:<b@y>",
        ] {
            assert!(MailAddress::new(bad).is_err(), "{bad}");
        }
        for good in ["https://example.org", "http://10.0.0.1:8080/a?b=c", "https://[::1]/x"] {
            assert!(WebhookUrl::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "example.org", "ftp://x", "https://", "https:///x", "https://a:b@x/", "https://x/#f", "https://x/ y"]
        {
            assert!(WebhookUrl::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn globs_match_like_a_shell() {
        let matches = |pattern: &str, name: &str| {
            Glob::new(pattern).expect("a glob").matches(&UserName::new(name).expect("a name"))
        };
        assert!(matches("*", "amy"));
        assert!(matches("a*y", "Amy"));
        assert!(matches("a*b*c", "aXXbYYbZc"));
        assert!(matches("a??", "amy"));
        assert!(!matches("a?", "amy"));
        assert!(!matches("b*", "amy"));
        assert!(!matches("", "amy"));
        assert!(Glob::new("a(b)+").is_err());
    }
}
