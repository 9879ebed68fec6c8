//! Calm weather: every fault is over, and within a bound the cluster has to elect, be what is wanted, converge, and
//! serve.

use std::sync::Arc;
use std::time::Duration;

use carrel_node::replica::Freshness;
use openraft::type_config::TypeConfigExt;

use crate::clients::{Attempted, Client};
use crate::draw::SLOTS;
use crate::library::{JUDGED_SEATS, seat, slot_of_time};
use crate::marks::Mark;
use crate::postgres::differences;
use crate::steward::Steward;
use crate::world::{Rt, World};

/// From the end of all faults to the last answer. A lost disk is replaced in it, and a size reached that was wanted
/// just before; a call that was sent into the storm is given up after ten seconds.
pub const CALM_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// For the record to catch up, and to be compared.
const PROOF_LIMIT: Duration = Duration::from_secs(30);
const WRITES: u64 = 10;
const READS: u64 = 10;

/// Ends everything that goes wrong.
pub fn calm_down(world: &World) {
    world.story.tell(format_args!("calm weather"));
    world.network.calm_down();
    world.postgres.calm_down();
    for slot in 0..SLOTS {
        world.temper(slot).set_sync_us(300);
        world.disk(slot).limit(None);
        if let Some(process) = world.process(slot) {
            process.go_on();
        }
    }
}

/// How long it took.
///
/// # Errors
/// Says what did not come about in time.
pub async fn serve(world: &Arc<World>, steward: &Steward, mut client: Client) -> Result<Duration, String> {
    let began = world.time.elapsed();
    let limit = began + CALM_LIMIT;
    let late = |world: &World| world.time.elapsed() > limit;
    while !(steward.is_settled() && is_whole(world, steward)) {
        if late(world) {
            return Err(format!(
                "the cluster is not whole {CALM_LIMIT:?} after the last fault: {}; {}",
                steward.last_plan(),
                standing(world)
            ));
        }
        Rt::sleep(LOOK_EVERY).await;
    }
    for number in 0..WRITES {
        let interval = slot_of_time(20 + number % 10, 1);
        let place = (number % u64::from(JUDGED_SEATS)) as u32;
        let wish = carrel_domain::request::Wish::of_seat(seat(place), interval);
        let action = carrel_domain::request::Action::Reserve { wish };
        let request = client.person.request(u128::from(client.recorder.next_request()), action);
        loop {
            if late(world) {
                return Err(format!("write {number} is not answered {CALM_LIMIT:?} after the last fault"));
            }
            if let Attempted::Said(_) = client.attempt(request.clone()).await {
                break;
            }
            client.go_on(true);
            Rt::sleep(LOOK_EVERY).await;
        }
    }
    for number in 0..READS {
        let members = world.wanted();
        client.at = members[number as usize % members.len()];
        while client.read().await.is_none() {
            if late(world) {
                return Err(format!("machine {} answers no read {CALM_LIMIT:?} after the last fault", client.at));
            }
            Rt::sleep(LOOK_EVERY).await;
        }
    }
    world.marks.hit(Mark::Calm);
    Ok(world.time.elapsed() - began)
}

/// Everything that shall run runs, serves, and has applied what the others have.
fn is_whole(world: &World, steward: &Steward) -> bool {
    let wanted = world.wanted();
    let nodes: Vec<_> = wanted.iter().filter_map(|slot| world.node(*slot)).map(|(_, node)| node.figures()).collect();
    let most = nodes.iter().map(|node| node.commit_index).max().unwrap_or(0);
    wanted.len() == steward.wanted() as usize
        && nodes.len() == wanted.len()
        // Time goes on by an entry now and then.
        && nodes.iter().all(|node| node.serves && node.applied_index + 3 >= most && node.leader.is_some())
}

fn standing(world: &World) -> String {
    let said = world.wanted().into_iter().map(|slot| match world.node(slot) {
        None => format!("machine {slot}: nothing runs"),
        Some((process, node)) => {
            let figures = node.figures();
            format!(
                "machine {slot}: {:?} node {:?} term {} leader {:?} last {} committed {} applied {} serves {}",
                process.standing(),
                figures.node_id,
                figures.term,
                figures.leader,
                figures.last_log_index,
                figures.commit_index,
                figures.applied_index,
                figures.serves
            )
        }
    });
    said.collect::<Vec<_>>().join("; ")
}

/// The state of each member once all have applied the same; by machine.
///
/// # Errors
/// Says who is behind.
pub async fn meet(world: &Arc<World>) -> Result<Vec<carrel_node::replica::View>, String> {
    let newest = world.running().into_iter().filter_map(|slot| Some(world.node(slot)?.1.figures().commit_index)).max();
    let Some(index) = newest else { return Err("nothing runs".to_owned()) };
    let mut views = Vec::new();
    for slot in world.wanted() {
        let token = Freshness::AtLeast { lineage: 0, index };
        let asked =
            world.ask(slot, Duration::from_secs(5), move |node| async move { node.replica().read(token).await });
        match asked.await {
            Some(Ok(view)) => views.push(view),
            Some(Err(error)) => return Err(format!("machine {slot} cannot be read in calm weather: {error}")),
            None => return Err(format!("machine {slot} does not answer in calm weather")),
        }
    }
    Ok(views)
}

/// The record is exactly what the leader's state is.
///
/// # Errors
/// Says where they differ, or what is in the way.
pub async fn prove_record(world: &Arc<World>) -> Result<(), String> {
    let limit = world.time.elapsed() + CALM_LIMIT;
    let mut said = "nobody leads".to_owned();
    while world.time.elapsed() < limit {
        let projection = world.leader().and_then(|slot| Some((slot, world.projection(slot)?)));
        if let Some((slot, projection)) = projection {
            let asked = world.ask(slot, PROOF_LIMIT, move |_| async move { projection.prove().await });
            match asked.await {
                Some(Ok(proof)) if proof.holds() && proof.parked == 0 => return Ok(()),
                Some(Ok(proof)) => return Err(differences(&proof)),
                Some(Err(error)) => said = error.to_string(),
                None => "it is not proved in time".clone_into(&mut said),
            }
        }
        Rt::sleep(LOOK_EVERY).await;
    }
    Err(format!("the record cannot be proved {CALM_LIMIT:?} after the last fault: {said}"))
}
