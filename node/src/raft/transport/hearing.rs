//! Which peers answer. Said when one has fallen silent and when it answers again, once each: a dead peer is called
//! several times a second, and its failures would be most of the log.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::raft::transport::failure::Failure;

/// A restart or a short cut is nothing to wake anybody for.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// One entry for each ordinal that was ever called: a handful.
#[derive(Debug, Default)]
pub(super) struct Hearing(Mutex<BTreeMap<u32, Silence>>);

/// Of one peer, from the first call without an answer on.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    is_told: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    FellSilent(Duration),
    AnswersAgain(Duration),
}

impl Hearing {
    /// Notes how a call ended, and hands it on.
    pub fn note<T>(&self, ordinal: u32, ended: Result<T, Failure>) -> Result<T, Failure> {
        let is_heard = match &ended {
            Ok(_) | Err(Failure::Refused(_) | Failure::Removed(_) | Failure::Failed(_) | Failure::Malformed(_)) => true,
            Err(Failure::NotSent(_) | Failure::Broken(_) | Failure::TimedOut(_)) => false,
        };
        let turn = {
            let mut peers = self.0.lock().expect("nothing panics while it holds the lock");
            peers.entry(ordinal).or_default().turn(is_heard, Instant::now())
        };
        match turn {
            Some(Turn::FellSilent(since)) => {
                let why = ended.as_ref().err().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(ordinal, seconds = since.as_secs(), why, "a peer does not answer");
            }
            Some(Turn::AnswersAgain(since)) => {
                tracing::warn!(ordinal, seconds = since.as_secs(), "a peer that was silent answers again");
            }
            None => {}
        }
        ended
    }
}

impl Silence {
    fn turn(&mut self, is_heard: bool, now: Instant) -> Option<Turn> {
        if is_heard {
            let Self { since, is_told } = std::mem::take(self);
            return since.filter(|_| is_told).map(|since| Turn::AnswersAgain(now.saturating_duration_since(since)));
        }
        let silent = now.saturating_duration_since(*self.since.get_or_insert(now));
        let is_news = !self.is_told && silent >= SILENT_AFTER;
        self.is_told |= is_news;
        is_news.then_some(Turn::FellSilent(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_has_one_beginning_and_one_end() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let mut told = Vec::new();
        for ms in (0..60_000).step_by(50) {
            told.extend(silence.turn(false, at(ms)));
        }
        for ms in (60_000..70_000).step_by(50) {
            told.extend(silence.turn(true, at(ms)));
        }
        assert_eq!(told, [Turn::FellSilent(SILENT_AFTER), Turn::AnswersAgain(Duration::from_secs(60))]);
    }

    #[test]
    fn a_stumble_is_not_worth_a_word() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        for ms in (0..60_000).step_by(50) {
            // Every second call fails, and once a second of them.
            let is_heard = ms % 100 == 0 && !(5_000..6_000).contains(&ms);
            assert_eq!(silence.turn(is_heard, start + Duration::from_millis(ms)), None);
        }
    }
}
