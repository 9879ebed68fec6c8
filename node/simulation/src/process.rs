//! A process in virtual time: tasks that can be stopped together, go on together, and end together between any two
//! steps.
//!
//! A paused process does not run, though its timers come due; a killed one never runs again, and what its tasks held is
//! dropped. A machine may also be suspended, as one that is virtual is when it is moved: then its monotonic clock
//! stands still with everything on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft::async_runtime::OneshotSender;
use openraft::type_config::TypeConfigExt;
use openraft_rt::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};

use carrel_node::raft::types::Types;

use crate::dice::Dice;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// A task that hesitates lets others run for so long: less than a message takes.
const HESITATION_US: std::ops::Range<u64> = 1..200;

pub struct Process {
    state: Mutex<State>,
    /// Steps of a thousand before which a task lets others go first.
    hesitates_permille: u32,
    /// For so long in all its machine was suspended: so much its monotonic clock is behind.
    behind_ns: AtomicU64,
}

struct State {
    standing: Standing,
    suspended_since: Option<SimInstant>,
    dice: Dice,
    next_task: u64,
    /// Who waits, by task, to be told when the process ends or goes on.
    waiting: BTreeMap<u64, Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Runs,
    Paused,
    Dead,
}

impl Process {
    #[must_use]
    pub fn new(dice: Dice, hesitates_permille: u32) -> Arc<Self> {
        let state =
            State { standing: Standing::Runs, suspended_since: None, dice, next_task: 0, waiting: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), hesitates_permille, behind_ns: AtomicU64::new(0) })
    }

    pub fn standing(&self) -> Standing {
        self.state().standing
    }

    /// As by SIGKILL: no task takes another step.
    pub fn kill(&self) {
        self.become_and_wake(Standing::Dead);
    }

    /// As by SIGSTOP. Nothing if it is dead.
    pub fn pause(&self) {
        if self.standing() == Standing::Runs {
            self.state().standing = Standing::Paused;
        }
    }

    /// As a virtual machine that is moved: its monotonic clock stands still, too. Nothing unless it runs.
    pub fn suspend(&self) {
        let mut state = self.state();
        if state.standing == Standing::Runs {
            state.standing = Standing::Paused;
            state.suspended_since = Some(SimInstant::now());
        }
    }

    /// As by SIGCONT, or where the machine was moved to.
    pub fn go_on(&self) {
        if self.standing() != Standing::Paused {
            return;
        }
        if let Some(since) = self.state().suspended_since.take() {
            let behind_ns = u64::try_from(since.elapsed().as_nanos()).expect("a run is short");
            self.behind_ns.fetch_add(behind_ns, Ordering::Relaxed);
        }
        self.become_and_wake(Standing::Runs);
    }

    /// How much its monotonic clock is behind the one that never stood still.
    pub fn behind(&self) -> Duration {
        Duration::from_nanos(self.behind_ns.load(Ordering::Relaxed))
    }

    fn become_and_wake(&self, standing: Standing) {
        let waiting = {
            let mut state = self.state();
            state.standing = standing;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// Runs `future` as a task of this process.
    pub fn spawn<F>(self: &Arc<Self>, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        drop(SimRuntime::spawn(self.own(future)));
    }

    /// Runs `future` as a task of this process; none if the process ends before.
    pub fn call<F>(self: &Arc<Self>, future: F) -> impl Future<Output = Option<F::Output>> + Send + use<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (sender, receiver) = Types::<SimRuntime>::oneshot();
        self.spawn(async move {
            // Whoever asked may have given up.
            let _ = sender.send(future.await);
        });
        async move { receiver.await.ok() }
    }

    /// The future, as a task of this process.
    pub fn own<F: Future>(self: &Arc<Self>, future: F) -> Owned<F> {
        let task = {
            let mut state = self.state();
            state.next_task += 1;
            state.next_task
        };
        Owned { process: Arc::clone(self), task, future: Some(Box::pin(future)), hesitation: None }
    }

    /// Whether the task may take a step now, or for how long it lets others go first.
    fn may_step(&self, task: u64, waker: &Waker) -> Result<Option<Duration>, Standing> {
        let mut state = self.state();
        match state.standing {
            Standing::Dead => Err(Standing::Dead),
            Standing::Paused => {
                state.waiting.insert(task, waker.clone());
                Err(Standing::Paused)
            }
            Standing::Runs => {
                let hesitates = self.hesitates_permille > 0 && state.dice.happens(self.hesitates_permille);
                Ok(hesitates.then(|| state.dice.micros(HESITATION_US)))
            }
        }
    }

    fn wait(&self, task: u64, waker: &Waker) {
        let mut state = self.state();
        if state.standing != Standing::Dead {
            state.waiting.insert(task, waker.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }
}

/// A task of a process.
pub struct Owned<F: Future> {
    process: Arc<Process>,
    task: u64,
    /// None once it has ended, or the process has.
    future: Option<Pin<Box<F>>>,
    hesitation: Option<Pin<Box<<SimRuntime as AsyncRuntime>::Sleep>>>,
}

impl<F: Future> Future for Owned<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let task = &mut *self;
        if let Some(hesitation) = &mut task.hesitation {
            if hesitation.as_mut().poll(context).is_pending() && task.process.standing() != Standing::Dead {
                return Poll::Pending;
            }
            task.hesitation = None;
        }
        match task.process.may_step(task.task, context.waker()) {
            Err(Standing::Dead) => {
                task.end();
                return Poll::Pending;
            }
            Err(Standing::Runs | Standing::Paused) => return Poll::Pending,
            Ok(None) => {}
            Ok(Some(hesitates)) => {
                let mut hesitation = Box::pin(SimRuntime::sleep(hesitates));
                if hesitation.as_mut().poll(context).is_pending() {
                    task.hesitation = Some(hesitation);
                    task.process.wait(task.task, context.waker());
                    return Poll::Pending;
                }
            }
        }
        let Some(mut future) = task.future.take() else { return Poll::Pending };
        let within = Within::new(&task.process);
        let polled = future.as_mut().poll(context);
        drop(within);
        if polled.is_pending() {
            task.future = Some(future);
            task.process.wait(task.task, context.waker());
        }
        polled
    }
}

impl<F: Future> Owned<F> {
    /// What it starts by being dropped is the process's, too, and so never runs.
    fn end(&mut self) {
        let within = Within::new(&self.process);
        drop(self.future.take());
        drop(within);
    }
}

impl<F: Future> Drop for Owned<F> {
    fn drop(&mut self) {
        self.end();
        self.process.state().waiting.remove(&self.task);
    }
}

/// While it lives, tasks are started for this process.
struct Within {
    before: Option<Arc<Process>>,
}

impl Within {
    fn new(process: &Arc<Process>) -> Self {
        Self { before: CURRENT.with(|current| current.replace(Some(Arc::clone(process)))) }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let before = self.before.take();
        drop(CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), before)));
    }
}

/// How much the monotonic clock of whose task is running is behind the one that never stood still.
pub fn behind() -> Duration {
    CURRENT.with(|current| current.borrow().as_ref().map_or(Duration::ZERO, |process| process.behind()))
}

/// Whose task is running.
pub fn current() -> Option<Arc<Process>> {
    CURRENT.with(|current| current.borrow().clone())
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("standing", &self.standing()).finish_non_exhaustive()
    }
}
