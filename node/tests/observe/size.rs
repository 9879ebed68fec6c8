//! What a scrape of a large library weighs, and how long a node takes for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Request};
use carrel_domain::state::State;
use carrel_domain::tally::Tally;
use carrel_domain::time::Timestamp;
use carrel_node::catalog;
use carrel_node::grpc::request_metrics::RequestMetrics;
use carrel_node::metrics::{Metrics, Sight};
use carrel_node::replica::NodeFigures;

const BRANCHES: usize = 50;
const BYTES_MAX: usize = 200 << 10;
/// In earnest; a debug build is given twenty times as long.
const LIMIT: Duration = Duration::from_millis(5);
const LOOKS: u32 = 20;

fn library() -> State {
    let mut campus = catalog::sample();
    let sample = campus.branches.clone();
    campus.branches = (0..BRANCHES)
        .map(|number| {
            let branch = &sample[number % sample.len()];
            carrel_proto::v1::Branch { id: format!("{}-{number}", branch.id), ..branch.clone() }
        })
        .collect();
    let draft = Box::new(carrel_node::convert::catalog::to_draft(&campus).expect("a catalogue like the sample"));
    let mut state = State::default();
    let import = Request::system(Action::ImportCatalog { draft, expected_revision: None });
    let applied = state.apply(At { index: 1, time: Timestamp(1_800_000_000_000_000) }, &import);
    assert!(matches!(applied.reply.result, Ok(Reply::Catalog(_))), "{:?}", applied.reply);
    state
}

#[test]
fn fifty_branches_are_told_quickly_and_in_brief() {
    let state = library();
    let seats = state.catalog().seat_count();
    let metrics = Metrics::new(Some("library".to_owned()), "/".into());
    let _requests = RequestMetrics::new(metrics.registry()).expect("nothing is registered yet");
    let tally = Tally::of(&state);
    let sight = Sight { node: NodeFigures::default(), view: Arc::new(state), tally };
    let mut took = Vec::new();
    let mut text = String::new();
    for _ in 0..LOOKS {
        let began = Instant::now();
        text = metrics.render(&sight);
        took.push(began.elapsed());
    }
    took.sort();
    let limit = if cfg!(debug_assertions) { LIMIT * 20 } else { LIMIT };
    println!("{BRANCHES} branches, {seats} seats: {} bytes in {:?}", text.len(), took[took.len() / 2]);
    assert!(took[took.len() / 2] < limit, "{took:?}");
    assert!(text.len() < BYTES_MAX, "{} bytes", text.len());
    let branches = text.lines().filter(|line| line.starts_with("carrel_seats{")).count();
    assert_eq!(branches, BRANCHES);
}
