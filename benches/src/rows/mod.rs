//! What is measured.

pub mod echo;
pub mod grown;
pub mod lateness;
pub mod memory;
pub mod slot;
pub mod spawn;
pub mod threads;
pub mod timers;
pub mod yields;

use crate::load::Load;
use crate::measure::Sample;
use crate::with_peer;

/// One line of the table.
pub struct Row {
    /// The name on the command line.
    pub name: &'static str,
    /// The heading in the table.
    pub title: &'static str,
    /// What is measured, and how.
    pub kind: Kind,
    /// The goals of popleft.
    pub goals: &'static [Goal],
    /// How the runtimes differ in this row, for the reader of the table.
    pub note: &'static str,
}

/// How a row is measured.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The cost of an operation, in nanoseconds; lower is better.
    Operation {
        /// The row on a peer, with so many operations.
        peer: fn(&str, u64) -> Option<Sample>,
        /// The limit, written by hand.
        limit: Option<fn(u64) -> Sample>,
        /// How many operations: this many first, then more until it takes long enough.
        first: u64,
        /// What counts is the time computed, not the time passed, and nothing is repeated.
        cpu: bool,
    },
    /// Bytes in use; lower is better. It is counted once, as it does not vary.
    Bytes {
        /// The row on a peer.
        peer: fn(&str) -> Option<f64>,
        /// The limit, written by hand.
        limit: fn() -> f64,
    },
    /// Requests a second of an echo server; higher is better.
    Server {
        /// What the clients do.
        load: Load,
        /// Server and load on one core, not on two.
        one_core: bool,
    },
    /// Bytes in use for each idle connection; lower is better.
    IdleConnection {
        /// How many there are.
        connections: usize,
    },
}

/// A goal of popleft in a row.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most this many times what the best of the peers takes.
    OfBestAtMost(f64),
    /// At most this many times the limit.
    OfLimitAtMost(f64),
    /// At least this share of the limit's rate.
    OfLimitAtLeast(f64),
    /// Ahead of every peer that waits with epoll.
    AheadOnEpoll,
    /// An absolute number.
    AtMost(f64),
}

macro_rules! operation {
    ($first:expr, $($function:ident)::+ ($($argument:expr),*), $limit:expr) => {
        operation!(@ $first, false, $($function)::+ ($($argument),*), $limit)
    };
    (@ $first:expr, $cpu:expr, $($function:ident)::+ ($($argument:expr),*), $limit:expr) => {
        Kind::Operation {
            peer: |peer, operations| {
                with_peer!(peer, $crate::rows::$($function)::+, ($($argument,)* operations))
            },
            limit: $limit,
            first: $first,
            cpu: $cpu,
        }
    };
}

const fn echo(clients: usize) -> Load {
    Load { clients, idle: 0, reconnect: false, warm_up: 0.05, seconds: 0.0 }
}

/// All rows, in the order of the table.
pub const ALL: &[Row] = &[
    Row {
        name: "yield-1",
        title: "one task yields",
        kind: operation!(1_000, yields::yields(1), Some(|n| yields::limit(1, n))),
        goals: &[Goal::OfBestAtMost(0.45)],
        note: "monoio and compio have no yield of their own: futures-lite's, which wakes itself",
    },
    Row {
        name: "yield-1000",
        title: "1000 tasks yield in turn",
        kind: operation!(10_000, yields::yields(1_000), Some(|n| yields::limit(1_000, n))),
        goals: &[Goal::OfBestAtMost(0.45)],
        note: "monoio polls a task that woke itself again at once: not in turn",
    },
    Row {
        name: "spawn",
        title: "spawn + join",
        kind: operation!(1_000, spawn::joined(), Some(spawn::batch_limit)),
        goals: &[Goal::OfBestAtMost(0.85)],
        note: "a hundred are started, then each is awaited",
    },
    Row {
        name: "spawn-1",
        title: "spawn + join, one at a time",
        kind: operation!(1_000, spawn::joined_in_turn(), Some(spawn::joined_in_turn_limit)),
        goals: &[],
        note: "the task that joins has a turn for each",
    },
    Row {
        name: "spawn-detached",
        title: "spawn, detached",
        kind: operation!(1_000, spawn::detached(), Some(spawn::batch_limit)),
        goals: &[Goal::OfBestAtMost(0.85)],
        note: "",
    },
    Row {
        name: "spawn-4k",
        title: "spawn + join with 4 KiB of state",
        kind: operation!(1_000, spawn::joined_with_state(), Some(spawn::batch_with_state_limit)),
        goals: &[],
        note: "the state is room that nobody fills: it has to be found, and must not be copied",
    },
    Row {
        name: "slot",
        title: "round trip over the same slot",
        kind: operation!(1_000, slot::round_trip(), Some(slot::limit)),
        goals: &[Goal::OfBestAtMost(0.5)],
        note: "",
    },
    Row {
        name: "timer-drop",
        title: "timer: create, poll once, drop (100k alive)",
        kind: operation!(
            10_000,
            timers::set_and_dropped(100_000),
            Some(|n| timers::set_and_dropped_limit(100_000, n))
        ),
        goals: &[Goal::OfBestAtMost(0.45)],
        note: "tokio's and monoio's timers are exact to a millisecond",
    },
    Row {
        name: "timer-fire",
        title: "timer: 100k tasks sleep and end, CPU",
        kind: operation!(@ 100_000, true, timers::fired(), Some(timers::fired_limit)),
        goals: &[Goal::OfBestAtMost(0.45)],
        note: "tokio's and monoio's timers are exact to a millisecond",
    },
    Row {
        name: "wake",
        title: "woken by another thread, one core",
        kind: operation!(100, threads::woken(), LIMIT_OF_WOKEN),
        goals: &[Goal::OfLimitAtMost(1.05)],
        note: "monoio with its feature `sync`, without which it cannot be woken",
    },
    Row {
        name: "offload-1",
        title: "offload, one after another",
        kind: operation!(100, threads::offloaded_in_turn(), LIMIT_OF_OFFLOAD_IN_TURN),
        goals: &[Goal::OfBestAtMost(0.85)],
        note: "",
    },
    Row {
        name: "offload-100",
        title: "offload, 100 in flight",
        kind: operation!(1_000, threads::offloaded_together(), LIMIT_OF_OFFLOAD_TOGETHER),
        goals: &[Goal::OfBestAtMost(0.5)],
        note: "the limit, monoio (4) and glommio (1) have few threads; the others start more",
    },
    Row {
        name: "task-bytes",
        title: "bytes of a parked task with 64 bytes of state",
        kind: Kind::Bytes {
            peer: |peer| with_peer!(peer, crate::rows::memory::bytes_of_a_parked_task, (100_000)),
            limit: || memory::limit(100_000),
        },
        goals: &[Goal::AtMost(192.0)],
        note: "popleft keeps each task's spawn place, and what it waits for, where and since when",
    },
    Row {
        name: "echo-1",
        title: "echo, 1 connection, on one core",
        kind: Kind::Server { load: echo(1), one_core: true },
        goals: &[Goal::OfLimitAtLeast(0.98), Goal::AheadOnEpoll],
        note: "",
    },
    Row {
        name: "echo-100",
        title: "echo, 100 connections",
        kind: Kind::Server { load: echo(100), one_core: false },
        goals: &[Goal::OfLimitAtLeast(0.98), Goal::AheadOnEpoll],
        note: "with io_uring the kernel may do a part of the work on other threads",
    },
    Row {
        name: "echo-1000",
        title: "echo, 1000 connections",
        kind: Kind::Server { load: echo(1_000), one_core: false },
        goals: &[Goal::OfLimitAtLeast(0.98), Goal::AheadOnEpoll],
        note: "",
    },
    Row {
        name: "connect",
        title: "connect, one request, close",
        kind: Kind::Server { load: Load { reconnect: true, ..echo(8) }, one_core: false },
        goals: &[Goal::OfLimitAtLeast(0.98)],
        note: "the load connects with blocking calls, eight connections being open",
    },
    Row {
        name: "connection-bytes",
        title: "bytes of an idle connection, 1 KiB buffer counted",
        kind: Kind::IdleConnection { connections: 1_000 },
        goals: &[Goal::OfBestAtMost(0.92)],
        note: "the limit has one buffer for all",
    },
];

#[cfg(target_os = "linux")]
const LIMIT_OF_WOKEN: Option<fn(u64) -> Sample> = Some(threads::limit::woken);
#[cfg(target_os = "linux")]
const LIMIT_OF_OFFLOAD_IN_TURN: Option<fn(u64) -> Sample> = Some(threads::limit::offloaded_in_turn);
#[cfg(target_os = "linux")]
const LIMIT_OF_OFFLOAD_TOGETHER: Option<fn(u64) -> Sample> =
    Some(threads::limit::offloaded_together);

#[cfg(not(target_os = "linux"))]
const LIMIT_OF_WOKEN: Option<fn(u64) -> Sample> = None;
#[cfg(not(target_os = "linux"))]
const LIMIT_OF_OFFLOAD_IN_TURN: Option<fn(u64) -> Sample> = None;
#[cfg(not(target_os = "linux"))]
const LIMIT_OF_OFFLOAD_TOGETHER: Option<fn(u64) -> Sample> = None;

/// The row of this name.
pub fn find(name: &str) -> Option<&'static Row> {
    ALL.iter().find(|row| row.name == name)
}
