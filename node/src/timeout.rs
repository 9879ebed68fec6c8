//! How long the caller of a gRPC call says to wait: the header `grpc-timeout`, at most eight digits and a unit.

use std::time::Duration;

use http::HeaderMap;

const HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// Nothing if the caller does not say, or not in a way that can be understood.
#[must_use]
pub fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Option<Duration> {
        of(&HeaderMap::from_iter([(HEADER.parse().expect("a name"), text.parse().expect("a value"))]))
    }

    #[test]
    fn units_are_told_apart() {
        assert_eq!(header("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(header("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(header("1500m"), Some(Duration::from_millis(1_500)));
        assert_eq!(header("7u"), Some(Duration::from_micros(7)));
        assert_eq!(header("0n"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_timeout_is_none() {
        for text in ["", "S", "5", "5x", "+5S", "-1S", "123456789S", "1.5S", "5 S"] {
            assert_eq!(header(text), None, "{text:?}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
