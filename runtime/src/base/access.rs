//! What a turn touches that other tasks may notice.
//!
//! Two turns that touch nothing in common come to the same in either order; a search through all
//! schedules need not try both. Most of what a turn does is an event. What no event tells of is
//! said here, but only while somebody wants to know: locks, join handles and cells that are made for
//! it say what they touch; all others say that it may have been anything.

use std::cell::{Cell, RefCell};

use super::id::Id;

/// What tasks can have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// It is not known what: a socket is read, a ready task is aborted.
    Anything,
    Cell(Number),
    Lock(Number),
    /// A task: its turns, its end, and whether it is woken.
    Task(Id),
    /// The numbers that tasks, cells and locks are given when they are made.
    Numbers,
}

/// One use of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) object: Object,
    pub(crate) writes: bool,
}

/// What tells a cell or a lock from all others. In a run that does the same again, it has the same
/// number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u32);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Outside of runs, from the middle on: no run makes so much.
    static NEXT_NUMBER: Cell<u32> = const { Cell::new(1 << 31) };
    static ACCESSES: RefCell<Vec<Access>> = const { RefCell::new(Vec::new()) };
}

/// The next number.
impl Default for Number {
    fn default() -> Self {
        record_write(Object::Numbers);
        Number(NEXT_NUMBER.replace(NEXT_NUMBER.get().wrapping_add(1)))
    }
}

/// The running task changes `object`.
#[inline]
pub(crate) fn record_write(object: Object) {
    record_access(Access { object, writes: true });
}

/// The running task uses an object.
#[inline]
pub(crate) fn record_access(access: Access) {
    if WATCHED.get() && !is_noted(access) {
        ACCESSES.with_borrow_mut(|accesses| accesses.push(access));
    }
}

/// Whether it was noted since the last time that somebody took what was.
pub(crate) fn is_noted(access: Access) -> bool {
    ACCESSES.with_borrow(|accesses| accesses.contains(&access))
}

/// Takes what was noted.
pub(crate) fn take() -> Vec<Access> {
    ACCESSES.take()
}

/// From now on accesses are noted, if they are `wanted`, and what is made is numbered from `next`.
/// Returns what was before.
pub(crate) fn watch(wanted: bool, next: u32) -> (bool, u32) {
    (WATCHED.replace(wanted), NEXT_NUMBER.replace(next))
}
