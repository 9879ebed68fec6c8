//! How the library is used: tables for people, CSV for spreadsheets.

use std::io::{self, Write};

use carrel_proto::v1;
use carrel_proto::v1::freshness::Source;
use carrel_proto::v1::get_utilization_request::Grouping;
use carrel_proto::v1::report_service_client::ReportServiceClient;
use clap::{Args, Subcommand, ValueEnum};

use super::context::Context;
use super::errors::Failure;
use super::names;
use super::table::table;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// See how seats are used, and take the figures away (admins, auditors, librarians of the branch)
    #[command(subcommand)]
    Report(Report),
}

#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// How much seats were used and booked, who did not come, how long people waited
    #[command(after_help = "Example:\n  carrel report utilization --branch main --by hour --from 2027-01-01 --to 2027-02-01")]
    Utilization {
        #[command(flatten)]
        span: Span,
        /// What makes a line
        #[arg(long, value_name = "WHAT", value_enum, default_value_t = By::Area)]
        by: By,
    },
    /// Reservations as CSV on standard output, with a pseudonym for each person
    Export {
        #[command(flatten)]
        span: Span,
        /// With names instead (admins only)
        #[arg(long)]
        names: bool,
    },
}

#[derive(Args, Clone, Debug)]
pub(super) struct Span {
    /// One branch [default: all]
    #[arg(long, value_name = "BRANCH", value_parser = names::branch)]
    branch: Option<String>,
    /// First day, in UTC
    #[arg(long, value_name = "DATE", value_parser = day)]
    from: i64,
    /// Day after the last, in UTC
    #[arg(long, value_name = "DATE", value_parser = day)]
    to: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    Branch,
    Area,
    Hour,
    Date,
}

impl Span {
    fn interval(&self) -> v1::Interval {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::Interval { start_time: at(self.from), end_time: at(self.to) }
    }

    fn branch(&self) -> String {
        self.branch.clone().unwrap_or_default()
    }
}

fn day(text: &str) -> Result<i64, String> {
    let date: jiff::civil::Date = text.parse().map_err(|_| format!("{text:?} is not a date like 2027-01-31"))?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(start.timestamp().as_second())
}

pub(super) async fn run(context: &Context, Command::Report(report): Command) -> Result<(), Failure> {
    match report {
        Report::Utilization { span, by } => {
            let grouping = match by {
                By::Branch => Grouping::Branch,
                By::Area => Grouping::Area,
                By::Hour => Grouping::Hour,
                By::Date => Grouping::Date,
            };
            let request = v1::GetUtilizationRequest {
                branch: span.branch(),
                interval: Some(span.interval()),
                grouping: grouping.into(),
            };
            let asked = context.client()?.call(request, |channel, request| async move {
                ReportServiceClient::new(channel).get_utilization(request).await
            });
            let response = context.wait(asked).await?;
            context.answer(&response, || text(&response))
        }
        Report::Export { span, names } => {
            let request =
                v1::ExportReservationsRequest { branch: span.branch(), interval: Some(span.interval()), names };
            let asked = context.client()?.call(request, |channel, request| async move {
                ReportServiceClient::new(channel).export_reservations(request).await
            });
            let mut pieces = context.wait(asked).await?;
            let mut out = io::stdout().lock();
            let written = |source| Failure::Local { doing: "writing the export".into(), source };
            loop {
                match pieces.message().await {
                    Ok(Some(piece)) => out.write_all(&piece.csv).map_err(written)?,
                    Ok(None) => return out.flush().map_err(written),
                    Err(status) => {
                        let why = format!("the export is not whole: {}", status.message());
                        return Err(Failure::refused(status.code(), "EXPORT_CUT_OFF", why));
                    }
                }
            }
        }
    }
}

fn text(response: &v1::GetUtilizationResponse) -> String {
    let rows = response.groups.iter().map(|group| {
        [
            group.group.clone(),
            group.seat_count.to_string(),
            format!("{:.1} %", group.utilization * 100.0),
            hours(group.used_minutes),
            hours(group.booked_minutes),
            group.reservations.to_string(),
            format!("{:.1} %", group.no_show_rate * 100.0),
            format!("{:.1}", group.peak_seats),
            format!("{} of {}", group.fulfilled_waits, group.waits),
            format!("{:.0} min", group.mean_wait_minutes),
        ]
    });
    let headings =
        ["GROUP", "SEATS", "USED", "USED h", "BOOKED h", "RESERVATIONS", "NO-SHOWS", "PEAK", "WAITS MET", "WAITED"];
    let mut text = table(headings, rows.collect(), "There is nothing to report on.");
    if let Some(freshness) = &response.freshness {
        let source = match freshness.source() {
            Source::Record => "the record in Postgres",
            Source::State | Source::Unspecified => "what the nodes hold",
        };
        text += &format!("\nFrom {source}, through entry {}.\n", freshness.applied_index);
    }
    text
}

fn hours(minutes: u64) -> String {
    format!("{:.1}", minutes as f64 / 60.0)
}
