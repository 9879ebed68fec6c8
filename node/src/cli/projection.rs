//! The relational record: how it is, whether it is right, and writing it anew.

use std::time::Duration;

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::get_projection_response::Phase;
use carrel_proto::client::{LONGEST_DEADLINE, Options};
use clap::Subcommand;
use tonic::Code;

use super::admin::Admin;
use super::context::{Context, print};
use super::errors::Failure;
use super::table::{facts, table, words};

/// Some million rows are read in seconds, and written in minutes.
const LONG: Options =
    Options { connect_timeout: Duration::from_secs(1), attempt_timeout: LONGEST_DEADLINE, deadline: LONGEST_DEADLINE };

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look at the relational record in Postgres, prove that it is right, write it anew (admin port)
    #[command(subcommand)]
    Projection(Projection),
}

#[derive(Debug, Subcommand)]
pub(super) enum Projection {
    /// Show how far the record is, and what is in its way
    Status {
        #[command(flatten)]
        admin: Admin,
    },
    /// Prove that rows and state are equal at one entry, or show where they differ
    ///
    /// Every row of every table is compared, in order, with a hash over each side. Ends with 1 if they differ.
    Verify {
        #[command(flatten)]
        admin: Admin,
    },
    /// Write all rows anew from the state, in one transaction, and verify them
    ///
    /// What the state holds no more is left as it is, and so is all history. Bookings go on meanwhile.
    Rebuild {
        /// Also over a record that is ahead of this cluster, or of another: keep a copy of the database first
        #[arg(long)]
        adopt: bool,
        #[command(flatten)]
        admin: Admin,
    },
}

pub(super) async fn run(context: &Context, Command::Projection(command): Command) -> Result<(), Failure> {
    match command {
        Projection::Status { admin } => status(context, &admin).await,
        Projection::Verify { admin } => {
            let response = admin.of_leader(context, async |client| {
                client.with_options(LONG).verify_projection(admin::VerifyProjectionRequest {}).await
            });
            let response = response.await?;
            context.answer(&response, || proof_text(response.proof.as_ref()))?;
            judge(response.proof.as_ref())
        }
        Projection::Rebuild { adopt, admin } => {
            let response = admin.of_leader(context, async |client| {
                client.with_options(LONG).rebuild_projection(admin::RebuildProjectionRequest { adopt }).await
            });
            let response = response.await?;
            context.answer(&response, || proof_text(response.proof.as_ref()))?;
            judge(response.proof.as_ref())
        }
    }
}

async fn status(context: &Context, admin: &Admin) -> Result<(), Failure> {
    // Others only know that it is not they who write.
    let response = admin.of_leader(context, async |client| client.get_projection(admin::GetProjectionRequest {}).await);
    let status = response.await?;
    if context.is_json() {
        return context.answer(&status, String::new);
    }
    let phase = Phase::try_from(status.phase).unwrap_or_default();
    print(&facts(vec![
        ("Record", words(phase.as_str_name(), "PHASE_")),
        ("Through", format!("entry {} of {}", status.applied_index, status.state_index)),
        ("Kept", format!("{} changes until Postgres has them", status.kept_events)),
        ("Put aside", format!("{} rows", status.parked_rows)),
        ("Postgres", status.server_version),
        ("In the way", status.trouble),
    ]))
}

fn judge(proof: Option<&admin::ProjectionProof>) -> Result<(), Failure> {
    if proof.is_some_and(|proof| proof.equal) {
        return Ok(());
    }
    Err(Failure::refused(
        Code::DataLoss,
        "RECORD_DIFFERS",
        "the record is not what the state is: `carrel projection rebuild` writes it anew".to_owned(),
    ))
}

fn proof_text(proof: Option<&admin::ProjectionProof>) -> String {
    let Some(proof) = proof else { return "nothing was said".to_owned() };
    let rows = proof.tables.iter().map(|table| {
        let verdict = match (table.difference_count, table.state_hash == table.record_hash) {
            (0, true) => "equal".to_owned(),
            (count, _) => format!("{count} differ"),
        };
        let hash = table.state_hash.get(..16).unwrap_or_default();
        [table.table.clone(), table.rows.to_string(), table.archived_rows.to_string(), verdict, hash.to_owned()]
    });
    let mut text = table(["TABLE", "ROWS", "ARCHIVED", "VERDICT", "HASH"], rows.collect(), "no tables");
    text += &format!(
        "\nAt entry {}: {}. Missing changes of claims: {}. Gaps in history: {}. Rows put aside: {}.\n",
        proof.applied_index,
        if proof.equal { "rows and state are equal" } else { "rows and state differ" },
        proof.missing_transitions,
        proof.gaps,
        proof.parked_rows
    );
    for difference in proof.tables.iter().flat_map(|table| &table.differences) {
        text += &format!("  {difference}\n");
    }
    text
}
