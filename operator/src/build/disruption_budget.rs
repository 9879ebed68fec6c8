//! How many pods somebody else may take away, as by draining a machine.
//!
//! Kubernetes counts Ready pods, and a Ready voter may still be behind. So the budget asks for one more pod for each of
//! those: what remains is always a majority that is caught up. While the operator itself has stopped a pod, nobody else
//! may.

use serde_json::json;

use super::{Blueprint, Child, Kind, VOTER_LABEL};

/// What the budget follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub voters: u32,
    /// Voters whose pods are Ready and which are not caught up.
    pub ready_but_behind: u32,
    /// A pod was stopped by the operator, or the voters are changing.
    pub is_unsettled: bool,
}

impl Budget {
    /// None for a single voter: a budget that can never be met would only keep its machine from being drained.
    #[must_use]
    pub fn min_available(self) -> Option<u32> {
        if self.voters <= 1 {
            return None;
        }
        if self.is_unsettled {
            return Some(self.voters);
        }
        Some((self.voters / 2 + 1 + self.ready_but_behind).min(self.voters))
    }
}

/// None if there is to be no budget.
#[must_use]
pub fn disruption_budget(blueprint: &Blueprint<'_>, budget: Budget) -> Option<Child> {
    let mut selector = blueprint.selector();
    selector[VOTER_LABEL] = json!("true");
    let name = blueprint.name.clone();
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": blueprint.metadata(&name),
        "spec": {
            "minAvailable": budget.min_available()?,
            "selector": { "matchLabels": selector },
            // AlwaysAllow would let pods go that live and wait for a leader.
            "unhealthyPodEvictionPolicy": "IfHealthyBudget",
        },
    });
    Some(Child { kind: Kind::DisruptionBudget, name, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagging_voter_tightens_the_budget_at_once() {
        let budget =
            |voters, ready_but_behind, is_unsettled| Budget { voters, ready_but_behind, is_unsettled }.min_available();
        assert_eq!(budget(3, 0, false), Some(2));
        assert_eq!(budget(3, 1, false), Some(3), "two of them would leave one that is caught up");
        assert_eq!(budget(5, 0, false), Some(3));
        assert_eq!(budget(5, 1, false), Some(4));
        assert_eq!(budget(5, 3, false), Some(5), "never more than there are");
        assert_eq!(budget(5, 0, true), Some(5), "one of them is away already");
        assert_eq!(budget(1, 0, false), None);
        assert_eq!(budget(0, 0, false), None);
    }
}
