//! What must hold after every entry, checked from scratch: slow, and independent of the indexes that the rules use.
//!
//! The numbers are those of the invariants list: I1 no double booking, I2 nobody in two places, I5 records, I6 claims
//! and their deadlines, I8 one offer per wait, I9 nobody waits for what is free, I10 quotas, I11 strikes, I12 inbox,
//! I13 unread, I22 no claim on a seat that is gone or closed. Properties, stories and the simulation use the same ones.

use std::collections::BTreeMap;

use crate::account::Live;
use crate::claim::Claim;
use crate::id::ClaimId;
use crate::state::State;

mod claims;
mod waits;
mod people;
mod streams;
mod ledger;

pub use ledger::Ledger;
pub use waits::passed_over;

/// Something that must never be, in words that name what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

/// Looks at a state and adds what it finds.
type Check = fn(&State, &mut Vec<String>);

/// Everything that is wrong with a state; nothing, if the rules are right.
#[must_use]
pub fn check(state: &State) -> Vec<Violation> {
    let checks: [(&'static str, Check); 15] = [
        ("I1 no double booking", claims::seats_are_one_persons),
        ("I2 nobody in two places", claims::people_are_in_one_place),
        ("I5 request records", people::records_are_counted),
        ("I6 claims and waits have their deadlines", claims::deadlines_belong_to_the_living),
        ("I6 terminal claims are in no index", claims::books_hold_the_blocking),
        ("I8 one live offer per wait", waits::offers_answer_waits),
        ("I8 one live offer and one hold per person", waits::nobody_has_two_offers),
        ("I9 nobody waits for what is free", waits::nobody_waits_for_what_is_free),
        ("I10 quotas", people::quotas_hold),
        ("I11 strikes", people::strikes_have_causes),
        ("I12 inbox", streams::streams_are_counted),
        ("I13 read cursor", streams::unread_is_a_recount),
        ("I22 no claim on a seat that is gone or closed", claims::seats_of_claims_exist),
        ("I22 only the institution closes", claims::only_the_institution_closes),
        ("accounts", people::accounts_are_indexed),
    ];
    let mut violations = Vec::new();
    for (invariant, check) in checks {
        let mut found = Vec::new();
        check(state, &mut found);
        violations.extend(found.into_iter().map(|what| Violation { invariant, what }));
    }
    violations
}

fn blocking(state: &State) -> impl Iterator<Item = Claim> {
    state.claims.iter().filter(|claim| claim.state.is_blocking())
}

/// Claims by somebody or something, each in order of their starts.
fn grouped<K: Ord>(state: &State, key: impl Fn(&Claim) -> Option<K>) -> BTreeMap<K, Vec<Live>> {
    let mut groups: BTreeMap<K, Vec<Live>> = BTreeMap::new();
    for claim in blocking(state) {
        if let Some(key) = key(&claim) {
            groups.entry(key).or_default().push(Live { interval: claim.interval, claim: claim.id });
        }
    }
    for live in groups.values_mut() {
        live.sort_by_key(|live| live.interval.start());
    }
    groups
}

fn overlaps(live: &[Live]) -> impl Iterator<Item = (ClaimId, ClaimId)> {
    live.windows(2)
        .filter(|pair| pair[0].interval.overlaps(pair[1].interval))
        .map(|pair| (pair[0].claim, pair[1].claim))
}
