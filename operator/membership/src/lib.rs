//! How a cluster changes its members without losing a promise.
//!
//! [`plan`] looks at one observation and at what is wanted, and names the one next step that is safe, or says why there
//! is none. It has no clock, no memory and no IO: whoever performs a step observes again before asking for the next, so
//! a crash at any moment loses nothing, and a step that is repeated does no harm.
//!
//! Five rules, each held by the planner and asserted by the tests:
//!
//! 1. A cluster is founded once. A node that does not answer may hold one, so nothing is founded until all have.
//! 2. A node id belongs to the contents of one volume. A wiped volume gets a new id; the old one is never used again.
//! 3. A voter set changes in one joint change, on the membership that was looked at, from one odd size to another.
//! 4. No change leaves fewer healthy voters than a majority, before or after it (guard G1), or spends the last failure
//!    the cluster could bear (guard G2).
//! 5. What is unknown is left alone. Silence is not loss: a voter is replaced once its address answers from another
//!    volume.
//!
//! Going on after a majority was lost is another matter, and never begins by itself: [`propose`], [`carry_out`].

mod desired;
mod foresight;
mod guards;
mod identity;
mod observed;
mod plan;
mod recovery;
mod roll;
mod roll_call;
mod step;
mod wording;

pub use desired::{Desired, NotReplicas, Replicas};
pub use foresight::{End, Foreseen, Foresight, foresee};
pub use guards::{Denied, Guard, Quorum, VoterSet};
pub use identity::{Cluster, ClusterId, Incarnation, LogId, NodeId, Ordinal};
pub use observed::{Founding, LeaderView, Membership, Node, Observed, Progress, Running, View, Voters};
pub use observed::{PROMOTE_LAG_ENTRIES, RECENT_ACK_MS};
pub use plan::{Plan, plan};
pub use recovery::{Begins, NotProposed, Order, Proposal, Recovering, RecoveryPending, RecoveryStep, Remaining};
pub use recovery::{Stage, Survey, Survivor, carry_out, left_behind, propose};
pub use roll::{Fleet, Pod, PodId, RestartReason, Roll, RollPending, roll};
pub use roll_call::RollCall;
pub use step::{Pending, Problem, Reason, Step};
