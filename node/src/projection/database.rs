//! One connection to Postgres: opened, its tables brought up to date, its cursor read.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use carrel_domain::time::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Connection, Row as _, SqlStr};

use crate::projection::cursor::Cursor;
use crate::projection::store::{WRITE_LIMIT, answered, answered_within};
use crate::projection::trouble::Trouble;
use crate::raft::timing::ServerRuntime;

/// The oldest release whose tables these may be.
const OLDEST_VERSION: i64 = 150_000;

/// In the order in which they are run. Additive: what was released is never changed, and nothing is taken away that the
/// release before may still write.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "record", include_str!("migrations/1_record.sql")),
    (3, "reports", include_str!("migrations/3_reports.sql")),
    (4, "audiences", include_str!("migrations/4_audiences.sql")),
    (5, "reports index", include_str!("migrations/5_reports_index.sql")),
];

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Somewhat less than the longer of the two, so that it is the server that says what it waited for. Who else locks the
/// tables must not hold up more than one attempt.
const SETTINGS: &str = "SET statement_timeout = '60s'; SET lock_timeout = '5s'; SET TIME ZONE 'UTC'; \
     SET idle_in_transaction_session_timeout = '120s'; SET client_min_messages = 'warning'";

/// Where Postgres is, as it was configured. The password in it is shown to nobody.
#[derive(Clone)]
pub enum Address {
    /// Read anew at every connection, for passwords that change.
    File(PathBuf),
    Url(String),
}

impl Address {
    pub fn options(&self) -> Result<PgConnectOptions, Trouble> {
        let text = match self {
            Self::Url(url) => Cow::Borrowed(url.as_str()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path);
                Cow::Owned(text.map_err(|error| Trouble::Address(format!("{}: {error}", path.display())))?)
            }
        };
        let text = text.trim();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(Trouble::Address("it does not begin with postgres://".into()));
        }
        let options = PgConnectOptions::from_str(text);
        let options = options.map_err(|_| Trouble::Address("it is not a well-formed URL".into()))?;
        Ok(options.application_name("carrel").disable_statement_logging())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Url(_) => f.write_str("Url"),
        }
    }
}

pub struct Database {
    pub(super) connection: PgConnection,
    /// As the server says it.
    pub version: String,
}

impl Database {
    /// Connects, and makes whatever tables are missing.
    pub async fn open(address: &Address) -> Result<Self, Trouble> {
        let mut database = Self::connect(address).await?;
        let migrator = Migrator::with_migrations(migrations());
        // Under sqlx's advisory lock: of two nodes that begin together, one waits for the other.
        // Directly: a future of `run` may not be sent to another thread, which a caller may want to do.
        let migrated =
            async { migrator.run_direct(None, &mut database.connection, false).await.map_err(Trouble::migrating) };
        answered::<ServerRuntime, _>("making the tables", migrated).await?;
        Ok(database)
    }

    /// Connects to a server that will do, and touches nothing.
    pub async fn connect(address: &Address) -> Result<Self, Trouble> {
        let options = address.options()?;
        let connecting = tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(&options));
        let silent = |_| Trouble::Silent { doing: "connecting", within: CONNECT_LIMIT };
        let mut connection = connecting.await.map_err(silent)?.map_err(Trouble::connecting)?;
        let asked = async {
            sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
            let asked = "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), \
                 current_setting('server_encoding')";
            sqlx::query_as::<_, (i64, String, String)>(asked).fetch_one(&mut connection).await
        };
        let asked = async { asked.await.map_err(Trouble::of("asking for its version")) };
        let (number, version, encoding) =
            answered_within::<ServerRuntime, _>(WRITE_LIMIT, "asking for its version", asked).await?;
        if number < OLDEST_VERSION {
            return Err(Trouble::OldServer { version });
        }
        if encoding != "UTF8" {
            return Err(Trouble::Encoding(encoding));
        }
        Ok(Self { connection, version })
    }
}

pub(super) const CURSOR: &str = "SELECT cluster_id, lineage, applied_index, applied_time FROM projection_cursor";

pub(super) fn cursor(row: &PgRow) -> Result<Cursor, sqlx::Error> {
    let time: jiff_sqlx::Timestamp = row.try_get(3)?;
    Ok(Cursor {
        cluster_id: row.try_get(0)?,
        lineage: u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX),
        applied_index: u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default(),
        applied_time: Timestamp(time.to_jiff().as_microsecond()),
    })
}

/// As Postgres wants it. Beyond what it can hold there are no times in the domain.
pub(super) fn instant(at: Timestamp) -> jiff_sqlx::Timestamp {
    use jiff_sqlx::ToSqlx;
    let limit = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(limit).to_sqlx()
}

fn migrations() -> Vec<Migration> {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    MIGRATIONS.into_iter().map(migration).collect()
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("version", &self.version).finish_non_exhaustive()
    }
}
