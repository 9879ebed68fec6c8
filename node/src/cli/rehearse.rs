//! A rehearsal: an account that is made for it books the first free seat, every node is asked for that, and all of it
//! is undone again. What `helm test` runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use carrel_proto::client::{Client, ClientError, Options, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::reservation::State;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use tonic::Code;

use super::context::{Context, connect, print};
use super::errors::Failure;
use super::names::short;
use crate::provision::read_credentials;

/// How far ahead a seat is looked for: a library may be closed over holidays, not for longer than a booking window.
const HOURS: i64 = 7 * 24;
/// What a policy may take for too short or too long, in the order in which they are tried.
const LENGTHS_MINUTES: [i64; 4] = [60, 120, 30, 240];
/// Seats that are tried for one interval: those of one area are refused alike, and areas differ.
const SEATS_TRIED: usize = 3;
/// Names are asked again after so long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

type Nodes = BTreeMap<SocketAddr, Client>;

/// Try the whole cluster out: book as an account made for it, read that from every node, undo all of it
///
/// Every address behind the names of the endpoints counts as a node: with the name of a headless Service, each that is
/// ready. Needs nobody to be logged in and leaves nothing but entries of the log.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  carrel rehearse --endpoints http://library-clients:7400")]
pub(super) struct Rehearse {
    /// Fail if fewer nodes than this answer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    nodes: u32,

    /// Wait so long for that many to be there: a name has addresses only once nodes take clients
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3600))]
    within: u64,

    /// A file with a name on its first line and a password on its second: who makes the account, where people make
    /// none for themselves. That of the first admin will do
    #[arg(long, value_name = "FILE")]
    staff_file: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, rehearse: &Rehearse) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(rehearse.within);
    let nodes = loop {
        match enough(nodes(context).await, rehearse.nodes as usize) {
            Err(_) if Instant::now() < until => tokio::time::sleep(ASK_AGAIN_AFTER).await,
            found => break found?,
        }
    };
    let user_id = format!("rehearsal-{}", &new_request_id()[..8]);
    let password = new_request_id();
    let anonymous = context.anonymous();
    let register =
        v1::RegisterRequest { request_id: new_request_id(), user_id: user_id.clone(), password: password.clone() };
    match &rehearse.staff_file {
        None => drop(context.wait(anonymous.register(register)).await?),
        Some(file) => {
            let (user_id, password) = read_credentials(file)?;
            let login = context.wait(anonymous.login(v1::LoginRequest { user_id, password })).await?;
            let staff =
                context.anonymous().with_session(&login.session_token).context("the session token is no text")?;
            let registered = context.wait(staff.register(register)).await;
            // It would end by itself, much later.
            context.wait(staff.logout(v1::LogoutRequest { request_id: new_request_id() })).await?;
            registered?;
        }
    }
    let login = context.wait(anonymous.login(v1::LoginRequest { user_id: user_id.clone(), password })).await?;
    let token = login.session_token;
    let own = anonymous.with_session(&token).context("the session token is no text")?;
    let outcome = book_and_cancel(&own, &nodes, &token).await;
    // Whatever became of it: the account goes, and with it whatever it still has.
    let delete = v1::DeleteUserRequest { request_id: new_request_id(), name: format!("users/{user_id}") };
    let deleted = context.wait(own.delete_user(delete)).await;
    let reservation = outcome?;
    deleted?;
    let addresses: Vec<String> = nodes.keys().map(ToString::to_string).collect();
    if context.is_json() {
        let answer = json!({ "reservation": reservation.name, "seat": reservation.seat, "nodes": addresses });
        return print(&answer.to_string());
    }
    let seat = short(&reservation.seat);
    print(&format!("Booked {seat}, read it from {} ({}), undone.", counted(nodes.len()), addresses.join(", ")))
}

fn enough(found: Result<Nodes, Failure>, wanted: usize) -> Result<Nodes, Failure> {
    let nodes = found?;
    if nodes.len() < wanted {
        return Err(anyhow!("{} nodes are there, of {wanted} at least", nodes.len()).into());
    }
    Ok(nodes)
}

fn counted(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

/// One client for each address behind the endpoints.
async fn nodes(context: &Context) -> Result<Nodes, Failure> {
    let mut nodes = BTreeMap::new();
    let mut troubles = Vec::new();
    for endpoint in context.anonymous().endpoints() {
        let uri: http::Uri = endpoint.parse().with_context(|| format!("{endpoint} is no address"))?;
        let scheme = uri.scheme_str().unwrap_or("http");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        match tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await {
            Ok(addresses) => {
                for address in addresses {
                    // The name is what its certificate must be valid for.
                    let tls = context.tls().map(|tls| tls.clone().expecting(host));
                    let url = format!("{scheme}://{address}");
                    nodes.insert(address, connect([url], Options::default(), tls.as_ref(), "--endpoints")?);
                }
            }
            Err(error) => troubles.push(format!("{host}: {error}")),
        }
    }
    if nodes.is_empty() {
        return Err(anyhow!("no node has an address: {}", troubles.join("; ")).into());
    }
    Ok(nodes)
}

async fn book_and_cancel(own: &Client, nodes: &Nodes, token: &str) -> anyhow::Result<v1::Reservation> {
    let reservation = book(own).await?;
    for (address, node) in nodes {
        let node = node.clone().with_session(token).context("the session token is no text")?;
        let request = v1::GetReservationRequest { name: reservation.name.clone(), read: None };
        let seen = node.get_reservation(request).await.with_context(|| format!("node {address}"))?.reservation;
        ensure!(seen.as_ref() == Some(&reservation), "node {address} has {seen:?}, booked was {reservation:?}");
    }
    let cancel = v1::CancelReservationRequest {
        request_id: new_request_id(),
        name: reservation.name.clone(),
        ..v1::CancelReservationRequest::default()
    };
    let cancelled = own.cancel_reservation(cancel).await?.reservation.context("an answer without a reservation")?;
    ensure!(cancelled.state() == State::Cancelled, "cancelled, and it is {:?}", cancelled.state());
    Ok(reservation)
}

/// The first seat that is free and may be booked.
async fn book(own: &Client) -> anyhow::Result<v1::Reservation> {
    let branches = own.list_branches(v1::ListBranchesRequest::default()).await?.branches;
    ensure!(!branches.is_empty(), "there is no branch yet: nothing can be booked");
    let this_hour = Timestamp::now().as_second().div_euclid(3600);
    let mut last_refusal = None;
    for hour in 1..=HOURS {
        let start = (this_hour + hour) * 3600;
        for branch in &branches {
            for length in LENGTHS_MINUTES {
                let interval = interval(start, length);
                for seat in free_seats(own, &branch.name, interval).await? {
                    let request = v1::CreateReservationRequest {
                        request_id: new_request_id(),
                        seat: seat.name,
                        interval: Some(interval),
                        ..v1::CreateReservationRequest::default()
                    };
                    match own.create_reservation(request).await {
                        Ok(answer) => return answer.reservation.context("an answer without a reservation"),
                        // By a rule: another seat, another length or another hour may be booked.
                        Err(ClientError::Refused(refusal)) if refusal.code != Code::PermissionDenied => {
                            last_refusal = Some(refusal);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
    match last_refusal {
        Some(refusal) => Err(ClientError::Refused(refusal).into()),
        None => bail!("no seat is free within seven days"),
    }
}

/// Of different areas.
async fn free_seats(own: &Client, branch: &str, interval: v1::Interval) -> anyhow::Result<Vec<v1::Seat>> {
    let request = v1::SearchSeatsRequest {
        branch: branch.to_owned(),
        interval: Some(interval),
        available_only: true,
        page_size: 200,
        ..Default::default()
    };
    let mut seats: Vec<v1::Seat> = Vec::new();
    for seat in own.search_seats(request).await?.seats {
        if seats.len() < SEATS_TRIED && seats.iter().all(|other| other.area != seat.area) {
            seats.push(seat);
        }
    }
    Ok(seats)
}

fn interval(start_second: i64, minutes: i64) -> v1::Interval {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::Interval { start_time: at(start_second), end_time: at(start_second + minutes * 60) }
}
