//! What goes wrong, one thing after the other and many at once, as the seed has drawn it.

use std::sync::Arc;
use std::time::Duration;

use carrel_node::raft::disk::simulated::Survival;
use openraft::type_config::TypeConfigExt;

use crate::damage::{Damage, damage};
use crate::dice::Dice;
use crate::draw::Fault;
use crate::marks::Mark;
use crate::network::Slot;
use crate::steward::Steward;
use crate::world::{Ending, Rt, World, spawn_outside};

/// How long a fault lasts that ends by itself: from shorter than an election to many of them.
const LASTS_MS: std::ops::Range<u64> = 50..4_000;
const OUTAGE_MS: std::ops::Range<u64> = 4_000..12_000;
/// Of a sync of a slow disk.
const SLOW_SYNC_US: std::ops::Range<u64> = 20_000..600_000;
/// After a machine has gone on that was suspended.
const UNREACHED_MS: std::ops::Range<u64> = 50..1_000;
/// Of a Postgres that is busy, to one statement.
const SLOW_ANSWER_US: std::ops::Range<u64> = 20_000..400_000;
const CLOG_MS: std::ops::Range<u64> = 20..1_500;

pub struct Storm {
    pub world: Arc<World>,
    pub steward: Arc<Steward>,
    pub dice: Dice,
}

impl Storm {
    pub async fn rage(mut self) {
        let ends = self.world.time.elapsed() + self.world.draw.storm;
        while self.world.time.elapsed() < ends {
            let pause = self.dice.millis(self.world.draw.every.clone());
            Rt::sleep(pause).await;
            if let Some(fault) = self.dice.pick(&self.world.draw.faults).copied() {
                self.strike(fault).await;
            }
        }
    }

    async fn strike(&mut self, fault: Fault) {
        let lasts = self.dice.millis(LASTS_MS);
        let leader = self.world.leader();
        match fault {
            Fault::CutOneWay => self.cut_one_way(lasts),
            Fault::Partition => self.partition(lasts),
            Fault::IsolateLeader => {
                if let Some(leader) = leader {
                    self.world.marks.hit(Mark::LeaderIsolated);
                    self.cut(&[leader], lasts, "the leader is isolated");
                }
            }
            Fault::Clog => self.clog(lasts),
            Fault::Pause => {
                if let Some(slot) = self.any() {
                    self.pause(slot, lasts);
                }
            }
            Fault::PauseLeader => {
                if let Some(slot) = leader {
                    self.world.marks.hit(Mark::LeaderPaused);
                    self.pause(slot, lasts);
                }
            }
            Fault::Suspend => {
                let any = self.any();
                if let Some(slot) = leader.filter(|_| self.dice.happens(600)).or(any) {
                    self.suspend(slot, lasts);
                }
            }
            Fault::Kill => {
                if let Some(slot) = self.any() {
                    self.end(slot, Ending::Process, Duration::ZERO, Mark::Kill);
                }
            }
            Fault::PowerLoss => {
                if let Some(slot) = self.any_failing() {
                    let ending = Ending::Power(self.survival());
                    self.end(slot, ending, Duration::ZERO, Mark::PowerLost);
                }
            }
            Fault::AllPowerLoss => {
                self.world.marks.hit(Mark::AllPowerLost);
                for slot in self.world.wanted() {
                    let ending = Ending::Power(self.survival());
                    self.end(slot, ending, Duration::ZERO, Mark::PowerLost);
                }
            }
            Fault::LongOutage => {
                if let Some(slot) = self.any() {
                    let down = self.dice.millis(OUTAGE_MS);
                    let ending = Ending::Power(self.survival());
                    self.end(slot, ending, down, Mark::LongOutage);
                }
            }
            Fault::StopOrderly => {
                if let Some(slot) = self.any() {
                    self.world.marks.hit(Mark::StopOrderly);
                    self.world.story.tell(format_args!("storm: machine {slot} is asked to end"));
                    self.world.stop(slot).await;
                }
            }
            Fault::SlowDisk => self.slow_disk(lasts),
            Fault::FullDisk => self.full_disk(lasts),
            Fault::FailSync => {
                if let Some(slot) = self.any() {
                    self.world.marks.hit(Mark::SyncFailed);
                    self.world.story.tell(format_args!("storm: the next sync of machine {slot} fails"));
                    self.world.disk(slot).fail_next_sync();
                }
            }
            Fault::Damage => self.damage().await,
            Fault::LoseDisk => self.lose_disk(),
            Fault::ClockJump => self.clock_jump(),
            Fault::Transfer => {
                if let Some(slot) = leader {
                    self.world.marks.hit(Mark::Transfer);
                    self.world.story.tell(format_args!("storm: machine {slot} lets another lead"));
                    let transfer = self.world.ask(slot, Duration::from_secs(2), |node| async move {
                        node.transfer_leadership(None).await.is_ok()
                    });
                    let _ = transfer.await;
                }
            }
            Fault::StopRecord => {
                self.world.marks.hit(Mark::RecordStopped);
                self.world.story.tell(format_args!("storm: Postgres is away for {lasts:?}"));
                self.world.postgres.stop();
                let world = Arc::clone(&self.world);
                after(lasts, move || world.postgres.start());
            }
            Fault::CutRecord => {
                if let Some(slot) = leader {
                    self.world.marks.hit(Mark::RecordCut);
                    self.world.story.tell(format_args!("storm: machine {slot} reaches no Postgres for {lasts:?}"));
                    self.world.postgres.cut(slot);
                    let world = Arc::clone(&self.world);
                    after(lasts, move || world.postgres.mend(slot));
                }
            }
            Fault::SlowRecord => {
                let takes_us = self.dice.within(SLOW_ANSWER_US);
                self.world.marks.hit(Mark::RecordSlow);
                self.world.story.tell(format_args!("storm: Postgres answers within {takes_us} µs, for {lasts:?}"));
                self.world.postgres.answer_within(Some(takes_us));
                let world = Arc::clone(&self.world);
                after(lasts, move || world.postgres.answer_within(None));
            }
            Fault::RestoreRecord => {
                if let Some(index) = self.world.postgres.restore() {
                    self.world.marks.hit(Mark::RecordRestored);
                    self.world.story.tell(format_args!("storm: Postgres is as it was at entry {index}"));
                }
            }
            Fault::Resize => {
                let size = if self.steward.wanted() == 3 { 5 } else { 3 };
                self.world.marks.hit(Mark::Resized);
                self.world.story.tell(format_args!("storm: {size} replicas are wanted"));
                self.steward.want(size);
            }
        }
    }

    fn any(&mut self) -> Option<Slot> {
        let running = self.world.running();
        self.dice.pick(&running).copied()
    }

    /// What becomes slow is what breaks next, often enough.
    fn any_failing(&mut self) -> Option<Slot> {
        let usual_us = self.world.draw.sync_us;
        let mut running = self.world.running();
        if self.dice.happens(500) && running.iter().any(|slot| self.world.temper(*slot).sync_us() > usual_us) {
            running.retain(|slot| self.world.temper(*slot).sync_us() > usual_us);
        }
        self.dice.pick(&running).copied()
    }

    fn survival(&mut self) -> Survival {
        match self.dice.below(5) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random(self.dice.throw()),
        }
    }

    fn end(&self, slot: Slot, ending: Ending, down: Duration, mark: Mark) {
        self.world.marks.hit(mark);
        self.world.story.tell(format_args!("storm: machine {slot}: {} ({ending:?}), down for {down:?}", mark.text()));
        self.world.strike(slot, ending, down);
    }

    fn cut_one_way(&mut self, lasts: Duration) {
        let wanted = self.world.wanted();
        let (Some(&from), Some(&to)) = (self.dice.pick(&wanted), self.dice.pick(&wanted)) else { return };
        if from == to {
            return;
        }
        self.world.marks.hit(Mark::CutOneWay);
        self.world.story.tell(format_args!("storm: nothing goes from {from} to {to} for {lasts:?}"));
        self.world.network.cut(from, to);
        let world = Arc::clone(&self.world);
        after(lasts, move || world.network.mend(from, to));
    }

    fn partition(&mut self, lasts: Duration) {
        let wanted = self.world.wanted();
        let side: Vec<Slot> = wanted.iter().copied().filter(|_| self.dice.happens(500)).collect();
        if side.is_empty() || side.len() == wanted.len() {
            return;
        }
        self.world.marks.hit(Mark::Partition);
        self.cut(&side, lasts, "the machines are split");
    }

    /// Both ways between these and all others.
    fn cut(&self, side: &[Slot], lasts: Duration, what: &str) {
        self.world.story.tell(format_args!("storm: {what}: {side:?} for {lasts:?}"));
        let others = (0..crate::draw::SLOTS).filter(|slot| !side.contains(slot));
        let ways: Vec<(Slot, Slot)> =
            others.flat_map(|other| side.iter().flat_map(move |one| [(*one, other), (other, *one)])).collect();
        ways.iter().for_each(|(from, to)| self.world.network.cut(*from, *to));
        let world = Arc::clone(&self.world);
        after(lasts, move || ways.iter().for_each(|(from, to)| world.network.mend(*from, *to)));
    }

    fn clog(&mut self, lasts: Duration) {
        let wanted = self.world.wanted();
        let (Some(&from), Some(&to)) = (self.dice.pick(&wanted), self.dice.pick(&wanted)) else { return };
        let by = self.dice.millis(CLOG_MS);
        self.world.marks.hit(Mark::Clog);
        self.world.story.tell(format_args!("storm: from {from} to {to} it takes {by:?} more, for {lasts:?}"));
        self.world.network.clog(from, to, by);
        let world = Arc::clone(&self.world);
        after(lasts, move || world.network.unclog(from, to));
    }

    fn pause(&self, slot: Slot, lasts: Duration) {
        let Some(process) = self.world.process(slot) else { return };
        self.world.marks.hit(Mark::Pause);
        self.world.story.tell(format_args!("storm: machine {slot} is paused for {lasts:?}"));
        process.pause();
        after(lasts, move || process.go_on());
    }

    /// Where a machine is moved to, its network often comes later than itself.
    fn suspend(&mut self, slot: Slot, lasts: Duration) {
        let Some(process) = self.world.process(slot) else { return };
        if self.dice.happens(600) {
            let more = self.dice.millis(UNREACHED_MS);
            self.cut(&[slot], lasts + more, "nobody is reached from where it is moved to");
        }
        self.world.marks.hit(Mark::Suspended);
        self.world.story.tell(format_args!("storm: machine {slot} is suspended for {lasts:?}"));
        process.suspend();
        after(lasts, move || process.go_on());
    }

    fn slow_disk(&mut self, lasts: Duration) {
        let Some(slot) = self.any() else { return };
        let sync_us = self.dice.within(SLOW_SYNC_US);
        self.world.marks.hit(Mark::SlowDisk);
        self.world.story.tell(format_args!("storm: a sync of machine {slot} takes {sync_us} µs, for {lasts:?}"));
        self.world.temper(slot).set_sync_us(sync_us);
        let world = Arc::clone(&self.world);
        after(lasts, move || world.temper(slot).set_sync_us(world.draw.sync_us));
    }

    fn full_disk(&mut self, lasts: Duration) {
        let Some(slot) = self.any() else { return };
        let disk = self.world.disk(slot);
        let more = self.dice.below(20_000);
        self.world.marks.hit(Mark::FullDisk);
        self.world.story.tell(format_args!("storm: machine {slot} has room for {more} bytes more, for {lasts:?}"));
        disk.limit(Some(disk.used_bytes() + more));
        let world = Arc::clone(&self.world);
        after(lasts, move || world.disk(slot).limit(None));
    }

    async fn damage(&mut self) {
        let Some(slot) = self.any() else { return };
        // Of one that is part of a cluster, and while no other is lost.
        if self.world.node_id(slot).is_none() || !self.world.lose(slot) {
            return;
        }
        // Longer than its log takes to be read, twice.
        self.end(slot, Ending::Process, Duration::from_secs(3), Mark::Kill);
        let Some(disk) = self.world.disk_at_rest(slot) else { return };
        let damaged = damage(&disk, &mut self.dice).await;
        self.world.story.tell(format_args!("storm: machine {slot}: {damaged:?}"));
        match damaged {
            Some(Damage::Found { is_log, .. }) => self.damaged(is_log),
            Some(Damage::Harmless { is_log, .. }) => {
                self.damaged(is_log);
                self.world.marks.hit(Mark::DamageHarmless);
            }
            Some(Damage::Wrong(how)) => self.world.witness.accuse("damage is not taken for data", how),
            // Of what could not be told from a torn tail the damage was taken back.
            Some(Damage::LikeATear(_)) | None => self.world.find_again(slot),
        }
    }

    fn damaged(&self, is_log: bool) {
        self.world.marks.hit(Mark::Damage);
        if is_log {
            self.world.marks.hit(Mark::DamageOfLog);
        }
    }

    fn lose_disk(&mut self) {
        let Some(slot) = self.any() else { return };
        if self.world.node_id(slot).is_none() || !self.world.lose(slot) {
            return;
        }
        self.end(slot, Ending::Power(Survival::Nothing), Duration::ZERO, Mark::DiskLost);
        self.world.empty(slot);
    }

    fn clock_jump(&mut self) {
        let Some(slot) = self.world.draw.wrong_clock else { return };
        let offset_us = self.dice.below(7_200_000_000) as i64 - 3_600_000_000;
        self.world.marks.hit(Mark::ClockJump);
        self.world.story.tell(format_args!("storm: the clock of machine {slot} is wrong by {offset_us} µs"));
        self.world.clock(slot as Slot).set(offset_us);
    }
}

/// Does it later, whatever else happens meanwhile.
fn after(delay: Duration, then: impl FnOnce() + Send + 'static) {
    drop(spawn_outside(async move {
        Rt::sleep(delay).await;
        then();
    }));
}

impl std::fmt::Debug for Storm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storm").finish_non_exhaustive()
    }
}
