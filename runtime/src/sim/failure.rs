//! What can go wrong in a simulated run, and how to have it again.

use std::error::Error;
use std::fmt;

use super::schedule::Schedule;
use crate::deadlock::Deadlock;
use crate::runtime::RunError;

/// A run that went wrong, and how to have it again.
///
/// ```
/// use popleft::sim::Sim;
///
/// let program = || async {
///     let broken = popleft::spawn(async { panic!("it broke") });
///     broken.await.unwrap()
/// };
/// let failure = Sim::new().try_run(program()).unwrap_err();
/// assert!(failure.to_string().contains("it broke"));
/// let again = Sim::new().schedule(failure.schedule.clone()).try_run(program());
/// assert_eq!(again.unwrap_err().kind, failure.kind);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The seed by which the next task was chosen, if it was.
    pub seed: Option<u64>,
    /// The choices up to the failure, without those at the end that the real loop makes by itself.
    /// A simulation with this [`schedule`](super::Sim::schedule) fails in the same way.
    pub schedule: Schedule,
}

/// What can go wrong in a simulated run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The main task panicked, or one that was not joined, or a destructor when the run was over;
    /// this is what it said.
    Panic(String),
    /// Every task is parked, and nothing can ever happen.
    Deadlock(Deadlock),
    /// The run took more turns than it was allowed.
    TurnLimit,
    /// The virtual clock has come to its end: it counts 584 years.
    EndOfTime,
    /// The schedule does not fit the program, or the program is not the same at every run; this
    /// is how.
    ScheduleMismatch(String),
    /// The program stopped its own loop with [`Handle::stop`](crate::Handle::stop).
    Stopped,
    /// The main task was aborted.
    Cancelled,
}

impl Failure {
    pub(super) fn how_to_reproduce(&self) -> String {
        how_to_reproduce(self.seed, &self.schedule)
    }
}

/// In words, how to have a run again.
pub(super) fn how_to_reproduce(seed: Option<u64>, schedule: &Schedule) -> String {
    let schedule = match schedule.choices() {
        [] => String::from("every choice first in first out"),
        _ => format!("schedule {schedule}"),
    };
    match seed {
        Some(seed) => format!("seed {seed}, {schedule}"),
        None => schedule,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  reproduced with {}", self.kind, self.how_to_reproduce())
    }
}

impl Error for Failure {}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureKind::Panic(text) => write!(f, "panic: {text}"),
            FailureKind::Deadlock(deadlock) => {
                let list = deadlock.to_string();
                write!(f, "deadlock: nothing can ever happen again\n{}", list.trim_end())
            }
            FailureKind::TurnLimit => f.write_str("the run does not end: it took all its turns"),
            FailureKind::EndOfTime => f.write_str(
                "the virtual clock has come to its end: it counts 584 years, and all that is left \
                 comes later",
            ),
            FailureKind::ScheduleMismatch(how) => f.write_str(how),
            FailureKind::Stopped => write!(f, "{}", RunError::Stopped),
            FailureKind::Cancelled => write!(f, "{}", RunError::Cancelled),
        }
    }
}
