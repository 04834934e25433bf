//! The simulated world: the same program, the same run, as often as you like.
//!
//! A program on this runtime takes little from outside: the time, the order in which ready tasks
//! have their turns, the network, the ends of jobs, signals. Here all of it comes from the simulation. No
//! socket, thread or clock of the system is touched, a sleep of a year takes no time, and a run is
//! determined by the program and the choices of the next task: first in first out as in the real
//! loop, by a seed, or by a [`Schedule`]. [`explore`] tries all schedules of a small program.
//!
//! ```
//! use std::time::Duration;
//! use popleft::sim::{self, Sim};
//! use popleft::time::sleep;
//!
//! let elapsed = Sim::new().seed(7).run(async {
//!     let year = Duration::from_secs(365 * 24 * 3600);
//!     let naps = [popleft::spawn(sleep(year)), popleft::spawn(sleep(year / 2))];
//!     for nap in naps {
//!         nap.await.unwrap();
//!     }
//!     assert_eq!(sim::elapsed(), year);
//!     sim::elapsed()
//! });
//! assert_eq!(elapsed.as_secs() / 3600, 8760);
//! ```
//!
//! # What is simulated, and how
//!
//! - **The clock** stands still while a task is ready. When none is, it jumps to whatever comes
//!   next. [`time`](crate::time) counts by it; ask [`time::now`](crate::time::now) and not
//!   `Instant::now`, which knows nothing of it. It counts 584 years; a run in which nothing is left
//!   but what comes later [fails](FailureKind::EndOfTime). A task that only yields until some time has passed
//!   yields for ever; the run is stopped after [a number of turns](Sim::max_turns). The clock's
//!   zero is the one thing that is read from the system, once in a process, because an `Instant`
//!   can be made in no other way (on Linux this is a read of shared memory, not a system call);
//!   only the differences between instants mean anything.
//! - **Jobs** of [`spawn_blocking`](crate::spawn_blocking) take a stated time ([`Sim::job_time`],
//!   [`next_job_takes`]), all at once, as if there were threads enough. The work itself is done on the
//!   loop's own thread when that time is over: then its effects and its result are seen together.
//!   A job that is aborted before never runs. It cannot block on the loop: what it would wait for
//!   cannot happen meanwhile. A runtime that it makes and runs, as a thread may, is simulated too:
//!   first in first out, with a clock that begins at this one's time and a network of its own. What
//!   passes there takes no time here, and is told to no listener of this run.
//! - **The network** is in memory: [`net`](crate::net)'s TCP sockets run over it as they do over the
//!   system's, and names come from its table. How far hosts are from each other, and which links
//!   break, says [`Sim::network`]; a program can [break them itself](network).
//! - **Signals** are those that the program raises: [`raise`], [`Sim::raise_after`].
//! - **Deadlocks** are certain at once: when no task is ready, no deadline set, no job or packet under
//!   way and no signal to come, nothing can happen, even if a waker is left. The run ends with a [`Failure`]
//!   that holds the [`Deadlock`] as data.
//!
//! Other threads may take no part in a simulated run, and it cannot watch file descriptors of the
//! system, nor run [one loop a core](crate::cores()): that is an error of the kind `Unsupported`.
//!
//! # The files
//!
//! | file | what it holds |
//! |---|---|
//! | `builder.rs` | the settings of a run, and the ways to have it |
//! | `run.rs` | one run, from the making of its loop to the last drop |
//! | `failure.rs` | what can go wrong |
//! | `simulated.rs` | the world of one run: its clock, its choices, its jobs and signals |
//! | `network.rs` | the network in memory |
//! | `schedule.rs`, `random.rs` | the choices of a run; numbers for those that chance makes |
//! | `explore.rs`, `search.rs` | all schedules of a program; which one is next |
//! | `trail.rs` | whether a run does the same again |
//! | `shared.rs` | a cell that declares its uses, and what a step of a task has declared |
//! | `quiet.rs` | panics that are expected, and those that end the process |
//!
//! This file is the front door, and what a program may ask while it is simulated.

mod builder;
mod explore;
mod failure;
mod network;
mod quiet;
mod random;
mod run;
mod schedule;
mod search;
mod shared;
mod simulated;
mod trail;

use std::time::Duration;

pub use crate::deadlock::{Deadlock, Waiting};
pub use builder::Sim;
pub use explore::{ExploreOptions, ExploreReport, explore};
pub use failure::{Failure, FailureKind};
pub use network::{Link, Network, NetworkControl, OnHost, network, on_host};
pub(crate) use run::loop_for_a_job;
pub use schedule::{ParseScheduleError, Schedule};
pub use shared::Shared;

use crate::base::access::{self, Object};
use simulated::running;

// ===== what a simulated program may ask and do ==================================================

/// How much virtual time has passed since the run began.
///
/// # Panics
///
/// When no simulation is running on this thread.
#[track_caller]
pub fn elapsed() -> Duration {
    let Some(simulated) = running() else {
        panic!("no time has elapsed: no simulation is running on this thread");
    };
    simulated.elapsed()
}

/// The choices that the run has made so far. `None` when no simulation is running on this thread.
pub fn schedule() -> Option<Schedule> {
    // What is chosen elsewhere changes it.
    access::record_write(Object::Anything);
    running().map(|simulated| simulated.schedule())
}

/// Delivers the signal with this number now, to every listener for it. Without a listener it does
/// nothing.
///
/// # Panics
///
/// When no simulation is running on this thread.
///
/// ```
/// # #[cfg(feature = "signal")] {
/// use popleft::signal::{self, SIGINT};
/// use popleft::sim::{self, Sim};
///
/// Sim::new().run(async {
///     let pressed = popleft::spawn(signal::ctrl_c());
///     sim::raise(SIGINT);
///     pressed.await.unwrap().unwrap();
/// });
/// # }
/// ```
#[track_caller]
pub fn raise(signal: i32) {
    let Some(simulated) = running() else {
        panic!("cannot raise signal {signal}: no simulation is running on this thread");
    };
    simulated.raise(signal);
}

/// Says how long the next job takes that is given to [`spawn_blocking`](crate::spawn_blocking) on
/// this thread. Without a simulation it does nothing: there a job takes as long as it takes.
///
/// ```
/// use std::time::Duration;
/// use popleft::sim::{self, Sim};
///
/// Sim::new().run(async {
///     sim::next_job_takes(Duration::from_secs(3600));
///     let sum = popleft::spawn_blocking(|| 2 + 2);
///     assert_eq!(sum.await.unwrap(), 4);
///     assert_eq!(sim::elapsed(), Duration::from_secs(3600));
/// });
/// ```
pub fn next_job_takes(time: Duration) {
    if let Some(simulated) = running() {
        simulated.set_next_job_time(time);
    }
}
