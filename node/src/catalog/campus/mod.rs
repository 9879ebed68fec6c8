//! The sample campus: eight invented branches on two continents, laid out by a seeded generator.
//!
//! It is what a new installation can import at once, what the demo shows, and what the bench fills. The first area of
//! the first branch never closes, so that there is something to book at any hour.

mod hours;
mod layout;
mod plan;

use carrel_proto::v1;

use self::layout::Dice;
use self::plan::{AreaPlan, BRANCHES, BranchPlan};
use crate::convert::policy;

/// The campus as it ships: `generate(SEED)`, written by `write_yaml`.
pub const CAMPUS_YAML: &str = include_str!("../../../catalog/campus.yaml");
pub const SEED: u64 = 1;

/// A whole campus. The same seed gives the same campus.
#[must_use]
pub fn generate(seed: u64) -> v1::Catalog {
    let mut dice = Dice::new(seed);
    v1::Catalog { policies: policies(), branches: BRANCHES.iter().map(|plan| branch(plan, &mut dice)).collect() }
}

fn branch(plan: &BranchPlan, dice: &mut Dice) -> v1::Branch {
    let BranchPlan { id, display_name, region, weekdays, saturday, sunday, areas } = plan;
    // Seats are unique in their branch: each area has a letter of its own.
    let letters = 'a'..='z';
    v1::Branch {
        id: (*id).to_owned(),
        display_name: (*display_name).to_owned(),
        time_zone: region.time_zone().to_owned(),
        policy: "default".to_owned(),
        hours: Some(hours::branch_hours(*region, weekdays, saturday, sunday)),
        areas: areas.iter().zip(letters).map(|(plan, letter)| area(plan, letter, dice)).collect(),
        meals: Some(hours::meals()),
    }
}

fn area(plan: &AreaPlan, letter: char, dice: &mut Dice) -> v1::Area {
    let AreaPlan { id, display_name, layout, seats, policy, never_closes } = plan;
    v1::Area {
        id: (*id).to_owned(),
        display_name: (*display_name).to_owned(),
        policy: (*policy).to_owned(),
        hours: never_closes.then(hours::always),
        seats: layout::seats(*layout, *seats, letter, dice),
    }
}

fn policies() -> Vec<v1::Policy> {
    let default = v1::Policy {
        id: "default".to_owned(),
        grid_minutes: 30,
        min_minutes: 30,
        max_minutes: 480,
        window_days: 14,
        grace_minutes: 15,
        lead_minutes: 15,
        offer_minutes: 10,
        max_reservations: 6,
        max_minutes_per_day: 600,
        strikes_to_suspend: 3,
        strike_days: 30,
        suspension_days: 3,
        ..policy::usual()
    };
    let group_rooms = v1::Policy {
        id: "group-rooms".to_owned(),
        min_minutes: 60,
        max_minutes: 180,
        window_days: 7,
        grace_minutes: 10,
        max_reservations: 3,
        max_minutes_per_day: 240,
        strikes_to_suspend: 2,
        suspension_days: 7,
        ..default.clone()
    };
    let carrels = v1::Policy {
        id: "carrels".to_owned(),
        grid_minutes: 60,
        min_minutes: 120,
        max_minutes: 600,
        grace_minutes: 30,
        lead_minutes: 30,
        offer_minutes: 20,
        max_reservations: 4,
        proof_required: Some(true),
        ..default.clone()
    };
    vec![default, group_rooms, carrels]
}
