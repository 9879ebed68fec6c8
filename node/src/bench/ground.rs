//! What there is to book: places that no two clients ever want at the same time.

use std::fmt::Write;

use anyhow::bail;
use carrel_proto::client::Client;
use carrel_proto::v1;

use super::accounts::Account;

const SLOT_SECONDS: i64 = 1800;
/// Within every policy's booking window: five days.
const SLOTS: usize = 5 * 48;
/// Clients that share a seat, each with slots of its own.
const LANES: usize = 20;
const BRANCHES: usize = 8;
const SEATS_OF_A_BRANCH: usize = 300;
/// The most the service gives at once.
pub const PAGE_SIZE: i32 = 1000;

#[derive(Debug)]
pub struct Ground {
    pub branches: Vec<String>,
    /// Of areas that never close: free in every slot.
    seats: Vec<String>,
    first_slot_seconds: i64,
}

impl Ground {
    /// # Errors
    /// If nothing can be booked, or less than so many clients need.
    pub async fn survey(client: &Client, clients: usize) -> anyhow::Result<Self> {
        let found = client.list_branches(v1::ListBranchesRequest::default()).await?.branches;
        let now = jiff::Timestamp::now().as_second();
        let first_slot_seconds = now - now.rem_euclid(SLOT_SECONDS) + 24 * 3600;
        let mut ground = Self {
            branches: found.into_iter().map(|branch| branch.name).collect(),
            seats: Vec::new(),
            first_slot_seconds,
        };
        let visitor = Account::make(client).await?;
        for branch in &ground.branches {
            // Free for days on end: these are in an area that never closes.
            let request = v1::SearchSeatsRequest {
                branch: branch.clone(),
                interval: Some(ground.interval(0, SLOTS as i64)),
                available_only: true,
                page_size: PAGE_SIZE,
                ..v1::SearchSeatsRequest::default()
            };
            let found = visitor.client.search_seats(request).await?.seats;
            ground.seats.extend(found.into_iter().map(|seat| seat.name));
        }
        visitor.delete().await?;
        if ground.seats.is_empty() {
            bail!("no seat of this catalogue is open around the clock and free for {} days", SLOTS / 48);
        }
        if clients > ground.seats.len() * LANES {
            bail!(
                "{clients} clients need more than the {} seats of this catalogue that are open around the clock",
                ground.seats.len()
            );
        }
        Ok(ground)
    }

    /// The seat and time of a client's booking. Somebody who holds one booking at a time meets neither others nor
    /// itself.
    pub fn place(&self, client: usize, round: usize) -> (String, v1::Interval) {
        let (lane, seat) = (client / self.seats.len(), client % self.seats.len());
        let slot = (lane + round * LANES) % SLOTS;
        (self.seats[seat].clone(), self.interval(slot, 1))
    }

    /// One of so many seats, in a slot that every round has for itself; clients meet there.
    pub fn contested(&self, client: usize, seats: usize, round: usize) -> (String, v1::Interval) {
        (self.seats[client % seats].clone(), self.interval(round, 1))
    }

    pub fn seats(&self) -> &[String] {
        &self.seats
    }

    /// A seat of one's own, for the half hour that is running and the next two: half an hour is left even if a
    /// measurement goes on into the next.
    pub fn present(&self, client: usize) -> (String, v1::Interval) {
        let now = jiff::Timestamp::now().as_second();
        let start = now - now.rem_euclid(SLOT_SECONDS);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let interval = v1::Interval { start_time: at(start), end_time: at(start + 3 * SLOT_SECONDS) };
        (self.seats[client % self.seats.len()].clone(), interval)
    }

    /// So many half hours from this one on; the first is tomorrow.
    pub fn interval(&self, slot: usize, slots: i64) -> v1::Interval {
        let start = self.first_slot_seconds + (slot % SLOTS) as i64 * SLOT_SECONDS;
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::Interval { start_time: at(start), end_time: at(start + slots * SLOT_SECONDS) }
    }
}

/// Eight branches of three hundred seats, every other one with power, that are always open; of rules only those that
/// no client of a bench meets.
pub fn eight_branches() -> String {
    let mut text = String::from(
        "policies:\n  - { id: open, grid_minutes: 30, min_minutes: 30, max_minutes: 480, window_days: 14, \
         grace_minutes: 1440, lead_minutes: 15, offer_minutes: 10, max_reservations: 100, max_minutes_per_day: 1440, \
         strikes_to_suspend: 0, strike_days: 30, suspension_days: 3 }\nbranches:\n",
    );
    for branch in 0..BRANCHES {
        let _ = write!(
            text,
            "  - id: b{branch}\n    display_name: Branch {branch}\n    time_zone: Etc/UTC\n    policy: open\n    \
             hours: {{ week: {{ mon-sun: \"00:00-24:00\" }} }}\n    areas:\n      - id: hall\n        \
             display_name: Hall\n        seats:\n"
        );
        for seat in 0..SEATS_OF_A_BRANCH {
            let power = seat % 2 == 0;
            let _ =
                writeln!(text, "          - {{ id: s-{seat}, power: {power}, x: {}, y: {} }}", seat % 20, seat / 20);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_of_the_bench_is_one() {
        let catalog = crate::catalog::read_yaml(&eight_branches()).expect("nothing is wrong with it");
        let seats = catalog.branches.iter().flat_map(|branch| &branch.areas).map(|area| area.seats.len());
        assert_eq!(seats.collect::<Vec<_>>(), vec![SEATS_OF_A_BRANCH; BRANCHES]);
    }
}
