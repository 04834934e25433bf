//! Waiting for a moment: sleeps, timeouts and intervals.
//!
//! Nothing here is ever early. It may be late: a deadline is seen when the loop looks outside, and
//! then its task has to wait for its turn. `sleep.rs` holds the one future that talks to the
//! timers; timeouts and intervals are made of it.

mod interval;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTickBehavior, Tick, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

use std::time::Instant;

use crate::base::world;
use crate::current;

/// What time it is by the clock of the loop that runs on this thread; by the system's clock where
/// none runs, for example in a job of [`spawn_blocking`](crate::spawn_blocking).
///
/// In a [simulation](crate::sim) this is the virtual clock, also in its jobs; `Instant::now` knows
/// nothing of it.
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
