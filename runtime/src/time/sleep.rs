//! The future that waits for a deadline.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::now;
use crate::base::event::{Event, emit};
use crate::base::place::{Place, Why};
use crate::base::turn;
use crate::base::world;
use crate::current;
use crate::task::local_waker::LocalWaker;
use crate::timers::{self, Timers};

/// Waits until `duration` has passed since this call.
///
/// A sleep of zero ends the next time the loop polls for events. One that is longer than the clock
/// can count ([`Duration::MAX`]) lasts for about 30 years. Dropping the future cancels the timer.
///
/// # Panics
///
/// Polling the future panics when no runtime is running on this thread.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// popleft::run(async {
///     popleft::time::sleep(Duration::from_millis(5)).await;
/// });
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::lasting(duration, Location::caller())
}

/// Waits until `deadline`.
///
/// If it has passed, the future is ready at once. Dropping the future cancels the timer.
///
/// # Panics
///
/// Polling the future panics when no runtime is running on this thread.
///
/// ```
/// use popleft::time::{now, sleep_until};
/// use std::time::Duration;
///
/// popleft::run(async {
///     let deadline = now() + Duration::from_millis(2);
///     sleep_until(deadline).await;
///     assert!(now() >= deadline);
/// });
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(deadline, Location::caller())
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// Dropping it cancels the timer.
///
/// ```
/// use popleft::time::{Sleep, now, sleep};
/// use std::time::Duration;
///
/// popleft::run(async {
///     let mut sleep: Sleep = sleep(Duration::from_secs(3600));
///     sleep.reset(now() + Duration::from_millis(1));
///     (&mut sleep).await;
///     assert!(sleep.is_elapsed());
/// });
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    state: State,
    at: &'static Location<'static>,
}

enum State {
    /// It has not been polled.
    New,
    /// A timer is set, or has fired since the last poll.
    Set {
        timers: Rc<Timers>,
        timer: timers::Key,
    },
    Elapsed,
}

impl Sleep {
    pub(crate) fn until(deadline: Instant, at: &'static Location<'static>) -> Self {
        Sleep { deadline, state: State::New, at }
    }

    pub(crate) fn lasting(duration: Duration, at: &'static Location<'static>) -> Self {
        Sleep::until(world::deadline(now(), duration), at)
    }

    /// Returns the time at which it is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns whether it was ready when it was last polled, since it was last reset.
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Elapsed)
    }

    /// Sets another deadline, also after the previous one has passed.
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.state = State::New;
        self.deadline = deadline;
    }

    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// Polls without recording why the task parks, and without consuming its budget.
    pub(crate) fn poll_elapsed(&mut self, waker: &Waker) -> Poll<()> {
        if self.is_elapsed() {
            return Poll::Ready(());
        }
        let Some(event_loop) = current::event_loop() else {
            panic!("cannot wait for a deadline: no runtime is running on this thread");
        };
        match &self.state {
            State::Set { timers, timer } if Rc::ptr_eq(timers, &event_loop.timers) => {
                if !timers.is_set(*timer) {
                    self.state = State::Elapsed;
                    return Poll::Ready(());
                }
                if !timers.wakes(*timer, waker) {
                    let replaced = timers.set_waker(*timer, LocalWaker::of(waker));
                    replaced.discard();
                }
                return Poll::Pending;
            }
            _ => self.cancel(),
        }
        // A deadline equal to the loop's time has not passed: the next poll for events decides.
        if self.deadline < event_loop.clock.looked_at() {
            self.state = State::Elapsed;
            return Poll::Ready(());
        }
        let (deadline, at) = (self.deadline, self.at);
        let timer = event_loop.timers.set(deadline, LocalWaker::of(waker));
        emit(|| Event::TimerSet {
            timer: timer.number(),
            task: turn::task_if_any(),
            deadline,
            at: Place::of(at),
        });
        self.state = State::Set { timers: event_loop.timers.clone(), timer };
        Poll::Pending
    }

    fn cancel(&mut self) {
        if let State::Set { timers, timer } = std::mem::replace(&mut self.state, State::Elapsed) {
            timers.cancel(timer);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_elapsed(cx.waker()).is_pending() {
            turn::park_at(Why::Timer, self.at);
            return Poll::Pending;
        }
        ready!(turn::consume_budget(cx));
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .field("elapsed", &self.is_elapsed())
            .finish()
    }
}
