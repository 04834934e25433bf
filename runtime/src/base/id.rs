//! The id of a task.

use std::fmt;

/// Identifies a task among all that a runtime has spawned.
///
/// It prints as the number of tasks spawned before it: the main task is 0. It also holds the task's
/// position in the table, so that finding a task takes no search. Numbers are used again after four
/// thousand million spawns. Ids are ordered by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The generation of the row, which is also the running number of the task. First, so that
    /// ids are ordered as their tasks were spawned.
    pub(crate) number: u32,
    /// The row of the table. Rows are reused.
    pub(crate) index: u32,
}

impl Id {
    /// The id of no task. A task spawned while its runtime is being dropped gets it, too.
    pub(crate) const NOBODY: Id = Id { index: u32::MAX, number: u32::MAX };

    /// The running number: 0 for the main task, 1 for the first one spawned.
    pub fn number(self) -> u32 {
        self.number
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number, f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.number)
    }
}
