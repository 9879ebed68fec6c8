//! Reservations that there are: list, show, check in and out, step away, change, cancel.

use carrel_proto::client::{HISTORY_UNAVAILABLE, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::reservation::State;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::context::{Context, Zones};
use super::errors::{Failure, see_your_own};
use super::names::{self, SeatName, short};
use super::pages::{self, PAGE_SIZE};
use super::table::{facts, table, words};
use super::time::{Moment, interval, moment, shown, shown_clock, shown_interval, start};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List your reservations, the newest start first
    Reservations {
        /// Only in this state
        #[arg(long, value_name = "S", value_parser = state_parser(), ignore_case = true)]
        state: Option<State>,
        /// Only those that still occupy or will occupy a seat
        #[arg(long)]
        upcoming: bool,
    },
    /// List your reservations that are over, the newest first, as far back as they go
    History {
        /// So many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        last: u32,
    },
    /// Look at one reservation
    #[command(subcommand)]
    Reservation(One),
    /// Say that you have arrived
    CheckIn(Arrival),
    /// Say that you are back, after stepping away or a report
    Back(Arrival),
    /// Sit down at a free seat, now
    #[command(after_help = "\
Examples:
  carrel walk-in main/r-101 --until 16:00 --code K7M-2QP
  carrel walk-in main/r-101 --until 16:00 --for amy      (by staff)")]
    WalkIn {
        /// BRANCH/SEAT, for example main/r-101
        #[arg(value_name = "SEAT")]
        seat: SeatName,
        /// End: HH:MM today, or a date and a time
        #[arg(long, value_name = "T")]
        until: Moment,
        /// Who sits down (staff)
        #[arg(long = "for", value_name = "USER", value_parser = names::user)]
        person: Option<String>,
        /// The code that the seat shows, where that is asked for
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// Say what would come of it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Leave your seat for a while: it is kept until the time that is shown
    Away {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
    /// Stay longer, if nobody else has booked the seat
    #[command(after_help = "Example:\n  carrel extend 17 --until 18:00")]
    Extend {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
        /// The new end: HH:MM today, or a date and a time
        #[arg(long, value_name = "T")]
        until: Moment,
        /// Say what would come of it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Exchange a reservation for another seat or time; refused, it stays as it is
    #[command(after_help = "\
Examples:
  carrel move 17 --seat main/r-102
  carrel move 17 --from 15:00 --to 17:00")]
    Move(Exchange),
    /// Report that nobody sits at a seat where somebody is checked in; they are not told who says so
    ReportEmpty {
        /// BRANCH/SEAT, for example main/r-101
        #[arg(value_name = "SEAT")]
        seat: SeatName,
    },
    /// Leave, now: the rest of the time is free for others
    CheckOut {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
    /// Cancel a reservation or a hold
    Cancel {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
        /// Why, if it is somebody else's (staff)
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Arrival {
    /// Number of the reservation, for example 17
    #[arg(value_name = "R", value_parser = names::reservation)]
    reservation: String,
    /// The code that the seat shows, where that is asked for
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Exchange {
    /// Number of the reservation, for example 17
    #[arg(value_name = "R", value_parser = names::reservation)]
    reservation: String,
    /// Another seat: BRANCH/SEAT [default: the one it has]
    #[arg(long, value_name = "SEAT", required_unless_present_any = ["from", "to"])]
    seat: Option<SeatName>,
    /// Another begin: HH:MM today, or a date and a time [default: as it is]
    #[arg(long, value_name = "T")]
    from: Option<Moment>,
    /// Another end [default: as it is]
    #[arg(long, value_name = "T")]
    to: Option<Moment>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum One {
    /// Show everything about a reservation
    Show {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::History { last } => history(context, last).await,
        Command::Reservations { state, upcoming } => list(context, state, upcoming).await,
        Command::Reservation(One::Show { reservation }) => show(context, reservation).await.map_err(foreign),
        Command::CheckIn(arrival) => check_in(context, arrival, "Checked in").await.map_err(foreign),
        Command::Back(arrival) => check_in(context, arrival, "Welcome back").await.map_err(foreign),
        Command::WalkIn { seat, until, person, code, dry_run } => {
            walk_in(context, seat, &until, person, code, dry_run).await
        }
        Command::Away { reservation } => step_away(context, reservation).await.map_err(foreign),
        Command::Extend { reservation, until, dry_run } => {
            extend(context, reservation, &until, dry_run).await.map_err(foreign)
        }
        Command::Move(exchange) => self::exchange(context, exchange).await.map_err(foreign),
        Command::ReportEmpty { seat } => report_empty(context, seat).await,
        Command::CheckOut { reservation } => check_out(context, reservation).await.map_err(foreign),
        Command::Cancel { reservation, reason } => cancel(context, reservation, reason).await.map_err(foreign),
    }
}

fn foreign(failure: Failure) -> Failure {
    failure.advise(see_your_own)
}

async fn history(context: &Context, last: u32) -> Result<(), Failure> {
    let client = context.client()?;
    let mut whole = v1::ListReservationsResponse::default();
    let wanted = last as usize;
    for _ in 0..pages::MOST_PAGES {
        let request = v1::ListReservationsRequest {
            page_size: PAGE_SIZE,
            page_token: std::mem::take(&mut whole.next_page_token),
            ..Default::default()
        };
        let page = context.wait(client.list_reservations(request)).await?;
        whole.reservations.extend(page.reservations.into_iter().filter(|of| !is_live(of.state())));
        whole.next_page_token = page.next_page_token;
        if whole.next_page_token.is_empty() || whole.reservations.len() >= wanted {
            break;
        }
    }
    if whole.reservations.len() > wanted {
        whole.reservations.truncate(wanted);
    }
    // Nobody goes on from here, and a place in the middle of a page has no token.
    whole.next_page_token = String::new();
    told(context, &whole, "Nothing yet.").await
}

fn is_live(state: State) -> bool {
    matches!(state, State::Held | State::Confirmed | State::CheckedIn | State::Away)
}

async fn list(context: &Context, state: Option<State>, upcoming: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let request = v1::ListReservationsRequest {
            state: state.unwrap_or_default().into(),
            upcoming_only: upcoming,
            page_size: PAGE_SIZE,
            page_token,
            read: None,
        };
        let goes_on = !request.page_token.is_empty();
        match context.wait(client.list_reservations(request)).await {
            // What the cluster holds has been told.
            Err(Failure::Refused { refusal, .. }) if goes_on && refusal.reason == HISTORY_UNAVAILABLE => {
                context.remark("Older ones cannot be read at present.");
                Ok(v1::ListReservationsResponse::default())
            }
            told => told,
        }
    });
    let response = response.await?;
    told(context, &response, "No reservations.").await?;
    context.remark_if_cut(&response);
    Ok(())
}

async fn told(context: &Context, response: &v1::ListReservationsResponse, empty: &str) -> Result<(), Failure> {
    let zones = if response.reservations.is_empty() { &Zones::default() } else { context.zones_for_text().await };
    context.answer(response, || {
        let row = |reservation: &v1::Reservation| {
            let zone = zones.of_or_utc(&reservation.seat);
            let when = shown_interval(reservation.start_time.as_ref(), reservation.end_time.as_ref(), &zone);
            let deadline = shown(reservation.deadline.as_ref(), &zone);
            [short(&reservation.name), short(&reservation.seat), when, state_words(reservation), deadline]
        };
        let headings = ["NUMBER", "SEAT", "WHEN", "STATE", "UNTIL"];
        table(headings, response.reservations.iter().map(row).collect(), empty)
    })
}

async fn show(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::GetReservationRequest { name, read: None };
    let response = context.wait(context.client()?.get_reservation(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let reservation = response.reservation.clone().unwrap_or_default();
        let zone = zones.of_or_utc(&reservation.seat);
        facts(vec![
            ("Number", short(&reservation.name)),
            ("Seat", short(&reservation.seat)),
            ("Person", short(&reservation.user)),
            ("When", shown_interval(reservation.start_time.as_ref(), reservation.end_time.as_ref(), &zone)),
            ("State", state_words(&reservation)),
            ("Until", shown(reservation.deadline.as_ref(), &zone)),
            ("Origin", words(reservation.origin().as_str_name(), "ORIGIN_")),
        ])
    })
}

async fn check_in(context: &Context, arrival: Arrival, what: &str) -> Result<(), Failure> {
    let Arrival { reservation: name, code } = arrival;
    context.is_about(&name);
    let presence_code = code.unwrap_or_default();
    let request = v1::CheckInRequest { request_id: new_request_id(), name, presence_code };
    let response = context.wait(context.client()?.check_in(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome(what, response.reservation.as_ref(), zones))
}

async fn walk_in(
    context: &Context,
    seat: SeatName,
    until: &Moment,
    person: Option<String>,
    code: Option<String>,
    dry_run: bool,
) -> Result<(), Failure> {
    let request = v1::WalkInRequest {
        request_id: new_request_id(),
        end_time: Some(moment(context, &seat.branch, until).await?),
        seat: seat.name,
        on_behalf_of: person.unwrap_or_default(),
        presence_code: code.unwrap_or_default(),
        validate_only: dry_run,
    };
    let response = context.wait(context.client()?.walk_in(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        if dry_run {
            let place = place_and_time(&response.reservation.clone().unwrap_or_default(), zones);
            return format!("It would be granted: {place}. Nothing was changed.");
        }
        outcome("Checked in", response.reservation.as_ref(), zones)
    })
}

async fn step_away(context: &Context, name: String) -> Result<(), Failure> {
    context.is_about(&name);
    let request = v1::StepAwayRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.step_away(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let reservation = response.reservation.clone().unwrap_or_default();
        let number = short(&reservation.name);
        let by = shown_clock(reservation.deadline.as_ref(), &zones.of_or_utc(&reservation.seat));
        format!("{} is kept until {by}. Be back by then: carrel back {number}", short(&reservation.seat))
    })
}

async fn extend(context: &Context, name: String, until: &Moment, dry_run: bool) -> Result<(), Failure> {
    context.is_about(&name);
    let branch = branch_of(context, &name, until.needs_zone()).await?;
    let end_time = Some(moment(context, &branch, until).await?);
    let request = v1::ExtendReservationRequest { request_id: new_request_id(), name, end_time, validate_only: dry_run };
    let response = context.wait(context.client()?.extend_reservation(request)).await?;
    let zones = context.zones_for_text().await;
    let what = if dry_run { "It would be granted" } else { "Extended" };
    context.answer(&response, || outcome(what, response.reservation.as_ref(), zones))
}

async fn exchange(context: &Context, exchange: Exchange) -> Result<(), Failure> {
    let Exchange { reservation: name, seat, from, to, dry_run } = exchange;
    context.is_about(&name);
    let needs_zone = [&from, &to].into_iter().flatten().any(Moment::needs_zone);
    let times = match (&from, &to) {
        (None, None) => None,
        (Some(from), Some(to)) => {
            let branch = match &seat {
                Some(seat) => seat.branch.clone(),
                None => branch_of(context, &name, needs_zone).await?,
            };
            Some(interval(context, &branch, from, to).await?)
        }
        // What is not said stays as it is, which only the reservation knows.
        (from, to) => {
            let now = reservation(context, &name).await?;
            let branch = seat.as_ref().map_or_else(|| branch_in(&now.seat), |seat| seat.branch.clone());
            let start_time = match from {
                Some(from) => Some(start(context, &branch, from).await?),
                None => now.start_time,
            };
            let end_time = match to {
                Some(to) => Some(moment(context, &branch, to).await?),
                None => now.end_time,
            };
            Some(v1::Interval { start_time, end_time })
        }
    };
    let request = v1::RescheduleReservationRequest {
        request_id: new_request_id(),
        name,
        seat: seat.map(|seat| seat.name).unwrap_or_default(),
        interval: times,
        validate_only: dry_run,
    };
    let response = context.wait(context.client()?.reschedule_reservation(request)).await?;
    let zones = context.zones_for_text().await;
    let what = if dry_run { "It would be granted" } else { "Moved" };
    context.answer(&response, || outcome(what, response.reservation.as_ref(), zones))
}

/// Where a reservation is, if its clock is needed.
async fn branch_of(context: &Context, name: &str, is_needed: bool) -> Result<String, Failure> {
    if !is_needed {
        return Ok(String::new());
    }
    Ok(branch_in(&reservation(context, name).await?.seat))
}

async fn reservation(context: &Context, name: &str) -> Result<v1::Reservation, Failure> {
    let request = v1::GetReservationRequest { name: name.to_owned(), read: None };
    Ok(context.wait(context.client()?.get_reservation(request)).await?.reservation.unwrap_or_default())
}

/// `branches/main` of `branches/main/seats/r-101`.
fn branch_in(seat: &str) -> String {
    seat.split("/seats/").next().unwrap_or_default().to_owned()
}

async fn report_empty(context: &Context, seat: SeatName) -> Result<(), Failure> {
    let request = v1::ReportEmptySeatRequest { request_id: new_request_id(), seat: seat.name.clone() };
    let response = context.wait(context.client()?.report_empty_seat(request)).await?;
    context.answer(&response, || {
        format!("Reported. Whoever is checked in at {} has to show up, or loses it.", short(&seat.name))
    })
}

async fn check_out(context: &Context, name: String) -> Result<(), Failure> {
    context.is_about(&name);
    let request = v1::CheckOutRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.check_out(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Checked out", response.reservation.as_ref(), zones))
}

async fn cancel(context: &Context, name: String, reason: Option<String>) -> Result<(), Failure> {
    context.is_about(&name);
    let reason = reason.unwrap_or_default();
    let request = v1::CancelReservationRequest { request_id: new_request_id(), name, reason };
    let response = context.wait(context.client()?.cancel_reservation(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Cancelled", response.reservation.as_ref(), zones))
}

/// `Checked in: reservation 17, main/r-101 2027-03-01 10:00–12:00 CET.`
pub(super) fn outcome(what: &str, reservation: Option<&v1::Reservation>, zones: &Zones) -> String {
    let reservation = reservation.cloned().unwrap_or_default();
    format!("{what}: reservation {}, {}.", short(&reservation.name), place_and_time(&reservation, zones))
}

pub(super) fn place_and_time(reservation: &v1::Reservation, zones: &Zones) -> String {
    let zone = zones.of_or_utc(&reservation.seat);
    let when = shown_interval(reservation.start_time.as_ref(), reservation.end_time.as_ref(), &zone);
    format!("{}, {when}", short(&reservation.seat))
}

pub(super) fn state_words(reservation: &v1::Reservation) -> String {
    words(reservation.state().as_str_name(), "STATE_")
}

/// As in JSON, or with hyphens and in lower case.
fn state_parser() -> impl TypedValueParser<Value = State> {
    const STATES: [(&str, &str); 10] = [
        ("held", "held"),
        ("confirmed", "confirmed"),
        ("checked-in", "checked_in"),
        ("away", "away"),
        ("expired", "expired"),
        ("cancelled", "cancelled"),
        ("displaced", "displaced"),
        ("no-show", "no_show"),
        ("released", "released"),
        ("completed", "completed"),
    ];
    PossibleValuesParser::new(STATES.map(|(name, alias)| PossibleValue::new(name).alias(alias))).map(|name| {
        let name = format!("STATE_{}", name.to_uppercase().replace('-', "_"));
        State::from_str_name(&name).expect("every name above is a state")
    })
}
