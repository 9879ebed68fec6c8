//! A process in virtual time: tasks that can be stopped together, go on together, and end together between any two
//! steps.
//!
//! openraft starts its tasks by a static function that knows no process. So the runtime here is the virtual one with a
//! memory of whose task is running: what a process's task starts is the process's. A paused process does not run,
//! though its timers come due; a killed one never runs again, and what its tasks held is dropped.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft::async_runtime::OneshotSender;
use openraft::type_config::TypeConfigExt;
use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_sim::SimRuntime;

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
}

struct State {
    standing: Standing,
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
        let state = State { standing: Standing::Runs, dice, next_task: 0, waiting: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), hesitates_permille })
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

    /// As by SIGCONT.
    pub fn go_on(&self) {
        if self.standing() == Standing::Paused {
            self.become_and_wake(Standing::Runs);
        }
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

    fn own<F: Future>(self: &Arc<Self>, future: F) -> Owned<F> {
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
struct Owned<F: Future> {
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

/// The virtual runtime, in which every task belongs to the process whose task has started it.
pub struct Processes;

impl AsyncRuntime for Processes {
    type JoinError = <SimRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <SimRuntime as AsyncRuntime>::Sleep;
    type Instant = <SimRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <SimRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <SimRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match CURRENT.with(|current| current.borrow().clone()) {
            Some(process) => SimRuntime::spawn(process.own(future)),
            None => SimRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        SimRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        SimRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        SimRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        SimRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        SimRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        let _ = threads;
        Self
    }

    /// Runs are begun with [`SimRuntime`] itself, which has the seed.
    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        SimRuntime::with_seed(0).block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        SimRuntime::spawn_blocking(work)
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Processes")
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("standing", &self.standing()).finish_non_exhaustive()
    }
}
