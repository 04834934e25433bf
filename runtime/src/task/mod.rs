//! Tasks: what `spawn` makes, the loop runs, and a join handle waits for.
//!
//! | file | what it holds |
//! |---|---|
//! | `body.rs` | a task's future, and after its end its result, in one box |
//! | `table.rs` | the slab of all tasks |
//! | `deque.rs` | the deque of those that are ready, and the inbox for other threads |
//! | `waker.rs` | a task's public record, which is also what wakes it |
//! | `join.rs` | join handles and join errors |

pub(crate) mod body;
pub(crate) mod deque;
pub(crate) mod join;
pub(crate) mod table;
pub(crate) mod waker;

use std::fmt;

// They are made above the machine, and looked for here.
pub use crate::spawn::{Builder, Current, current};
pub use join::{JoinError, JoinHandle};

/// The name of a task among all that a runtime has spawned.
///
/// It prints as the number of tasks spawned before it: the main task is 0. Behind the number
/// stands the task's place in the table, so that finding a task takes no search. A number comes
/// back after four thousand million spawns.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    /// The row of the table. Rows are used again.
    pub(crate) index: u32,
    /// The generation of the row, which is also the running number of the task.
    pub(crate) number: u32,
}

impl Id {
    /// What a task has that never was: it was spawned while its runtime was being dropped.
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
