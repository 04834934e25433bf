//! What tasks share in turns.
//!
//! Tasks of one loop share plain `Rc<RefCell<..>>`: between two awaits nobody else runs. What
//! stands here is for what has to stay as it is *across* an await. It knows only the ground, so it
//! works under any executor that runs its tasks on one thread.

mod mutex;

pub use mutex::{Lock, Mutex, MutexGuard};
