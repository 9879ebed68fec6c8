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
    #[error("this is Postgres {version}, and 15 or later is needed")]
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
                    "28P01" => "check user and password in the file of --postgres-url-file",
                    "28000" => {
                        "make the role with `CREATE ROLE carrel LOGIN PASSWORD '...'`, or let it in by pg_hba.conf"
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
            other => Self::Unreachable(chain(&other)),
        }
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
            "55P03" => "something else holds a lock on the tables: see pg_locks and pg_stat_activity",
            "42P07" => "there are other tables of that name: give the cluster a database of its own",
            "25006" => "this server only reads: name the primary",
            _ => "this is tried again",
        };
        Self::NotMade { said: said(database.as_ref()), advice }
    }

    /// Whether it is the rows themselves that Postgres does not take, whoever writes them and however often.
    pub fn is_of_rows(&self) -> bool {
        // Data exceptions, integrity constraints, and rows too large for an index.
        matches!(self, Self::Refused { code, .. } if ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
    }

    /// For metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unreachable(_) => "unreachable",
            Self::Silent { .. } => "silent",
            Self::NotLetIn { .. } => "not_let_in",
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

fn advice_on(code: &str) -> &'static str {
    match code {
        "25006" => "; this server only reads: name the primary",
        "53100" => "; its disk is full",
        "55P03" => "; something else holds a lock on the tables: see pg_locks and pg_stat_activity",
        "42501" => "; the role may not: let it own the tables",
        "42P01" | "42703" => "; a table or column is missing that was made once: restore it, or give an empty database",
        _ => "",
    }
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
