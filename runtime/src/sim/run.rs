//! One run in a world of its own, from the making of its loop to the last drop, and how it ended.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::failure::FailureKind;
use super::quiet;
use super::simulated::{Halt, Running, Simulated, SimulatedJobs, running};
use crate::base::event::Listener;
use crate::base::place::Place;
use crate::base::turn;
use crate::base::warning::{self, Warning};
use crate::base::world::{self, World};
use crate::event_loop::{self, EventLoop};
use crate::reactor::Backend;
use crate::runtime::{RunError, Runtime};

/// How many turns are taken between two looks into the inbox, as in the real loop.
pub(super) const POLLS_BETWEEN_LOOKS: u32 = 64;

/// What a panic carries.
pub(super) type Payload = Box<dyn Any + Send>;

/// How a run ended.
pub(super) enum RunEnd<T> {
    Returned(T),
    Panicked(Payload),
    Failed(FailureKind),
    /// All that could come has been seen in other runs.
    GivenUp,
    /// It did not do what it had done before; this differs.
    NotTheSame(String),
}

#[track_caller]
pub(super) fn assert_that_nothing_runs_here() {
    assert!(
        !world::is_in_a_simulated_job(),
        "cannot simulate inside a simulation: this is one of its jobs"
    );
    assert!(
        turn::running_loop() == 0,
        "cannot simulate inside a runtime: this thread is running one already, simulated or not"
    );
}

/// Makes what a run is listened to with, if it is.
pub(super) type Listen<'a> = &'a dyn Fn(&Rc<EventLoop>) -> Option<Listener>;

/// Runs `future` in a world of its own, from the making of its loop to the last drop. Returns what
/// a person should know besides, unprinted.
pub(super) fn run_in<F: Future>(
    simulated: &Rc<Simulated>,
    listen: Listen<'_>,
    at: Place,
    future: F,
) -> (RunEnd<F::Output>, Vec<Warning>) {
    let warnings_before = warning::collect_warnings(Some(Vec::new()));
    let ended = run_collecting(simulated, listen, at, future);
    let mut warnings = warning::collect_warnings(warnings_before).unwrap_or_default();
    let unjoined = warnings.iter().position(|warning| matches!(warning, Warning::Panic(_)));
    match (ended, unjoined) {
        (RunEnd::Returned(_), Some(at)) => {
            let (Warning::Panic(text) | Warning::Locks(text) | Warning::Stall(text)) =
                warnings.remove(at);
            let text = text.trim_start_matches("popleft: ").trim_end().to_string();
            (RunEnd::Failed(FailureKind::Panic(text)), warnings)
        }
        (ended, _) => (ended, warnings),
    }
}

fn run_collecting<F: Future>(
    simulated: &Rc<Simulated>,
    listen: Listen<'_>,
    at: Place,
    future: F,
) -> RunEnd<F::Output> {
    let event_loop = make_loop(simulated, String::from("main"), POLLS_BETWEEN_LOOKS);
    quiet::install();
    let _running = Running::begin(simulated.clone());
    let listener = listen(&event_loop);
    let runtime = Runtime { event_loop, listener };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.try_block_on_at(future, at)));
    let found = runtime.event_loop.stall.take_found();
    // Tasks that are left may wake, raise or look at the clock while they are dropped.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(runtime)));
    // What went wrong first counts, and not what panics while the rest is dropped because of it.
    match (simulated.take_halt(), found) {
        (Some(Halt::GivenUp), _) => return RunEnd::GivenUp,
        (Some(Halt::ScheduleMismatch(why)), _) => {
            return RunEnd::Failed(FailureKind::ScheduleMismatch(why));
        }
        (Some(Halt::NotTheSame(what)), _) => return RunEnd::NotTheSame(what),
        (Some(Halt::TooLong), _) => return RunEnd::Failed(FailureKind::TurnLimit),
        (Some(Halt::EndOfTime), _) => return RunEnd::Failed(FailureKind::EndOfTime),
        (None, Some(deadlock)) => return RunEnd::Failed(FailureKind::Deadlock(deadlock)),
        (None, None) => {}
    }
    match (ended, dropped) {
        (Ok(Ok(output)), Ok(())) => match simulated.unused_choices() {
            None => RunEnd::Returned(output),
            Some((used, all)) => RunEnd::Failed(FailureKind::ScheduleMismatch(format!(
                "the schedule does not fit the program: it holds {all} choices, but more than one \
                 task was ready only {used} times"
            ))),
        },
        (Err(payload), _) | (Ok(Ok(_)), Err(payload)) => RunEnd::Panicked(payload),
        (Ok(Err(RunError::Stopped)), _) => RunEnd::Failed(FailureKind::Stopped),
        (Ok(Err(RunError::Cancelled)), _) => RunEnd::Failed(FailureKind::Cancelled),
        (Ok(Err(RunError::Stalled)), _) => unreachable!("a loop that stalls says which tasks wait"),
    }
}

fn make_loop(simulated: &Rc<Simulated>, name: String, polls_between_looks: u32) -> Rc<EventLoop> {
    let settings = event_loop::Settings {
        name,
        polls_between_looks,
        spin: Duration::ZERO,
        report_stalls: true,
    };
    let event_loop = Rc::new(EventLoop::new(
        settings,
        World::Simulated(simulated.clone()),
        Backend::Simulated(simulated.clone()),
        Box::new(SimulatedJobs(simulated.clone())),
    ));
    simulated.set_inbox(event_loop.tasks.inbox.clone());
    event_loop
}

/// The loop of a runtime that is made in a job of a simulation, which would have a thread of its
/// own elsewhere. `None` when this is no such job.
pub(crate) fn loop_for_a_job(name: &str, polls_between_looks: u32) -> Option<Rc<EventLoop>> {
    let around = running().filter(|_| world::is_in_a_simulated_job())?;
    let simulated = Rc::new(around.for_a_job());
    Some(make_loop(&simulated, name.to_string(), polls_between_looks))
}
