//! A lock for tasks that have to keep something unchanged across an `await`.
//!
//! Tasks of one loop share plain `Rc<RefCell<..>>`: between two awaits no other task runs. A lock is
//! needed only for what must not change *across* an await. This module does not depend on the loop,
//! so it works under any executor that runs its tasks on one thread.

mod mutex;

pub use mutex::{Lock, Mutex, MutexGuard};
