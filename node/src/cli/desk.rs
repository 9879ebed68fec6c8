//! What staff and kiosks do with seats: close and open them again, show their codes, see who has them.

use std::time::Duration;

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use carrel_proto::v1::{close_seats_request, reopen_seats_request};
use clap::{ArgGroup, Args, ValueEnum};

use super::context::Context;
use super::errors::Failure;
use super::names::{self, AreaName, SeatName, short};
use super::reservations::state_words;
use super::table::{counted, table, words};
use super::time::{Moment, interval, shown_interval, shown_second};

/// Which seats, and when.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("place").required(true).args(["seat", "branch"]))]
pub(super) struct Place {
    /// This seat: BRANCH/SEAT
    #[arg(long, value_name = "SEAT")]
    seat: Option<SeatName>,
    /// All seats of this branch
    #[arg(long, value_name = "B", value_parser = names::branch)]
    branch: Option<String>,
    /// All seats of this area of the branch
    #[arg(long, value_name = "A", requires = "branch", conflicts_with = "seat")]
    area: Option<AreaName>,
    /// Begin: HH:MM today, or a date and a time
    #[arg(long, value_name = "T")]
    from: Moment,
    /// End
    #[arg(long, value_name = "T")]
    to: Moment,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Closing {
    Maintenance,
    Closure,
}

/// One of three, by its resource name.
enum Target {
    Seat(String),
    Area(String),
    Branch(String),
}

impl Place {
    fn target(&self) -> Result<(String, Target), Failure> {
        match (&self.seat, &self.branch, &self.area) {
            (Some(seat), ..) => Ok((seat.branch.clone(), Target::Seat(seat.name.clone()))),
            (None, Some(branch), Some(area)) => Ok((branch.clone(), Target::Area(area.within(branch)))),
            (None, Some(branch), None) => Ok((branch.clone(), Target::Branch(branch.clone()))),
            (None, None, _) => Err(Failure::Usage("say which seats: --seat SEAT or --branch B".into())),
        }
    }
}

pub(super) async fn close(context: &Context, closing: Closing, place: Place) -> Result<(), Failure> {
    let (branch, target) = place.target()?;
    let interval = interval(context, &branch, &place.from, &place.to).await?;
    let closing = match closing {
        Closing::Maintenance => v1::Closing::Maintenance,
        Closing::Closure => v1::Closing::Closure,
    };
    let request = v1::CloseSeatsRequest {
        request_id: new_request_id(),
        target: Some(match target {
            Target::Seat(name) => close_seats_request::Target::Seat(name),
            Target::Area(name) => close_seats_request::Target::Area(name),
            Target::Branch(name) => close_seats_request::Target::Branch(name),
        }),
        interval: Some(interval),
        closing: closing.into(),
        reason: place.reason,
        validate_only: place.dry_run,
    };
    let response = context.wait(context.client()?.close_seats(request)).await?;
    context.answer(&response, || {
        let v1::CloseSeatsResponse { seat_count, moved_count, displaced_count, .. } = response;
        let seats = counted(seat_count.into(), "seat", "seats");
        let moved = counted(moved_count.into(), "reservation", "reservations");
        if place.dry_run {
            return format!(
                "It would close {seats}: {moved} would move to another seat; without one: {displaced_count}. Nothing \
                 was changed."
            );
        }
        format!("Closed {seats}. {moved} moved to another seat; without one: {displaced_count}.")
    })
}

pub(super) async fn reopen(context: &Context, place: Place) -> Result<(), Failure> {
    let (branch, target) = place.target()?;
    let interval = interval(context, &branch, &place.from, &place.to).await?;
    let request = v1::ReopenSeatsRequest {
        request_id: new_request_id(),
        target: Some(match target {
            Target::Seat(name) => reopen_seats_request::Target::Seat(name),
            Target::Area(name) => reopen_seats_request::Target::Area(name),
            Target::Branch(name) => reopen_seats_request::Target::Branch(name),
        }),
        interval: Some(interval),
        reason: place.reason,
        validate_only: place.dry_run,
    };
    let response = context.wait(context.client()?.reopen_seats(request)).await?;
    context.answer(&response, || {
        let seats = counted(response.seat_count.into(), "seat", "seats");
        if place.dry_run {
            format!("It would reopen {seats}. Nothing was changed.")
        } else {
            format!("Reopened {seats}.")
        }
    })
}

/// The code that a seat shows; with `follow` each one as it comes, as a kiosk would.
pub(super) async fn code(context: &Context, seat: SeatName, follow: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let zone = context.zones_for_text().await.of_or_utc(&seat.name);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut last = String::new();
    loop {
        let request = v1::GetPresenceCodeRequest { seat: seat.name.clone(), read: None };
        let response = context.wait(client.get_presence_code(request)).await?;
        if response.code != last {
            let until = shown_second(response.expire_time.as_ref(), &zone);
            context.answer(&response, || format!("{}  {}  (until {until})", short(&seat.name), response.code))?;
            last.clone_from(&response.code);
        }
        if !follow {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = &mut interrupted => return Ok(()),
        }
    }
}

/// A code is shown for half a minute, and counts for as long again.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn rotate(context: &Context) -> Result<(), Failure> {
    let request = v1::RotatePresenceKeyRequest { request_id: new_request_id() };
    let response = context.wait(context.client()?.rotate_presence_key(request)).await?;
    context.answer(&response, || "Every seat shows another code from now on; the old ones are worthless.".into())
}

/// Who has a seat, and when.
pub(super) async fn reservations(context: &Context, seat: SeatName) -> Result<(), Failure> {
    let request = v1::ListSeatReservationsRequest { seat: seat.name.clone(), read: None };
    let response = context.wait(context.client()?.list_seat_reservations(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let zone = zones.of_or_utc(&seat.name);
        let row = |reservation: &v1::Reservation| {
            let when = shown_interval(reservation.start_time.as_ref(), reservation.end_time.as_ref(), &zone);
            let origin = words(reservation.origin().as_str_name(), "ORIGIN_");
            [short(&reservation.name), when, short(&reservation.user), state_words(reservation), origin]
        };
        let headings = ["NUMBER", "WHEN", "PERSON", "STATE", "ORIGIN"];
        table(headings, response.reservations.iter().map(row).collect(), "Nobody has this seat.")
    })
}
