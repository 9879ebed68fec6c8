//! Who writes the record: the leader, for as long as it leads. Everybody else waits.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use carrel_domain::request::Action;
use carrel_domain::state::State;
use tokio::sync::{mpsc, watch};

use crate::projection::cursor::{Again, Cursor, Halt, Standing, Whose, judge};
use crate::projection::figures::Figures;
use crate::projection::retention::Retention;
use crate::projection::rows::Changes;
use crate::projection::store::{Place, Store};
use crate::projection::trouble::Trouble;
use crate::projection::writing::{Refused, begin_again, write};
use crate::projection::{Ask, AskError, Phase, Status};
use crate::raft::node::Node;
use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::timing::{self, Moment};
use crate::raft::watched::Watched;
use crate::replica::{Freshness, Replica, View, WriteError};
use crate::traces;

/// A transaction takes well below a second, and costs so little beside its rows.
const EVENTS_PER_TRANSACTION: usize = 5_000;
/// What a server that is too slow for that is given at last.
const EVENTS_PER_TRANSACTION_MIN: usize = 100;

/// How long changes are gathered for one transaction: reports are never more than this much older than they need be.
const GATHER: Duration = Duration::from_millis(100);

/// While nothing but time passes, the cursor follows so often, and the cluster is told so often what it may drop.
const MOVE_EVERY: Duration = Duration::from_secs(1);

/// Events that the record has and the cluster still keeps, until it is told at once.
const ACKNOWLEDGE_AFTER: usize = 20_000;

const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(5);

/// Between attempts while something is in the way: a restarting server is back within seconds.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

pub(super) struct Projector<P: Platform, N, A> {
    node: Node<P, N>,
    replica: Replica<P, N>,
    /// Where the record is.
    place: A,
    status: watch::Sender<Status>,
    asks: mpsc::Receiver<Ask>,
    /// The one that is worked on.
    pending: Option<Ask>,
    figures: Figures,
    retention: Retention,
    last_moved: Moment<P::Runtime>,
    last_acknowledged: Moment<P::Runtime>,
    unacknowledged: usize,
    /// Fewer after a transaction that took too long, and more again after each that did not.
    events_at_once: usize,
}

/// What one look at the state has come to.
enum Step {
    /// The record is exactly at this view.
    CaughtUp(View),
    /// Nothing that is worth a transaction yet.
    Idle,
    More,
}

impl<P: Platform, N: Transport<P>, A: Place> Projector<P, N, A> {
    pub fn new(
        node: Node<P, N>,
        place: A,
        status: watch::Sender<Status>,
        asks: mpsc::Receiver<Ask>,
        history_days: u32,
        figures: Figures,
    ) -> Self {
        let (replica, now) = (node.replica(), timing::now::<P::Runtime>());
        Self {
            node,
            replica,
            place,
            status,
            asks,
            pending: None,
            figures,
            retention: Retention::new(history_days),
            last_moved: now,
            last_acknowledged: now,
            unacknowledged: 0,
            events_at_once: EVENTS_PER_TRANSACTION,
        }
    }

    /// Runs for as long as the node does.
    pub async fn run(mut self) {
        let mut leadership = self.replica.leadership();
        let mut retry = RETRY_FIRST;
        loop {
            self.say(Phase::Elsewhere, None);
            // In this order, so that chance has no part in it.
            let leading = tokio::select! {
                biased;
                leading = leadership.wait_for(Option::is_some) => leading.flatten(),
                ask = self.asks.recv() => match ask {
                    Some(ask) => {
                        // Whoever asked may have gone.
                        let _ = ask.into_answer().send(Err(AskError::NotLeader));
                        continue;
                    }
                    None => return,
                },
            };
            // The node has stopped.
            let Some(leading) = leading else { return };
            let mut changes = leadership.clone();
            let deposed = changes.wait_for(|now| *now != Some(leading));
            tokio::pin!(deposed);
            loop {
                let begun = timing::now::<P::Runtime>();
                let trouble = tokio::select! {
                    biased;
                    _ = &mut deposed => break,
                    trouble = self.lead() => match trouble {
                        Err(trouble) => trouble,
                        Ok(never) => match never {},
                    },
                };
                // What let a transaction through meanwhile is no trouble that lasts.
                if self.last_moved > begun {
                    retry = RETRY_FIRST;
                }
                if trouble.is_of_time() {
                    self.events_at_once = (self.events_at_once / 4).max(EVENTS_PER_TRANSACTION_MIN);
                }
                self.complain(&trouble);
                tokio::select! {
                    biased;
                    _ = &mut deposed => break,
                    Some(ask) = self.asks.recv() => self.pending = Some(ask),
                    () = timing::sleep::<P::Runtime>(retry) => retry = (retry * 2).min(RETRY_LAST),
                }
            }
            retry = RETRY_FIRST;
            if let Some(ask) = self.pending.take() {
                let _ = ask.into_answer().send(Err(AskError::NotLeader));
            }
        }
    }

    /// Until something is in the way.
    async fn lead(&mut self) -> Result<Infallible, Trouble> {
        self.say(Phase::Connecting, None);
        let Some(me) = self.node.identity().member_of else { return Err(Trouble::Log(WriteError::NoLeader)) };
        let whose = Whose { cluster_id: me.cluster_id.to_string(), lineage: me.lineage };
        let mut database = self.place.open().await?;
        let parked = database.parked().await?;
        if self.status.borrow().server_version.as_deref() != Some(database.version()) {
            tracing::info!(version = database.version(), "Postgres has the tables of this release");
        }
        self.status.send_modify(|status| {
            status.server_version = Some(database.version().to_owned());
            status.parked_rows = parked;
        });
        self.figures.parked_rows.set(parked);
        let mut cursor = self.stand(&mut database, &whose).await?;
        let mut changes = self.replica.changes();
        loop {
            if self.pending.is_none() {
                self.pending = self.asks.try_recv().ok();
            }
            match self.step(&mut database, &mut cursor).await {
                Ok(Step::CaughtUp(view)) => {
                    if let Some(ask) = self.pending.take() {
                        self.answer(ask, &mut database, &cursor, &view).await?;
                        continue;
                    }
                    self.acknowledge(&cursor).await;
                    self.retention.let_go(&self.replica, cursor.applied_index, &view).await;
                    self.gather(&mut changes).await;
                }
                Ok(Step::Idle) => self.gather(&mut changes).await,
                Ok(Step::More) => self.acknowledge(&cursor).await,
                Err(Trouble::Moved) => cursor = self.stand(&mut database, &whose).await?,
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Until there is something to do, and then a little, for there will be more.
    async fn gather(&mut self, changes: &mut Watched<P::Runtime, Option<u64>>) {
        let something = async {
            changes.changed().await;
            timing::sleep::<P::Runtime>(GATHER).await;
        };
        tokio::select! {
            biased;
            Some(ask) = self.asks.recv() => self.pending = Some(ask),
            () = something => {}
            () = timing::sleep::<P::Runtime>(MOVE_EVERY) => {}
        }
    }

    /// Where the record is, once it is a record that can be gone on with.
    async fn stand(&mut self, database: &mut A::Store, whose: &Whose) -> Result<Cursor, Trouble> {
        loop {
            let mut view = self.kept().await?;
            let cursor = database.cursor().await?;
            let mut standing = judge(cursor.as_ref(), whose, &view);
            if let Standing::Halts(Halt::Ahead { .. }) = standing {
                // Only a leader that a majority follows has everything; one that has just woken up does not know yet
                // that another leads.
                view =
                    self.replica.read(Freshness::Linearizable).await.map_err(|_| Trouble::Log(WriteError::NoLeader))?;
                standing = judge(cursor.as_ref(), whose, &view);
            }
            let adopts = matches!(self.pending, Some(Ask::Rebuild { adopt: true, .. }));
            let (again, has_gap) = match standing {
                Standing::Follows => match cursor {
                    Some(cursor) => return Ok(cursor),
                    None => unreachable!("without a cursor there is nothing to follow"),
                },
                // What happened before there was anything to record is no gap.
                Standing::BeginsAgain(again) => (again, view.at().index > 0),
                Standing::Halts(_) if adopts => (Again::Asked, true),
                Standing::Halts(halt) => return Err(halt.into()),
            };
            self.say(Phase::BeginningAgain, None);
            let (to, begun) = (Cursor::of(whose, &view), timing::now::<P::Runtime>());
            match begin_again(database, &view, cursor.as_ref(), &to, again, has_gap).await {
                Ok(rows) => {
                    self.figures.begun_again.inc();
                    self.figures.rows.inc_by(rows);
                    tracing::warn!(
                        rows,
                        index = to.applied_index,
                        why = again.name(),
                        seconds = timing::since::<P::Runtime>(begun).as_secs_f64(),
                        "the record was written anew from the state"
                    );
                    self.moved(&to, &view);
                    return Ok(to);
                }
                // Another was faster.
                Err(Trouble::Moved) => {}
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// The newest state, of which what happens is kept from now on if it was not.
    async fn kept(&self) -> Result<View, Trouble> {
        let view = self.replica.view();
        if view.outbox().through().is_some() {
            return Ok(view);
        }
        self.replica.propose_system(Action::Projected { through: 0 }).await?;
        // Whoever has the answer finds its effect.
        Ok(self.replica.view())
    }

    async fn step(&mut self, database: &mut A::Store, cursor: &mut Cursor) -> Result<Step, Trouble> {
        let view = self.replica.view();
        let outbox = view.outbox();
        if outbox.through().is_none_or(|through| through > cursor.applied_index) {
            return Err(Trouble::Moved);
        }
        let (mut changes, mut last, mut is_all) = (Changes::default(), None, true);
        for told in outbox.after(cursor.applied_index) {
            if changes.event_count >= self.events_at_once {
                is_all = false;
                break;
            }
            let told = told?;
            changes.add(&told, cursor.lineage, &view);
            last = Some(told.at);
        }
        let at = match last {
            Some(last) if !is_all => last,
            _ => view.at(),
        };
        if at.index == cursor.applied_index {
            self.measure(cursor, &view);
            return Ok(Step::CaughtUp(view));
        }
        if changes.event_count == 0
            && self.pending.is_none()
            && timing::since::<P::Runtime>(self.last_moved) < MOVE_EVERY
        {
            return Ok(Step::Idle);
        }
        let to = Cursor { applied_index: at.index, applied_time: at.time, ..cursor.clone() };
        let began = SystemTime::now();
        match write(database, &changes, cursor, &to, Refused::Fail).await {
            Err(trouble) if trouble.is_of_rows() => {
                tracing::error!(%trouble, "Postgres refuses rows; they are looked for one by one");
                self.figures.failures.inc();
                write(database, &changes, cursor, &to, Refused::Park).await?;
                let parked = database.parked().await?;
                self.figures.parked_rows.set(parked);
                self.status.send_modify(|status| status.parked_rows = parked);
            }
            written => written?,
        }
        *cursor = to;
        self.events_at_once = (self.events_at_once * 2).min(EVENTS_PER_TRANSACTION);
        for (index, parent) in self.node.measured().traced_through(cursor.applied_index) {
            traces::record("project", parent, began, index);
        }
        self.unacknowledged += changes.event_count;
        self.figures.rows.inc_by(changes.row_count() as u64);
        self.moved(cursor, &view);
        Ok(if is_all { Step::CaughtUp(view) } else { Step::More })
    }

    /// The cluster need not keep any longer what the record has.
    async fn acknowledge(&mut self, cursor: &Cursor) {
        let is_due = self.unacknowledged >= ACKNOWLEDGE_AFTER
            || timing::since::<P::Runtime>(self.last_acknowledged) >= MOVE_EVERY;
        let first = self.replica.view().outbox().first();
        if !is_due || first.is_none_or(|first| first > cursor.applied_index) {
            return;
        }
        let proposed = self.replica.propose_system(Action::Projected { through: cursor.applied_index });
        match timing::within::<P::Runtime, _>(ACKNOWLEDGE_LIMIT, proposed).await {
            Some(Ok(_)) => (self.unacknowledged, self.last_acknowledged) = (0, timing::now::<P::Runtime>()),
            // The next step says it again.
            Some(Err(error)) => tracing::debug!(%error, "the cluster was not told how far the record is"),
            None => tracing::debug!("the cluster was not told in time how far the record is"),
        }
    }

    async fn answer(
        &mut self,
        ask: Ask,
        database: &mut A::Store,
        cursor: &Cursor,
        view: &State,
    ) -> Result<(), Trouble> {
        let done = match &ask {
            Ask::Prove(_) => Ok(()),
            Ask::Rebuild { .. } => {
                self.say(Phase::BeginningAgain, None);
                begin_again(database, view, Some(cursor), cursor, Again::Asked, false).await.map(|rows| {
                    self.figures.begun_again.inc();
                    self.figures.rows.inc_by(rows);
                })
            }
        };
        let proof = match done {
            Ok(()) => database.prove(cursor, view).await,
            Err(trouble) => Err(trouble),
        };
        self.moved(cursor, view);
        match proof {
            Ok(proof) => {
                let _ = ask.into_answer().send(Ok(proof));
                Ok(())
            }
            // Asked again once the record is where it is thought to be.
            Err(trouble) => {
                self.pending = Some(ask);
                Err(trouble)
            }
        }
    }

    fn moved(&mut self, cursor: &Cursor, view: &State) {
        self.last_moved = timing::now::<P::Runtime>();
        self.figures.transactions.inc();
        self.measure(cursor, view);
        self.status.send_modify(|status| {
            status.phase = Phase::Following;
            status.applied_index = Some(cursor.applied_index);
            status.trouble = None;
        });
        self.figures.trouble.reset();
        self.figures.following.set(1);
    }

    fn measure(&self, cursor: &Cursor, view: &State) {
        self.figures.applied_index.set(cursor.applied_index.cast_signed());
        self.figures.lag_entries.set(view.at().index.saturating_sub(cursor.applied_index).cast_signed());
        self.lag(view, cursor.applied_index);
    }

    /// How much is kept, and for how long it has been.
    fn lag(&self, view: &State, from: u64) {
        self.figures.lag_events.set(view.outbox().len().cast_signed());
        let oldest = view.outbox().after(from).next().and_then(Result::ok);
        let age_us = oldest.map_or(0, |told| view.at().time.0.saturating_sub(told.at.time.0));
        self.figures.lag_seconds.set(age_us.max(0) as f64 / 1e6);
    }

    fn say(&self, phase: Phase, trouble: Option<&str>) {
        self.figures.following.set(i64::from(phase == Phase::Following));
        if phase == Phase::Elsewhere {
            self.figures.trouble.reset();
            self.figures.lag_entries.set(0);
            self.figures.lag_events.set(0);
            self.figures.lag_seconds.set(0.0);
        }
        self.status.send_modify(|status| {
            status.phase = phase;
            if trouble.is_some() || phase == Phase::Elsewhere {
                status.trouble = trouble.map(Into::into);
            }
        });
    }

    /// Once in the log for as long as it is the same, and always in the metrics.
    fn complain(&mut self, trouble: &Trouble) {
        let text = trouble.to_string();
        let is_new = self.status.borrow().trouble.as_deref() != Some(text.as_str());
        match trouble {
            Trouble::Halted(_) if is_new => {
                tracing::error!(%trouble, "the record is left alone; bookings go on, and a person has to decide");
            }
            _ if is_new => tracing::warn!(%trouble, "the record cannot be written; it is tried again"),
            _ => {}
        }
        self.figures.failures.inc();
        self.figures.trouble.reset();
        self.figures.trouble.with_label_values(&[trouble.reason()]).set(1);
        let view = self.replica.view();
        let through = self.status.borrow().applied_index;
        self.lag(&view, through.unwrap_or(0).max(view.outbox().through().unwrap_or_default()));
        if let Some(through) = through {
            self.figures.lag_entries.set(view.at().index.saturating_sub(through).cast_signed());
        }
        self.say(if matches!(trouble, Trouble::Halted(_)) { Phase::Halted } else { Phase::Waiting }, Some(&text));
        if let Some(ask) = self.pending.take() {
            let _ = ask.into_answer().send(Err(AskError::Trouble(text.into())));
        }
    }
}
