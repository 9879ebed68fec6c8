//! How a command fails: what is said, and with which exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use carrel_operator::reconcile::brief;
use serde_json::json;

use crate::Output;
use crate::text::plain;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// By a rule, or by whoever hands out rights.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{doing}: {source}")]
    Local { doing: String, source: io::Error },
    /// Whoever read the answer has gone: no reason to complain, nobody would hear it.
    #[error("nobody reads the answer")]
    NobodyListens,
}

impl Failure {
    /// As the API server said it, of what was being done.
    pub fn asking(doing: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(refusal) if refusal.is_forbidden() => {
                Self::Refused(format!("not permitted to {doing}: {}", refusal.message))
            }
            kube::Error::Api(refusal) if refusal.code == 401 => {
                Self::Refused("the API server does not know you: log in again, or choose another --context".to_owned())
            }
            // Without a name it is not an object that is missing, but its kind.
            kube::Error::Api(refusal)
                if refusal.is_not_found() && refusal.details.as_ref().is_none_or(|details| details.name.is_empty()) =>
            {
                let help = "carrel-operator crd | kubectl apply --server-side -f -";
                Self::Refused(format!("Carrel is not installed here: its definitions are missing ({help})"))
            }
            kube::Error::Api(refusal) => Self::Refused(format!("cannot {doing}: {}", refusal.message)),
            error => Self::Unreachable(format!("cannot {doing}: {}", brief(error))),
        }
    }

    pub fn report(&self, output: Output) -> ExitCode {
        let (code, word) = match self {
            Self::NobodyListens => return ExitCode::SUCCESS,
            Self::Refused(_) | Self::Local { .. } => (1, "refused"),
            Self::Usage(_) => (2, "usage"),
            Self::Unreachable(_) => (3, "unreachable"),
        };
        let text = plain(&self.to_string());
        let line = match output {
            Output::Text => format!("error: {text}"),
            Output::Json => json!({ "error": { "code": word, "message": text } }).to_string(),
        };
        // Nobody is left to tell that nobody can be told.
        let _ = writeln!(io::stderr(), "{line}");
        ExitCode::from(code)
    }
}
