//! Reservations: reserve, list, show, check in, check out, cancel.

use carrel_proto::client::{Refusal, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::reservation::State;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::context::{Context, Zones};
use super::errors::{Failure, see_your_own};
use super::names::{self, SeatName, short};
use super::pages::{self, PAGE_SIZE};
use super::table::{facts, table, words};
use super::time::{Moment, interval, shown, shown_clock, shown_interval};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Reserve a seat
    #[command(after_help = "\
Examples:
  carrel reserve main/r-101 --from 14:00 --to 16:00
  carrel reserve main/r-101 --from 2027-03-01T10:00:00+01:00 --to 2027-03-01T12:00:00+01:00")]
    Reserve(Reserve),
    /// List your reservations, the newest start first
    Reservations {
        /// Only in this state
        #[arg(long, value_name = "S", value_parser = state_parser(), ignore_case = true)]
        state: Option<State>,
        /// Only those that still occupy or will occupy a seat
        #[arg(long)]
        upcoming: bool,
    },
    /// Look at one reservation
    #[command(subcommand)]
    Reservation(One),
    /// Say that you have arrived
    CheckIn {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
    /// Leave, now: the rest of the time is free for others
    CheckOut {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
    /// Cancel a reservation
    Cancel {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
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

#[derive(Args, Debug)]
pub(super) struct Reserve {
    /// BRANCH/SEAT, for example main/r-101
    #[arg(value_name = "SEAT")]
    seat: SeatName,
    /// Begin: HH:MM today, or a date and a time
    #[arg(long, value_name = "T")]
    from: Moment,
    /// End
    #[arg(long, value_name = "T")]
    to: Moment,
    /// Repeat an earlier request whose outcome is unknown: it is done once
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Reserve(reserve) => create(context, reserve).await,
        Command::Reservations { state, upcoming } => list(context, state, upcoming).await,
        Command::Reservation(One::Show { reservation }) => show(context, reservation).await.map_err(foreign),
        Command::CheckIn { reservation } => check_in(context, reservation).await.map_err(foreign),
        Command::CheckOut { reservation } => check_out(context, reservation).await.map_err(foreign),
        Command::Cancel { reservation } => cancel(context, reservation).await.map_err(foreign),
    }
}

fn foreign(failure: Failure) -> Failure {
    failure.advise(see_your_own)
}

async fn create(context: &Context, reserve: Reserve) -> Result<(), Failure> {
    let Reserve { seat, from, to, request_id } = reserve;
    let interval = interval(context, &seat.branch, &from, &to).await?;
    let request_id = request_id.map_or_else(new_request_id, |id| id.to_string());
    let request = v1::CreateReservationRequest {
        request_id: request_id.clone(),
        seat: seat.name.clone(),
        interval: Some(interval),
    };
    let again = format!("--from {from} --to {to}");
    let response = context.wait(context.client()?.create_reservation(request)).await.map_err(|failure| {
        failure.advise(|refusal| instead(refusal, &seat, &again)).advise_if_in_doubt(|| {
            let seat = short(&seat.name);
            format!("It may have been done: ask again with: carrel reserve {seat} {again} --request-id {request_id}")
        })
    })?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let reservation = response.reservation.clone().unwrap_or_default();
        let number = short(&reservation.name);
        let mut text = format!("Reserved {}: reservation {number}.", place_and_time(&reservation, zones));
        if reservation.state() == State::Confirmed && reservation.deadline.is_some() {
            let by = shown_clock(reservation.deadline.as_ref(), &zones.of_or_utc(&reservation.seat));
            text += &format!("\nCheck in by {by} with: carrel check-in {number}");
        }
        if response.commit.as_ref().is_some_and(|commit| commit.replayed) {
            text += "\nThe request was done before; this is its answer.";
        }
        text
    })
}

/// What to type when the seat is taken.
fn instead(refusal: &Refusal, seat: &SeatName, when: &str) -> Vec<String> {
    if refusal.reason != "SEAT_TAKEN" {
        return Vec::new();
    }
    let take = refusal.alternatives.first();
    let take = take.map(|other| format!("Take another with: carrel reserve {} {when}", short(&other.name)));
    let wait = format!("Wait for it with: carrel waitlist join --seat {} {when}", short(&seat.name));
    take.into_iter().chain([wait]).collect()
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
        context.wait(client.list_reservations(request)).await
    });
    let response = response.await?;
    let zones = if response.reservations.is_empty() { &Zones::default() } else { context.zones_for_text().await };
    context.answer(&response, || {
        let row = |reservation: &v1::Reservation| {
            let zone = zones.of_or_utc(&reservation.seat);
            let when = shown_interval(reservation.start_time.as_ref(), reservation.end_time.as_ref(), &zone);
            let deadline = shown(reservation.deadline.as_ref(), &zone);
            [short(&reservation.name), short(&reservation.seat), when, state_words(reservation), deadline]
        };
        let headings = ["NUMBER", "SEAT", "WHEN", "STATE", "UNTIL"];
        table(headings, response.reservations.iter().map(row).collect(), "No reservations.")
    })?;
    context.remark_if_cut(&response);
    Ok(())
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

async fn check_in(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::CheckInRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.check_in(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Checked in", response.reservation.as_ref(), zones))
}

async fn check_out(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::CheckOutRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.check_out(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Checked out", response.reservation.as_ref(), zones))
}

async fn cancel(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::CancelReservationRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.cancel_reservation(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Cancelled", response.reservation.as_ref(), zones))
}

/// `Checked in: reservation 17, main/r-101 2027-03-01 10:00–12:00 CET.`
pub(super) fn outcome(what: &str, reservation: Option<&v1::Reservation>, zones: &Zones) -> String {
    let reservation = reservation.cloned().unwrap_or_default();
    format!("{what}: reservation {}, {}.", short(&reservation.name), place_and_time(&reservation, zones))
}

fn place_and_time(reservation: &v1::Reservation, zones: &Zones) -> String {
    let zone = zones.of_or_utc(&reservation.seat);
    let when = shown_interval(reservation.start_time.as_ref(), reservation.end_time.as_ref(), &zone);
    format!("{}, {when}", short(&reservation.seat))
}

fn state_words(reservation: &v1::Reservation) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_seat_is_met_with_what_to_type() {
        let seat: SeatName = "main/r-101".parse().expect("a seat");
        let mut refusal = Refusal {
            code: tonic::Code::FailedPrecondition,
            reason: "SEAT_TAKEN".into(),
            message: String::new(),
            metadata: Default::default(),
            alternatives: vec![v1::Seat { name: "branches/main/seats/r-102".into(), ..Default::default() }],
        };
        assert_eq!(
            instead(&refusal, &seat, "--from 10:00 --to 12:00"),
            [
                "Take another with: carrel reserve main/r-102 --from 10:00 --to 12:00",
                "Wait for it with: carrel waitlist join --seat main/r-101 --from 10:00 --to 12:00",
            ]
        );
        refusal.reason = "CLOSED".into();
        assert!(instead(&refusal, &seat, "").is_empty());
    }
}
