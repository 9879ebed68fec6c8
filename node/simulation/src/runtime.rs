//! The virtual runtime, in which every task belongs to the process whose task has started it, and every process counts
//! time by a monotonic clock of its own.
//!
//! openraft starts its tasks, and asks what time it is, by static functions that know no process. So the runtime here
//! remembers whose task is running: what a process's task starts is the process's.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_sim::{SimInstant, SimRuntime, SimSleep};

use crate::process::{Process, behind, current};

/// By the monotonic clock of the process whose task asks; outside of all processes by the one that never stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnInstant(SimInstant);

impl Instant for OwnInstant {
    fn now() -> Self {
        Self(SimInstant::now() - behind())
    }
}

impl Add<Duration> for OwnInstant {
    type Output = Self;

    fn add(self, more: Duration) -> Self {
        Self(self.0 + more)
    }
}

impl AddAssign<Duration> for OwnInstant {
    fn add_assign(&mut self, more: Duration) {
        self.0 += more;
    }
}

impl Sub<Duration> for OwnInstant {
    type Output = Self;

    fn sub(self, less: Duration) -> Self {
        Self(self.0 - less)
    }
}

impl SubAssign<Duration> for OwnInstant {
    fn sub_assign(&mut self, less: Duration) {
        self.0 -= less;
    }
}

impl Sub for OwnInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

/// Until an instant of the clock of the process that waits.
pub struct OwnSleep {
    deadline: OwnInstant,
    process: Option<Arc<Process>>,
    /// As long as it would take if the clock did not stand still meanwhile.
    sleep: SimSleep,
}

impl OwnSleep {
    fn until(deadline: OwnInstant) -> Self {
        let process = current();
        let behind = process.as_ref().map_or(Duration::ZERO, |process| process.behind());
        Self { deadline, process, sleep: SimRuntime::sleep_until(deadline.0 + behind) }
    }
}

impl Future for OwnSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if Pin::new(&mut self.sleep).poll(context).is_pending() {
                return Poll::Pending;
            }
            let behind = self.process.as_ref().map_or(Duration::ZERO, |process| process.behind());
            let due = self.deadline.0 + behind;
            if due <= SimInstant::now() {
                return Poll::Ready(());
            }
            // The clock has stood still meanwhile.
            self.sleep = SimRuntime::sleep_until(due);
        }
    }
}

/// A future, and until when by the own clock it is waited for.
pub struct OwnTimeout<T> {
    future: Pin<Box<T>>,
    sleep: OwnSleep,
}

impl<T: Future> Future for OwnTimeout<T> {
    type Output = Result<T::Output, TooLate>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(TooLate))
    }
}

/// What was waited for did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too late")
    }
}

/// The virtual runtime, in which every task belongs to the process whose task has started it.
pub struct Processes;

impl AsyncRuntime for Processes {
    type JoinError = <SimRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = OwnSleep;
    type Instant = OwnInstant;
    type TimeoutError = TooLate;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = OwnTimeout<T>;
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
        match current() {
            Some(process) => SimRuntime::spawn(process.own(future)),
            None => SimRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        OwnSleep::until(OwnInstant::now() + duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        OwnSleep::until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        OwnTimeout { future: Box::pin(future), sleep: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        OwnTimeout { future: Box::pin(future), sleep: Self::sleep_until(deadline) }
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

impl fmt::Debug for OwnSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnSleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for OwnTimeout<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTimeout").field("sleep", &self.sleep).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn the_clock_of_a_suspended_machine_stands_still() {
        SimRuntime::with_seed(1).block_on(async {
            let (process, began) = (Process::new(Dice::of(1), 0), SimInstant::now());
            let second = Duration::from_secs(1);
            let waits = process.call(async move {
                let began = OwnInstant::now();
                Processes::sleep(second).await;
                let slept = began.elapsed();
                let late = Processes::timeout(second, std::future::pending::<()>()).await;
                (slept, late, began.elapsed())
            });
            SimRuntime::sleep(second / 2).await;
            process.suspend();
            SimRuntime::sleep(2 * second).await;
            process.go_on();
            assert_eq!(waits.await, Some((second, Err(TooLate), 2 * second)));
            assert_eq!(began.elapsed(), 4 * second);
        });
    }
}
