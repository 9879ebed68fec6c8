//! The small library at work: an entry a second, and after each of them everything holds that always has to.

use carrel_domain::invariants;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Request};
use carrel_domain::state::State;
use carrel_domain::time::{SECOND_US, Timestamp};

use super::{BERLIN, date, draft, fill};

pub struct House {
    pub state: State,
    pub time: Timestamp,
}

impl House {
    /// At nine in the morning, with nobody in it.
    pub fn empty() -> Self {
        let time = BERLIN.instant(date(2026, 3, 9), 9 * 60).expect("an ordinary morning");
        let mut house = Self { state: State::default(), time };
        house.system(Action::ImportCatalog { draft: Box::new(draft()), expected_revision: None });
        for branch in house.state.catalog().branches().map(|(id, _)| id).collect::<Vec<_>>() {
            let fill = fill(&house.state, branch).expect("nothing is filled yet");
            house.ask(fill).expect("the cluster may");
        }
        house
    }

    pub fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.time = self.time.plus_us(SECOND_US);
        let at = At { index: self.state.at().index + 1, time: self.time };
        let answer = self.state.apply(at, &request).reply.result;
        assert_eq!(invariants::check(&self.state), vec![], "after {request:?}");
        answer
    }

    pub fn system(&mut self, action: Action) {
        self.ask(Request::system(action)).expect("the cluster may");
    }
}
