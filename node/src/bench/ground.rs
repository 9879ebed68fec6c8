//! What there is to book: places that no two clients ever want at the same time.

use anyhow::bail;
use carrel_proto::client::Client;
use carrel_proto::v1;

use super::accounts::Account;

const SLOT_SECONDS: i64 = 1800;
/// Within every policy's booking window: five days.
const SLOTS: usize = 5 * 48;
/// Clients that share a seat, each with slots of its own.
const LANES: usize = 20;
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

    /// So many half hours from this one on; the first is tomorrow.
    pub fn interval(&self, slot: usize, slots: i64) -> v1::Interval {
        let start = self.first_slot_seconds + (slot % SLOTS) as i64 * SLOT_SECONDS;
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::Interval { start_time: at(start), end_time: at(start + slots * SLOT_SECONDS) }
    }
}
