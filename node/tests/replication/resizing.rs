//! Clusters that change their size under load, with the leader among those that leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_node::raft::platform::Platform;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::types::Types;
use carrel_node::replica::{Freshness, Replica};
use openraft::Instant;
use openraft::alias::InstantOf;
use openraft::type_config::TypeConfigExt;

use crate::cluster::{Cluster, knows, registration};
use crate::machines::Machines;
use crate::wires::Wire;

const CLIENTS: usize = 6;
/// A client asks node after node for so long, as ours do, before it gives up.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts, and between two requests.
const CLIENT_PAUSE: Duration = Duration::from_millis(10);

type Served<P> = Arc<Mutex<Vec<Replica<P, Wire<P>>>>>;
type At<P> = InstantOf<Types<<P as Platform>::Runtime>>;

/// A name that was registered, and when its client knew.
struct Acknowledged<P: Platform> {
    name: String,
    at: At<P>,
}

/// What the clients share.
struct Load<P: Platform> {
    replicas: Served<P>,
    acknowledged: Arc<Mutex<Vec<Acknowledged<P>>>>,
    stop: Arc<AtomicBool>,
}

impl<P: Platform> Load<P> {
    /// Each request on node after node until one has answered it.
    async fn work(self, client: usize) -> Result<(), String> {
        let mut turn = client;
        for number in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let name = format!("c{client}-{number}");
            let begun = Types::<P::Runtime>::now();
            let answer = loop {
                let replica = {
                    let replicas = self.replicas.lock().expect("no panics");
                    replicas[turn % replicas.len()].clone()
                };
                match replica.write(registration(&name)).await {
                    Ok(answer) => break answer,
                    Err(error) if begun.elapsed() > CLIENT_PATIENCE => return Err(format!("{name}: {error}")),
                    Err(_) => turn += 1,
                }
                Types::<P::Runtime>::sleep(CLIENT_PAUSE).await;
            };
            answer.result.map_err(|refusal| format!("{name}: {refusal:?}"))?;
            self.acknowledged.lock().expect("no panics").push(Acknowledged { name, at: Types::<P::Runtime>::now() });
            Types::<P::Runtime>::sleep(CLIENT_PAUSE).await;
        }
        Ok(())
    }
}

impl<P: Platform> Clone for Load<P> {
    fn clone(&self) -> Self {
        Self {
            replicas: Arc::clone(&self.replicas),
            acknowledged: Arc::clone(&self.acknowledged),
            stop: Arc::clone(&self.stop),
        }
    }
}

pub async fn it_grows_to_seven_and_shrinks_to_one_under_load<M: Machines>() {
    let mut cluster = Cluster::<M>::alone(Settings::default()).await;
    cluster.until("it serves", || cluster.replica(0).serving().is_ok()).await;
    let load: Load<M::Platform> = Load {
        replicas: Arc::new(Mutex::new(vec![cluster.replica(0)])),
        acknowledged: Arc::default(),
        stop: Arc::default(),
    };
    type Runtime<M> = Types<<<M as Machines>::Platform as Platform>::Runtime>;
    let clients: Vec<_> = (0..CLIENTS).map(|client| Runtime::<M>::spawn(load.clone().work(client))).collect();
    let mut told = Vec::new();

    for size in [3, 5, 7] {
        let begun = cluster.now();
        for slot in size - 2..size {
            cluster.start(slot).await;
            cluster.take_in(slot).await;
        }
        let slots: Vec<usize> = (0..size).collect();
        cluster.make_voters(&slots).await;
        *load.replicas.lock().expect("no panics") = slots.iter().map(|slot| cluster.replica(*slot)).collect();
        cluster.pause(Duration::from_millis(500)).await;
        told.push((format!("{} to {size}", size - 2), begun, cluster.now()));
    }
    for size in [5, 3, 1] {
        let begun = cluster.now();
        let leader = cluster.leader().await;
        let leaving: Vec<usize> =
            [leader].into_iter().chain(cluster.running().filter(|slot| *slot != leader)).take(2).collect();
        let stay: Vec<usize> = cluster.running().filter(|slot| !leaving.contains(slot)).collect();
        assert_eq!(stay.len(), size);
        cluster.make_voters(&stay).await;
        let is_led = || stay.iter().any(|slot| cluster.replica(*slot).leadership().get().is_some());
        cluster.until("one of those that stay leads", is_led).await;
        let next = cluster.leader().await;
        assert!(stay.contains(&next), "{next} of {stay:?}");
        for slot in &leaving {
            let removed = cluster.node(next).remove_node(cluster.id(*slot)).await;
            removed.expect("it votes no more");
        }
        *load.replicas.lock().expect("no panics") = stay.iter().map(|slot| cluster.replica(*slot)).collect();
        for slot in leaving {
            cluster.stop(slot).await;
        }
        cluster.pause(Duration::from_millis(500)).await;
        told.push((format!("{} to {size}, the leader among those that left", size + 2), begun, cluster.now()));
    }

    load.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no panic").expect("every request is done in the end");
    }
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().expect("no panics"));
    let mut answered: Vec<_> = acknowledged.iter().map(|write| write.at).collect();
    answered.sort_unstable();
    for (what, begun, ended) in told {
        let mut longest = Duration::ZERO;
        let mut before = begun;
        for at in answered.iter().copied().filter(|at| (begun..=ended).contains(at)).chain([ended]) {
            longest = longest.max(at.saturating_duration_since(before));
            before = at;
        }
        println!("{what}: longest gap between acknowledged writes {longest:?}");
        assert!(longest < M::FAILOVER_LIMIT, "{what}: {longest:?}");
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let survivor = cluster.leader().await;
    let view = cluster.replica(survivor).read(Freshness::Linearizable).await.expect("one is a majority");
    for Acknowledged { name, .. } in &acknowledged {
        assert!(knows(&view, name), "{name} was acknowledged and is lost");
    }
    println!("{} writes, none lost, none refused", acknowledged.len());
}
