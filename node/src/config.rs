//! Every setting of a node, once: flag, environment variable, default and reason. Checked as a whole before anything
//! starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use thiserror::Error;

use crate::grpc::fair_share::Rates;
use crate::grpc::front::Registration;
use crate::outward;
use crate::outward::networks::{Networks, NotANetwork};
use crate::projection::database::Address;

/// Largest cluster that may run: more voters make every write slower and nothing safer.
pub const REPLICAS_MAX: u32 = 7;

/// Slots are never numbered this high (--ordinal says so too): whoever replaces a node takes its slot.
const ORDINALS: u32 = 100;

/// Run one node of a cluster
///
/// A node whose directory is empty waits until somebody makes it part of a cluster, by the admin port: it never founds
/// or joins one by itself. Ends on SIGTERM, after handing over what it leads.
///
/// Traces are sent by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says, as often as OTEL_TRACES_SAMPLER says.
#[derive(Args, Clone, Debug)]
pub struct NodeConfig {
    /// Where the replica keeps its log, its snapshots and its identity. A fresh volume is an empty directory
    #[arg(long, env = "CARREL_DIR", value_name = "DIR")]
    pub dir: PathBuf,

    /// Which replica of the cluster this is: 0, 1, 2 ... The slot it runs in, not its id
    #[arg(long, env = "CARREL_ORDINAL", value_name = "N", value_parser = clap::value_parser!(u32).range(0..100))]
    pub ordinal: u32,

    /// Where replicas reach each other: one URL that has {ordinal} in it, or one URL per ordinal
    #[arg(long, env = "CARREL_PEER_URLS", value_name = "URL,URL", value_delimiter = ',', required = true)]
    pub peer_urls: Vec<String>,

    /// Where clients reach the replicas, told to those who ask for the cluster's status: as for --peer-urls
    #[arg(long, env = "CARREL_CLIENT_URLS", value_name = "URL,URL", value_delimiter = ',', required = true)]
    pub client_urls: Vec<String>,

    /// Listens here for clients: gRPC, gRPC-web and the page
    #[arg(long, env = "CARREL_CLIENT_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:7400")]
    pub client_listen: SocketAddr,

    /// Listens here for the other replicas
    #[arg(long, env = "CARREL_PEER_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:7410")]
    pub peer_listen: SocketAddr,

    /// Listens here for whoever runs the cluster: gRPC
    #[arg(long, env = "CARREL_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:7420")]
    pub admin_listen: SocketAddr,

    /// Listens here for probes and Prometheus: plain HTTP
    #[arg(long, env = "CARREL_METRICS_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:7430")]
    pub metrics_listen: SocketAddr,

    /// ca.crt, tls.crt and tls.key, for mutual TLS between replicas and on the admin port; read again when they change
    ///
    /// All certificates of both ports come from an authority in ca.crt. That of a replica names its host in
    /// --peer-urls, which are https://, and is for servers and for clients; a wildcard may cover all. That of whoever
    /// calls the admin port has the DNS name carrel-admin and is for clients: a replica's is refused there, as this one
    /// is among peers.
    #[arg(long, env = "CARREL_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,

    /// tls.crt and tls.key, for TLS on the client port, where nobody is asked for one; read again when they change
    ///
    /// A ca.crt beside them is what this replica trusts when it passes a call on to another's client port; without one,
    /// it trusts that of --tls-dir.
    #[arg(long, env = "CARREL_CLIENT_TLS_DIR", value_name = "DIR")]
    pub client_tls_dir: Option<PathBuf>,

    /// A file with a name on its first line and a password on its second: the first admin, made while there is none
    #[arg(long, env = "CARREL_FIRST_ADMIN_FILE", value_name = "FILE")]
    pub first_admin_file: Option<PathBuf>,

    /// A catalogue (YAML) to begin with, imported while there is no branch
    #[arg(long, env = "CARREL_FIRST_CATALOG_FILE", value_name = "FILE")]
    pub first_catalog_file: Option<PathBuf>,

    /// A file with what was ordered after a majority was lost: obeyed before the volume is used, also if it is there
    /// only later. The operator of a cluster writes it
    #[arg(long, env = "CARREL_RECOVERY_FILE", value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,

    /// A file with the address of a Postgres, version 15 or later, that keeps the record for history and reports
    ///
    /// postgres://user:password@host:5432/database, read anew at every connection. The role owns the database, which
    /// can make the extension btree_gist. TLS as libpq has it: ?sslmode=verify-full&sslrootcert=FILE. Whatever becomes
    /// of Postgres, bookings go on; what it misses it is given later.
    #[arg(long, env = "CARREL_POSTGRES_URL_FILE", value_name = "FILE", conflicts_with = "postgres_url")]
    pub postgres_url_file: Option<PathBuf>,

    /// The same, on the command line, where others on this machine can read it: to try things out
    #[arg(long, env = "CARREL_POSTGRES_URL", value_name = "URL", hide_env_values = true)]
    pub postgres_url: Option<String>,

    /// Whether people make accounts for themselves; if not, those who are staff make them, by the same command
    ///
    /// Each replica goes by its own setting: give all the same.
    #[arg(long, env = "CARREL_OPEN_REGISTRATION", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub open_registration: bool,
    /// A file with the address of a mail server, through which people are told who want that: read at every connection
    ///
    /// smtps://user:password@host, or smtp://user:password@host:587?tls=required. Only the node that leads sends.
    /// Without it nobody can ask for mail: give all replicas the same.
    #[arg(long, env = "CARREL_SMTP_URL_FILE", value_name = "FILE", requires = "mail_from")]
    pub smtp_url_file: Option<PathBuf>,

    /// From whom mail comes, for example "Library <library@example.org>"
    #[arg(long, env = "CARREL_MAIL_FROM", value_name = "ADDRESS")]
    pub mail_from: Option<String>,

    /// Sends events to the webhooks that admins have registered, where they lie in one of these networks
    ///
    /// public is the internet without anything that is somebody's own; others by number, like 10.20.0.0/16. Without
    /// this, events are sent nowhere.
    #[arg(long, env = "CARREL_WEBHOOK_NETWORKS", value_name = "NETWORK,NETWORK", value_delimiter = ',')]
    pub webhook_networks: Vec<String>,

    /// Minutes after which a mail or an event that nobody takes is given up
    #[arg(long, env = "CARREL_GIVE_UP_MINUTES", value_name = "MINUTES", default_value_t = 1440, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub give_up_minutes: u32,

    /// Days for which nodes hold what is over, once Postgres has it; older reservations are read from there
    ///
    /// Without Postgres everything is held: up to 850 bytes for each reservation there ever was.
    #[arg(long, env = "CARREL_HISTORY_DAYS", value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub history_days: u32,

    /// Milliseconds between two heartbeats of a leader
    #[arg(long, env = "CARREL_HEARTBEAT_MS", value_name = "MS", default_value_t = 60)]
    pub heartbeat_ms: u64,

    /// A follower that hears nothing for a time between this and --election-max-ms stands for election
    #[arg(long, env = "CARREL_ELECTION_MIN_MS", value_name = "MS", default_value_t = 200)]
    pub election_min_ms: u64,

    /// Also how long a leader's lease lasts: the next one cannot be elected sooner
    #[arg(long, env = "CARREL_ELECTION_MAX_MS", value_name = "MS", default_value_t = 350)]
    pub election_max_ms: u64,

    /// A snapshot is taken once the log has grown by this much since the last one, or by half its size if that is more
    #[arg(long, env = "CARREL_SNAPSHOT_LOG_MIB", value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub snapshot_log_mib: u64,

    /// Requests a second that one account may make of this replica, and one address without a session
    ///
    /// A person's page makes a handful, a program that looks after a whole campus some hundreds, and a replica answers
    /// many thousands: so nobody is slowed who does not mean to, and nobody's flood keeps others out.
    #[arg(long, env = "CARREL_REQUESTS_PER_SECOND_PER_ACCOUNT", value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_per_second_per_account: u32,

    /// Log-ins and registrations a second from one address, of the forty or so passwords a second that a replica checks
    ///
    /// Where all clients come through one proxy, it is the proxy's address that counts.
    #[arg(long, env = "CARREL_LOG_INS_PER_SECOND_PER_ADDRESS", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub log_ins_per_second_per_address: u32,
    /// Letters a minute from one account, a minute's worth of them at once
    #[arg(long, env = "CARREL_LETTERS_PER_MINUTE_PER_ACCOUNT", value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=60_000_000))]
    pub letters_per_minute_per_account: u32,

    /// The log grows by files of this size, filled with zeroes ahead: one is written, one is ready
    #[arg(long, env = "CARREL_LOG_SEGMENT_MIB", value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub log_segment_mib: u64,

    /// Seconds to wait for whoever ran on --dir before and has not ended yet
    #[arg(long, env = "CARREL_VOLUME_WAIT_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub volume_wait_seconds: u64,

    /// Seconds to finish what is under way when the process is asked to end
    #[arg(long, env = "CARREL_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub drain_seconds: u64,

    /// Name of the cluster, on every metric as carrel_cluster. Without one whoever scrapes gives it
    #[arg(long, env = "CARREL_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// Counts and times nothing: /metrics has only what is looked up when it is read. To measure what counting costs
    #[arg(long, env = "CARREL_NO_COUNTING")]
    pub no_counting: bool,

    /// What to log, for example "info" or "carrel_node=debug,openraft=info"
    #[arg(long, env = "CARREL_LOG", value_name = "FILTER", default_value = "info,openraft=error")]
    pub log: String,

    /// How to log: a line of text or of JSON for each event
    #[arg(long, env = "CARREL_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// End when the parent process, which must be this one, does
    #[arg(long, env = "CARREL_EXIT_WITH_PARENT", value_name = "PID")]
    pub exit_with_parent: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("--{flag} is neither one URL with {{ordinal}} in it nor a list of URLs: {url:?}")]
    Url { flag: &'static str, url: String },
    #[error("--{flag} names {count} addresses, but this is replica {ordinal}")]
    TooFewUrls { flag: &'static str, count: usize, ordinal: u32 },
    #[error("--{0} and --{1} are the same address, {2}: each listens on its own")]
    SameAddress(&'static str, &'static str, SocketAddr),
    #[error("with --tls-dir replicas call each other by TLS: {0:?} in --peer-urls has to begin with https://")]
    PlainPeer(String),
    #[error("{0:?} in --peer-urls asks for TLS, for which --tls-dir is missing")]
    NoKeys(String),
    #[error("with --client-tls-dir clients come by TLS: {0:?} in --client-urls has to begin with https://")]
    PlainClient(String),
    #[error("--webhook-networks: {0}")]
    Network(#[from] NotANetwork),
    #[error("--heartbeat-ms must be less than half of --election-min-ms, and that less than --election-max-ms")]
    Timing,
}

impl NodeConfig {
    /// # Errors
    /// The first thing that does not fit together.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (flag, urls) in [("peer-urls", &self.peer_urls), ("client-urls", &self.client_urls)] {
            Urls::new(flag, urls, self.ordinal)?;
        }
        let is_secured = |url: &&String| url.starts_with("https://");
        match &self.tls_dir {
            Some(_) => refuse(self.peer_urls.iter().find(|url| !is_secured(url)), ConfigError::PlainPeer)?,
            None => refuse(self.peer_urls.iter().find(is_secured), ConfigError::NoKeys)?,
        }
        // Without it https:// is still right where something in front of the replicas speaks TLS.
        if self.client_tls_dir.is_some() {
            refuse(self.client_urls.iter().find(|url| !is_secured(url)), ConfigError::PlainClient)?;
        }
        let listens = [
            ("client-listen", self.client_listen),
            ("peer-listen", self.peer_listen),
            ("admin-listen", self.admin_listen),
            ("metrics-listen", self.metrics_listen),
        ];
        for (index, (flag, address)) in listens.iter().enumerate() {
            if let Some((other, _)) = listens[..index].iter().find(|(_, a)| a == address && a.port() != 0) {
                return Err(ConfigError::SameAddress(other, flag, *address));
            }
        }
        self.networks()?;
        // A missed heartbeat or two must not look like a dead leader.
        let in_order = self.heartbeat_ms > 0
            && self.heartbeat_ms * 2 < self.election_min_ms
            && self.election_min_ms < self.election_max_ms;
        if in_order { Ok(()) } else { Err(ConfigError::Timing) }
    }

    /// # Errors
    /// As `check`.
    pub fn peers(&self) -> Result<Urls, ConfigError> {
        Urls::new("peer-urls", &self.peer_urls, self.ordinal)
    }

    /// # Errors
    /// As `check`.
    pub fn clients(&self) -> Result<Urls, ConfigError> {
        Urls::new("client-urls", &self.client_urls, self.ordinal)
    }

    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates {
            requests_per_second: self.requests_per_second_per_account,
            log_ins_per_second: self.log_ins_per_second_per_address,
            letters_per_minute: self.letters_per_minute_per_account,
        }
    }

    #[must_use]
    pub fn registration(&self) -> Registration {
        if self.open_registration { Registration::Open } else { Registration::ByStaff }
    }

    /// Where the relational record is kept, if anywhere.
    #[must_use]
    pub fn postgres(&self) -> Option<Address> {
        let file = self.postgres_url_file.clone().map(Address::File);
        file.or_else(|| self.postgres_url.clone().map(Address::Url))
    }

    /// # Errors
    /// If one of them is none.
    fn networks(&self) -> Result<Option<Networks>, NotANetwork> {
        if self.webhook_networks.is_empty() { Ok(None) } else { Networks::new(&self.webhook_networks).map(Some) }
    }

    /// What is sent out into the world, and where.
    ///
    /// # Errors
    /// As `check`.
    pub fn outward(&self) -> Result<outward::Settings, ConfigError> {
        let mail = self.smtp_url_file.clone().zip(self.mail_from.clone());
        Ok(outward::Settings {
            mail: mail.map(|(url_file, from)| outward::MailSettings { url_file, from }),
            networks: self.networks()?,
            give_up_after: Duration::from_secs(60 * u64::from(self.give_up_minutes)),
        })
    }

    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

fn refuse(found: Option<&String>, why: fn(String) -> ConfigError) -> Result<(), ConfigError> {
    found.map_or(Ok(()), |url| Err(why(url.clone())))
}

/// Addresses by ordinal. They follow from configuration, never from what the membership stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Urls {
    /// Has `{ordinal}` in it.
    Template(String),
    List(Vec<String>),
}

const PLACEHOLDER: &str = "{ordinal}";

impl Urls {
    fn new(flag: &'static str, urls: &[String], ordinal: u32) -> Result<Self, ConfigError> {
        let is_url = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
        if let Some(url) = urls.iter().find(|url| !is_url(url)) {
            return Err(ConfigError::Url { flag, url: url.clone() });
        }
        match urls {
            [template] if template.contains(PLACEHOLDER) => Ok(Self::Template(template.clone())),
            list if list.len() > ordinal as usize => Ok(Self::List(list.to_vec())),
            list => Err(ConfigError::TooFewUrls { flag, count: list.len(), ordinal }),
        }
    }

    /// Of every replica there may be.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        (0..ORDINALS).map_while(|ordinal| self.of(ordinal)).collect()
    }

    /// None for a replica that the configuration does not know of.
    #[must_use]
    pub fn of(&self, ordinal: u32) -> Option<String> {
        match self {
            Self::Template(template) => Some(template.replace(PLACEHOLDER, &ordinal.to_string())),
            Self::List(urls) => urls.get(ordinal as usize).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_a_template_or_a_list() {
        let urls = |list: &[&str], ordinal| {
            Urls::new("peer-urls", &list.iter().map(ToString::to_string).collect::<Vec<_>>(), ordinal)
        };
        let template = urls(&["http://r-{ordinal}.r-peers:7410"], 12).expect("a template");
        assert_eq!(template.of(3).as_deref(), Some("http://r-3.r-peers:7410"));
        let list = urls(&["http://a:1", "http://b:1"], 1).expect("a list");
        assert_eq!(list.of(1).as_deref(), Some("http://b:1"));
        assert_eq!(list.of(2), None);
        assert!(matches!(urls(&["http://a:1"], 1), Err(ConfigError::TooFewUrls { .. })));
        assert!(matches!(urls(&["a:1"], 0), Err(ConfigError::Url { .. })));
    }
}
