//! Waiting for a point in time: sleeps, timeouts and intervals.
//!
//! Nothing here is ever early. It may be late: the loop notices a deadline when it polls for events,
//! and then the task has to wait for its turn. `sleep.rs` has the one future that uses the timers;
//! timeouts and intervals are built on it.

mod interval;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTickBehavior, Tick, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

use std::time::Instant;

use crate::base::world;
use crate::current;

/// Returns the current time by the clock of the loop that is running on this thread.
///
/// Without a running loop, for example in a job of [`spawn_blocking`](crate::spawn_blocking), this
/// is the system's clock. In a [simulation](crate::sim) it is the virtual clock, also in jobs;
/// `Instant::now` does not know that clock.
///
/// ```
/// let start = popleft::time::now();
/// assert!(popleft::time::now() >= start);
/// ```
pub fn now() -> Instant {
    match current::event_loop() {
        Some(event_loop) => event_loop.clock.now(),
        None => world::now_outside_loops(),
    }
}
