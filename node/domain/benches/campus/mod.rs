//! A campus of branches that are all alike and never close, and ids as clients draw them: for libraries of any size.

use carrel_domain::catalog::{AreaDraft, BranchDraft, Draft, Hours, Policy, PolicyDraft, SeatDraft, Span};
use carrel_domain::id::TokenDigest;
use carrel_domain::text::{Slug, Title};

pub struct Campus {
    pub branches: usize,
    /// Of each branch.
    pub areas: usize,
    /// Of one person.
    pub max_reservations: u32,
}

impl Campus {
    /// With these seats in the areas of every branch, by the number of the area.
    pub fn draft(&self, seats: impl Fn(usize) -> Vec<SeatDraft>) -> Draft {
        let day = || vec![Span { open_minute: 0, close_minute: 1440 }];
        let week = [day(), day(), day(), day(), day(), day(), day()];
        let hours = Hours { week, periods: Vec::new(), exceptions: Vec::new() };
        let area = |area: usize| AreaDraft {
            id: slug(format!("area-{area}")),
            title: title("Area"),
            policy: None,
            hours: None,
            seats: seats(area),
        };
        let branch = |branch: usize| BranchDraft {
            id: slug(format!("branch-{branch}")),
            title: title("Branch"),
            time_zone: title("Etc/UTC"),
            policy: slug("day".to_owned()),
            hours: hours.clone(),
            meals: Vec::new(),
            areas: (0..self.areas).map(area).collect(),
        };
        let rules = Policy {
            grid_minutes: 60,
            min_minutes: 60,
            max_minutes: 240,
            window_days: 14,
            grace_minutes: 15,
            lead_minutes: 15,
            offer_minutes: 10,
            max_reservations: self.max_reservations,
            max_minutes_per_day: 1440,
            strikes_to_suspend: 3,
            strike_days: 30,
            suspension_days: 7,
            ..Policy::default()
        };
        Draft {
            policies: vec![PolicyDraft { id: slug("day".to_owned()), rules }],
            branches: (0..self.branches).map(branch).collect(),
        }
    }
}

/// Ids as a client draws them: all over the place.
pub fn scattered(index: u64) -> u128 {
    let mixed = |seed: u64| {
        let x = (index ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    u128::from(mixed(0)) << 64 | u128::from(mixed(0x5bd1_e995))
}

pub fn token(user: u64) -> TokenDigest {
    TokenDigest(scattered(user).to_be_bytes())
}

pub fn slug(text: String) -> Slug {
    Slug::new(&text).expect("a slug")
}

pub fn title(text: &str) -> Title {
    Title::new(text).expect("a title")
}
