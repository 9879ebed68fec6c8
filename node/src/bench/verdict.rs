//! How calls ended, and whether all of it was as it should be.

use std::collections::BTreeMap;

use carrel_proto::client::ClientError;

/// Calls that ended in something else than an answer or a full seat, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Failures(BTreeMap<String, u64>);

impl Failures {
    pub fn note(&mut self, error: &ClientError) {
        let reason = match error {
            ClientError::Refused(refusal) if refusal.reason.is_empty() => refusal.code_name().to_owned(),
            ClientError::Refused(refusal) => refusal.reason.clone(),
            ClientError::Unreachable(_) => "no answer".to_owned(),
        };
        *self.0.entry(reason).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (reason, count) in &other.0 {
            *self.0.entry(reason.clone()).or_default() += count;
        }
    }

    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// `0`, or `3 (2 no answer, 1 SESSION_EXPIRED)`.
    pub fn text(&self) -> String {
        if self.0.is_empty() {
            return "0".to_owned();
        }
        let reasons: Vec<String> = self.0.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        format!("{} ({})", self.count(), reasons.join(", "))
    }
}

/// The seat was full: an answer like any other.
pub fn is_taken(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.reason == "SEAT_TAKEN")
}

#[cfg(test)]
mod tests {
    use super::*;
    use carrel_proto::client::{Refusal, Unreachable};

    fn refused(reason: &str) -> ClientError {
        ClientError::Refused(Refusal {
            code: tonic::Code::FailedPrecondition,
            reason: reason.into(),
            message: String::new(),
            metadata: BTreeMap::new(),
            alternatives: Vec::new(),
            options: Vec::new(),
            rules: Vec::new(),
        })
    }

    #[test]
    fn a_full_seat_is_an_answer_and_nothing_else_is() {
        assert!(is_taken(&refused("SEAT_TAKEN")));
        let silent = ClientError::Unreachable(Unreachable { endpoints: Vec::new(), in_doubt: true });
        let mut failures = Failures::default();
        for error in [refused("QUOTA_EXCEEDED"), refused(""), refused(""), silent] {
            assert!(!is_taken(&error), "{error}");
            failures.note(&error);
        }
        assert_eq!(failures.count(), 4);
        assert_eq!(failures.text(), "4 (2 FAILED_PRECONDITION, 1 QUOTA_EXCEEDED, 1 no answer)");
        assert_eq!(Failures::default().text(), "0");
    }
}
