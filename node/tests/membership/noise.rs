//! Noise on the ports of a cluster that serves: random bytes, messages cut short or with wrong bits, too long, said
//! before, or meant for others. Each is refused, nobody dies of it, and not even an election comes of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BufMut};
use carrel_proto::peer::v1 as wire;
use carrel_proto::peer::v1::propose_request::Proposal;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::load::Load;
use crate::nodes::Nodes;

/// Of each kind, on each node.
const ROUNDS: u64 = 150;

/// Marsaglia's generator: enough to be a nuisance, and the same again for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).expect("it is below a usize")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll().to_le_bytes()[3]).collect()
    }

    /// Cut short, or with a few wrong bits, or both.
    fn spoil(&mut self, message: &[u8]) -> Vec<u8> {
        let mut spoiled = message.to_vec();
        if self.one_in(2) {
            spoiled.truncate(self.below(message.len() + 1));
        }
        if !spoiled.is_empty() && !self.one_in(3) {
            for _ in 0..=self.below(3) {
                let bit = self.below(spoiled.len() * 8);
                spoiled[bit / 8] ^= 1 << (bit % 8);
            }
        }
        spoiled
    }
}

/// Bytes as they are, on a method of the peers' service.
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = AsItIs;
    type Decoder = AsItIs;

    fn encoder(&mut self) -> AsItIs {
        AsItIs
    }

    fn decoder(&mut self) -> AsItIs {
        AsItIs
    }
}

impl Encoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

async fn say(channel: &Channel, method: &str, route: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(5));
    if let Ok(route) = route.parse() {
        request.metadata_mut().insert("carrel-route", route);
    }
    let path: PathAndQuery = format!("/carrel.peer.v1.PeerService/{method}").parse().expect("a path");
    Ok(grpc.unary(request, path, AsItIs).await?.into_inner())
}

/// Ballots that speak for no leader there has been since: whatever else is in a message, it is of the past.
fn of_the_past(method: &str, message: &[u8], term: u64) -> bool {
    let ballot = match method {
        "Vote" => wire::VoteRequest::decode(message).ok().and_then(|vote| vote.vote),
        "AppendEntries" => wire::AppendEntriesRequest::decode(message).ok().and_then(|append| append.vote),
        "TransferLeader" => wire::TransferLeaderRequest::decode(message).ok().and_then(|transfer| transfer.from_leader),
        // Asking decides nothing.
        _ => None,
    };
    ballot.is_none_or(|ballot| ballot.term < term)
}

fn log_id(term: u64, index: u64) -> Option<wire::LogId> {
    Some(wire::LogId { term, index })
}

fn proposing(body: &[u8]) -> Vec<u8> {
    let proposal = Proposal { number: 1, body: body.to_vec().into(), within_us: 1_000_000, ..Default::default() };
    wire::ProposeRequest { proposals: vec![proposal] }.encode_to_vec()
}

/// What was said in an earlier term, or could have been.
fn messages(from: u64, to: u64) -> Vec<(&'static str, Vec<u8>)> {
    let ballot = |committed| Some(wire::Ballot { term: 1, node_id: from, committed });
    let command = wire::entry::Command {
        at: 1_800_000_000_000_000,
        body: b"what was never said".to_vec().into(),
        ..Default::default()
    };
    let entry = wire::Entry { log_id: log_id(1, 4), payload: Some(wire::entry::Payload::Command(command)) };
    let vote = wire::VoteRequest { vote: ballot(false), last_log_id: log_id(1, 1 << 40), leadership_transfer: true };
    vec![
        ("Vote", vote.encode_to_vec()),
        ("PreVote", wire::PreVoteRequest { vote: Some(vote) }.encode_to_vec()),
        (
            "AppendEntries",
            wire::AppendEntriesRequest {
                vote: ballot(true),
                prev_log_id: log_id(1, 3),
                entries: vec![entry],
                leader_commit: log_id(1, 4),
            }
            .encode_to_vec(),
        ),
        (
            "TransferLeader",
            wire::TransferLeaderRequest { from_leader: ballot(true), to_node_id: to, last_log_id: log_id(1, 3) }
                .encode_to_vec(),
        ),
        ("Propose", proposing(b"\x01what is this")),
        ("ReadIndex", wire::ReadIndexRequest {}.encode_to_vec()),
        ("ReadStatus", wire::ReadStatusRequest {}.encode_to_vec()),
    ]
}

/// Whatever it is, it is not a client: the connection ends, or is ended from here.
fn shout(address: &str, noise: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a limit");
    // The other side may have hung up in the middle of it.
    let _ = stream.write_all(noise);
    let _ = stream.read(&mut [0; 256]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_refused_while_the_cluster_serves() {
    let nodes = Nodes::formed(3).await;
    // Two terms on, so that there is a past to speak of.
    for _ in 0..2 {
        nodes.transfer().await;
    }
    let leader = nodes.leader().await;
    let term = nodes.status(leader).await.expect("it answers").term;
    let load = Load::of(4, &nodes, Duration::from_millis(30)).await;
    let seed = Uuid::new_v4().as_u64_pair().0 | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut refused = 0;
    let mut answered = 0;

    let cluster = nodes.cluster_id.simple().to_string();
    let mut ids = Vec::new();
    for slot in 0..3 {
        ids.push(nodes.id(slot).await);
    }
    for slot in 0..3 {
        let (from, to) = (ids[(slot + 1) % 3], ids[slot]);
        let right = format!("{cluster}/0/{from}/{to}");
        let channel = Endpoint::from_shared(nodes.peer_url(slot)).expect("an address").connect_lazy();
        // Meant for others.
        for (route, why) in [
            (format!("{}/0/{from}/{to}", Uuid::new_v4().simple()), "another cluster"),
            (format!("{cluster}/1/{from}/{to}"), "lineage 1"),
            (format!("{cluster}/0/{from}/{from}"), "this is node"),
            (format!("{cluster}/0/{from}"), "cannot be understood"),
            (String::new(), "cannot be understood"),
        ] {
            for (method, message) in messages(from, to) {
                let status = say(&channel, method, &route, message).await.expect_err("it is for another");
                assert_eq!(status.code(), Code::FailedPrecondition, "{method}: {status}");
                assert!(status.message().contains(why), "{method} on {route}: {status}");
            }
        }
        // Said before: answered by the word that times have changed, and nothing is done.
        for (method, message) in messages(from, to) {
            say(&channel, method, &right, message).await.ok();
        }
        // Out of this world.
        let vote = wire::VoteRequest {
            vote: Some(wire::Ballot { term: u64::MAX, node_id: from, committed: false }),
            last_log_id: log_id(u64::MAX, u64::MAX),
            leadership_transfer: true,
        };
        let status = say(&channel, "Vote", &right, vote.encode_to_vec()).await.expect_err("no such term");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        // Too long.
        let status = say(&channel, "Propose", &right, proposing(&vec![7; 17 << 20])).await;
        assert!(status.is_err(), "17 MiB are too many");

        for _ in 0..ROUNDS {
            for (method, message) in messages(from, to) {
                let spoiled = dice.spoil(&message);
                if !of_the_past(method, &spoiled, term) {
                    continue;
                }
                match say(&channel, method, &right, spoiled).await {
                    Ok(_) => answered += 1,
                    Err(_) => refused += 1,
                }
            }
            let length = dice.below(2_000);
            let mut noise = if dice.one_in(2) { b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec() } else { Vec::new() };
            noise.extend(dice.bytes(length));
            let urls = [nodes.peer_url(slot), nodes.admin_url(slot), nodes.url(slot)];
            let address = urls[dice.below(3)].trim_start_matches("http://").to_owned();
            tokio::task::spawn_blocking(move || shout(&address, &noise)).await.expect("no panic");
        }
    }
    println!("{refused} spoiled messages were refused, {answered} still made sense and were answered");
    assert!(refused > 300, "{refused}");

    let written = load.end().await;
    println!("{} writes meanwhile, none failed, none lost, none doubled", written.len());
    let mut nodes = nodes;
    for slot in 0..3 {
        assert!(nodes.is_alive(slot), "node {slot} died of it");
    }
    let after = nodes.status(nodes.leader().await).await.expect("it answers");
    assert_eq!((after.leader, after.term), (ids[leader], term), "not even an election came of it");
}
