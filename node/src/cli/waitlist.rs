//! Waiting for a seat, and answering the offer when one comes free.

use carrel_proto::client::{Client, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::waitlist_entry::{State, Target};
use carrel_proto::v1::{join_waitlist_request, reservation, waitlist_entry};
use clap::{ArgGroup, Args, Subcommand};

use super::context::{Context, Zones};
use super::errors::{Failure, see_your_own};
use super::names::{self, AreaName, SeatName, short};
use super::pages::{self, PAGE_SIZE};
use super::reservations::{self, outcome};
use super::table::{table, words};
use super::time::{Moment, interval, shown, shown_interval};

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for as long as the command runs")]
pub(super) enum Command {
    /// Wait for a seat that is taken
    #[command(subcommand)]
    Waitlist(Waitlist),
    /// Accept or decline a seat that was offered
    #[command(subcommand)]
    Offers(Offers),
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for as long as the command runs")]
pub(super) enum Waitlist {
    /// Wait for one seat, or for any seat of a branch or an area
    #[command(after_help = "\
Examples:
  carrel waitlist join --seat main/r-101 --from 14:00 --to 16:00
  carrel waitlist join --branch main --area hall --power --from 14:00 --to 16:00
  carrel waitlist join --branch main --from 09:00 --to 18:00 --stay 120      (two hours, some time that day)")]
    Join(Join),
    /// List what you wait for, and what is offered to you until when
    #[command(alias = "offers")]
    List,
    /// Give up a place
    Leave {
        /// Number of the entry, for example 5
        #[arg(value_name = "W", value_parser = names::waitlist_entry)]
        entry: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Offers {
    /// Take the seat: the offer becomes a reservation
    Accept {
        /// Number of the reservation that is offered, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
    /// Leave the seat to the next who waits
    Decline {
        /// Number of the reservation that is offered, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
    },
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("target").required(true).args(["seat", "branch"]))]
pub(super) struct Join {
    /// This seat and no other
    #[arg(long, value_name = "SEAT")]
    seat: Option<SeatName>,
    /// Any seat of this branch
    #[arg(long, value_name = "B", value_parser = names::branch)]
    branch: Option<String>,
    /// Any seat of this area of the branch
    #[arg(long, value_name = "A", requires = "branch", conflicts_with = "seat")]
    area: Option<AreaName>,
    /// Only with a power socket
    #[arg(long, conflicts_with = "seat")]
    power: bool,
    /// Only with a monitor
    #[arg(long, conflicts_with = "seat")]
    monitor: bool,
    /// Only with this amenity; may be repeated
    #[arg(long = "amenity", value_name = "TEXT", conflicts_with = "seat")]
    amenities: Vec<String>,
    /// Only accessible seats
    #[arg(long, conflicts_with = "seat")]
    accessible: bool,
    /// Begin: HH:MM today, or a date and a time
    #[arg(long, value_name = "T")]
    from: Moment,
    /// End
    #[arg(long, value_name = "T")]
    to: Moment,
    /// A stay of so many minutes, anywhere in that time [default: all of it]
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(i32).range(1..=10080))]
    stay: Option<i32>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Waitlist(Waitlist::Join(join)) => self::join(context, join).await,
        Command::Waitlist(Waitlist::List) => list(context).await,
        Command::Waitlist(Waitlist::Leave { entry }) => leave(context, entry).await,
        Command::Offers(Offers::Accept { reservation }) => accept(context, reservation).await.map_err(foreign),
        Command::Offers(Offers::Decline { reservation }) => decline(context, reservation).await.map_err(foreign),
    }
}

async fn join(context: &Context, join: Join) -> Result<(), Failure> {
    let mut amenities = join.amenities;
    amenities.extend(join.power.then(|| "power".to_owned()));
    amenities.extend(join.monitor.then(|| "monitor".to_owned()));
    let (branch, target) = match (join.seat, join.branch, join.area) {
        (Some(seat), _, _) => (seat.branch, join_waitlist_request::Target::Seat(seat.name)),
        (None, Some(branch), Some(area)) => {
            let area = area.within(&branch);
            (branch, join_waitlist_request::Target::Area(area))
        }
        (None, Some(branch), None) => (branch.clone(), join_waitlist_request::Target::Branch(branch)),
        (None, None, _) => return Err(Failure::Usage("say what to wait for: --seat SEAT or --branch B".into())),
    };
    let interval = interval(context, &branch, &join.from, &join.to).await?;
    let request = v1::JoinWaitlistRequest {
        request_id: new_request_id(),
        target: Some(target),
        amenities,
        accessible: join.accessible,
        interval: Some(interval),
        stay_minutes: join.stay.unwrap_or_default(),
        validate_only: join.dry_run,
    };
    let response = context.wait(context.client()?.join_waitlist(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let entry = response.entry.clone().unwrap_or_default();
        if join.dry_run {
            let outcome = match (entry.state(), place_of(&entry)) {
                (State::Offered, _) => "A seat is free and would be offered to you".to_owned(),
                (_, position) if position.is_empty() => "You would be on the waitlist".to_owned(),
                (_, position) => format!("You would be on the waitlist, in place {position}"),
            };
            return format!("{outcome}: {}. Nothing was changed.", place_and_time(&entry, zones));
        }
        let place = format!("entry {}, {}", short(&entry.name), place_and_time(&entry, zones));
        if entry.state() == State::Offered {
            let number = short(&entry.reservation);
            format!("A seat is free and offered to you: {place}.\nTake it with: carrel offers accept {number}")
        } else {
            let line = match place_of(&entry) {
                position if position.is_empty() => String::new(),
                position => format!(" Your place: {position}."),
            };
            format!("You are on the waitlist: {place}.{line}\nOffers arrive in: carrel inbox --follow")
        }
    })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let request = v1::ListWaitlistEntriesRequest { page_size: PAGE_SIZE, page_token, read: None };
        context.wait(client.list_waitlist_entries(request)).await
    });
    let response = response.await?;
    let zones = if response.entries.is_empty() { &Zones::default() } else { context.zones_for_text().await };
    let is_open = |entry: &v1::WaitlistEntry| entry.state() == State::Offered;
    let offers = if context.is_json() || !response.entries.iter().any(is_open) {
        Vec::new()
    } else {
        let state = reservation::State::Held.into();
        let request = v1::ListReservationsRequest { state, page_size: PAGE_SIZE, ..Default::default() };
        context.wait(client.list_reservations(request)).await?.reservations
    };
    context.answer(&response, || {
        let row = |entry: &v1::WaitlistEntry| {
            let state = words(entry.state().as_str_name(), "STATE_");
            let mut with = entry.amenities.clone();
            with.extend(entry.accessible.then(|| "accessible".to_owned()));
            let with = with.join(", ");
            let (place, offer) = (place_of(entry), short(&entry.reservation));
            [short(&entry.name), target_of(entry), with, when(entry, zones), state, place, offer]
        };
        let headings = ["NUMBER", "WAITS FOR", "WITH", "WHEN", "STATE", "PLACE", "OFFER"];
        let mut text = table(headings, response.entries.iter().map(row).collect(), "You wait for nothing.");
        let open = response.entries.iter().filter(|entry| is_open(entry));
        for offer in open.filter_map(|entry| offers.iter().find(|offer| offer.name == entry.reservation)) {
            let until = shown(offer.deadline.as_ref(), &zones.of_or_utc(&offer.seat));
            let (number, what) = (short(&offer.name), reservations::place_and_time(offer, zones));
            text += &format!("\nOffered until {until}: {what}. Take it with: carrel offers accept {number}");
        }
        text
    })?;
    context.remark_if_cut(&response);
    Ok(())
}

async fn leave(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::LeaveWaitlistRequest { request_id: new_request_id(), name: name.clone() };
    let response = context.wait(context.client()?.leave_waitlist(request)).await?;
    context.answer(&response, || format!("Entry {} left the waitlist.", short(&name)))
}

fn foreign(failure: Failure) -> Failure {
    failure.advise(see_your_own)
}

async fn accept(context: &Context, reservation: String) -> Result<(), Failure> {
    context.is_about(&reservation);
    let request = v1::AcceptOfferRequest { request_id: new_request_id(), reservation };
    let response = context.wait(context.client()?.accept_offer(request)).await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || outcome("Accepted", response.reservation.as_ref(), zones))
}

async fn decline(context: &Context, reservation: String) -> Result<(), Failure> {
    context.is_about(&reservation);
    let client = context.client()?;
    // Which wait it is for is known only as long as the offer is open.
    let before = if context.is_json() { Vec::new() } else { entries(context, &client).await? };
    let wait = before.into_iter().find(|entry| entry.reservation == reservation);
    let request = v1::DeclineOfferRequest { request_id: new_request_id(), reservation };
    let response = context.wait(client.decline_offer(request)).await?;
    // It is done: what cannot be looked up any more is not told.
    let wait = match wait {
        Some(wait) => entries(context, &client).await.ok().map(|now| {
            let now = now.into_iter().find(|entry| entry.name == wait.name);
            now.unwrap_or(v1::WaitlistEntry { state: State::Left.into(), ..wait })
        }),
        None => None,
    };
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        let text = outcome("Declined", response.reservation.as_ref(), zones);
        match wait {
            Some(wait) => format!("{text}\n{}", goes_on(&wait, zones)),
            None => text,
        }
    })
}

async fn entries(context: &Context, client: &Client) -> Result<Vec<v1::WaitlistEntry>, Failure> {
    let request = v1::ListWaitlistEntriesRequest { page_size: PAGE_SIZE, ..Default::default() };
    Ok(context.wait(client.list_waitlist_entries(request)).await?.entries)
}

/// Whether anybody still waits, after an offer was declined.
fn goes_on(wait: &v1::WaitlistEntry, zones: &Zones) -> String {
    let (number, what) = (short(&wait.name), place_and_time(wait, zones));
    match wait.state() {
        State::Waiting | State::Offered => match place_of(wait) {
            position if position.is_empty() => format!("You still wait: entry {number}, {what}."),
            position => format!("You still wait, in place {position}: entry {number}, {what}."),
        },
        _ => format!(
            "With that entry {number} has ended, you do not wait for {what} any more. Wait again with: carrel waitlist join"
        ),
    }
}

/// `seat main/r-101, 2027-03-01 10:00–12:00 CET`
pub(super) fn place_and_time(entry: &v1::WaitlistEntry, zones: &Zones) -> String {
    format!("{}, {}", target_of(entry), when(entry, zones))
}

/// `seat main/r-101`, `any of main/hall`, `any of main`.
fn target_of(entry: &v1::WaitlistEntry) -> String {
    match &entry.target {
        Some(Target::Seat(name)) => format!("seat {}", short(name)),
        Some(Target::Area(name) | Target::Branch(name)) => format!("any of {}", short(name)),
        None => String::new(),
    }
}

/// `1`, `2 to 5`; nothing while it is not waiting.
fn place_of(entry: &v1::WaitlistEntry) -> String {
    match (entry.best_place, entry.worst_place) {
        (0, _) => String::new(),
        (best, worst) if best == worst => best.to_string(),
        (best, worst) => format!("{best} to {worst}"),
    }
}

fn when(entry: &v1::WaitlistEntry, zones: &Zones) -> String {
    let place = match &entry.target {
        Some(Target::Seat(name) | Target::Area(name) | waitlist_entry::Target::Branch(name)) => name.as_str(),
        None => "",
    };
    let interval = entry.interval.unwrap_or_default();
    let when = shown_interval(interval.start_time.as_ref(), interval.end_time.as_ref(), &zones.of_or_utc(place));
    let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
    let is_flexible = i64::from(entry.stay_minutes) * 60 < seconds(interval.end_time) - seconds(interval.start_time);
    if is_flexible { format!("{} min in {when}", entry.stay_minutes) } else { when }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_declines_is_told_whether_they_still_wait() {
        let wait = |state: State, best_place| v1::WaitlistEntry {
            name: "waitlistEntries/5".into(),
            target: Some(Target::Seat("branches/main/seats/r-101".into())),
            state: state.into(),
            best_place,
            worst_place: best_place,
            ..Default::default()
        };
        let told = |wait| goes_on(&wait, &Zones::default());
        assert!(
            told(wait(State::Left, 0)).starts_with("With that entry 5 has ended, you do not wait for seat main/r-101")
        );
        assert!(told(wait(State::Waiting, 2)).starts_with("You still wait, in place 2: entry 5"));
    }
}
