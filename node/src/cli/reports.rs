//! How the library is used: tables with bars for people, CSV for spreadsheets.

use std::io::{self, Write};
use std::time::Duration;

use carrel_proto::client::{Client, Options};
use carrel_proto::v1;
use carrel_proto::v1::report_service_client::ReportServiceClient;
use carrel_proto::v1::report_source::Kind;
use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use super::context::{Context, print};
use super::errors::Failure;
use super::names::{self, short};
use super::table::{table, terminal_columns};
use super::time::shown;

/// What is looked at if nothing else is said.
const DAYS: i64 = 28;

/// A bar at its longest, and the shortest that says anything.
const BAR_CHARS: usize = 20;
const BAR_CHARS_MIN: usize = 5;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// See how seats are used, and take the figures away (admins, auditors, librarians of a branch)
    #[command(subcommand)]
    Report(Report),
}

#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// How much of the time that seats are open they were kept for somebody, and used
    #[command(
        after_help = "Example:\n  carrel report utilization --branch main --by hour --from 2027-01-01 --to 2027-02-01"
    )]
    Utilization(Lines),
    /// How many reservations nobody came for
    NoShows(Lines),
    /// How many waited for a seat, and how long it took
    Waits(Lines),
    /// The most seats that were kept for somebody at once, and when (not by hour)
    Peak(Lines),
    /// Every reservation as CSV on standard output, with a pseudonym for each person
    Export {
        #[command(flatten)]
        span: Span,
        /// With names instead (admins only)
        #[arg(long)]
        names: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct Lines {
    #[command(flatten)]
    span: Span,
    /// What makes a line
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = By::Area)]
    by: By,
    /// Comma-separated values instead of a table
    #[arg(long)]
    csv: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Span {
    /// One branch, in whose zone days begin [default: all, and UTC]
    #[arg(long, value_name = "BRANCH", value_parser = names::branch)]
    branch: Option<String>,
    /// First day [default: four weeks before --to]
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// Day after the last [default: tomorrow]
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    All,
    Branch,
    Area,
    Hour,
}

impl By {
    fn grouping(self) -> i32 {
        match self {
            Self::All => v1::Grouping::Unspecified,
            Self::Branch => v1::Grouping::Branch,
            Self::Area => v1::Grouping::Area,
            Self::Hour => v1::Grouping::Hour,
        }
        .into()
    }
}

impl Span {
    /// With the days in words.
    async fn scope(&self, context: &Context) -> Result<(v1::ReportScope, String), Failure> {
        let zone = match &self.branch {
            Some(branch) => context.zone_of(branch).await?,
            None => TimeZone::UTC,
        };
        let out_of_reach = |error: jiff::Error| Failure::Usage(format!("--from, --to: {error}"));
        let tomorrow = || Zoned::now().with_time_zone(zone.clone()).date().tomorrow();
        let to = self.to.map_or_else(tomorrow, Ok).map_err(out_of_reach)?;
        let from = self.from.map_or_else(|| to.checked_sub(DAYS.days()), Ok).map_err(out_of_reach)?;
        let midnight = |date: Date| {
            let at = date.to_zoned(zone.clone()).map_err(out_of_reach)?;
            Ok::<_, Failure>(Some(prost_types::Timestamp { seconds: at.timestamp().as_second(), nanos: 0 }))
        };
        let interval = Some(v1::Interval { start_time: midnight(from)?, end_time: midnight(to)? });
        let last = to.yesterday().map_err(out_of_reach)?;
        let of = self.branch.as_ref().map_or_else(|| "all branches".to_owned(), |branch| short(branch));
        let clock = zone.iana_name().unwrap_or("UTC");
        let period = format!("{from} to {last}, {of}, days of {clock}");
        Ok((v1::ReportScope { branch: self.branch.clone().unwrap_or_default(), interval }, period))
    }

    /// Librarians see the branches that they run, and have to say which.
    fn name_one(&self, failure: Failure) -> Failure {
        let is_of_all = self.branch.is_none();
        failure.advise(|refusal| {
            let is_refused = is_of_all && refusal.reason == "NOT_PERMITTED";
            let line = "Librarians name a branch of theirs: --branch B (carrel whoami lists them).";
            is_refused.then(|| line.to_owned()).into_iter().collect()
        })
    }
}

/// A report over ten years takes some seconds.
const LONG: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(30),
    deadline: Duration::from_secs(30),
};

fn client(context: &Context) -> Result<Client, Failure> {
    Ok(context.client()?.with_options(LONG))
}

pub(super) async fn run(context: &Context, Command::Report(report): Command) -> Result<(), Failure> {
    match report {
        Report::Utilization(lines) => utilization(context, &lines).await,
        Report::NoShows(lines) => no_shows(context, &lines).await,
        Report::Waits(lines) => waits(context, &lines).await,
        Report::Peak(lines) => peak(context, &lines).await,
        Report::Export { span, names } => export(context, &span, names).await,
    }
}

async fn utilization(context: &Context, lines: &Lines) -> Result<(), Failure> {
    let (scope, period) = lines.span.scope(context).await?;
    let request = v1::GetUtilizationRequest { scope: Some(scope), grouping: lines.by.grouping() };
    let response = context
        .wait(client(context)?.get_utilization(request))
        .await
        .map_err(|failure| lines.span.name_one(failure))?;
    if lines.csv {
        let rows = response.lines.iter().map(|line| {
            let v1::get_utilization_response::Line { group, seat_count, reservation_count, .. } = line;
            let minutes = [line.open_minutes, line.kept_minutes, line.used_minutes].map(|minutes| minutes.to_string());
            let [open, kept, used] = minutes;
            [group.clone(), seat_count.to_string(), reservation_count.to_string(), open, kept, used]
        });
        return csv(["group", "seats", "reservations", "open_minutes", "kept_minutes", "used_minutes"], rows);
    }
    context.answer(&response, || {
        let rows = response.lines.iter().map(|line| {
            let row = [
                named(&line.group),
                line.seat_count.to_string(),
                line.reservation_count.to_string(),
                percent(line.kept_share),
                percent(line.used_share),
                String::new(),
            ];
            (row, line.used_share)
        });
        let text = with_bars(["GROUP", "SEATS", "RESERVATIONS", "KEPT", "USED", ""], rows.collect());
        text + &under(&period, response.source.as_ref())
    })
}

async fn no_shows(context: &Context, lines: &Lines) -> Result<(), Failure> {
    let (scope, period) = lines.span.scope(context).await?;
    let request = v1::GetNoShowsRequest { scope: Some(scope), grouping: lines.by.grouping() };
    let response =
        context.wait(client(context)?.get_no_shows(request)).await.map_err(|failure| lines.span.name_one(failure))?;
    let numbers = |line: &v1::get_no_shows_response::Line| {
        let v1::get_no_shows_response::Line { due_count, no_show_count, released_count, cancelled_count, .. } = line;
        [due_count, no_show_count, released_count, cancelled_count].map(|count| count.to_string())
    };
    if lines.csv {
        let rows = response.lines.iter().map(|line| {
            let [due, no_shows, released, cancelled] = numbers(line);
            [line.group.clone(), due, no_shows, released, cancelled]
        });
        return csv(["group", "due", "no_shows", "released", "cancelled"], rows);
    }
    context.answer(&response, || {
        let most = response.lines.iter().map(|line| line.no_show_rate).fold(0.0, f64::max);
        let rows = response.lines.iter().map(|line| {
            let [due, no_shows, released, cancelled] = numbers(line);
            let rate = percent(line.no_show_rate);
            let row = [named(&line.group), due, no_shows, rate, released, cancelled, String::new()];
            (row, of(line.no_show_rate, most))
        });
        let headings = ["GROUP", "DUE", "NO-SHOWS", "RATE", "RELEASED", "CANCELLED", ""];
        with_bars(headings, rows.collect()) + &under(&period, response.source.as_ref())
    })
}

async fn waits(context: &Context, lines: &Lines) -> Result<(), Failure> {
    let (scope, period) = lines.span.scope(context).await?;
    let request = v1::GetWaitsRequest { scope: Some(scope), grouping: lines.by.grouping() };
    let response =
        context.wait(client(context)?.get_waits(request)).await.map_err(|failure| lines.span.name_one(failure))?;
    let numbers = |line: &v1::get_waits_response::Line| {
        let v1::get_waits_response::Line { wait_count, fulfilled_count, expired_count, left_count, .. } = line;
        [wait_count, fulfilled_count, expired_count, left_count].map(|count| count.to_string())
    };
    let minutes = |line: &v1::get_waits_response::Line| {
        [line.mean_minutes, line.median_minutes, line.ninetieth_minutes].map(|minutes| format!("{minutes:.1}"))
    };
    if lines.csv {
        let rows = response.lines.iter().map(|line| {
            let ([waits, met, expired, left], [mean, median, ninetieth]) = (numbers(line), minutes(line));
            [line.group.clone(), waits, met, expired, left, mean, median, ninetieth]
        });
        let headings = ["group", "waits", "fulfilled", "expired", "left", "mean_min", "median_min", "ninetieth_min"];
        return csv(headings, rows);
    }
    context.answer(&response, || {
        let most = response.lines.iter().map(|line| line.median_minutes).fold(0.0, f64::max);
        let rows = response.lines.iter().map(|line| {
            let ([waits, met, expired, left], [_, median, ninetieth]) = (numbers(line), minutes(line));
            let (half, most_of_them) = (format!("{median} min"), format!("{ninetieth} min"));
            let row = [named(&line.group), waits, met, expired, left, half, most_of_them, String::new()];
            (row, of(line.median_minutes, most))
        });
        let headings = ["GROUP", "WAITS", "MET", "EXPIRED", "LEFT", "HALF WITHIN", "MOST WITHIN", ""];
        with_bars(headings, rows.collect()) + &under(&period, response.source.as_ref())
    })
}

async fn peak(context: &Context, lines: &Lines) -> Result<(), Failure> {
    let (scope, period) = lines.span.scope(context).await?;
    let request = v1::GetPeaksRequest { scope: Some(scope), grouping: lines.by.grouping() };
    let response =
        context.wait(client(context)?.get_peaks(request)).await.map_err(|failure| lines.span.name_one(failure))?;
    if lines.csv {
        let rows = response.lines.iter().map(|line| {
            let at = shown_utc(line.peak_time.as_ref());
            [line.group.clone(), line.seat_count.to_string(), line.peak_count.to_string(), at]
        });
        return csv(["group", "seats", "peak", "time"], rows);
    }
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let rows = response.lines.iter().map(|line| {
            let full = of(line.peak_count as f64, line.seat_count as f64);
            let at = shown(line.peak_time.as_ref(), &zones.of_or_utc(&line.group));
            let (seats, peak) = (line.seat_count.to_string(), line.peak_count.to_string());
            ([named(&line.group), seats, peak, percent(full), at, String::new()], full)
        });
        let headings = ["GROUP", "SEATS", "PEAK", "FULL", "AT", ""];
        with_bars(headings, rows.collect()) + &under(&period, response.source.as_ref())
    })
}

async fn export(context: &Context, span: &Span, names: bool) -> Result<(), Failure> {
    let request = v1::ExportReservationsRequest { scope: Some(span.scope(context).await?.0), names };
    let asked = client(context)?;
    let asked = asked.call(request, |channel, request| async move {
        ReportServiceClient::new(channel).export_reservations(request).await
    });
    let mut pieces = context.wait(asked).await.map_err(|failure| span.name_one(failure))?;
    let mut out = io::stdout().lock();
    loop {
        match pieces.message().await {
            Ok(Some(piece)) => out.write_all(&piece.csv).map_err(unwritten)?,
            Ok(None) => return out.flush().map_err(unwritten),
            Err(status) => {
                let why = format!("the export is not whole: {}", status.message());
                return Err(Failure::refused(status.code(), "EXPORT_CUT_OFF", why));
            }
        }
    }
}

fn unwritten(source: io::Error) -> Failure {
    match source.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyListens,
        _ => Failure::Local { doing: "writing the answer".into(), source },
    }
}

const NOTHING: &str = "There is nothing to report on.";

fn csv<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let headings = headings.map(str::to_owned);
    let written: Result<(), csv::Error> =
        std::iter::once(headings).chain(rows).try_for_each(|row| writer.write_record(row));
    let failed =
        |error: csv::Error| Failure::Local { doing: "writing the answer".into(), source: io::Error::other(error) };
    written.map_err(failed)?;
    let bytes = writer.into_inner().map_err(|error| unwritten(error.into_error()))?;
    print(&String::from_utf8_lossy(&bytes))
}

/// How fresh it is, below the table.
fn under(period: &str, source: Option<&v1::ReportSource>) -> String {
    let Some(source) = source else { return format!("\n\n{period}.\n") };
    let whose = match source.kind() {
        Kind::Record => "the record in Postgres",
        Kind::State | Kind::Unspecified => "what the nodes hold",
    };
    let at = shown_utc(source.applied_time.as_ref());
    format!("\n\n{period}.\nFrom {whose}, through entry {} of {at}.\n", source.applied_index)
}

fn shown_utc(at: Option<&prost_types::Timestamp>) -> String {
    let instant = at.and_then(|at| jiff::Timestamp::from_second(at.seconds).ok());
    instant.map(|at| at.to_string()).unwrap_or_default()
}

fn named(group: &str) -> String {
    if group.is_empty() { "everything".to_owned() } else { short(group) }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn of(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A table whose last column is a bar for each share, as long as the terminal has room for.
fn with_bars<const N: usize>(headings: [&str; N], rows: Vec<([String; N], f64)>) -> String {
    let chars = bar_chars(&headings, &rows, terminal_columns());
    let rows = rows.into_iter().map(|(mut row, share)| {
        if let Some(last) = row.last_mut().filter(|_| chars >= BAR_CHARS_MIN) {
            *last = bar(share, chars);
        }
        row
    });
    table(headings, rows.collect(), NOTHING)
}

fn bar_chars<const N: usize>(headings: &[&str; N], rows: &[([String; N], f64)], columns: Option<u16>) -> usize {
    let Some(columns) = columns else { return BAR_CHARS };
    let width = |nth: usize| {
        let cells = rows.iter().map(|(row, _)| row[nth].chars().count());
        cells.chain([headings[nth].chars().count()]).max().unwrap_or_default() + 2
    };
    let taken: usize = (0..N.saturating_sub(1)).map(width).sum();
    // The gap behind it is there, too.
    usize::from(columns).saturating_sub(taken + 2).min(BAR_CHARS)
}

/// "██████▌", in eighths of a character, for a share of 1 as long as it gets.
fn bar(share: f64, chars: usize) -> String {
    const PART: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (chars * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + PART[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let bar = |share| bar(share, BAR_CHARS);
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(0.5), "██████████");
        assert_eq!(bar(0.53125), "██████████▋");
        assert_eq!(bar(1.7).chars().count(), BAR_CHARS);
    }

    #[test]
    fn a_bar_is_no_longer_than_the_terminal_has_room_for() {
        let rows = vec![(["lindenhof/reading-room".to_owned(), "17".to_owned(), String::new()], 1.0)];
        let chars = |columns| bar_chars(&["GROUP", "NO-SHOWS", ""], &rows, columns);
        assert_eq!((chars(None), chars(Some(120)), chars(Some(50)), chars(Some(30))), (20, 20, 14, 0));
    }
}
