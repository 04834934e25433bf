//! Tasks: what `spawn` makes, the loop runs, and a join handle waits for.
//!
//! | file | what it holds |
//! |---|---|
//! | `tasks.rs` | waking and spawning: read this one first |
//! | `table.rs` | the slab of all tasks |
//! | `ready.rs` | the deque of ready tasks |
//! | `inbox.rs` | messages from other threads to the loop |
//! | `record.rs` | a task's public record, which is also its waker |
//! | `local_waker.rs` | a waker that cannot leave its loop |
//! | `body.rs` | a task's future, and after its completion its result, in one box |
//! | `error.rs` | why a task has no result |
//! | `join.rs` | join handles |
//! | `spawn.rs` | spawning tasks, naming them, yielding |

pub(crate) mod body;
pub(crate) mod error;
pub(crate) mod inbox;
pub(crate) mod join;
pub(crate) mod local_waker;
pub(crate) mod ready;
pub(crate) mod record;
pub(crate) mod spawn;
pub(crate) mod table;
pub(crate) mod tasks;

pub use crate::base::id::Id;
pub use error::JoinError;
pub use join::JoinHandle;
pub use spawn::{Builder, Current, current};
