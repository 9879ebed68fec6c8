//! What a node tells Prometheus, in its text format. What there is to tell stands in [`catalogue`].
//!
//! What counts by itself is registered; everything else is looked up when somebody asks.

pub mod catalogue;
mod machine;
mod told;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::{IntCounter, Registry, TextEncoder};

use crate::convert::refusal;
use crate::metrics::catalogue::registered;
use crate::metrics::told::Told;
use crate::replica::{NodeFigures, View};
use crate::tls::InUse;

use carrel_domain::tally::Tally;

/// Whether anything is counted, in this process.
static COUNTING: AtomicBool = AtomicBool::new(true);

/// From now on requests, entries and refusals are neither counted nor timed: so is measured what that costs.
pub fn stop_counting() {
    COUNTING.store(false, Ordering::Relaxed);
}

#[must_use]
pub fn are_counting() -> bool {
    COUNTING.load(Ordering::Relaxed)
}

/// One more.
pub fn count(counter: &IntCounter) {
    if are_counting() {
        counter.inc();
    }
}

#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Name of the cluster; where none is given, whoever scrapes says it.
    cluster: Option<String>,
    /// Where the log is.
    directory: PathBuf,
    certificates: InUse,
}

/// What a scrape looks at.
#[derive(Debug)]
pub struct Sight {
    pub node: NodeFigures,
    pub view: View,
    pub tally: Tally,
}

/// Given to every series.
pub const CLUSTER_LABEL: &str = "carrel_cluster";

impl Metrics {
    /// # Panics
    /// Never: the label is well-formed, and nothing is registered yet.
    #[must_use]
    pub fn new(cluster: Option<String>, directory: PathBuf) -> Self {
        let label = cluster.iter().map(|name| (CLUSTER_LABEL.to_owned(), name.clone())).collect();
        let registry = Registry::new_custom(None, Some(label)).expect("the label is well-formed");
        registered(&registry, refusal::REFUSALS.clone()).expect("it is the first");
        Self { registry, cluster, directory, certificates: InUse::default() }
    }

    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    #[must_use]
    pub fn with_certificates(self, certificates: InUse) -> Self {
        Self { certificates, ..self }
    }

    #[must_use]
    pub fn render(&self, sight: &Sight) -> String {
        let mut told = Told::new(self.cluster.as_deref());
        told.raft(&sight.node);
        told.library(&sight.view, &sight.tally);
        told.machine(&self.directory);
        told.certificates(&self.certificates);
        let mut families = self.registry.gather();
        families.extend(told.into_families());
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| format!("# {error}\n"))
    }
}
