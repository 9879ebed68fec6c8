//! What was told and measured, as a page for readers.

use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use crate::ground::Ground;

/// Something that was measured, and what was wanted of it.
#[derive(Clone, Debug)]
pub struct Figure {
    what: String,
    measured: String,
    /// With whether it was met.
    wanted: Option<(String, bool)>,
}

impl Figure {
    pub fn seen(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), wanted: None }
    }

    /// No more than.
    pub fn within(what: impl Into<String>, took: Duration, limit: Duration) -> Self {
        let wanted = Some((format!("under {}", span(limit)), took < limit));
        Self { what: what.into(), measured: span(took), wanted }
    }

    pub fn at_most(what: impl Into<String>, count: u64, limit: u64) -> Self {
        let wanted = if limit == 0 { "none".to_owned() } else { format!("at most {limit}") };
        Self { what: what.into(), measured: count.to_string(), wanted: Some((wanted, count <= limit)) }
    }

    /// Of several tries the one in the middle, and all of them.
    pub fn median(what: impl Into<String>, tries: &[Duration], limit: Duration) -> Self {
        let mut sorted = tries.to_vec();
        sorted.sort_unstable();
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let all: Vec<String> = tries.iter().map(|took| span(*took)).collect();
        let wanted = Some((format!("median under {}", span(limit)), !tries.is_empty() && middle < limit));
        Self { what: what.into(), measured: format!("{} ({})", span(middle), all.join(", ")), wanted }
    }
}

/// Three digits are enough.
fn span(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.measured)?;
        match &self.wanted {
            Some((wanted, is_met)) => write!(f, " ({wanted}: {})", if *is_met { "met" } else { "NOT MET" }),
            None => Ok(()),
        }
    }
}

pub enum Told {
    Well { name: &'static str, what: &'static str, seconds: u64, figures: Vec<Figure> },
    Badly { name: &'static str, what: &'static str, seconds: u64, why: String },
    NotHere { name: &'static str, what: &'static str },
}

pub struct Report {
    ground: String,
    told: Vec<Told>,
}

impl Report {
    pub async fn new(ground: &Ground) -> anyhow::Result<Self> {
        let version = ground.kube.apiserver_version().await?.git_version;
        let machines = Api::<Node>::all(ground.kube.clone()).list(&ListParams::default()).await?.items.len();
        let kind = if ground.localkube.is_some() { ", by localkube" } else { "" };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let commit = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
        let commit = commit.ok().filter(|output| output.status.success());
        let commit = commit.map_or_else(|| "unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().into());
        let build = std::env::var("CARREL_E2E_BUILD").unwrap_or_else(|_| "release".to_owned());
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
        let ground = format!(
            "Commit {commit}, {build} build. {now}. Kubernetes {version} on {machines} nodes{kind}, on a machine with \
             {cores} cores."
        );
        Ok(Self { ground, told: Vec::new() })
    }

    pub fn add(&mut self, told: Told) {
        self.told.push(told);
    }

    /// A figure that was not reached is not a story that went wrong: it depends on the machine.
    pub fn is_good(&self) -> bool {
        !self.told.iter().any(|told| matches!(told, Told::Badly { .. }))
    }

    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, self.to_string()).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Stories on a real Kubernetes\n\n{}\n", self.ground)?;
        writeln!(
            f,
            "Each in a namespace of its own, installed by the chart, while clients book and give back; what they"
        )?;
        writeln!(
            f,
            "saw is judged at the end: nothing acknowledged is lost, nothing happens twice, all in one order."
        )?;
        for told in &self.told {
            let mut table = String::new();
            let (name, what, end) = match told {
                Told::Well { name, what, seconds, figures } => {
                    writeln!(table, "\n| what | measured | wanted |\n|---|---|---|")?;
                    for Figure { what, measured, wanted } in figures {
                        let wanted = wanted.as_ref().map_or_else(String::new, |(wanted, is_met)| {
                            format!("{wanted}: {}", if *is_met { "met" } else { "**not met**" })
                        });
                        writeln!(table, "| {what} | {measured} | {wanted} |")?;
                    }
                    (name, what, format!("Told in {seconds} s."))
                }
                Told::Badly { name, what, seconds, why } => {
                    (name, what, format!("**It went wrong after {seconds} s:** {why}"))
                }
                Told::NotHere { name, what } => (name, what, "Not told: this cluster is no localkube.".to_owned()),
            };
            writeln!(f, "\n## {name}\n\n{what}. {end}\n{table}")?;
        }
        Ok(())
    }
}
