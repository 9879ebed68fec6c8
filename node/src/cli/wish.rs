//! What somebody wants to book, as it is typed: one seat or any that fits, when, and for whom.

use carrel_proto::v1;
use carrel_proto::v1::wish::Target;
use clap::{ArgGroup, Args};

use super::context::Context;
use super::errors::Failure;
use super::names::{self, AreaName, SeatName, short};
use super::time::{Moment, interval};

/// Which seat, and when.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("where").required(true).args(["seat", "branch"]))]
pub(super) struct What {
    /// BRANCH/SEAT, for example main/r-101
    #[arg(value_name = "SEAT")]
    pub(super) seat: Option<SeatName>,
    /// Any seat of this branch, instead of SEAT
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
    pub(super) from: Moment,
    /// End
    #[arg(long, value_name = "T")]
    pub(super) to: Moment,
}

/// For somebody else.
#[derive(Args, Clone, Debug)]
pub(super) struct Behalf {
    /// Book for this person (staff)
    #[arg(long = "for", value_name = "USER", value_parser = names::user, requires = "reason")]
    person: Option<String>,
    /// With --for: why, for whoever asks later
    #[arg(long, value_name = "TEXT", requires = "person")]
    reason: Option<String>,
    /// With --for: also beyond window, notice and quotas
    #[arg(long, requires = "person")]
    exempt: bool,
}

impl What {
    /// The branch that everything is in, with what is wanted of it.
    fn target(&self) -> Result<(String, Target), Failure> {
        match (&self.seat, &self.branch, &self.area) {
            (Some(seat), _, _) => Ok((seat.branch.clone(), Target::Seat(seat.name.clone()))),
            (None, Some(branch), Some(area)) => Ok((branch.clone(), Target::Area(area.within(branch)))),
            (None, Some(branch), None) => Ok((branch.clone(), Target::Branch(branch.clone()))),
            (None, None, _) => Err(Failure::Usage("say what to book: SEAT, or --branch B".into())),
        }
    }

    pub(super) async fn wish(&self, context: &Context) -> Result<v1::Wish, Failure> {
        let (branch, target) = self.target()?;
        let mut amenities = self.amenities.clone();
        amenities.extend(self.power.then(|| "power".to_owned()));
        amenities.extend(self.monitor.then(|| "monitor".to_owned()));
        Ok(v1::Wish {
            target: Some(target),
            amenities,
            accessible: self.accessible,
            interval: Some(interval(context, &branch, &self.from, &self.to).await?),
            ..Default::default()
        })
    }

    pub(super) fn branch_name(&self) -> Result<String, Failure> {
        self.target().map(|(branch, _)| branch)
    }

    /// As it was typed, for a command to type next.
    pub(super) fn typed_times(&self) -> String {
        format!("--from {} --to {}", self.from, self.to)
    }

    /// `main/r-101`, or what stands for any seat.
    pub(super) fn typed_place(&self) -> String {
        match (&self.seat, &self.branch, &self.area) {
            (Some(seat), ..) => short(&seat.name),
            (None, Some(branch), Some(area)) => {
                format!("--branch {} --area {}", short(branch), names::id(&area.within(branch)))
            }
            (None, Some(branch), None) => format!("--branch {}", short(branch)),
            (None, None, _) => String::new(),
        }
    }
}

impl Behalf {
    pub(super) fn of(self, wish: v1::Wish) -> v1::Wish {
        let Behalf { person, reason, exempt } = self;
        v1::Wish { on_behalf_of: person.unwrap_or_default(), reason: reason.unwrap_or_default(), exempt, ..wish }
    }
}
