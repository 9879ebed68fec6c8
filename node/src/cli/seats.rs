//! Looking around: branches, seats search, seats show; and what staff do with seats.

use std::time::Duration;

use carrel_proto::client::{MapNews, Options};
use carrel_proto::v1;
use carrel_proto::v1::watch_seat_map_response::{Changes, Event, Snapshot};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::context::{Context, Zones};
use super::desk::{self, Closing, Place};
use super::errors::Failure;
use super::names::{self, AreaName, SeatName, short};
use super::pages::{self, PAGE_SIZE};
use super::table::{facts, table};
use super::time::{Moment, interval, shown, shown_clock_of, shown_interval};

/// Someone who watches would rather wait through a restart of the whole cluster than start again.
const WATCH_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for as long as the command runs")]
pub(super) enum Command {
    /// List the branches and their areas, with the seats free now
    Branches,
    /// Find and look at seats
    #[command(subcommand)]
    Seats(Seats),
}

#[derive(Debug, Subcommand)]
pub(super) enum Seats {
    /// Find seats that fit, the best fit first
    #[command(after_help = "\
Examples:
  carrel seats search --branch main --power --available
  carrel seats search --branch main --area hall --from 14:00 --to 16:00")]
    Search(Search),
    /// Show a seat: when its area is open and when it is taken
    Show {
        /// BRANCH/SEAT, for example main/r-101
        #[arg(value_name = "SEAT")]
        seat: SeatName,
    },
    /// Show the seats that are free now, then each as it changes, until Ctrl-C
    #[command(after_help = "\
A connection that is cut goes on at another node with what has changed meanwhile.

Example:
  carrel seats watch --branch main --area hall")]
    Watch {
        /// Where to look
        #[arg(long, value_name = "B", value_parser = names::branch)]
        branch: String,
        /// Only in this area
        #[arg(long, value_name = "A")]
        area: Option<AreaName>,
    },
    /// Show who has a seat, and when (staff)
    Reservations {
        /// BRANCH/SEAT, for example main/r-101
        #[arg(value_name = "SEAT")]
        seat: SeatName,
    },
    /// Close seats: whoever has booked there gets another, or is told (staff)
    #[command(after_help = "\
Examples:
  carrel seats close maintenance --seat main/r-101 --from 10:00 --to 12:00 --reason 'broken lamp'
  carrel seats close closure --branch main --area hall --from 08:00 --to 24:00 --reason exam --dry-run")]
    Close {
        /// What for
        #[arg(value_enum, value_name = "maintenance|closure")]
        closing: Closing,
        #[command(flatten)]
        place: Place,
    },
    /// End what closes seats (staff)
    #[command(after_help = "\
Example:
  carrel seats reopen --seat main/r-101 --from 10:00 --to 12:00 --reason 'repaired early'")]
    Reopen {
        #[command(flatten)]
        place: Place,
    },
    /// Show the code that proves that somebody is at a seat (kiosks and staff)
    Code {
        /// BRANCH/SEAT, for example main/r-101
        #[arg(value_name = "SEAT")]
        seat: SeatName,
        /// Show each code as it comes, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Make the codes of all seats worthless that are shown now (admins)
    RotateCodes,
}

#[derive(Args, Debug)]
pub(super) struct Search {
    /// Where to look
    #[arg(long, value_name = "B", value_parser = names::branch)]
    branch: String,
    /// Only in this area
    #[arg(long, value_name = "A")]
    area: Option<AreaName>,
    /// Only with a power socket
    #[arg(long)]
    power: bool,
    /// Only with a monitor
    #[arg(long)]
    monitor: bool,
    /// Only accessible seats
    #[arg(long)]
    accessible: bool,
    /// Only with this amenity; may be repeated
    #[arg(long = "amenity", value_name = "TEXT")]
    amenities: Vec<String>,
    /// Free from: HH:MM today, or a date and a time [default: now]
    #[arg(long, value_name = "T", requires = "to")]
    from: Option<Moment>,
    /// Free until
    #[arg(long, value_name = "T", requires = "from")]
    to: Option<Moment>,
    /// Only seats free for the whole time
    #[arg(long)]
    available: bool,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Branches => branches(context).await,
        Command::Seats(Seats::Search(search)) => search_seats(context, search).await,
        Command::Seats(Seats::Watch { branch, area }) => watch(context, branch, area).await,
        Command::Seats(Seats::Show { seat }) => show(context, seat).await,
        Command::Seats(Seats::Reservations { seat }) => desk::reservations(context, seat).await,
        Command::Seats(Seats::Close { closing, place }) => desk::close(context, closing, place).await,
        Command::Seats(Seats::Reopen { place }) => desk::reopen(context, place).await,
        Command::Seats(Seats::Code { seat, follow }) => desk::code(context, seat, follow).await,
        Command::Seats(Seats::RotateCodes) => desk::rotate(context).await,
    }
}

async fn branches(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.anonymous().list_branches(v1::ListBranchesRequest::default())).await?;
    context.answer(&response, || {
        let mut rows = Vec::new();
        for branch in &response.branches {
            let id = short(&branch.name);
            let (free, seats) = (branch.available_count.to_string(), branch.seat_count.to_string());
            rows.push([id, branch.display_name.clone(), free, seats, String::new(), branch.time_zone.clone()]);
            for area in &branch.areas {
                let (free, seats) = (area.available_count.to_string(), area.seat_count.to_string());
                let open = if area.open { "open" } else { "closed" };
                let id = format!("  {}", names::id(&area.name));
                rows.push([id, format!("  {}", area.display_name), free, seats, open.into(), String::new()]);
            }
        }
        table(["BRANCH", "NAME", "FREE", "SEATS", "NOW", "TIME ZONE"], rows, "There are no branches yet.")
    })
}

async fn search_seats(context: &Context, search: Search) -> Result<(), Failure> {
    let asked = match (&search.from, &search.to) {
        (Some(from), Some(to)) => Some(interval(context, &search.branch, from, to).await?),
        _ => None,
    };
    let mut amenities = search.amenities;
    amenities.extend(search.power.then(|| "power".to_owned()));
    amenities.extend(search.monitor.then(|| "monitor".to_owned()));
    let request = v1::SearchSeatsRequest {
        area: search.area.map(|area| area.within(&search.branch)).unwrap_or_default(),
        branch: search.branch,
        amenities,
        accessible: search.accessible,
        interval: asked,
        available_only: search.available,
        page_size: PAGE_SIZE,
        page_token: String::new(),
        read: None,
    };
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let request = v1::SearchSeatsRequest { page_token, ..request.clone() };
        context.wait(client.search_seats(request)).await
    });
    let response = response.await?;
    let zones = if response.seats.is_empty() { &Zones::default() } else { context.zones_for_text().await };
    context.answer(&response, || {
        let row = |seat: &v1::Seat| {
            [short(&seat.name), short(&seat.area), seat.label.clone(), free(seat, zones), amenities_of(seat)]
        };
        let headings = ["SEAT", "AREA", "LABEL", "FREE", "WITH"];
        table(headings, response.seats.iter().map(row).collect(), "No seat fits.")
    })?;
    context.remark_if_cut(&response);
    Ok(())
}

async fn watch(context: &Context, branch: String, area: Option<AreaName>) -> Result<(), Failure> {
    let zones = context.zones_for_text().await;
    let zone = zones.of_or_utc(&branch);
    let area = area.map(|area| area.within(&branch)).unwrap_or_default();
    let patient = Options { deadline: WATCH_DEADLINE, ..Options::default() };
    let request = v1::WatchSeatMapRequest { branch, area, after: String::new() };
    let mut watch = context.client()?.with_options(patient).watch_seat_map(request);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let news = tokio::select! {
            news = watch.next() => news?,
            _ = &mut interrupted => return Ok(()),
        };
        let (seats, event) = match news {
            MapNews::Whole(seats) => (seats.clone(), Event::Snapshot(Snapshot { seats })),
            MapNews::Changed(seats) => (seats.clone(), Event::Changes(Changes { seats })),
        };
        let is_whole = matches!(event, Event::Snapshot(_));
        let resume_token = watch.resume_token().to_owned();
        context.answer(&v1::WatchSeatMapResponse { event: Some(event), resume_token }, || {
            if is_whole {
                let free_now = seats.iter().filter(|seat| seat.available);
                let row =
                    |seat: &v1::Seat| [short(&seat.name), seat.label.clone(), free(seat, zones), amenities_of(seat)];
                return table(["SEAT", "LABEL", "FREE", "WITH"], free_now.map(row).collect(), "No seat is free.");
            }
            let now = shown_clock_of(Timestamp::now(), &zone);
            let line = |seat: &v1::Seat| {
                let state = if seat.available { format!("free {}", free(seat, zones)) } else { "taken".to_owned() };
                format!("{now}  {}  {}", short(&seat.name), state.replace("free yes", "free"))
            };
            seats.iter().map(line).collect::<Vec<_>>().join("\n")
        })?;
    }
}

async fn show(context: &Context, seat: SeatName) -> Result<(), Failure> {
    let request = v1::GetSeatRequest { name: seat.name.clone(), read: None };
    let response = context.wait(context.client()?.get_seat(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let zone = zones.of_or_utc(&seat.name);
        let seat = response.seat.clone().unwrap_or_default();
        facts(vec![
            ("Seat", short(&seat.name)),
            ("Label", seat.label.clone()),
            ("Area", short(&seat.area)),
            ("With", amenities_of(&seat)),
            ("Free now", free(&seat, zones)),
            ("Open", lines(&response.open, &zone, "not in the days ahead")),
            ("Taken", lines(&response.busy, &zone, "not at all")),
        ])
    })
}

fn lines(intervals: &[v1::Interval], zone: &TimeZone, none: &str) -> String {
    let line = |interval: &v1::Interval| shown_interval(interval.start_time.as_ref(), interval.end_time.as_ref(), zone);
    let lines: Vec<String> = intervals.iter().map(line).collect();
    if lines.is_empty() { none.to_owned() } else { lines.join("\n") }
}

fn free(seat: &v1::Seat, zones: &Zones) -> String {
    match (seat.available, &seat.free_until) {
        (false, _) => "no".into(),
        (true, None) => "yes".into(),
        (true, until) => format!("until {}", shown(until.as_ref(), &zones.of_or_utc(&seat.name))),
    }
}

fn amenities_of(seat: &v1::Seat) -> String {
    let mut all = seat.amenities.clone();
    all.extend(seat.accessible.then(|| "accessible".to_owned()));
    all.join(", ")
}
