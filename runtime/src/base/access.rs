//! What a turn accesses that other tasks can observe.
//!
//! Two turns that access nothing in common commute: a search through all schedules need not try both
//! orders. Most of what a turn does is an event. What no event describes is recorded here, and only
//! while recording is on: locks, join handles and cells made for this purpose record exactly what
//! they access; everything else records [`Object::Anything`].

use std::cell::{Cell, RefCell};

use super::id::Id;

/// What several tasks can access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// Not known more precisely: a socket is read, a ready task is aborted.
    Anything,
    Cell(Number),
    Lock(Number),
    /// A task: its turns, its completion, and its wakes.
    Task(Id),
    /// The counters from which tasks, cells and locks are numbered when they are created.
    Numbers,
}

/// One use of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) object: Object,
    pub(crate) writes: bool,
}

/// Identifies a cell or a lock. A run that repeats another one assigns the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u32);

thread_local! {
    /// Whether accesses are recorded on this thread.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Outside of runs it counts from the middle on, which the numbers of a run never reach.
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

/// Records that the running task changes `object`.
#[inline]
pub(crate) fn record_write(object: Object) {
    record_access(Access { object, writes: true });
}

/// Records that the running task uses an object.
#[inline]
pub(crate) fn record_access(access: Access) {
    if WATCHED.get() && !is_recorded(access) {
        ACCESSES.with_borrow_mut(|accesses| accesses.push(access));
    }
}

/// Whether this access has been recorded since the last [`take`].
pub(crate) fn is_recorded(access: Access) -> bool {
    ACCESSES.with_borrow(|accesses| accesses.contains(&access))
}

/// Takes the accesses recorded so far.
pub(crate) fn take() -> Vec<Access> {
    ACCESSES.take()
}

/// Turns recording on or off, and numbers what is created from `next` on. Returns the settings
/// before.
pub(crate) fn watch(enabled: bool, next: u32) -> (bool, u32) {
    (WATCHED.replace(enabled), NEXT_NUMBER.replace(next))
}
