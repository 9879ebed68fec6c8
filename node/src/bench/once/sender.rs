//! One client: it sends its commands one after the other, and copies of some of them again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use carrel_proto::client::Client;
use futures_util::future::join_all;

use super::command::{Answer, Command, Deed, until_answered};
use super::count::Told;
use super::pace::Pace;
use crate::bench::ground::Ground;

/// Every so many commands a message, the others are bookings and their cancellations.
const MESSAGE_EVERY: u32 = 8;
const COPIES_MAX: u64 = 5;

pub struct Sender {
    pub number: usize,
    pub nodes: Vec<Client>,
    pub ground: Arc<Ground>,
    pub next_person: String,
    pub dice: Dice,
    pub repeated: u64,
    pub pace: Arc<Pace>,
    pub told: Told,
}

impl Sender {
    pub async fn send_all(mut self, commands: u32) -> anyhow::Result<(usize, Told)> {
        let mut live: Option<String> = None;
        let mut late = None;
        for number in 0..commands {
            self.pace.begin().await;
            let deed = if number % MESSAGE_EVERY == MESSAGE_EVERY - 1 {
                Deed::Send { to: self.next_person.clone(), text: format!("message {number}") }
            } else if let Some(name) = live.take() {
                Deed::Cancel { name }
            } else {
                let (seat, interval) = self.ground.place(self.number, number as usize);
                Deed::Book { seat, interval }
            };
            let kept = self.send(Command::new(deed.clone())).await?;
            match (&deed, &kept.answer) {
                (Deed::Book { .. }, Answer::Reservation { name, .. }) => {
                    self.told.bookings.insert(name.clone(), false);
                    live = Some(name.clone());
                }
                (Deed::Cancel { name }, Answer::Reservation { .. }) => {
                    self.told.bookings.insert(name.clone(), true);
                }
                (Deed::Send { text, .. }, Answer::Message { .. }) => {
                    self.told.messages.insert(text.clone());
                }
                (_, answer) => bail!("{deed:?} was answered with {answer:?}"),
            }
            if let Some(before) = late.replace(kept) {
                self.finish(before).await?;
            }
            self.pace.done.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(last) = late {
            self.finish(last).await?;
        }
        Ok((self.number, self.told))
    }

    /// Until it is answered. Some copies may be left for later.
    async fn send(&mut self, command: Command) -> anyhow::Result<Late> {
        let is_repeated = self.dice.below(100) < self.repeated;
        let copies = if is_repeated { 2 + self.dice.below(COPIES_MAX - 1) } else { 1 };
        *self.told.copies.entry(copies).or_default() += 1;
        let at_once = 1 + self.dice.below(copies);
        let answers = self.copies(&command, at_once).await?;
        let mut firsts = 0;
        let mut answers = answers.into_iter();
        let (answer, replayed) = answers.next().context("at least one copy is sent")?;
        firsts += u64::from(!replayed);
        for (other, replayed) in answers {
            self.told.differ += u64::from(other != answer);
            firsts += u64::from(!replayed);
        }
        let mut kept = Late { command, answer, firsts, copies: copies - at_once };
        if kept.copies > 0 && self.dice.below(2) == 0 {
            self.repeat(&mut kept, 1).await?;
        }
        Ok(kept)
    }

    async fn repeat(&mut self, kept: &mut Late, copies: u64) -> anyhow::Result<()> {
        for (answer, replayed) in self.copies(&kept.command, copies).await? {
            self.told.differ += u64::from(answer != kept.answer);
            kept.firsts += u64::from(!replayed);
        }
        kept.copies -= copies;
        Ok(())
    }

    async fn finish(&mut self, mut kept: Late) -> anyhow::Result<()> {
        let copies = kept.copies;
        self.repeat(&mut kept, copies).await?;
        self.told.firsts_too_many += u64::from(kept.firsts > 1);
        Ok(())
    }

    /// So many copies at the same time, each through another node as far as there are.
    async fn copies(&mut self, command: &Command, count: u64) -> anyhow::Result<Vec<(Answer, bool)>> {
        let first = self.dice.below(self.nodes.len() as u64);
        let nodes = &self.nodes;
        let sent = join_all((0..count).map(|copy| until_answered(command, nodes, (first + copy) as usize))).await;
        let mut answers = Vec::new();
        for one in sent {
            let (answer, times) = one?;
            self.told.sent += times;
            answers.push(answer);
        }
        Ok(answers)
    }
}

/// A command whose last copies are sent when nobody thinks of it any more.
struct Late {
    command: Command,
    answer: Answer,
    firsts: u64,
    copies: u64,
}

/// SplitMix64: all that is asked of it is that a seed gives the same run.
pub struct Dice(pub u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}
