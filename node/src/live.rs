//! The parts as they are in a server: a real disk, tokio, tonic.

use std::time::Duration;

use carrel_domain::reply::Answer;
use carrel_domain::request::Request;

use crate::grpc::library::Library;
use crate::raft::node::Node;
use crate::raft::platform::Server;
use crate::raft::transport::Links;
use crate::replica::{Freshness, ReadError, Replica, View, WriteError};

pub type LiveNode = Node<Server, Links<Server>>;
pub type LiveReplica = Replica<Server, Links<Server>>;

impl Library for LiveReplica {
    async fn write(&self, request: Request, within: Duration) -> Result<Answer, WriteError> {
        self.write_within(request, within).await
    }

    fn takes_writes(&self) -> Result<usize, WriteError> {
        Replica::takes_writes(self)
    }

    async fn read(&self, freshness: Freshness) -> Result<View, ReadError> {
        Replica::read(self, freshness).await
    }

    fn view(&self) -> View {
        Replica::view(self)
    }

    async fn view_after(&self, index: u64) -> View {
        let mut changes = self.changes();
        match changes.wait_for(|applied| applied.is_some_and(|applied| applied > index)).await {
            Some(_) => Replica::view(self),
            // The node has stopped: there will be no other view.
            None => std::future::pending().await,
        }
    }

    fn lineage(&self) -> u32 {
        // Before the node has joined nothing is answered, so nothing is made of it.
        Replica::lineage(self).unwrap_or_default()
    }
}
