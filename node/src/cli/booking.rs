//! Getting a seat: reserve, hold and confirm, for a group, for many days, and why not.

use std::str::FromStr;

use carrel_proto::client::{Refusal, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::batch_create_reservations_response::outcome::Outcome;
use carrel_proto::v1::create_group_reservation_request::Place;
use carrel_proto::v1::reservation::State;
use carrel_proto::v1::wish::Target;
use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use uuid::Uuid;

use super::context::Context;
use super::errors::{Failure, option_line, position, see_your_own, with_times_in};
use super::names::{self, AreaPath, SeatName, short};
use super::reservations::{outcome, place_and_time, state_words};
use super::table::{facts, table};
use super::time::{Moment, interval, later, moment, moved, shown, shown_clock, shown_days_before, shown_interval};
use super::wish::{Behalf, What};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Reserve a seat
    #[command(after_help = "\
Examples:
  carrel reserve main/r-101 --from 14:00 --to 16:00
  carrel reserve main/r-101 --from 2027-03-01T10:00:00+01:00 --to 2027-03-01T12:00:00+01:00
  carrel reserve --branch main --area hall --power --from 14:00 --to 16:00
  carrel reserve main/r-101 --from 14:00 --to 16:00 --for amy --reason 'asked at the desk'")]
    Reserve(Reserve),
    /// Keep a seat for a minute or two, while you decide
    #[command(after_help = "Example:\n  carrel hold main/r-101 --from 14:00 --to 16:00\n  carrel confirm 17")]
    Hold {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        behalf: Behalf,
        /// Say what would come of it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a reservation of a hold, of an offer, or of the seat that a group keeps for you
    Confirm {
        /// Number of the reservation, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
    /// Reserve seats for a group, all or none; the others confirm theirs
    #[command(after_help = "Example:\n  carrel group main/r-101=amy main/r-102=ben --from 14:00 --to 16:00")]
    Group {
        /// Who sits where, 1 to 8 times: BRANCH/SEAT=USER
        #[arg(value_name = "SEAT=USER", required = true)]
        places: Vec<GroupPlace>,
        /// Begin: HH:MM today, or a date and a time
        #[arg(long, value_name = "T")]
        from: Moment,
        /// End
        #[arg(long, value_name = "T")]
        to: Moment,
        /// Say what would come of it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Reserve the same time on many days, each granted or refused by itself
    #[command(after_help = "\
Examples:
  carrel series main/r-101 --from 14:00 --to 16:00 --every week --times 12
  carrel series --branch main --power --from 09:00 --to 12:00 --every day --times 5")]
    Series {
        #[command(flatten)]
        what: What,
        /// How far apart
        #[arg(long, value_name = "STEP", value_enum)]
        every: Every,
        /// How often, the first time included
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=31))]
        times: u8,
        /// Say what would come of it, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        behalf: Behalf,
    },
    /// Say what stands against a reservation, and what could be had instead
    #[command(after_help = "\
Examples:
  carrel why main/r-101 --from 14:00 --to 16:00
  carrel why --branch main --area hall --monitor --from 14:00 --to 22:00")]
    Why {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        behalf: Behalf,
    },
    /// Show how much of your quotas in an area is used
    #[command(after_help = "Example:\n  carrel quota main/reading-room --at 2027-03-01T12:00")]
    Quota {
        /// BRANCH/AREA, for example main/reading-room
        #[arg(value_name = "AREA")]
        area: AreaPath,
        /// For the day and the week of this moment [default: now]
        #[arg(long, value_name = "T")]
        at: Option<Moment>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Reserve {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    behalf: Behalf,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Repeat an earlier request whose outcome is unknown: it is done once
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Every {
    Day,
    Week,
}

impl Every {
    fn step(self) -> Span {
        match self {
            Every::Day => 1.day(),
            Every::Week => 1.week(),
        }
    }
}

/// `main/r-101=amy`
#[derive(Clone, Debug)]
pub(super) struct GroupPlace {
    seat: SeatName,
    user: String,
}

impl FromStr for GroupPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<GroupPlace, String> {
        let (seat, user) = text.split_once('=').ok_or("write who sits where as BRANCH/SEAT=USER: main/r-101=amy")?;
        Ok(GroupPlace { seat: seat.parse()?, user: names::user(user)? })
    }
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Reserve(reserve) => self::reserve(context, reserve).await,
        Command::Hold { what, behalf, dry_run } => hold(context, what, behalf, dry_run).await,
        Command::Confirm { reservation } => confirm(context, reservation).await.map_err(foreign),
        Command::Group { places, from, to, dry_run } => group(context, places, &from, &to, dry_run).await,
        Command::Series { what, every, times, dry_run, behalf } => {
            series(context, what, every, times, dry_run, behalf).await
        }
        Command::Why { what, behalf } => why(context, what, behalf).await,
        Command::Quota { area, at } => quota(context, area, at).await,
    }
}

fn foreign(failure: Failure) -> Failure {
    failure.advise(see_your_own)
}

async fn reserve(context: &Context, reserve: Reserve) -> Result<(), Failure> {
    let Reserve { what, behalf, dry_run, request_id } = reserve;
    let wish = behalf.of(what.wish(context).await?);
    let asked = Bookable::of(&what.branch_name()?, wish.interval);
    let request_id = request_id.map_or_else(new_request_id, |id| id.to_string());
    let request =
        v1::CreateReservationRequest { request_id: request_id.clone(), validate_only: dry_run, ..plainly(wish) };
    let response = match context.wait(context.client()?.create_reservation(request)).await {
        Ok(response) => response,
        Err(failure) => {
            let failure = bookable(context, failure, &asked).await;
            return Err(failure.advise(|refusal| instead(refusal, &what)).advise_if_in_doubt(|| {
                let (place, times) = (what.typed_place(), what.typed_times());
                format!(
                    "It may have been done: ask again with: carrel reserve {place} {times} --request-id {request_id}"
                )
            }));
        }
    };
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let reservation = response.reservation.clone().unwrap_or_default();
        if dry_run {
            return format!("It would be granted: {}. Nothing was changed.", place_and_time(&reservation, zones));
        }
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

/// One seat for oneself has a shorter form.
fn plainly(wish: v1::Wish) -> v1::CreateReservationRequest {
    match &wish.target {
        Some(Target::Seat(seat)) if wish.on_behalf_of.is_empty() => {
            v1::CreateReservationRequest { seat: seat.clone(), interval: wish.interval, ..Default::default() }
        }
        _ => v1::CreateReservationRequest { wish: Some(wish), ..Default::default() },
    }
}

/// From when on, or until when, a start could have been booked: the cluster says by how much it is off.
async fn bookable(context: &Context, failure: Failure, wish: &Bookable) -> Failure {
    let Failure::Refused { refusal, .. } = &failure else { return failure };
    if !matches!(refusal.reason.as_str(), "TOO_EARLY" | "TOO_LATE") {
        return failure;
    }
    let zone = context.zones_for_text().await.of_or_utc(&wish.branch);
    bookable_in(failure, wish.start, &zone)
}

/// What a refusal of the window or of the notice leaves open.
struct Bookable {
    branch: String,
    start: Option<prost_types::Timestamp>,
}

impl Bookable {
    fn of(branch: &str, interval: Option<v1::Interval>) -> Self {
        Self { branch: branch.to_owned(), start: interval.and_then(|interval| interval.start_time) }
    }
}

fn bookable_in(failure: Failure, start: Option<prost_types::Timestamp>, zone: &TimeZone) -> Failure {
    let told = |refusal: &Refusal| {
        let of = |key: &str| refusal.metadata.get(key)?.parse::<i64>().ok();
        let message = &refusal.message;
        match (of("window_days"), of("notice_minutes")) {
            (Some(days), _) => {
                Some(format!("{message}; that day can be booked from {} on", shown_days_before(start?, days, zone)?))
            }
            (_, Some(minutes)) => {
                let until = shown(Some(&later(start?, -minutes)), zone);
                Some(format!("{message}; that start could be booked until {until}"))
            }
            _ => None,
        }
    };
    failure.reword("TOO_EARLY", told).reword("TOO_LATE", told)
}

/// What to type when the seat is taken.
fn instead(refusal: &Refusal, what: &What) -> Vec<String> {
    if refusal.reason != "SEAT_TAKEN" {
        return Vec::new();
    }
    let when = what.typed_times();
    let take = refusal.alternatives.first();
    let take = take.map(|other| format!("Take another with: carrel reserve {} {when}", short(&other.name)));
    let place = what.typed_place();
    let place = if what.seat.is_some() { format!("--seat {place}") } else { place };
    take.into_iter().chain([format!("Wait for it with: carrel waitlist join {place} {when}")]).collect()
}

async fn hold(context: &Context, what: What, behalf: Behalf, dry_run: bool) -> Result<(), Failure> {
    let wish = behalf.of(what.wish(context).await?);
    let asked = Bookable::of(&what.branch_name()?, wish.interval);
    let request = v1::HoldSeatRequest { request_id: new_request_id(), wish: Some(wish), validate_only: dry_run };
    let response = match context.wait(context.client()?.hold_seat(request)).await {
        Ok(response) => response,
        Err(failure) => {
            return Err(bookable(context, failure, &asked).await.advise(|refusal| instead(refusal, &what)));
        }
    };
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let reservation = response.reservation.clone().unwrap_or_default();
        let number = short(&reservation.name);
        let by = shown_clock(reservation.deadline.as_ref(), &zones.of_or_utc(&reservation.seat));
        let held = place_and_time(&reservation, zones);
        if dry_run {
            return format!("It would be held until {by}: {held}. Nothing was changed.");
        }
        format!("Held until {by}: reservation {number}, {held}.\nTake it with: carrel confirm {number}")
    })
}

async fn confirm(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::ConfirmReservationRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.confirm_reservation(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Confirmed", response.reservation.as_ref(), zones))
}

async fn group(
    context: &Context,
    places: Vec<GroupPlace>,
    from: &Moment,
    to: &Moment,
    dry_run: bool,
) -> Result<(), Failure> {
    let Some(first) = places.first() else { return Err(Failure::Usage("say who sits where: SEAT=USER".into())) };
    let branch = first.seat.branch.clone();
    let interval = interval(context, &branch, from, to).await?;
    let places: Vec<Place> =
        places.into_iter().map(|GroupPlace { seat, user }| Place { seat: seat.name, user }).collect();
    let names = places.clone();
    let request = v1::CreateGroupReservationRequest {
        request_id: new_request_id(),
        places,
        interval: Some(interval),
        validate_only: dry_run,
    };
    let response = match context.wait(context.client()?.create_group_reservation(request)).await {
        Ok(response) => response,
        Err(failure) => {
            return Err(bookable(context, named(failure, &names), &Bookable::of(&branch, Some(interval))).await);
        }
    };
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let row = |reservation: &v1::Reservation| {
            let number = if dry_run { String::new() } else { short(&reservation.name) };
            let until = shown_clock(reservation.deadline.as_ref(), &zones.of_or_utc(&reservation.seat));
            let state = match reservation.state() {
                State::Held => format!("to be confirmed by {until}"),
                _ => state_words(reservation),
            };
            [number, short(&reservation.user), short(&reservation.seat), state]
        };
        let rows = response.reservations.iter().map(row).collect();
        let text = table(["NUMBER", "PERSON", "SEAT", "STATE"], rows, "Nobody.");
        if dry_run { format!("{text}\nNothing was changed.") } else { text }
    })
}

/// Whose place it is that cannot be had: the cluster says only which.
fn named(failure: Failure, places: &[Place]) -> Failure {
    let of = |refusal: &Refusal| places.get(position(refusal)?);
    let failure = failure.reword("MEMBER_UNAVAILABLE", |refusal| {
        let user = short(&of(refusal)?.user);
        Some(format!("{user} cannot come then (another seat, a quota, or no such account), nothing was booked"))
    });
    failure.reword("SEAT_TAKEN", |refusal| {
        let Place { seat, user } = of(refusal)?;
        Some(format!("{}, for {}, is taken for this time, nothing was booked", short(seat), short(user)))
    })
}

async fn series(
    context: &Context,
    what: What,
    every: Every,
    times: u8,
    dry_run: bool,
    behalf: Behalf,
) -> Result<(), Failure> {
    let first = behalf.of(what.wish(context).await?);
    let zone = context.zone_of(&what.branch_name()?).await?;
    let wishes = (0..i64::from(times)).map(|time| {
        let interval = moved(first.interval.unwrap_or_default(), every.step(), time, &zone)?;
        Ok(v1::Wish { interval: Some(interval), ..first.clone() })
    });
    let wishes = wishes.collect::<Result<Vec<_>, Failure>>()?;
    let request = v1::BatchCreateReservationsRequest {
        request_id: new_request_id(),
        wishes: wishes.clone(),
        validate_only: dry_run,
    };
    let response = context.wait(context.client()?.batch_create_reservations(request)).await?;
    context.answer(&response, || {
        let row = |(wish, one): (&v1::Wish, &v1::batch_create_reservations_response::Outcome)| {
            let interval = wish.interval.unwrap_or_default();
            let when = shown_interval(interval.start_time.as_ref(), interval.end_time.as_ref(), &zone);
            match &one.outcome {
                Some(Outcome::Reservation(reservation)) => {
                    let number = if dry_run { "granted".into() } else { short(&reservation.name) };
                    [when, number, short(&reservation.seat), String::new()]
                }
                Some(Outcome::Refusal(rule)) => [when, "–".into(), String::new(), with_times_in(&rule.message, &zone)],
                None => [when, String::new(), String::new(), String::new()],
            }
        };
        let rows: Vec<_> = wishes.iter().zip(&response.outcomes).map(row).collect();
        let granted = response.outcomes.iter();
        let granted = granted.filter(|one| matches!(one.outcome, Some(Outcome::Reservation(_)))).count();
        let total = format!("{granted} of {} granted.", rows.len());
        let text = table(["WHEN", "NUMBER", "SEAT", "WHY NOT"], rows, "Nothing was asked for.");
        format!("{text}\n{total}{}", if dry_run { " Nothing was changed." } else { "" })
    })
}

async fn why(context: &Context, what: What, behalf: Behalf) -> Result<(), Failure> {
    let request = v1::ExplainAvailabilityRequest { wish: Some(behalf.of(what.wish(context).await?)), read: None };
    let response = context.wait(context.client()?.explain_availability(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        if response.rules.is_empty() {
            let (place, times) = (what.typed_place(), what.typed_times());
            return format!("Nothing stands against it.\nTake it with: carrel reserve {place} {times}");
        }
        let zone = what.branch_name().map(|branch| zones.of_or_utc(&branch)).unwrap_or(TimeZone::UTC);
        let told = |rule: &v1::FailingRule| format!("  {} ({})", with_times_in(&rule.message, &zone), rule.reason);
        let rules = response.rules.iter().map(told);
        let mut lines = vec!["What stands against it:".to_owned()];
        lines.extend(rules);
        if response.alternatives.is_empty() {
            lines.push("Nothing like it can be had.".into());
        } else {
            lines.push("What could be had instead:".into());
        }
        lines.extend(response.alternatives.iter().map(|option| {
            let seat = option.seat.as_ref().map(|seat| seat.name.as_str()).unwrap_or_default();
            format!("  {}", option_line(option, &zones.of_or_utc(seat)))
        }));
        lines.join("\n")
    })
}

async fn quota(context: &Context, area: AreaPath, at: Option<Moment>) -> Result<(), Failure> {
    let time = match &at {
        Some(at) => Some(moment(context, &area.branch, at).await?),
        None => None,
    };
    let request = v1::GetQuotaRequest { area: area.name, time, read: None };
    let response = context.wait(context.client()?.get_quota(request)).await?;
    context.answer(&response, || {
        let shown = |usage: &Option<v1::get_quota_response::Usage>, unit: &str| {
            let usage = usage.unwrap_or_default();
            match usage.max {
                Some(max) => format!("{} of {max}{unit} used", usage.used),
                None => format!("{}{unit} used, no limit", usage.used),
            }
        };
        facts(vec![
            ("At once", shown(&response.reservations, "")),
            ("Still to come", shown(&response.future, "")),
            ("That day", shown(&response.on_day, "")),
            ("", shown(&response.minutes_on_day, " minutes")),
            ("That week", shown(&response.in_week, "")),
            ("", shown(&response.minutes_in_week, " minutes")),
        ])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        what: What,
    }

    #[test]
    fn a_taken_seat_is_met_with_what_to_type() {
        let typed = |line: &str| <Typed as clap::Parser>::parse_from(line.split(' ')).what;
        let mut refusal = Refusal {
            code: tonic::Code::FailedPrecondition,
            reason: "SEAT_TAKEN".into(),
            message: String::new(),
            metadata: Default::default(),
            alternatives: vec![v1::Seat { name: "branches/main/seats/r-102".into(), ..Default::default() }],
            options: Vec::new(),
            rules: Vec::new(),
        };
        assert_eq!(
            instead(&refusal, &typed("reserve main/r-101 --from 10:00 --to 12:00")),
            [
                "Take another with: carrel reserve main/r-102 --from 10:00 --to 12:00",
                "Wait for it with: carrel waitlist join --seat main/r-101 --from 10:00 --to 12:00",
            ]
        );
        refusal.alternatives.clear();
        assert_eq!(
            instead(&refusal, &typed("reserve --branch main --area hall --from 10:00 --to 12:00")),
            ["Wait for it with: carrel waitlist join --branch main --area hall --from 10:00 --to 12:00"]
        );
        refusal.reason = "CLOSED".into();
        assert!(instead(&refusal, &typed("reserve main/r-101 --from 10:00 --to 12:00")).is_empty());
    }

    fn refused(reason: &str, message: &str, metadata: &[(&str, &str)]) -> Failure {
        let mut refused = Failure::refused(tonic::Code::FailedPrecondition, reason, message.into());
        if let Failure::Refused { refusal, .. } = &mut refused {
            refusal.metadata.extend(metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        }
        refused
    }

    #[test]
    fn who_cannot_come_and_which_seat_is_taken_is_named() {
        let place = |seat: &str, user: &str| Place { seat: format!("branches/main/seats/{seat}"), user: user.into() };
        let places = [place("a", "users/amy"), place("b", "users/ben")];
        let told = |reason| named(refused(reason, "person 2", &[("position", "1")]), &places).told();
        assert!(told("MEMBER_UNAVAILABLE").starts_with("ben cannot come then"));
        assert!(told("SEAT_TAKEN").starts_with("main/b, for ben, is taken"));
        assert!(
            named(refused("SEAT_TAKEN", "the seat is taken", &[]), &places).told().starts_with("the seat is taken")
        );
    }

    #[test]
    fn a_start_that_is_too_far_or_too_near_is_told_from_and_until_when_it_could_be_booked() {
        let start = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 });
        let berlin = TimeZone::get("Europe/Berlin").expect("the zone is known");
        let told = |failure| bookable_in(failure, start, &berlin).told();
        let early = told(refused("TOO_EARLY", "at most 14 days before", &[("window_days", "14")]));
        assert!(early.contains("at most 14 days before; that day can be booked from 2027-01-01 on"), "{early}");
        let late = told(refused("TOO_LATE", "an hour before", &[("notice_minutes", "60")]));
        assert!(late.contains("an hour before; that start could be booked until 2027-01-15 08:00 CET"), "{late}");
        assert!(told(refused("TOO_LATE", "it is over", &[])).starts_with("it is over (TOO_LATE)"));
    }

    #[test]
    fn a_place_in_a_group_is_a_seat_and_a_person() {
        let place: GroupPlace = "main/r-101=amy".parse().expect("a place");
        assert_eq!((place.seat.name.as_str(), place.user.as_str()), ("branches/main/seats/r-101", "users/amy"));
        for bad in ["main/r-101", "r-101=amy", "main/r-101=", "=amy", "main/r-101=a/b"] {
            assert!(bad.parse::<GroupPlace>().is_err(), "{bad}");
        }
    }
}
