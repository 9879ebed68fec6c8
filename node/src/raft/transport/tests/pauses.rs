//! A peer that stands still for a while, as a process that is paused: its callers give up, and the connection keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::network::RPCOption;
use openraft::raft::VoteRequest;
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::net::{TcpListener, TcpStream};

use super::stub::{CALLER, STUB, Stub, at, limits, owner};
use crate::raft::platform::Server;
use crate::raft::transport::{Addresses, Links};
use crate::raft::types::{Member, Vote};

/// Shorter than it takes to find out that a peer has gone.
const PAUSE: Duration = Duration::from_millis(1500);
/// What thousands of clients and a heartbeat every 60 ms leave behind in that time.
const GIVEN_UP: usize = 300;

/// A way to an address, and how many connections have gone it.
async fn counted_way(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.expect("it listens");
            counted.fetch_add(1, Ordering::SeqCst);
            let mut onward = TcpStream::connect(to).await.expect("the peer listens");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut onward).await });
        }
    });
    (address, connections)
}

#[test]
fn what_callers_gave_up_on_during_a_pause_costs_no_connection() {
    let (pause, asked) = channel::<Duration>();
    let (say, said) = channel();
    let peer = std::thread::spawn(move || {
        // One thread does everything, so that nothing is done while it sleeps.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let stub = Stub::start(dir.path(), None).await;
            say.send(stub.address).expect("the test listens");
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                match asked.try_recv() {
                    Ok(pause) => std::thread::sleep(pause),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        });
    });
    let address = said.recv().expect("the peer starts");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (way, connections) = counted_way(address).await;
        let addresses: Arc<Addresses> = Arc::new(move |_| Some(at(way)));
        let links = Links::<Server>::new(owner(CALLER), limits(), addresses, None);
        let vote = async |limit: Duration| {
            let mut link = links.clone().new_heartbeat_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
            link.vote(VoteRequest::new(Vote::new(9, CALLER), None), RPCOption::new(limit)).await
        };
        vote(Duration::from_secs(5)).await.expect("it answers");

        pause.send(PAUSE).expect("the peer lives");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answers = join_all((0..GIVEN_UP).map(|_| vote(Duration::from_millis(200)))).await;
        assert!(answers.iter().all(Result::is_err), "it stands still");
        tokio::time::sleep(PAUSE).await;
        for _ in 0..20 {
            vote(Duration::from_secs(2)).await.expect("it answers again");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1, "the connection was thrown away");
    });
    drop(pause);
    peer.join().expect("the peer ends");
}
