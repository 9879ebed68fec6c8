//! What the nodes themselves counted meanwhile.

use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SYNCS: &str = "carrel_raft_log_syncs_total";
const ENTRIES: &str = "carrel_raft_log_entries_appended_total";
/// A node that does not answer in this time is left out.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A node has some hundred lines of metrics; more is something else.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Of one node, so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    syncs: f64,
    /// Unknown if the node does not count them.
    entries: Option<f64>,
}

/// Of one node, a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogRate {
    pub syncs_per_second: f64,
    pub entries_per_sync: Option<f64>,
}

/// None for a node that cannot be asked.
pub async fn read_all(urls: &[String]) -> Vec<Option<Counters>> {
    futures_util::future::join_all(urls.iter().map(|url| read(url))).await
}

/// What happened between two readings of the same nodes; of those that answered both times.
pub fn rates(before: &[Option<Counters>], after: &[Option<Counters>], seconds: f64) -> Vec<LogRate> {
    let both = before.iter().zip(after).filter_map(|(before, after)| Some(((*before)?, (*after)?)));
    both.map(|(before, after)| {
        let syncs = after.syncs - before.syncs;
        let entries = before.entries.zip(after.entries).map(|(before, after)| after - before);
        LogRate {
            syncs_per_second: syncs / seconds,
            entries_per_sync: entries.filter(|_| syncs > 0.0).map(|entries| entries / syncs),
        }
    })
    .collect()
}

async fn read(url: &str) -> Option<Counters> {
    tokio::time::timeout(ANSWER_LIMIT, fetch(url)).await.ok()?.as_deref().and_then(parse)
}

/// The metrics port is plain HTTP; 1.0, so that the answer ends where the connection does.
async fn fetch(url: &str) -> Option<String> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(host).await.ok()?;
    stream.write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

fn parse(text: &str) -> Option<Counters> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).and_then(|value| value.parse().ok())
    };
    Some(Counters { syncs: value(SYNCS)?, entries: value(ENTRIES) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_names() {
        let text = "# TYPE carrel_raft_log_syncs_total gauge\ncarrel_raft_log_syncs_total_seconds 9\n\
                    carrel_raft_log_syncs_total 12\n";
        assert_eq!(parse(text), Some(Counters { syncs: 12.0, entries: None }));
        let text = format!("{text}carrel_raft_log_entries_appended_total 60\n");
        assert_eq!(parse(&text), Some(Counters { syncs: 12.0, entries: Some(60.0) }));
        assert_eq!(parse("HTTP/1.0 404 Not Found\r\n\r\n"), None);
    }

    #[test]
    fn a_rate_needs_both_readings_of_a_node() {
        let at = |syncs, entries| Some(Counters { syncs, entries: Some(entries) });
        let rates = rates(&[at(10.0, 100.0), None, at(5.0, 5.0)], &[at(30.0, 200.0), at(1.0, 1.0), at(5.0, 5.0)], 2.0);
        let [busy, idle] = rates.as_slice() else { panic!("two nodes answered twice: {rates:?}") };
        assert_eq!(*busy, LogRate { syncs_per_second: 10.0, entries_per_sync: Some(5.0) });
        assert_eq!(*idle, LogRate { syncs_per_second: 0.0, entries_per_sync: None });
    }
}
