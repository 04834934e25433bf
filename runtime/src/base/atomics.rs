//! What the inbox and the verdict of a program that hangs are made of: the standard library's lock
//! and atomics, or those of `loom`, which tries all interleavings of the threads of a test.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
