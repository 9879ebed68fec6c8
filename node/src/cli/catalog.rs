//! The catalogue: what the library has and when it is open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use carrel_proto::client::{Options, Refusal, new_request_id};
use carrel_proto::v1;
use clap::Subcommand;
use tonic::Code;

use super::context::{Context, print};
use super::errors::Failure;
use crate::catalog::{self, ReadError, campus};

/// A campus is megabytes to send, to check and to bring to a majority's disks.
const PATIENT: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(20),
    deadline: Duration::from_secs(60),
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import or export the catalogue: branches, areas, seats, opening hours and policies
    #[command(subcommand)]
    Catalog(Catalog),
}

#[derive(Debug, Subcommand)]
pub(super) enum Catalog {
    /// Replace the whole catalogue by a file, all or nothing
    ///
    /// YAML describes everything. CSV has a row for each seat and replaces the seats of the areas it names. Every fault
    /// is told with its line, and then nothing is changed. Who loses a seat is told.
    Import {
        /// FILE.yaml or FILE.csv
        file: PathBuf,
        /// Check everything and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the whole catalogue as it stands, as YAML that can be imported
    Export,
    /// Print the catalogue of an invented campus, as YAML
    Generate {
        /// The same number makes the same campus
        #[arg(long, value_name = "NUMBER", default_value_t = campus::SEED)]
        seed: u64,
    },
}

pub(super) async fn run(context: &Context, Command::Catalog(command): Command) -> Result<(), Failure> {
    match command {
        Catalog::Import { file, dry_run } => import(context, &file, dry_run).await,
        Catalog::Export => export(context).await,
        Catalog::Generate { seed } => print(&catalog::write_yaml(&campus::generate(seed))),
    }
}

async fn import(context: &Context, file: &Path, dry_run: bool) -> Result<(), Failure> {
    let client = context.client()?.with_options(PATIENT);
    // What is there already: a CSV file changes it, and an import by somebody else meanwhile is noticed.
    let current = context.wait(client.export_catalog(v1::ExportCatalogRequest::default())).await?;
    let wanted = catalog::read_file(file, current.catalog.as_ref()).map_err(|error| match error {
        ReadError::Read { path, source } => Failure::Local { doing: format!("reading {}", path.display()), source },
        error => Failure::refused(Code::InvalidArgument, "CATALOG_INVALID", error.to_string()).advise(unchanged),
    })?;
    let request = v1::ImportCatalogRequest {
        request_id: new_request_id(),
        catalog: Some(wanted),
        expected_revision: Some(current.revision),
        validate_only: dry_run,
    };
    let response = context.wait(client.import_catalog(request)).await.map_err(|failure| failure.advise(unchanged))?;
    context.answer(&response, || {
        let v1::ImportCatalogResponse { branch_count, area_count, seat_count, displaced_count, revision, .. } =
            response;
        let what = format!("{branch_count} branches, {area_count} areas, {seat_count} seats");
        if dry_run {
            return format!("The catalogue has no faults: {what}. Nothing was changed.");
        }
        format!("Imported {what}, as revision {revision}. Reservations that lost their seat: {displaced_count}.")
    })
}

fn unchanged(_: &Refusal) -> Vec<String> {
    vec!["Nothing was changed.".to_owned()]
}

async fn export(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.export_catalog(v1::ExportCatalogRequest::default())).await?;
    context.answer(&response, || catalog::write_yaml(&response.catalog.clone().unwrap_or_default()))
}
