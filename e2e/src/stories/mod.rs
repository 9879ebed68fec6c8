//! The stories, in the order in which they are told.

mod install;
mod machines;
mod pods;
mod rules;
mod size;
mod surroundings;
mod upgrades;
mod volumes;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use crate::ground::Ground;
use crate::report::Figure;

pub type Telling = LocalBoxFuture<'static, anyhow::Result<Vec<Figure>>>;

pub struct Story {
    pub name: &'static str,
    /// A sentence without its full stop.
    pub what: &'static str,
    /// Every landing tells it.
    pub is_short: bool,
    pub needs_localkube: bool,
    pub tell: fn(Arc<Ground>) -> Telling,
}

const fn story(name: &'static str, what: &'static str, tell: fn(Arc<Ground>) -> Telling) -> Story {
    Story { name, what, is_short: false, needs_localkube: false, tell }
}

const fn short(name: &'static str, what: &'static str, tell: fn(Arc<Ground>) -> Telling) -> Story {
    Story { name, what, is_short: true, needs_localkube: false, tell }
}

const fn machines(name: &'static str, what: &'static str, tell: fn(Arc<Ground>) -> Telling) -> Story {
    Story { name, what, is_short: false, needs_localkube: true, tell }
}

pub fn all() -> Vec<Story> {
    vec![
        short("install", "One command installs it, and `helm test` books a seat", |g| Box::pin(install::three(g))),
        short("leader-deleted", "The leader's pod is deleted, again and again", |g| Box::pin(pods::leader_deleted(g))),
        short("scale", "Three nodes become five and three again", |g| Box::pin(size::up_and_down(g))),
        short("volume-lost", "A follower's pod is gone, and its volume with it", |g| Box::pin(volumes::of_follower(g))),
        short("roll", "Another image is rolled out", |g| Box::pin(upgrades::roll(g))),
        story("single", "The same with a single node", |g| Box::pin(install::single(g))),
        story("reinstall", "Uninstalled and installed again, with every booking", |g| Box::pin(install::again(g))),
        story("volume-lost-full", "The same with a hundred thousand live reservations", |g| {
            Box::pin(volumes::of_follower_of_a_full_library(g))
        }),
        story("follower-deleted", "A follower's pod is deleted", |g| Box::pin(pods::follower_deleted(g))),
        story("leader-killed", "The leader's pod goes without a word", |g| Box::pin(pods::leader_killed(g))),
        story("all-deleted", "All pods are deleted at once", |g| Box::pin(pods::all_deleted(g))),
        story("leaders-volume-lost", "The leader's pod and volume are gone", |g| Box::pin(volumes::of_leader(g))),
        story("first-volume-lost", "Pod and volume of ordinal 0 are gone", |g| Box::pin(volumes::of_first(g))),
        story("stale-volume", "A new node finds the volume of another cluster", |g| Box::pin(volumes::of_another(g))),
        story(
            "majority-lost",
            "Two of three volumes are gone; nothing is made up, and what is approved is done",
            |g| Box::pin(volumes::of_majority(g)),
        ),
        story("restored", "All volumes are gone, and a backup is restored", |g| Box::pin(volumes::of_all(g))),
        story("one-to-five", "One node becomes three and five, and one again", |g| Box::pin(size::one_to_five(g))),
        story("unschedulable", "Two more nodes are wanted, and no machine takes them", |g| {
            Box::pin(size::nowhere_to_go(g))
        }),
        story("bad-image", "An image that does not start is given up, and another rolled out", |g| {
            Box::pin(upgrades::bad_image(g))
        }),
        story("upgrade", "The release is upgraded and rolled back, its size changed by hand before", |g| {
            Box::pin(upgrades::release(g))
        }),
        story("mixed", "Nodes of two images work together, and the newer one is rolled back", |g| {
            Box::pin(upgrades::mixed(g))
        }),
        story("hibernate", "All nodes are put to sleep and woken", |g| Box::pin(size::hibernate(g))),
        story("operator-killed", "Operators are killed while the cluster grows", |g| {
            Box::pin(upgrades::operator_killed(g))
        }),
        story("operator-upgraded", "The operator is another, and no node is restarted for that", |g| {
            Box::pin(upgrades::operator_upgraded(g))
        }),
        story("certificates", "The authority that signs for the nodes is followed by another", |g| {
            Box::pin(surroundings::keys_changed(g))
        }),
        story("postgres", "The database is killed, is away, and comes back", |g| {
            Box::pin(surroundings::database_killed(g))
        }),
        story("status-erased", "The status of the object is erased", |g| Box::pin(rules::status_erased(g))),
        story("rules", "What makes no sense is refused by the API server", |g| Box::pin(rules::refused(g))),
        story("backup", "Backups are saved while clients book", |g| Box::pin(rules::backup(g))),
        story("namespace", "The namespace is deleted, with the quorum lost", |g| Box::pin(rules::namespace_deleted(g))),
        story("drain", "Each machine is drained in turn", |g| Box::pin(pods::drained(g))),
        machines("process-killed", "The leader's process is killed in its container", |g| {
            Box::pin(pods::process_killed(g))
        }),
        machines("names-late", "No name is known while it is installed", |g| Box::pin(surroundings::names_late(g))),
        machines("power-loss", "The leader's machine loses power, and comes back", |g| {
            Box::pin(machines::power_loss(g))
        }),
        machines("partition", "The leader's machine is cut off, and joined again", |g| {
            Box::pin(machines::partition(g))
        }),
    ]
}
