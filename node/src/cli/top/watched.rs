//! What was seen of the nodes, look after look.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::metrics::catalogue as names;
use crate::scrape::{Scrape, Series};

/// Looks that a sparkline shows: more than a terminal is wide.
const LOOKS_MAX: usize = 240;

#[derive(Debug)]
pub(super) struct Watched {
    pub nodes: Vec<Node>,
    /// Calls a second that ended on any node, newest last.
    pub calls: VecDeque<u64>,
    /// Refusals a second now, by reason, the most frequent first.
    pub refusals: Vec<(String, f64)>,
    /// What is called now, the most frequent first.
    pub methods: Vec<Method>,
    looked_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub url: String,
    /// Nothing of a node that does not answer.
    pub now: Option<Scrape>,
    before: Option<Scrape>,
    /// Of the volume that was there when it answered last.
    pub id: Option<String>,
    /// For how long it has not answered.
    pub silent: Duration,
    /// Entries behind the newest commit, newest last; none while it did not answer.
    pub lag: VecDeque<Option<u64>>,
}

/// On all nodes together, a second.
#[derive(Debug)]
pub(super) struct Method {
    pub name: String,
    pub rate: f64,
    /// Of these, what ended in another code than OK.
    pub not_ok: f64,
    /// To the end of an answer, on average; none of streams.
    pub mean_seconds: Option<f64>,
}

impl Watched {
    pub fn new(urls: &[String]) -> Self {
        let node = |url: &String| Node {
            url: url.clone(),
            now: None,
            before: None,
            id: None,
            silent: Duration::ZERO,
            lag: VecDeque::new(),
        };
        Self {
            nodes: urls.iter().map(node).collect(),
            calls: VecDeque::new(),
            refusals: Vec::new(),
            methods: Vec::new(),
            looked_at: None,
        }
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
            if node.now.is_some() {
                (node.id, node.silent) = (Some(node.info("node_id")), Duration::ZERO);
            } else {
                node.silent += between.unwrap_or_default();
            }
        }
        let last = self.nodes.iter().filter_map(|node| node.index(names::RAFT_COMMIT_INDEX.name)).max();
        for node in &mut self.nodes {
            let own = node.index(names::RAFT_APPLIED_INDEX.name);
            keep(&mut node.lag, last.zip(own).map(|(last, own)| last.saturating_sub(own)));
        }
        let Some(seconds) = between.map(|between| between.as_secs_f64()).filter(|seconds| *seconds > 0.0) else {
            return;
        };
        let calls = self.rate(names::REQUESTS.name, &[], seconds);
        keep(&mut self.calls, calls.round() as u64);
        let refused = |reason: String| {
            let rate = self.rate(names::REFUSALS.name, &[("reason", &reason)], seconds);
            (rate > 0.0).then_some((reason, rate))
        };
        let mut refusals: Vec<_> =
            self.values(names::REFUSALS.name, "reason").into_iter().filter_map(refused).collect();
        refusals.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let called = |name: String| {
            let of = ("method", name.as_str());
            let rate = self.rate(names::REQUESTS.name, &[of], seconds);
            let ok = self.rate(names::REQUESTS.name, &[of, ("code", "OK")], seconds);
            let timed = |part: &str| self.rate(&format!("{}{part}", names::REQUEST_SECONDS.name), &[of], seconds);
            let answered = timed("_count");
            let mean_seconds = (answered > 0.0).then(|| timed("_sum") / answered);
            (rate > 0.0).then_some(Method { not_ok: rate - ok, rate, mean_seconds, name })
        };
        let mut methods: Vec<_> = self.values(names::REQUESTS.name, "method").into_iter().filter_map(called).collect();
        methods.sort_by(|one, other| other.rate.total_cmp(&one.rate));
        (self.refusals, self.methods) = (refusals, methods);
    }

    /// On all nodes together.
    fn rate(&self, name: &str, labels: &[(&str, &str)], seconds: f64) -> f64 {
        self.nodes.iter().map(|node| node.grown(name, labels)).sum::<f64>() / seconds
    }

    fn values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let scrapes = self.nodes.iter().filter_map(|node| node.now.as_ref());
        scrapes.flat_map(|scrape| scrape.named(name)).map(|series| series.label(label).to_owned()).collect()
    }
}

impl Node {
    pub fn value(&self, name: &str) -> Option<f64> {
        self.now.as_ref()?.value(name)
    }

    pub fn index(&self, name: &str) -> Option<u64> {
        self.value(name).map(|value| value as u64)
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
    fn grown(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of = |scrape: &Scrape| -> f64 {
            let wanted = |series: &&Series| labels.iter().all(|(name, value)| series.label(name) == *value);
            scrape.named(name).filter(wanted).map(|series| series.value).sum()
        };
        match (&self.before, &self.now) {
            (Some(before), Some(now)) => (of(now) - of(before)).max(0.0),
            _ => 0.0,
        }
    }
}

fn keep<T>(values: &mut VecDeque<T>, newest: T) {
    if values.len() == LOOKS_MAX {
        values.pop_front();
    }
    values.push_back(newest);
}
