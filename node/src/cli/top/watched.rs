//! What was seen of the nodes, look after look.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::metrics::catalogue as names;
use crate::scrape::Scrape;

/// Looks that a sparkline shows: more than a terminal is wide.
const LOOKS_MAX: usize = 240;

#[derive(Debug)]
pub(super) struct Watched {
    pub nodes: Vec<Node>,
    /// Calls a second that ended on any node, newest last.
    pub calls: VecDeque<u64>,
    /// Refusals a second now, by reason, the most frequent first.
    pub refusals: Vec<(String, f64)>,
    looked_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub url: String,
    /// As it was seen last.
    pub now: Option<Scrape>,
    before: Option<Scrape>,
    /// Entries behind the leader, newest last.
    pub lag: VecDeque<u64>,
}

impl Watched {
    pub fn new(urls: &[String]) -> Self {
        let node = |url: &String| Node { url: url.clone(), now: None, before: None, lag: VecDeque::new() };
        Self { nodes: urls.iter().map(node).collect(), calls: VecDeque::new(), refusals: Vec::new(), looked_at: None }
    }

    pub fn saw(&mut self, scrapes: Vec<Option<Scrape>>) {
        let now = Instant::now();
        let between = self.looked_at.replace(now).map(|before| now - before);
        self.saw_after(scrapes, between);
    }

    /// `between`: since the look before, if there was one.
    pub fn saw_after(&mut self, scrapes: Vec<Option<Scrape>>, between: Option<Duration>) {
        for (node, scrape) in self.nodes.iter_mut().zip(scrapes) {
            node.before = std::mem::replace(&mut node.now, scrape);
        }
        let last = self.nodes.iter().filter_map(|node| node.index(names::RAFT_COMMIT_INDEX.name)).max();
        for node in &mut self.nodes {
            if let (Some(last), Some(own)) = (last, node.index(names::RAFT_APPLIED_INDEX.name)) {
                keep(&mut node.lag, last.saturating_sub(own));
            }
        }
        let Some(seconds) = between.map(|between| between.as_secs_f64()).filter(|seconds| *seconds > 0.0) else {
            return;
        };
        let calls: f64 = self.nodes.iter().map(|node| node.grown(names::REQUESTS.name, None)).sum();
        keep(&mut self.calls, (calls / seconds).round() as u64);
        let mut reasons: BTreeMap<String, f64> = BTreeMap::new();
        for node in &self.nodes {
            for series in node.now.iter().flat_map(|scrape| scrape.named(names::REFUSALS.name)) {
                let reason = series.label("reason");
                let grown = node.grown(names::REFUSALS.name, Some(("reason", reason)));
                *reasons.entry(reason.to_owned()).or_default() += grown / seconds;
            }
        }
        self.refusals = reasons.into_iter().filter(|(_, rate)| *rate > 0.0).collect();
        self.refusals.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    }
}

impl Node {
    pub fn index(&self, name: &str) -> Option<u64> {
        self.now.as_ref()?.value(name).map(|value| value as u64)
    }

    pub fn info(&self, label: &str) -> String {
        let info = self.now.as_ref().and_then(|scrape| scrape.named(names::NODE_INFO.name).next());
        info.map_or_else(String::new, |series| series.label(label).to_owned())
    }

    pub fn role(&self) -> &'static str {
        match (&self.now, self.index(names::RAFT_IS_LEADER.name), self.index(names::NODE_SERVING.name)) {
            (None, _, _) => "away",
            (_, Some(1), _) => "leader",
            (_, _, Some(1)) => "follower",
            _ => "not serving",
        }
    }

    /// Since the look before; nothing of a node that began anew.
    fn grown(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let of = |scrape: &Scrape| -> f64 {
            let wanted =
                |series: &&crate::scrape::Series| label.is_none_or(|(name, value)| series.label(name) == value);
            scrape.named(name).filter(wanted).map(|series| series.value).sum()
        };
        match (&self.before, &self.now) {
            (Some(before), Some(now)) => (of(now) - of(before)).max(0.0),
            _ => 0.0,
        }
    }
}

fn keep(values: &mut VecDeque<u64>, newest: u64) {
    if values.len() == LOOKS_MAX {
        values.pop_front();
    }
    values.push_back(newest);
}
