//! What a call can end in besides an answer, and how the client reads a status.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::v1;

/// The domain of Carrel's reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "carrel.dev";

/// The cluster has too much to do, or this node.
pub(super) const OVERLOADED: &str = "OVERLOADED";
/// This account, or this address, asks too much.
const RATE_LIMITED: &str = "RATE_LIMITED";
/// What followed a token is gone.
pub(super) const RESUME_TOKEN_EXPIRED: &str = "RESUME_TOKEN_EXPIRED";

/// Older history and reports cannot be had: no other node has them, and everything else goes on.
const OF_HISTORY: [&str; 3] = [HISTORY_UNAVAILABLE, "REPORTS_BUSY", "REPORT_TOO_LONG"];
/// What only Postgres knows.
pub const HISTORY_UNAVAILABLE: &str = "HISTORY_UNAVAILABLE";

/// How long a node that says "not now" without a time is left alone.
const DEFAULT_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The cluster answered no. Asking again changes nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// No node gave an answer in time.
    #[error("{0}")]
    Unreachable(Unreachable),
}

/// A refusal as it came over the wire.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: Code,
    /// `SEAT_TAKEN`; empty if the server gave none.
    pub reason: String,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    /// Up to three seats that are free at the same time instead.
    pub alternatives: Vec<v1::Seat>,
    /// Up to three things to have instead, those above among them, with their times.
    pub options: Vec<v1::Alternative>,
    /// Every rule that was not met, this refusal first; none where only one was looked at.
    pub rules: Vec<v1::FailingRule>,
}

/// As the specification of gRPC writes it: `FAILED_PRECONDITION`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl Refusal {
    /// `FAILED_PRECONDITION`.
    pub fn code_name(&self) -> &'static str {
        code_name(self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            write!(f, "{} ({})", self.message, self.code_name())
        } else {
            write!(f, "{} ({})", self.message, self.reason)
        }
    }
}

impl Error for Refusal {}

/// Nobody answered in time.
#[derive(Clone, Debug)]
pub struct Unreachable {
    /// Every address, and why the last attempt there failed; nothing if it was not tried.
    pub endpoints: Vec<(String, Option<String>)>,
    /// True if a node may have acted on the request all the same: repeat it with the same request_id to find out.
    pub in_doubt: bool,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no cluster in reach")?;
        for (index, (url, trouble)) in self.endpoints.iter().enumerate() {
            let trouble = trouble.as_deref().unwrap_or("not tried");
            write!(f, "{} {url}: {trouble}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl Error for Unreachable {}

#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error("no endpoint given")]
    None,
    #[error("more than {most} endpoints")]
    TooMany { most: usize },
    #[error("{url:?} is not an endpoint; one looks like http://127.0.0.1:7400")]
    Url { url: String },
    #[error("{url:?} asks for TLS, for which the certificate of an authority to trust is missing")]
    NoAuthority { url: String },
    #[error("{url:?} is not https://, but TLS was asked for")]
    Plain { url: String },
    #[error("these certificates and keys cannot be used: {why}")]
    Tls { why: String },
}

/// What a refused handshake means, for people.
fn in_words(innermost: &str) -> Option<&'static str> {
    let meanings = [
        ("InvalidContentType", "the port does not speak TLS: is the address http:// ?"),
        ("UnknownIssuer", "its certificate is not from an authority that is trusted here"),
        ("NotValidForName", "its certificate is for another name"),
        ("certificate not valid for name", "its certificate is for another name"),
        ("certificate expired", "its certificate has expired"),
        ("CertificateRequired", "it asks for a certificate, and none was shown"),
        ("UnknownCA", "the certificate shown is not from an authority that it trusts"),
        ("received fatal alert", "the certificate shown was refused"),
        // What a TLS server says to whoever does not begin a handshake is no frame of HTTP/2.
        ("FRAME_SIZE_ERROR", "the port does not speak plain HTTP/2: is the address https:// ?"),
        ("frame with invalid size", "the port does not speak plain HTTP/2: is the address https:// ?"),
    ];
    meanings.iter().find(|(sign, _)| innermost.contains(sign)).map(|(_, meaning)| *meaning)
}

#[derive(Debug, thiserror::Error)]
#[error("the session token holds characters that no token has")]
pub struct InvalidToken;

/// Why one attempt failed, for people.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) text: String,
    /// The node may have acted on the request.
    pub(super) in_doubt: bool,
}

impl Trouble {
    pub(super) fn silent_for(limit: Duration) -> Trouble {
        Trouble { text: format!("no answer within {:.1} s", limit.as_secs_f64()), in_doubt: true }
    }
}

/// What a status means for the call.
#[derive(Debug)]
pub(super) enum Verdict {
    /// An answer.
    Refused(Refusal),
    /// The connection or the node is broken; the outcome is unknown.
    NodeFailed(Trouble),
    /// The node is well but cannot say, for so long; the outcome is unknown.
    NotNow(Trouble, Duration),
    /// Too much was asked, of the cluster or by this account: nothing was done, and this says when to come back.
    TurnedAway(Refusal, Duration),
}

/// A status with a source was made on this side, by the connection; one without came from the server.
pub(super) fn judge(status: Status) -> Verdict {
    let local = status.source().is_some() || status.message().starts_with("Service was not ready");
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal if local => {
            Verdict::NodeFailed(Trouble { text: root_cause(&status), in_doubt: !never_connected(&status) })
        }
        // The record of history is away, and the node is well.
        Code::Unavailable if OF_HISTORY.contains(&refusal(&status).reason.as_str()) => {
            Verdict::Refused(refusal(&status))
        }
        // CANCELLED is what a server says whose time for the call ran out: it may have acted all the same.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or(DEFAULT_WAIT);
            Verdict::NotNow(Trouble { text: status.message().to_owned(), in_doubt: true }, wait)
        }
        Code::ResourceExhausted => {
            let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
            let refusal = refusal(&status);
            match wait.filter(|_| [OVERLOADED, RATE_LIMITED].contains(&refusal.reason.as_str())) {
                Some(wait) => Verdict::TurnedAway(refusal, wait),
                None => Verdict::Refused(refusal),
            }
        }
        _ => Verdict::Refused(refusal(&status)),
    }
}

fn refusal(status: &Status) -> Refusal {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
    let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
    let v1::Alternatives { seats, alternatives } = detail(status, "/carrel.v1.Alternatives").unwrap_or_default();
    let v1::FailingRules { rules } = detail(status, "/carrel.v1.FailingRules").unwrap_or_default();
    Refusal {
        code: status.code(),
        reason,
        message: status.message().to_owned(),
        metadata: metadata.into_iter().collect(),
        alternatives: seats,
        options: alternatives,
        rules,
    }
}

/// One of ours, which no reader of standard details finds.
fn detail<M: Message + Default>(status: &Status, kind: &str) -> Option<M> {
    let details = tonic_types::pb::Status::decode(status.details()).ok()?.details;
    let packed = details.iter().find(|any| any.type_url.ends_with(kind))?;
    M::decode(packed.value.as_slice()).ok()
}

/// From the outermost in.
pub(super) fn sources(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    fn source<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        (*error).source()
    }
    std::iter::successors(error.source(), source)
}

/// The innermost error says it best: "Connection refused (os error 111)".
fn root_cause(status: &Status) -> String {
    let innermost = sources(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string);
    in_words(&innermost).map_or(innermost, ToOwned::to_owned)
}

fn never_connected(status: &Status) -> bool {
    sources(status).any(|error| error.is::<tonic::ConnectError>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, pb};

    use super::*;

    #[test]
    fn a_taken_seat_comes_with_its_reason_and_alternatives() {
        let info = pb::ErrorInfo {
            reason: "SEAT_TAKEN".into(),
            domain: ERROR_DOMAIN.into(),
            metadata: HashMap::from([("seat".into(), "branches/main/seats/a".into())]),
        };
        let free = v1::Seat { name: "branches/main/seats/b".into(), ..Default::default() };
        let any = |type_url: &str, value| prost_types::Any { type_url: type_url.into(), value };
        let details = pb::Status {
            code: Code::FailedPrecondition.into(),
            message: "taken".into(),
            details: vec![
                any("type.googleapis.com/google.rpc.ErrorInfo", info.encode_to_vec()),
                any(
                    "type.googleapis.com/carrel.v1.Alternatives",
                    v1::Alternatives { seats: vec![free.clone()], ..Default::default() }.encode_to_vec(),
                ),
            ],
        };
        let status = Status::with_details(Code::FailedPrecondition, "taken", details.encode_to_vec().into());
        let Verdict::Refused(refusal) = judge(status) else { panic!("a taken seat is an answer") };
        assert_eq!((refusal.code_name(), refusal.reason.as_str()), ("FAILED_PRECONDITION", "SEAT_TAKEN"));
        assert_eq!(refusal.metadata["seat"], "branches/main/seats/a");
        assert_eq!(refusal.alternatives, [free]);
    }

    #[test]
    fn no_quorum_is_no_answer_and_says_when_to_come_back() {
        let mut details = ErrorDetails::with_error_info("NO_QUORUM", ERROR_DOMAIN, HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(300)));
        let status = Status::with_error_details(Code::Unavailable, "no majority", details);
        assert!(matches!(judge(status), Verdict::NotNow(_, wait) if wait == Duration::from_millis(300)));
    }

    #[test]
    fn who_is_turned_away_knows_when_to_come_back_and_a_quota_is_an_answer() {
        let refused = |reason: &str, wait: Option<Duration>| {
            let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
            details.set_retry_info(wait);
            judge(Status::with_error_details(Code::ResourceExhausted, "too much", details))
        };
        let soon = Duration::from_millis(40);
        for reason in [OVERLOADED, RATE_LIMITED] {
            assert!(matches!(refused(reason, Some(soon)), Verdict::TurnedAway(_, wait) if wait == soon), "{reason}");
            assert!(matches!(refused(reason, None), Verdict::Refused(_)), "{reason}");
        }
        assert!(matches!(refused("QUOTA_EXCEEDED", None), Verdict::Refused(_)));
    }

    #[test]
    fn a_server_that_ran_out_of_time_leaves_the_outcome_open() {
        for status in [Status::cancelled("Timeout expired"), Status::deadline_exceeded("too late")] {
            assert!(matches!(judge(status), Verdict::NotNow(trouble, _) if trouble.in_doubt));
        }
    }

    #[test]
    fn only_what_was_made_on_this_side_is_a_broken_node() {
        assert!(matches!(judge(Status::internal("sent by the server")), Verdict::Refused(_)));
        let mut made_here = Status::unknown("transport error");
        made_here.set_source(std::sync::Arc::new(std::io::Error::other("connection reset")));
        let Verdict::NodeFailed(trouble) = judge(made_here) else { panic!("the connection broke") };
        assert_eq!(trouble.text, "connection reset");
        assert!(trouble.in_doubt);
    }
}
