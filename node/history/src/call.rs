//! One call, as its caller saw it. Moments are microseconds since the recording began.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub u32);

/// A reservation, by the number the library gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(pub u64);

/// What one request_id asks for, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(pub u64);

/// Half-open, in minutes since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    pub start: i64,
    pub end: i64,
}

impl Interval {
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Every command names its seat: for a claim, the one that the claim is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Reserve { interval: Interval },
    Cancel { claim: Claim },
    CheckIn { claim: Claim },
    CheckOut { claim: Claim },
}

/// One sending of a request, through one node or several that a client tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub request: Request,
    pub person: Person,
    pub seat: Seat,
    pub command: Command,
    pub called_us: u64,
    pub returned_us: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(Answer),
    Refused(Refused),
    /// It may have been done, or be done yet.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the log entry that decided it.
    pub index: u64,
    pub claim: Claim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another claim on the seat overlaps.
    SeatTaken,
    /// By a rule that has nothing to do with the seat's other claims.
    Otherwise,
}

/// A linearizable read of one seat: when it is taken, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub seat: Seat,
    pub called_us: u64,
    pub returned_us: u64,
    pub taken: Vec<Interval>,
}

/// A linearizable list of everything one person ever had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub person: Person,
    pub called_us: u64,
    pub returned_us: u64,
    pub standing: Vec<Standing>,
}

/// A claim as the library shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    pub claim: Claim,
    pub person: Person,
    pub seat: Seat,
    pub interval: Interval,
    pub state: State,
    /// 1 at first, one more with every change.
    pub revision: u64,
}

/// Only what calls can bring about: a history is recorded where no deadline falls due meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Confirmed,
    CheckedIn,
    Cancelled,
    Completed,
    /// Nothing that the recorded calls ask for.
    Other,
}

impl State {
    /// Whether the claim occupies its seat.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Confirmed | Self::CheckedIn)
    }
}
