//! What an operation costs while many others are alive and do nothing.

use std::future::pending;
use std::time::Duration;

use crate::measure::Sample;
use crate::peers::Peer;
use crate::rows::{slot, spawn, timers, yields};

/// An operation whose cost should not depend on how much else there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A task yields; other tasks are parked.
    Yield,
    /// A task is spawned and joined; other tasks are parked.
    Spawn,
    /// A value goes to and fro between two tasks; other tasks are parked.
    RoundTrip,
    /// A timer is set and taken back; other timers are set.
    Timer,
}

impl Operation {
    /// All of them, by name.
    pub const ALL: [(&'static str, Operation); 4] = [
        ("yield, tasks parked", Operation::Yield),
        ("spawn + join, tasks parked", Operation::Spawn),
        ("round trip, tasks parked", Operation::RoundTrip),
        ("timer set and dropped, timers set", Operation::Timer),
    ];
}

/// The operation, while `others` are there.
pub fn beside<P: Peer>(operation: Operation, others: u64, operations: u64) -> Sample {
    P::run(async move {
        if operation == Operation::Timer {
            return timers::set_and_dropped_beside::<P>(others, operations).await;
        }
        for _ in 0..others {
            P::spawn_detached(pending());
        }
        // They are polled once, and parked, before anything is measured.
        P::sleep(Duration::from_millis(1)).await;
        match operation {
            Operation::Yield => yields::inside::<P>(1, operations).await,
            Operation::Spawn => spawn::joined_inside::<P>(operations).await,
            _ => slot::inside::<P>(operations).await,
        }
    })
}

/// So many tasks that all take turns: what is measured is mostly how far away their memory is.
pub fn all_in_turn<P: Peer>(tasks: u64, operations: u64) -> Sample {
    yields::yields::<P>(tasks, operations.max(tasks * 3))
}
