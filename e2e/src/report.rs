//! What was told and measured, as a page for readers.

use std::collections::BTreeMap;
use std::fmt;
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
    Well { seconds: u64, figures: Vec<Figure> },
    Badly { seconds: u64, why: String },
    NotHere,
}

/// A page with a section for each story, in the order in which they are told. What was told before, and is not now,
/// stays as it is: every section says for itself of what it was told, when, and where.
pub struct Report {
    ground: String,
    /// All stories, told now or not.
    names: Vec<&'static str>,
    sections: BTreeMap<String, String>,
    is_good: bool,
}

const HEAD: &str = "# Stories on a real Kubernetes

Each in a namespace of its own, installed by the chart, while clients book and give back; what they saw is judged at the
end: nothing acknowledged is lost, nothing happens twice, all in one order. Written by `make e2e`.
";

impl Report {
    pub async fn new(ground: &Ground, names: Vec<&'static str>) -> anyhow::Result<Self> {
        let version = ground.kube.apiserver_version().await?.git_version;
        let machines = Api::<Node>::all(ground.kube.clone()).list(&ListParams::default()).await?.items.len();
        let kind = if ground.localkube.is_some() { " by localkube" } else { "" };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let commit = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
        let commit = commit.ok().filter(|output| output.status.success());
        let commit = commit.map_or_else(|| "unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().into());
        let build = std::env::var("CARREL_E2E_BUILD").unwrap_or_else(|_| "release".to_owned());
        let set: String = ground.set.iter().map(|value| format!(", {value}")).collect();
        let ground = format!(
            "commit {commit}, {build} build, Kubernetes {version} on {machines} nodes{kind}, {cores} cores{set}"
        );
        Ok(Self { ground, names, sections: BTreeMap::new(), is_good: true })
    }

    pub fn add(&mut self, name: &str, what: &str, told: &Told) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
        let at = format!("{}{}, {now}", self.ground, load().map(|load| format!(", load {load}")).unwrap_or_default());
        let mut section = format!("{what}. ");
        match told {
            Told::Well { seconds, figures } => {
                section += &format!("Told in {seconds} s.\n\n({at}.)\n\n| what | measured | wanted |\n|---|---|---|\n");
                for Figure { what, measured, wanted } in figures {
                    let wanted = wanted.as_ref().map_or_else(String::new, |(wanted, is_met)| {
                        format!("{wanted}: {}", if *is_met { "met" } else { "**not met**" })
                    });
                    section += &format!("| {what} | {} | {wanted} |\n", measured.replace('|', "\\|"));
                }
            }
            Told::Badly { seconds, why } => {
                self.is_good = false;
                // No line of it begins a section.
                let why = why.replace('\n', " ");
                section += &format!("**It went wrong after {seconds} s:** {why}\n\n({at}.)\n");
            }
            Told::NotHere => section += "Not told: this cluster is no localkube.\n",
        }
        self.sections.insert(name.to_owned(), section);
    }

    /// A figure that was not reached is not a story that went wrong: it depends on the machine.
    pub fn is_good(&self) -> bool {
        self.is_good
    }

    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let cannot = |verb: &str| format!("cannot {verb} {}", file.display());
        let before = match std::fs::read_to_string(file) {
            Ok(before) => before,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| cannot("read")),
        };
        std::fs::write(file, self.over(&before)).with_context(|| cannot("write"))
    }

    /// The page, with what an earlier one says of stories that are not told now.
    fn over(&self, before: &str) -> String {
        let kept: BTreeMap<&str, &str> =
            before.split("\n## ").skip(1).filter_map(|section| section.split_once("\n\n")).collect();
        let mut page = HEAD.to_owned();
        for name in &self.names {
            let section = self.sections.get(*name).map(String::as_str).or_else(|| kept.get(name).copied());
            if let Some(section) = section {
                page += &format!("\n## {name}\n\n{}\n", section.trim_end());
            }
        }
        page
    }
}

/// Of the last minute. What else runs on a machine is part of every duration.
fn load() -> Option<String> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some(load.split(' ').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_not_told_again() {
        let mut first = Report { ground: "a".into(), names: vec!["x", "y"], sections: BTreeMap::new(), is_good: true };
        first.add("y", "It goes well", &Told::Well { seconds: 1, figures: vec![Figure::seen("count", "7")] });
        first.add("x", "It does not", &Told::Badly { seconds: 2, why: "no\n## reason".to_owned() });
        assert!(!first.is_good());
        let page = first.over("");
        assert!(page.find("## x") < page.find("## y"), "{page}");

        let mut second = Report { ground: "b".into(), names: vec!["x", "y"], sections: BTreeMap::new(), is_good: true };
        second.add("x", "It does now", &Told::Well { seconds: 3, figures: Vec::new() });
        let page = second.over(&page);
        assert!(
            page.contains("| count | 7 |") && page.contains("It does now") && !page.contains("It does not"),
            "{page}"
        );
        assert_eq!(second.over(&page).matches("\n## ").count(), 2);
    }
}
