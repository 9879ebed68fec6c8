//! What is in the way of the record, in words that say what to do. Nothing here stops the node: it serves on, and tries
//! again.

use std::time::Duration;

use carrel_domain::format::DecodeError;
use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use thiserror::Error;

use crate::projection::cursor::Halt;
use crate::replica::WriteError;

#[derive(Debug, Error)]
pub enum Trouble {
    #[error("the address of Postgres cannot be used: {0}; it looks like postgres://user:password@host:5432/database")]
    Address(String),
    #[error("Postgres cannot be reached: {0}")]
    Unreachable(String),
    #[error("Postgres did not answer within {} s while {doing}", within.as_secs())]
    Silent { doing: &'static str, within: Duration },
    #[error("Postgres refuses the connection: {said}; {advice}")]
    NotLetIn { said: String, advice: &'static str },
    #[error("there is no TLS to Postgres as it is asked for: {said}; {advice}")]
    Untrusted { said: String, advice: &'static str },
    #[error(
        "this is Postgres {version}, and 15 or later is needed: upgrade the server with pg_upgrade, or name another one \
         in the file of --postgres-url-file"
    )]
    OldServer { version: String },
    #[error("the database is encoded in {0}: make one with `CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0`")]
    Encoding(String),
    #[error("the tables are of a later release (migration {0}): this one leaves them alone; start the later one")]
    LaterSchema(i64),
    #[error("the tables cannot be made: {said}; {advice}")]
    NotMade { said: String, advice: &'static str },
    #[error("the tables are not those of this release: {0}")]
    OtherTables(String),
    #[error("Postgres refuses while {doing}: {said} ({code}){}", advice_on(code))]
    Refused { doing: &'static str, said: String, code: String },
    /// Another projector has moved the cursor, or the transaction had taken effect after all.
    #[error("the cursor is not where it was")]
    Moved,
    #[error("{rows} rows were refused and put aside; so many are not the fault of rows: {said}")]
    TooManyParked { rows: i64, said: String },
    #[error(transparent)]
    Halted(#[from] Halt),
    #[error("the cluster did not take note: {0}")]
    Log(#[from] WriteError),
    #[error("what is to be recorded was written by another release")]
    Untold(#[from] DecodeError),
}

impl Trouble {
    /// What sqlx said while something was being done.
    pub fn of(doing: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |error| match error {
            sqlx::Error::Database(database) => {
                Self::Refused { doing, said: said(database.as_ref()), code: code(database.as_ref()) }
            }
            other => Self::Unreachable(chain(&other)),
        }
    }

    pub fn connecting(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                let said = said(database.as_ref());
                let advice = match code(database.as_ref()).as_str() {
                    // To whoever asks from outside, a missing role looks like a wrong password.
                    "28P01" => {
                        "check user and password in the file of --postgres-url-file, which is read again at every \
                         attempt; if there is no such role, `CREATE ROLE carrel LOGIN PASSWORD '...'`"
                    }
                    "28000" => {
                        "make the role with `CREATE ROLE carrel LOGIN PASSWORD '...'`, or let it in by pg_hba.conf, \
                         which may want TLS: ?sslmode=verify-full&sslrootcert=FILE"
                    }
                    "3D000" => "make the database with `CREATE DATABASE carrel OWNER carrel`",
                    "42501" => "grant it with `GRANT CONNECT ON DATABASE ... TO ...`",
                    "53300" => "raise max_connections: each node needs up to four",
                    "57P03" => "it is starting or stopping; this is tried again",
                    _ => "this is tried again",
                };
                Self::NotLetIn { said, advice }
            }
            sqlx::Error::Configuration(error) => Self::Address(error.to_string()),
            // A socket that is not there is refused, so it is a file of TLS.
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::Address(format!("a file that it names is not there ({error})"))
            }
            sqlx::Error::Tls(error) => Self::untrusted(chain(error.as_ref())),
            other => {
                let said = chain(&other);
                if said.contains("certificate") { Self::untrusted(said) } else { Self::Unreachable(said) }
            }
        }
    }

    fn untrusted(said: String) -> Self {
        let advice = if said.contains("does not support TLS") {
            "let the server have a certificate and `ssl = on`, or ask for less with sslmode"
        } else if said.contains("NotValidForName") || said.contains("not valid for name") {
            "the server's certificate has to name the host as the address does"
        } else if said.contains("xpired") {
            "the server needs a new certificate"
        } else {
            "sslrootcert has to name the file of the authority that signed the server's certificate"
        };
        Self::Untrusted { said, advice }
    }

    pub fn migrating(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::LaterSchema(version),
            MigrateError::VersionMismatch(version) => {
                Self::OtherTables(format!("migration {version} was another one when it was run"))
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Self::making(error),
            other => Self::OtherTables(other.to_string()),
        }
    }

    fn making(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else { return Self::of("making the tables")(error) };
        let advice = match code(database.as_ref()).as_str() {
            "0A000" | "58P01" => "install the package postgresql-contrib, which has the extension btree_gist",
            "42501" => {
                "let the role own the database (`ALTER DATABASE ... OWNER TO ...`), or make the extension as a \
                 superuser with `CREATE EXTENSION btree_gist` and `GRANT CREATE ON SCHEMA public TO ...`"
            }
            "55P03" => LOCKED,
            "42P07" => "there are other tables of that name: give the cluster a database of its own",
            "25006" => ONLY_READS,
            _ => "this is tried again",
        };
        Self::NotMade { said: said(database.as_ref()), advice }
    }

    /// Whether it is the rows themselves that Postgres does not take, whoever writes them and however often.
    pub fn is_of_rows(&self) -> bool {
        // Data exceptions, integrity constraints, and rows too large for an index.
        matches!(self, Self::Refused { code, .. } if ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
    }

    /// Whether the same with fewer rows may be done in time.
    pub fn is_of_time(&self) -> bool {
        matches!(self, Self::Silent { .. }) || matches!(self, Self::Refused { code, .. } if code == QUERY_CANCELED)
    }

    /// For metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unreachable(_) => "unreachable",
            Self::Silent { .. } => "silent",
            Self::NotLetIn { .. } => "not_let_in",
            Self::Untrusted { .. } => "untrusted",
            Self::OldServer { .. } => "old_server",
            Self::Encoding(_) => "encoding",
            Self::LaterSchema(_) => "later_schema",
            Self::NotMade { .. } => "not_made",
            Self::OtherTables(_) => "other_tables",
            Self::Refused { .. } => "refused",
            Self::Moved => "moved",
            Self::TooManyParked { .. } => "too_many_parked",
            Self::Halted(halt) => halt.reason(),
            Self::Log(_) => "log",
            Self::Untold(_) => "untold",
        }
    }
}

const QUERY_CANCELED: &str = "57014";
const ONLY_READS: &str = "this server only reads: name the primary, or let it write (default_transaction_read_only)";
const LOCKED: &str = "something else holds a lock on the tables: `SELECT pid, query FROM pg_stat_activity WHERE pid IN \
     (SELECT pid FROM pg_locks WHERE granted)` says what, and `SELECT pg_terminate_backend(PID)` ends it";

fn advice_on(code: &str) -> String {
    let advice = match code {
        "25006" => ONLY_READS,
        "53100" => "its disk is full: make room there; what is missed meanwhile is kept, and written then",
        QUERY_CANCELED => "it was too slow: see pg_stat_activity for what keeps it busy",
        "55P03" => LOCKED,
        "42501" => "the role may not: let it own the tables (`ALTER TABLE ... OWNER TO ...`)",
        "42P01" | "42703" => "a table or column is missing that was made once: restore it, or give an empty database",
        _ => return String::new(),
    };
    format!("; {advice}")
}

fn said(error: &dyn DatabaseError) -> String {
    let detail = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail);
    match detail {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    }
}

fn code(error: &dyn DatabaseError) -> String {
    error.code().unwrap_or_default().into_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
