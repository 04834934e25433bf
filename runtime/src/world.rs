//! All that a run takes from outside itself, in one place.
//!
//! A program on this runtime is a deterministic machine but for what comes through here: what time
//! it is, which of the ready tasks goes next, and what the system reports. The real world reads
//! the system's clock, takes the leftmost task and asks the kernel. Because nothing else in the
//! library reads a clock or chooses a task (a test holds it to that), another world can be put in
//! its place and a run becomes repeatable.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::network::Network;
use crate::task::Id;

/// The world a loop runs in.
#[derive(Debug)]
pub(crate) enum World {
    /// The system's clock, first in first out, the kernel's sockets.
    Real,
}

impl World {
    /// What time it is.
    pub(crate) fn now(&self) -> Instant {
        #[cfg(test)]
        tests::CLOCK_READS.set(tests::CLOCK_READS.get() + 1);
        match self {
            World::Real => Instant::now(),
        }
    }

    /// Takes the task that has its turn next out of those that are ready, left to right in the
    /// order in which they became ready.
    #[inline]
    pub(crate) fn choose(&self, ready: &mut VecDeque<Id>) -> Option<Id> {
        match self {
            World::Real => ready.pop_front(),
        }
    }

    /// The network, when it is not the system's.
    #[inline]
    pub(crate) fn network(&self) -> Option<&dyn Network> {
        match self {
            World::Real => None,
        }
    }
}

/// Where work goes that would block the loop.
pub(crate) trait Jobs {
    /// Has `job` done somewhere else, soon.
    fn submit(&self, job: Arc<dyn Job>);

    /// Takes no more jobs, and waits a set time for those that are running.
    fn shut_down(&self);
}

/// A piece of work that runs on another thread.
pub(crate) trait Job: Send + Sync {
    /// Does the work. Never panics: a panic of the work is its result.
    fn run(&self);

    /// There is no thread for it and there will be none.
    fn refuse(&self, error: io::Error);
}

/// The end of time for deadlines: what lies further away than the clock can count (a sleep of
/// `Duration::MAX`) is due in about 30 years.
const FAR_AWAY: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The deadline that lies `duration` behind `start`.
pub(crate) fn deadline(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or_else(|| start + FAR_AWAY)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;
    use std::path::{Path, PathBuf};

    thread_local! {
        /// How often this thread has read the clock.
        pub(crate) static CLOCK_READS: Cell<usize> = const { Cell::new(0) };
    }

    /// A time to begin at, for tests that move time themselves.
    pub(crate) fn some_time() -> Instant {
        World::Real.now()
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
            let allowed = usize::from(path.ends_with("src/world.rs"));
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
