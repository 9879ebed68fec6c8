//! Going on after a majority was lost for good, with what one node still has.

use std::path::PathBuf;

use carrel_domain::census::Census;
use carrel_domain::time::Timestamp;
use clap::Args;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use super::Output;
use super::context::print;
use super::errors::Failure;
use super::table::facts;
use crate::raft::offline::{self, OfflineError, Survey};
use crate::raft::platform::Server;

/// Go on with one node after a majority was lost for good
///
/// For a cluster that will never have a majority again. Nobody may run on DIR. First look at every volume that is left,
/// with --survey; then recover the one whose last entry has the greatest term, of those the greatest index. The others
/// are emptied and join anew. Recover one volume only: two would be two clusters that both take themselves for the one.
///
/// The whole log of the volume is kept, also what is not known to be committed: of that, some was answered. The node
/// gets a new id, is the only voter, and serves as soon as it is started. What there was before stays in DIR.
#[derive(Args, Debug)]
pub(super) struct Recover {
    /// The surviving node's directory, as for `carrel start`
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The number of the history that begins: greater than any before, mostly the old one plus one
    #[arg(long, value_name = "N", required_unless_present = "survey")]
    new_lineage: Option<u32>,
    /// Only say what the volume holds
    #[arg(long, conflicts_with = "new_lineage")]
    survey: bool,
}

pub(super) async fn run(output: Output, Recover { dir, new_lineage, survey: _ }: Recover) -> Result<(), Failure> {
    let platform = Server::new();
    let Some(lineage) = new_lineage else {
        let survey = offline::survey(&platform, &dir).await.map_err(failed("NOT_RECOVERED"))?;
        return match output {
            Output::Json => print(&survey_json(&survey).to_string()),
            Output::Table => print(&survey_text(&survey)),
        };
    };
    let recovered = offline::recover(&platform, &dir, lineage, Uuid::new_v4()).await;
    let recovered = recovered.map_err(failed("NOT_RECOVERED"))?;
    let begun = recovered.begun;
    let aside: Vec<String> = recovered.put_aside.iter().map(|path| path.display().to_string()).collect();
    if output == Output::Json {
        return print(
            &json!({
                "survey": survey_json(&recovered.survey), "nodeId": begun.me.node_id, "lineage": begun.me.lineage,
                "ordinal": begun.ordinal, "index": begun.position.index, "putAside": aside,
            })
            .to_string(),
        );
    }
    let rows = vec![
        ("Now", format!("node {}, the only voter of lineage {}", begun.me.node_id, begun.me.lineage)),
        ("Slot", begun.ordinal.to_string()),
        ("Kept aside", aside.join(", ")),
    ];
    print(&format!(
        "{}\n{}\nStart it as before. The other nodes join it with empty directories.",
        survey_text(&recovered.survey),
        facts(rows)
    ))
}

/// Of this computer, or of what was asked: no cluster had a say.
pub(super) fn failed(reason: &'static str) -> impl Fn(OfflineError) -> Failure {
    move |error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // A transparent error repeats what it wraps.
            if !text.ends_with(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Failure::refused(Code::FailedPrecondition, reason, text)
    }
}

pub(super) fn census(census: &Census) -> String {
    format!(
        "{} accounts, {} branches, {} seats, {} claims ({} live), {} in line, {} items",
        census.accounts, census.branches, census.seats, census.claims, census.live_claims, census.waits, census.items
    )
}

/// As RFC 3339, in UTC.
pub(super) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| format!("{} us", at.0), |time| time.to_string())
}

fn survey_text(survey: &Survey) -> String {
    let voters: Vec<String> =
        survey.contents.voters.iter().map(|(id, ordinal)| format!("{id} (slot {ordinal})")).collect();
    facts(vec![
        ("Cluster", survey.me.cluster_id.to_string()),
        ("Lineage", survey.me.lineage.to_string()),
        ("Node", survey.me.node_id.to_string()),
        ("Last entry", format!("term {}, index {}", survey.last.term, survey.last.index)),
        (
            "Committed",
            format!(
                "known up to index {}; {} entries after it, kept",
                survey.known_committed.index, survey.uncommitted_entries
            ),
        ),
        ("Voted", format!("in term {}", survey.term)),
        ("Voters", voters.join(", ")),
        ("Time", instant(survey.contents.at)),
        ("Holds", census(&survey.contents.census)),
        ("State", survey.contents.digest.to_string()),
    ])
}

fn survey_json(survey: &Survey) -> serde_json::Value {
    json!({
        "clusterId": survey.me.cluster_id.to_string(), "lineage": survey.me.lineage, "nodeId": survey.me.node_id,
        "lastTerm": survey.last.term, "lastIndex": survey.last.index, "votedTerm": survey.term,
        "knownCommittedIndex": survey.known_committed.index, "uncommittedEntries": survey.uncommitted_entries,
        "voters": survey.contents.voters.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "time": instant(survey.contents.at), "accounts": survey.contents.census.accounts,
        "claims": survey.contents.census.claims, "stateHash": survey.contents.digest.to_string(),
    })
}
