//! The cluster in words: everything about it, and what is out of the ordinary.

use carrel_proto::admin::v1 as admin;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::cluster::role_name;
use super::table::{facts, table};
use super::time::shown_moment;

/// `1, 7 and 9`.
pub(super) fn ids(ids: &[u64]) -> String {
    let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nobody".to_owned(),
    }
}

/// A line for each thing that somebody may have to do something about.
pub(super) fn remarks(status: &admin::GetStatusResponse) -> String {
    let mut lines = Vec::new();
    if status.removed {
        lines.push("The node that answers was removed from the cluster, and knows what it knew then.".to_owned());
    }
    if let [outgoing, incoming] = status.voter_sets.as_slice() {
        let (from, to) = (ids(&outgoing.node_ids), ids(&incoming.node_ids));
        lines.push(format!(
            "A change of the voters is not finished, from {from} to {to}. Ask for it again with: carrel cluster voters"
        ));
    }
    if !status.formed && !status.nodes.is_empty() {
        lines.push("The cluster is being formed: it does not serve clients until it has its voters.".to_owned());
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// All in a line: what `watch` says when it is another than before.
pub(super) fn line(status: &admin::GetStatusResponse) -> String {
    let leader = match status.leader {
        0 => "nobody leads".to_owned(),
        leader => format!("node {leader} leads"),
    };
    let voters: Vec<String> = status.voter_sets.iter().map(|set| ids(&set.node_ids)).collect();
    let is_voter = |id: u64| status.voter_sets.iter().any(|set| set.node_ids.contains(&id));
    let named = |wanted: &dyn Fn(&admin::NodeStatus) -> bool| {
        status.nodes.iter().filter(|node| wanted(node)).map(|node| node.id).collect::<Vec<u64>>()
    };
    let mut parts = vec![format!("term {}", status.term), leader, format!("voters {}", voters.join(" to "))];
    for (what, which) in [("learners", named(&|node| !is_voter(node.id))), ("silent", named(&|node| !node.reachable))] {
        if !which.is_empty() {
            parts.push(format!("{what} {}", ids(&which)));
        }
    }
    if !status.removed_node_ids.is_empty() {
        parts.push(format!("removed {}", ids(&status.removed_node_ids)));
    }
    parts.join("; ")
}

/// Everything that one node knows.
pub(super) fn full(status: &admin::GetStatusResponse) -> String {
    let figure = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let row = |node: &admin::NodeStatus| {
        let state = node.state_hash.as_ref();
        [
            node.id.to_string(),
            node.ordinal.to_string(),
            role_name(node.role()).to_owned(),
            figure(node.matched_index),
            figure(node.since_ack_ms),
            node.last_log_index.to_string(),
            node.commit_index.to_string(),
            node.applied_index.to_string(),
            state.map_or_else(|| "-".to_owned(), |state| format!("{} {}", state.index, &hex(&state.sha256)[..12])),
        ]
    };
    let headings = ["NODE", "ORDINAL", "ROLE", "MATCHED", "ACK MS", "LOG", "COMMITTED", "APPLIED", "STATE AT"];
    let nodes = table(headings, status.nodes.iter().map(row).collect(), "The cluster has no members yet.");
    let identity = status.identity.clone().unwrap_or_default();
    let position = status.membership_log_id.map(|at| format!("entry {}, term {}", at.index, at.term));
    let committed = if status.membership_committed { "committed" } else { "not committed yet" };
    let voters: Vec<String> = status.voter_sets.iter().map(|set| ids(&set.node_ids)).collect();
    let vote = status.vote.map(|vote| {
        let kind = if vote.committed { "who leads" } else { "a candidate" };
        format!("for node {} in term {}, {kind}", vote.node_id, vote.term)
    });
    let keys = |keys: &Option<admin::Keys>| keys.as_ref().map(certificates).unwrap_or_default();
    let rows = vec![
        ("Cluster", identity.cluster_id),
        ("Lineage", identity.lineage.to_string()),
        (
            "Answered by",
            format!("node {}, ordinal {}, volume {}", identity.node_id, identity.ordinal, identity.incarnation),
        ),
        ("Voters", voters.join(" to ")),
        ("Membership", position.map_or_else(String::new, |position| format!("{position}, {committed}"))),
        ("Removed", if status.removed_node_ids.is_empty() { String::new() } else { ids(&status.removed_node_ids) }),
        ("Voted", vote.unwrap_or_default()),
        ("Confirmed", status.since_quorum_ack_ms.map_or_else(String::new, |ms| format!("as leader {ms} ms ago"))),
        ("Cluster keys", keys(&status.cluster_keys)),
        ("Client keys", keys(&status.client_keys)),
    ];
    format!("{nodes}\n{}{}", remarks(status), facts(rows))
}

fn certificates(keys: &admin::Keys) -> String {
    let one = |certificate: &admin::Certificate| {
        let end = certificate.not_after.as_ref().and_then(|at| Timestamp::from_second(at.seconds).ok());
        let end = end.map_or_else(|| "?".to_owned(), |end| shown_moment(end, &TimeZone::system()));
        format!("{} until {end}", hex(&certificate.sha256))
    };
    let shown = keys.shown.as_ref().map(|shown| format!("shows {}", one(shown)));
    let trusted = keys.authorities.iter().map(|authority| format!("trusts {}", one(authority)));
    shown.into_iter().chain(trusted).collect::<Vec<_>>().join("\n")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(node_ids: &[u64]) -> admin::VoterSet {
        admin::VoterSet { node_ids: node_ids.to_vec() }
    }

    #[test]
    fn a_line_says_what_is_there_and_what_is_wrong() {
        let node = |id, reachable| admin::NodeStatus { id, reachable, ..Default::default() };
        let status = admin::GetStatusResponse {
            leader: 1,
            term: 4,
            nodes: vec![node(1, true), node(7, false), node(9, true)],
            voter_sets: vec![set(&[1, 7])],
            removed_node_ids: vec![3],
            formed: true,
            ..Default::default()
        };
        assert_eq!(line(&status), "term 4; node 1 leads; voters 1 and 7; learners 9; silent 7; removed 3");
        assert_eq!(remarks(&status), "");
        let joint = admin::GetStatusResponse { voter_sets: vec![set(&[1]), set(&[1, 7, 9])], ..status };
        assert!(remarks(&joint).contains("from 1 to 1, 7 and 9"), "{}", remarks(&joint));
        assert!(full(&joint).contains("1 to 1, 7 and 9"));
    }
}
