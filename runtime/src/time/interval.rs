//! Ticks at regular intervals.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::now;
use super::sleep::Sleep;
use crate::base::place::Why;
use crate::base::turn;
use crate::base::world;

/// Makes an interval that ticks every `period`, the first time at once.
///
/// # Panics
///
/// When `period` is zero. Awaiting a tick panics when no runtime is running on the thread.
///
/// ```
/// use std::time::Duration;
///
/// popleft::run(async {
///     let mut interval = popleft::time::interval(Duration::from_millis(2));
///     let first = interval.tick().await;
///     let second = interval.tick().await;
///     assert_eq!(second - first, Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(now(), period)
}

/// Makes an interval that ticks every `period`, the first time at `start`.
///
/// # Panics
///
/// When `period` is zero. Awaiting a tick panics when no runtime is running on the thread.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "the period of an interval must not be zero");
    Interval {
        sleep: Sleep::until(start, Location::caller()),
        period,
        missed: MissedTickBehavior::default(),
    }
}

/// What an interval does about ticks that were not awaited in time.
///
/// A tick counts as missed when the one after it is due before it was awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTickBehavior {
    /// Missed ticks follow at once, one after the other, until the schedule is met again.
    #[default]
    Burst,
    /// The schedule moves: the next tick is due a full period after the late one was awaited.
    Delay,
    /// Missed ticks are dropped: the next tick is the next one of the schedule.
    Skip,
}

/// A schedule of ticks; see [`interval`].
///
/// ```
/// use popleft::time::{MissedTickBehavior, interval};
/// use std::time::Duration;
///
/// popleft::run(async {
///     let mut interval = interval(Duration::from_millis(2));
///     interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
///     for _ in 0..3 {
///         interval.tick().await;
///     }
/// });
/// ```
#[must_use = "an interval does nothing until its ticks are awaited"]
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and returns when it was due.
    ///
    /// Dropping the future loses no tick.
    ///
    /// # Panics
    ///
    /// Polling the future panics when no runtime is running on this thread.
    #[track_caller]
    pub fn tick(&mut self) -> Tick<'_> {
        Tick { interval: self, at: Location::caller() }
    }

    /// Sets what happens to missed ticks. Defaults to [`MissedTickBehavior::Burst`].
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// Returns the time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// When the next tick is due, after one that was due at `due` and was awaited at `now`.
    fn next(&self, due: Instant, now: Instant) -> Instant {
        let next = world::deadline(due, self.period);
        if now < next {
            return next;
        }
        match self.missed {
            MissedTickBehavior::Burst => next,
            MissedTickBehavior::Delay => world::deadline(now, self.period),
            MissedTickBehavior::Skip => {
                let into_period = (now - due).as_nanos() % self.period.as_nanos();
                // It is less than the time that has passed, so it fits.
                let into_period = Duration::from_nanos(into_period as u64);
                world::deadline(now, self.period - into_period)
            }
        }
    }
}

/// The future of [`Interval::tick`].
///
/// Dropping it loses no tick.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Tick<'a> {
    interval: &'a mut Interval,
    at: &'static Location<'static>,
}

impl Future for Tick<'_> {
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let at = self.at;
        let interval = &mut *self.interval;
        if interval.sleep.poll_elapsed(cx.waker()).is_pending() {
            turn::park_at(Why::Timer, at);
            return Poll::Pending;
        }
        ready!(turn::consume_budget(cx));
        let due = interval.sleep.deadline();
        let next = interval.next(due, now());
        interval.sleep.reset(next);
        Poll::Ready(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(period: u64, missed: MissedTickBehavior) -> Interval {
        let mut interval = interval_at(Instant::now(), Duration::from_millis(period));
        interval.set_missed_tick_behavior(missed);
        interval
    }

    proptest! {
        /// With every behavior, a tick in time is followed by the next one of the schedule.
        #[test]
        fn a_tick_in_time_keeps_the_schedule(period in 1u64..1000, late in 0u64..1000) {
            for missed in [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
                let interval = plan(period, missed);
                let due = Instant::now();
                let now = due + Duration::from_millis(late % period);
                prop_assert_eq!(interval.next(due, now), due + interval.period());
            }
        }

        #[test]
        fn missed_ticks_burst_delay_or_are_skipped(period in 1u64..100, late in 0u64..10_000) {
            let due = Instant::now();
            let now = due + Duration::from_millis(period + late);
            let next = |missed| plan(period, missed).next(due, now);
            let period = Duration::from_millis(period);
            prop_assert_eq!(next(MissedTickBehavior::Burst), due + period);
            prop_assert_eq!(next(MissedTickBehavior::Delay), now + period);
            let skipped_to = next(MissedTickBehavior::Skip);
            prop_assert!(skipped_to > now && skipped_to <= now + period);
            prop_assert_eq!((skipped_to - due).as_nanos() % period.as_nanos(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "must not be zero")]
    fn a_period_of_zero_is_refused() {
        let _ = interval(Duration::ZERO);
    }
}
