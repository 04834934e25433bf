//! What time it is, and when the loop last looked outside.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::world::{Until, World};

/// The clock of one loop. Reading it costs as much as a turn, so it is read once per look outside;
/// between two looks, the time of the last one is exact enough for nearly every purpose.
pub(crate) struct Clock {
    world: World,
    started: Instant,
    /// When the loop last looked outside.
    looked_at: Cell<Instant>,
    /// The same, in milliseconds since the loop started.
    looked_at_ms: Cell<u64>,
}

impl Clock {
    pub(crate) fn new(world: World) -> Self {
        let started = world.now();
        Clock { world, started, looked_at: Cell::new(started), looked_at_ms: Cell::new(0) }
    }

    pub(crate) fn now(&self) -> Instant {
        self.world.now()
    }

    /// Reads the clock; `looked_at` returns this time until the next call.
    pub(crate) fn look(&self) {
        let now = self.now();
        self.looked_at.set(now);
        let elapsed = now.saturating_duration_since(self.started);
        self.looked_at_ms.set(elapsed.as_millis() as u64);
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// When the loop last looked outside: a clock that costs nothing to read and is never ahead.
    pub(crate) fn looked_at(&self) -> Instant {
        self.looked_at.get()
    }

    /// The time of the last look outside, in milliseconds since the loop started.
    #[inline]
    pub(crate) fn looked_at_ms(&self) -> u64 {
        self.looked_at_ms.get()
    }

    /// How long a sleep until `until` would take; `None` means without limit.
    pub(crate) fn duration_of(&self, until: Until) -> Option<Duration> {
        match until {
            Until::Now => Some(Duration::ZERO),
            Until::Deadline(deadline) => Some(deadline.saturating_duration_since(self.now())),
            Until::Forever => None,
        }
    }
}
