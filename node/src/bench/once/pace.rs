//! When leaders change: at even distances of the work, which does not run away from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::watch;

use super::OnceArgs;
use crate::bench::stage::Stage;

pub struct Pace {
    pub done: AtomicU64,
    begun: AtomicU64,
    /// Commands between two changes.
    stretch: u64,
    /// Changes made so far.
    changes: watch::Sender<u64>,
}

/// What made another the leader, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub killed: u32,
    pub asked_to_end: u32,
    pub moved: u32,
}

impl Pace {
    pub fn new(args: &OnceArgs) -> Self {
        let stretch = u64::from(args.commands) / (u64::from(args.leader_changes) + 1);
        Self { done: AtomicU64::new(0), begun: AtomicU64::new(0), stretch, changes: watch::channel(0).0 }
    }

    pub async fn change_leaders(&self, args: &OnceArgs, stage: &Stage) -> anyhow::Result<Changes> {
        let mut changes = Changes::default();
        for number in 0..args.leader_changes {
            while self.done.load(Ordering::Relaxed) < (u64::from(number) + 1) * self.stretch {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let leader = stage.whole().await?;
            let gone = match number % 3 {
                0 => {
                    stage.signal(leader.ordinal, Signal::KILL)?;
                    changes.killed += 1;
                    true
                }
                1 => {
                    stage.transfer(leader).await?;
                    changes.moved += 1;
                    false
                }
                _ => {
                    stage.signal(leader.ordinal, Signal::TERM)?;
                    changes.asked_to_end += 1;
                    true
                }
            };
            stage.other_leader(leader).await?;
            if gone {
                stage.restart(leader.ordinal).await?;
            }
            self.changes.send_modify(|made| *made += 1);
        }
        // Nothing holds the rest back.
        self.changes.send_replace(u64::MAX);
        Ok(changes)
    }

    /// One more command, once the change before last is over.
    pub async fn begin(&self) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let mut changes = self.changes.subscribe();
        let may_begin = |made: &u64| number < made.saturating_add(2).saturating_mul(self.stretch);
        // The sender lives as long as this.
        let _ = changes.wait_for(may_begin).await;
    }
}
