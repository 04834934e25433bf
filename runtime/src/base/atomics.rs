//! The lock and the atomics of the inbox and of stall detection: the standard library's, or those of
//! `loom`, which tries all interleavings of the threads of a test.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// What a lock guards, also if another thread panicked while it held the lock.
///
/// Under the library's locks, values are only changed as a whole, so poison means nothing there; and
/// a second panic would hide the first.
pub(crate) fn ignore_poison<T>(result: std::sync::LockResult<T>) -> T {
    result.unwrap_or_else(std::sync::PoisonError::into_inner)
}
