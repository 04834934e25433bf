//! Something to be done again and again.

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

/// Ticks every `period`, the first time at once.
///
/// # Panics
///
/// When `period` is zero.
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

/// Ticks every `period`, the first time at `start`.
///
/// # Panics
///
/// When `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "the period of an interval must not be zero");
    Interval {
        sleep: Sleep::until(start, Location::caller()),
        period,
        missed: MissedTickBehavior::default(),
    }
}

/// What an interval does about ticks that are due already because nobody took them in time.
///
/// A tick counts as missed when the one after it is due before it was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Those that were missed come at once, one after the other, until the plan is met again.
    #[default]
    Burst,
    /// The plan moves: the next tick comes a full period after this one was taken.
    Delay,
    /// Those that were missed never come; the next one is the next of the plan.
    Skip,
}

/// A plan of ticks; see [`interval`].
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
    #[track_caller]
    pub fn tick(&mut self) -> Tick<'_> {
        Tick { interval: self, at: Location::caller() }
    }

    /// What is done about ticks that were missed; [`MissedTickBehavior::Burst`] unless you say.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// When the tick after the one that was due at `due` is due, the former being taken at `now`.
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
                // Less than a period that has passed, so it fits.
                let into_period = Duration::from_nanos(into_period as u64);
                world::deadline(now, self.period - into_period)
            }
        }
    }
}

/// The future of [`Interval::tick`].
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
        /// Whatever is done about missed ticks, a tick in time is followed by the next of the plan.
        #[test]
        fn a_tick_in_time_keeps_the_plan(period in 1u64..1000, late in 0u64..1000) {
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
