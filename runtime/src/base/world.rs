//! Everything that a run takes from outside itself, in one place.
//!
//! A program on this runtime is deterministic except for what comes through here: the time, which
//! of the ready tasks is next, and what the system reports. The real world reads the system's clock,
//! takes the leftmost task and asks the kernel. Because nothing else in the library reads a clock or
//! chooses a task (a test checks that), another world can take its place, and a run becomes
//! repeatable.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::id::Id;
use super::network::{Network, Report};

/// The world a loop runs in.
#[derive(Clone)]
pub(crate) enum World {
    /// The system's clock, first in first out, the kernel's sockets.
    Real,
    /// A world made for one run, in which nothing happens but what the run itself brings about.
    Simulated(Rc<dyn Simulation>),
}

/// What a world other than the real one has to provide.
pub(crate) trait Simulation {
    /// What time it is.
    fn now(&self) -> Instant;

    /// A task was created by the task whose turn it is.
    fn spawned(&self, task: Id);

    /// Takes the task whose turn is next. `None` when none is ready, or when the run is to be
    /// stopped.
    fn choose(&self, ready: &mut VecDeque<Id>) -> Option<Id>;

    /// In place of the kernel's wait: lets time pass until something happens or `until`, and adds
    /// the sources that are ready to `reports`.
    fn wait(&self, until: Until, reports: &mut Vec<Report>);

    /// When the next pending thing happens: the completion of a job, a signal, the arrival of a
    /// packet. `None` when at most a deadline of the loop's own is left.
    fn next_event(&self) -> Option<Instant>;

    /// The network on which its programs listen and connect.
    fn network(&self) -> &dyn Network;

    /// Receives each `signal` that is raised from now on.
    #[cfg_attr(not(feature = "signal"), expect(dead_code, reason = "only `signal` listens"))]
    fn listen(&self, signal: i32) -> Rc<dyn SignalStream>;
}

/// Receives simulated signals.
pub(crate) trait SignalStream {
    /// Ready when the signal was raised since this was last ready.
    #[cfg_attr(not(feature = "signal"), expect(dead_code, reason = "only `signal` listens"))]
    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// How long the loop may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Not at all: tasks are ready.
    Now,
    /// Until this deadline.
    Deadline(Instant),
    /// Until something happens.
    Forever,
}

impl World {
    /// What time it is.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        #[cfg(test)]
        tests::CLOCK_READS.set(tests::CLOCK_READS.get() + 1);
        match self {
            World::Real => Instant::now(),
            World::Simulated(simulation) => simulation.now(),
        }
    }

    /// A task was created. It lives on the same simulated host as the task that spawned it.
    #[inline]
    pub(crate) fn spawned(&self, task: Id) {
        if let World::Simulated(simulation) = self {
            simulation.spawned(task);
        }
    }

    /// Takes the task whose turn is next out of the ready ones, which stand from left to right in
    /// the order in which they became ready.
    #[inline]
    pub(crate) fn choose(&self, ready: &mut VecDeque<Id>) -> Option<Id> {
        match self {
            World::Real => ready.pop_front(),
            World::Simulated(simulation) => simulation.choose(ready),
        }
    }

    /// The network, if it is a simulated one.
    #[inline]
    pub(crate) fn network(&self) -> Option<&dyn Network> {
        match self {
            World::Real => None,
            World::Simulated(simulation) => Some(simulation.network()),
        }
    }

    /// Whether something may happen for which no deadline is set. The kernel and the threads may
    /// always answer if they were `asked`; a simulated world knows.
    pub(crate) fn may_answer(&self, asked: bool) -> bool {
        match self {
            World::Real => asked,
            World::Simulated(simulation) => simulation.next_event().is_some(),
        }
    }

    /// Whether there are other threads, which may wake a task at any time.
    pub(crate) fn has_other_threads(&self) -> bool {
        matches!(self, World::Real)
    }
}

thread_local! {
    /// The time where no loop runs, if this thread runs a job of a simulated world.
    static STOPPED_CLOCK: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The time for code that runs on no loop: the system's time, or in a job of a simulated world the
/// time at which that job completes.
pub(crate) fn now_outside_loops() -> Instant {
    STOPPED_CLOCK.get().unwrap_or_else(|| World::Real.now())
}

/// Stops the clock for code that runs on no loop at `time`, until the guard is dropped.
pub(crate) fn stop_clock(time: Instant) -> StoppedClock {
    StoppedClock { before: STOPPED_CLOCK.replace(Some(time)) }
}

/// Whether the caller is a job of a simulated world, which runs on no loop.
pub(crate) fn is_in_a_simulated_job() -> bool {
    STOPPED_CLOCK.get().is_some()
}

/// Restores the clock when it is dropped.
pub(crate) struct StoppedClock {
    before: Option<Instant>,
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        STOPPED_CLOCK.set(self.before);
    }
}

/// The zero point of every simulated clock, the same one for the whole process. It is read from
/// the system's clock once, because there is no other way to make an `Instant`; only differences
/// between two of them mean anything.
pub(crate) fn zero() -> Instant {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    *ZERO.get_or_init(|| World::Real.now())
}

/// Runs work that would block the loop.
pub(crate) trait Jobs {
    /// Runs `job` elsewhere, soon.
    fn submit(&self, job: Arc<dyn Job>);

    /// Accepts no more jobs, and waits up to a set time for those that are running.
    fn shut_down(&self);
}

/// A piece of work that runs on another thread.
pub(crate) trait Job: Send + Sync {
    /// Does the work. Never panics: a panic of the work becomes its result.
    fn run(&self);

    /// Fails the job: there is no thread for it, and there will be none.
    fn refuse(&self, error: io::Error);
}

/// Deadlines that are further away than the clock can count (a sleep of `Duration::MAX`) are due in
/// about 30 years.
const FAR_AWAY: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The deadline `duration` after `start`.
pub(crate) fn deadline(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or_else(|| start + FAR_AWAY)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    thread_local! {
        /// How often this thread has read the clock.
        pub(crate) static CLOCK_READS: Cell<usize> = const { Cell::new(0) };
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let mut found = vec![];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn only_this_file_reads_the_clock() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for path in sources(&src) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("mod tests {").next().unwrap();
            let reads = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .filter(|line| line.contains("Instant::now") || line.contains("SystemTime::now"))
                .count();
            let allowed = usize::from(path.ends_with("src/base/world.rs"));
            assert_eq!(reads, allowed, "{}", path.display());
        }
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_far_away_but_comes() {
        let start = Instant::now();
        assert_eq!(deadline(start, Duration::ZERO), start);
        assert_eq!(deadline(start, Duration::MAX), start + FAR_AWAY);
    }
}
