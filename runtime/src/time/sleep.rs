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
/// A sleep of zero is over at the loop's next look outside. One that is longer than the clock can
/// count ([`Duration::MAX`]) lasts for about 30 years. Dropping the future takes the timer back.
///
/// # Panics
///
/// When it is polled where no runtime is running.
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

/// Waits until `deadline`. One that has passed is ready at once.
///
/// Dropping the future takes the timer back.
///
/// # Panics
///
/// When it is polled where no runtime is running.
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(deadline, Location::caller())
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    stage: Stage,
    at: &'static Location<'static>,
}

enum Stage {
    /// It has not been polled.
    New,
    /// A timer is set, or has fired since the last poll.
    Set {
        timers: Rc<Timers>,
        timer: timers::Key,
    },
    Over,
}

impl Sleep {
    pub(crate) fn until(deadline: Instant, at: &'static Location<'static>) -> Self {
        Sleep { deadline, stage: Stage::New, at }
    }

    pub(crate) fn lasting(duration: Duration, at: &'static Location<'static>) -> Self {
        Sleep::until(world::deadline(now(), duration), at)
    }

    /// When it is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its end has been seen by a poll.
    pub fn is_elapsed(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Waits for another deadline from now on, also when the one before has passed.
    pub fn reset(&mut self, deadline: Instant) {
        self.take_back();
        self.stage = Stage::New;
        self.deadline = deadline;
    }

    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// Polls without saying why the task parks, and without taking of its share.
    pub(crate) fn poll_elapsed(&mut self, waker: &Waker) -> Poll<()> {
        if self.is_elapsed() {
            return Poll::Ready(());
        }
        let Some(event_loop) = current::event_loop() else {
            panic!("cannot wait for a deadline: no runtime is running on this thread");
        };
        match &self.stage {
            Stage::Set { timers, timer } if Rc::ptr_eq(timers, &event_loop.timers) => {
                if !timers.is_set(*timer) {
                    self.stage = Stage::Over;
                    return Poll::Ready(());
                }
                if !timers.wakes(*timer, waker) {
                    let replaced = timers.set_waker(*timer, LocalWaker::of(waker));
                    replaced.discard();
                }
                return Poll::Pending;
            }
            _ => self.take_back(),
        }
        // A deadline of this very moment has not passed: that is for the next look to say.
        if self.deadline < event_loop.clock.looked_at() {
            self.stage = Stage::Over;
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
        self.stage = Stage::Set { timers: event_loop.timers.clone(), timer };
        Poll::Pending
    }

    fn take_back(&mut self) {
        if let Stage::Set { timers, timer } = std::mem::replace(&mut self.stage, Stage::Over) {
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
        self.take_back();
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
