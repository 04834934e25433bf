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

use crate::event_loop;
use crate::world::World;

/// What time it is in the world of the loop that runs here.
fn now() -> Instant {
    match event_loop::current() {
        Some(event_loop) => event_loop.now(),
        None => World::Real.now(),
    }
}
