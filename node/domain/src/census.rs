//! How much of everything there is, for whoever looks at a state from outside.

use crate::claim::first_ending_after;
use crate::state::State;
use crate::text::Slug;
use crate::waitlist::WaitState;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub branches: usize,
    pub seats: usize,
    pub accounts: usize,
    pub sessions: usize,
    /// Everything that occupied a seat and is held.
    pub claims: usize,
    /// Those that occupy one, now or later.
    pub live_claims: usize,
    /// Those that are in the relational record alone.
    pub claims_let_go: u64,
    /// People in line.
    pub waits: usize,
    pub items: usize,
    /// Outcomes remembered for retries.
    pub records: usize,
}

/// The seats of one branch, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    pub branch: Slug,
    pub seats: u64,
    /// Those that nothing occupies.
    pub free: u64,
}

/// What is kept, by kind: told without looking at any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub sessions: usize,
    pub claims: usize,
    pub waits: usize,
    pub items: usize,
    pub records: usize,
    /// That stand in line; of the bookings of a seat the next.
    pub deadlines: usize,
    /// What the relational record does not have yet.
    pub outbox: u64,
}

impl State {
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            sessions: self.accounts.sessions.len(),
            claims: self.claims.len(),
            waits: self.waitlist.waits.len(),
            items: self.inbox.items.len(),
            records: self.records.kept,
            deadlines: self.deadlines.len(),
            outbox: self.outbox.len(),
        }
    }

    /// Of branches that are not retired. Looks at every seat, and at none of what has been on it.
    #[must_use]
    pub fn occupancy(&self) -> Vec<Occupancy> {
        let now = self.at.time;
        let taken = |seat| {
            let book = self.claims.book(seat);
            book.get(first_ending_after(book, now)).is_some_and(|next| next.interval.start() <= now)
        };
        let of_branch = |(_, branch): (_, &crate::catalog::Branch)| {
            let (mut seats, mut free) = (0, 0);
            for area in branch.areas() {
                for &seat in &self.catalog.area(area).seats {
                    seats += 1;
                    free += u64::from(!taken(seat));
                }
            }
            Occupancy { branch: branch.slug.clone(), seats, free }
        };
        self.catalog.branches().map(of_branch).collect()
    }

    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            branches: self.catalog.branches().count(),
            seats: self.catalog.seat_count(),
            accounts: self.accounts.users.iter().flatten().count(),
            sessions: self.accounts.sessions.len(),
            claims: self.claims.count(),
            live_claims: self.claims.iter().filter(|claim| claim.state.is_blocking()).count(),
            claims_let_go: self.history.count,
            waits: self.waitlist.waits.values().filter(|wait| wait.state == WaitState::Waiting).count(),
            items: self.inbox.items.len(),
            records: self.records.kept,
        }
    }

    /// Lets go of one table after the other, for whoever measures what each of them takes.
    pub fn take_apart(self, mut gone: impl FnMut(&'static str)) {
        let Self { catalog, calendar, accounts, claims, waitlist, inbox, records, deadlines, outbox, .. } = self;
        let (reaches, feeds, trail, mails, webhooks) =
            (self.reaches, self.feeds, self.trail, self.mails, self.webhooks);
        macro_rules! let_go {
            ($($what:literal: $table:expr,)*) => { $({ drop($table); gone($what); })* };
        }
        let_go! {
            "claims": claims.all,
            "books of seats": claims.books,
            "deadlines": deadlines,
            "places of records": (records.by_user, records.anonymous),
            "records": records.queue,
            "people": accounts.users,
            "names": accounts.names,
            "sessions": accounts.sessions,
            "audiences": (reaches, feeds),
            "audit": trail,
            "inbox": inbox,
            "waits": waitlist,
            "outbox": outbox,
            "catalogue": (catalog, calendar),
            "rest": (claims.resting, mails, webhooks),
        }
    }
}
