//! The files that follow from the source, and that they are fresh; and promtool's word on the alerts.
//! UPDATE_MANIFESTS=1 writes what they complain about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::alerts::{self, Alert, BY, CLUSTER};
use crate::boards;
use crate::source::{NODES, OPERATORS, RUNBOOKS, filled};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("node/ lies in the workspace").to_owned()
}

/// In one group: they are evaluated one after the other.
fn rules(group: &str, nodes: &str, operators: &str) -> String {
    let mut text = format!("groups:\n- name: {group}\n  rules:\n");
    for alert in alerts::ALL {
        let expression = without_empty_braces(&filled(&alert.expression.replace(BY, CLUSTER), nodes, operators));
        text.push_str(&format!(
            "  - alert: {}\n    expr: >-\n      {expression}\n    for: {}\n    labels:\n      severity: {}\n    \
             annotations:\n      summary: {:?}\n      runbook_url: {RUNBOOKS}/{}.md\n",
            alert.name,
            alert.lasting,
            alert.severity.name(),
            alert.summary,
            alert.name,
        ));
    }
    text
}

pub fn without_empty_braces(expression: &str) -> String {
    expression.replace("{,", "{").replace("{}", "")
}

const HEAD: &str = "# Written by UPDATE_MANIFESTS=1 cargo test --package carrel-node --test observe; the source is in\n\
                    # node/tests/observe/alerts.rs.\n";

/// For any Prometheus, and all the clusters that it sees.
fn plain_rules() -> String {
    format!("{HEAD}{}", rules("carrel", "", ""))
}

/// For the chart, which puts in which pods are its own.
fn chart_rules() -> String {
    format!("{HEAD}{}", rules("carrel-RELEASE", NODES, OPERATORS))
}

fn rule_tests() -> String {
    let mut text = format!("{HEAD}rule_files: [carrel.yaml]\nevaluation_interval: 15s\ntests:\n");
    for alert in alerts::ALL {
        text.push_str(&format!("- interval: 15s\n  name: {}\n  input_series:\n", alert.name));
        for (series, values) in alert.course {
            text.push_str(&format!("  - series: '{}'\n    values: '{values}'\n", with_labels(series)));
        }
        text.push_str("  alert_rule_test:\n");
        text.push_str(&format!(
            "  - eval_time: {}\n    alertname: {}\n    exp_alerts: []\n",
            alert.quiet_at, alert.name
        ));
        text.push_str(&format!("  - eval_time: {}\n    alertname: {}\n    exp_alerts:\n", alert.fires_at, alert.name));
        text.push_str(&format!("    - exp_labels:\n        severity: {}\n", alert.severity.name()));
        for (name, value) in [("namespace", "campus"), ("carrel_cluster", "library")].iter().chain(alert.labels) {
            text.push_str(&format!("        {name}: {value:?}\n"));
        }
        text.push_str(&format!(
            "      exp_annotations:\n        summary: {:?}\n        runbook_url: {RUNBOOKS}/{}.md\n",
            alert.summary, alert.name
        ));
    }
    text
}

/// As they come from a cluster; the first node is `a`.
fn with_labels(series: &str) -> String {
    let (name, own) = series.split_once('{').unwrap_or((series, "}"));
    let own = own.trim_end_matches('}');
    let mut labels = vec![r#"namespace="campus",carrel_cluster="library""#.to_owned()];
    if !own.contains("instance=") {
        labels.push(r#"instance="a""#.to_owned());
    }
    if !own.is_empty() {
        labels.push(own.to_owned());
    }
    format!("{name}{{{}}}", labels.join(","))
}

fn fresh(path: &str, made: &str) {
    let path = root().join(path);
    if fs::read_to_string(&path).is_ok_and(|kept| kept == made) {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_MANIFESTS").is_some(),
        "{} is not what its source says: UPDATE_MANIFESTS=1 writes it",
        path.display()
    );
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder can be made");
    fs::write(&path, made).expect("the file can be written");
}

#[test]
fn dashboards_are_what_their_source_says() {
    let written: BTreeSet<String> = boards::all().iter().map(|board| format!("{}.json", board.id)).collect();
    for board in boards::all() {
        let text = serde_json::to_string_pretty(&board.json()).expect("JSON can always be written");
        fresh(&format!("manifests/dashboards/{}.json", board.id), &(text + "\n"));
    }
    let found = fs::read_dir(root().join("manifests/dashboards")).expect("the folder is there");
    let found: BTreeSet<String> =
        found.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(found, written, "nothing else lies there");
}

#[test]
fn panels_have_titles_meanings_and_queries() {
    for board in boards::all() {
        let mut titles = BTreeSet::new();
        for panel in &board.panels {
            assert!(titles.insert(panel.title), "{}: {} is there twice", board.title, panel.title);
            assert!(panel.meaning.ends_with('.') && !panel.queries.is_empty(), "{}", panel.title);
            for (query, _) in &panel.queries {
                assert!(query.contains(NODES) || query.contains(OPERATORS), "{query} is of no cluster");
            }
            let runbook = panel.runbook.is_none_or(|page| alerts::ALL.iter().any(|alert| alert.name == page));
            assert!(runbook, "{} links to no runbook", panel.title);
        }
    }
}

#[test]
fn alerts_are_what_their_source_says_and_promtool_agrees_with_each() {
    fresh("manifests/alerts/carrel.yaml", &plain_rules());
    fresh("manifests/alerts/carrel-tests.yaml", &rule_tests());
    fresh("charts/carrel/alerts/carrel.yaml", &chart_rules());
    for arguments in [["check", "rules", "carrel.yaml"], ["test", "rules", "carrel-tests.yaml"]] {
        let ran = Command::new("promtool").args(arguments).current_dir(root().join("manifests/alerts")).output();
        let ran = ran.expect("promtool is there: make deps installs it");
        let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(ran.status.success(), "promtool {}: {said}", arguments.join(" "));
    }
}

#[test]
fn every_alert_has_a_page_that_says_what_to_do() {
    let mut expected = BTreeSet::from(["README.md".to_owned()]);
    for Alert { name, .. } in alerts::ALL {
        let path = root().join(format!("docs/runbooks/{name}.md"));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for heading in ["## What it means", "## How to look", "## What to do", "## What never to do"] {
            let part = page.split_once(heading).unwrap_or_else(|| panic!("{name} has no {heading}")).1;
            let part = part.split("\n## ").next().unwrap_or_default();
            assert!(part.trim().len() > 20, "{name}: {heading} says nothing");
        }
        expected.insert(format!("{name}.md"));
    }
    let found = fs::read_dir(root().join("docs/runbooks")).expect("the folder is there");
    let found: BTreeSet<String> =
        found.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(found, expected, "no page of an alert that there is not");
}
