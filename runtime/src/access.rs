//! What a turn touches that other tasks may notice.
//!
//! Two turns that touch nothing in common come to the same in either order; a search through all
//! schedules need not try both. Most of what a turn does is an event. What no event tells of is
//! said here, by the locks and the join handles and by cells that are made for it, but only while
//! somebody wants to know. Where it cannot be said, [`turn::touch`](crate::turn::touch) says that
//! it may have been anything.

use std::cell::{Cell, RefCell};

use crate::task::Id;

/// What tasks can have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
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

/// What is made outside any watched run has numbers from here on.
const OUTSIDE: u32 = 1 << 31;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NEXT_NUMBER: Cell<u32> = const { Cell::new(OUTSIDE) };
    static ACCESSES: RefCell<Vec<Access>> = const { RefCell::new(Vec::new()) };
}

/// The next number.
impl Default for Number {
    fn default() -> Self {
        touch(Object::Numbers);
        Number(NEXT_NUMBER.replace(NEXT_NUMBER.get().wrapping_add(1)))
    }
}

/// The running task changes `object`.
#[inline]
pub(crate) fn touch(object: Object) {
    note(Access { object, writes: true });
}

/// The running task looks at `object`, and leaves it as it is.
#[inline]
pub(crate) fn look_at(object: Object) {
    note(Access { object, writes: false });
}

#[inline]
fn note(access: Access) {
    if WATCHED.get() && !has(access) {
        ACCESSES.with_borrow_mut(|accesses| accesses.push(access));
    }
}

/// Whether this was said since the last [`take`].
pub(crate) fn has(access: Access) -> bool {
    ACCESSES.with_borrow(|accesses| accesses.contains(&access))
}

/// What was touched since the last time that somebody asked.
pub(crate) fn take() -> Vec<Access> {
    ACCESSES.take()
}

/// A run begins on this thread. What it makes is numbered as in every other run, so that what one
/// run has touched can be held against the next.
pub(crate) struct Watch {
    number_before: u32,
    watched_before: bool,
}

impl Watch {
    /// Accesses are noted if they are `wanted`.
    pub(crate) fn begin(wanted: bool) -> Watch {
        take();
        Watch { number_before: NEXT_NUMBER.replace(0), watched_before: WATCHED.replace(wanted) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        NEXT_NUMBER.set(self.number_before);
        WATCHED.set(self.watched_before);
    }
}
