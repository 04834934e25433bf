//! A cell whose reads and writes declare themselves, and what a step of a task has declared.
//!
//! Two steps that touch different data give the same result in either order; a search through all
//! schedules need not try both. It can know this only of what it is told.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::event::{Cause, Event, Why};
use crate::turn;

/// Data that tasks share, whose every use is known to the simulator.
///
/// Put it in an `Rc`, as any data that tasks share. Outside a simulation it is a plain cell.
///
/// While [`explore`](crate::sim::explore) searches, a *step* of a task, from one `await` to the
/// next, counts as declared when it used at least one `Shared`, did nothing else that the runtime
/// knows of (spawn, wake, lock, set a timer, ..), and ended with [`yield_now`](crate::yield_now).
/// Two declared steps that use no `Shared` in common, or only read it, are the same in either
/// order, and only one order is tried. A step that declares nothing is never passed over. So: a
/// step that uses a `Shared` must use nothing else that tasks share, unless that is a `Shared` too.
///
/// ```
/// use std::rc::Rc;
/// use popleft::sim::{Options, Shared, explore};
///
/// let program = || async {
///     let cells = [(); 2].map(|()| Rc::new(Shared::new(0)));
///     let tasks = cells.clone().map(|cell| {
///         popleft::spawn(async move {
///             for _ in 0..4 {
///                 cell.update(|n| *n += 1);
///                 popleft::yield_now().await;
///             }
///         })
///     });
///     for task in tasks {
///         task.await.unwrap();
///     }
///     assert_eq!(cells.map(|cell| cell.get()), [4, 4]);
/// };
/// let some = explore(Options::new(), program);
/// let all = explore(Options::new().skip_equivalent(false), program);
/// assert!(some.complete && all.complete);
/// assert!(some.schedules < all.schedules);
/// ```
pub struct Shared<T> {
    number: u32,
    value: RefCell<T>,
}

impl<T> Shared<T> {
    /// A cell with this value.
    pub fn new(value: T) -> Self {
        turn::touch();
        Shared { number: next_number(), value: RefCell::new(value) }
    }

    /// A copy of the value.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.read(T::clone)
    }

    /// Puts another value in its place, and drops the one before.
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }

    /// Puts another value in its place, and returns the one before.
    pub fn replace(&self, value: T) -> T {
        declare(self.number, true);
        self.value.replace(value)
    }

    /// Looks at the value.
    ///
    /// # Panics
    ///
    /// When it is called inside [`update`](Shared::update) of the same cell.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        declare(self.number, false);
        look(&self.value.borrow())
    }

    /// Changes the value.
    ///
    /// # Panics
    ///
    /// When it is called inside [`read`](Shared::read) or [`update`](Shared::update) of the same
    /// cell.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        declare(self.number, true);
        change(&mut self.value.borrow_mut())
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Shared::new(T::default())
    }
}

/// Looking at a cell in this way is not declared.
impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.value).finish()
    }
}

// ===== what a step declares =====================================================================

/// One use of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access {
    cell: u32,
    writes: bool,
}

/// What a step of a task touched. `None` when it may have touched anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    accesses: Option<Vec<Access>>,
}

impl Step {
    /// Whether it makes no difference which of the two comes first.
    pub(super) fn is_independent_of(&self, other: &Step) -> bool {
        let (Some(ours), Some(theirs)) = (&self.accesses, &other.accesses) else {
            return false;
        };
        let collide = |a: &Access, b: &Access| a.cell == b.cell && (a.writes || b.writes);
        !ours.iter().any(|a| theirs.iter().any(|b| collide(a, b)))
    }
}

/// Cells that were made outside any run have numbers from here on.
const OUTSIDE: u32 = 1 << 31;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// A cell was used since the run began.
    static USED: Cell<bool> = const { Cell::new(false) };
    static NEXT_NUMBER: Cell<u32> = const { Cell::new(OUTSIDE) };
    static ACCESSES: RefCell<Vec<Access>> = const { RefCell::new(Vec::new()) };
    /// The step has done something besides using cells.
    static ACTED: Cell<bool> = const { Cell::new(false) };
    /// The step has ended with a yield.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

fn next_number() -> u32 {
    NEXT_NUMBER.replace(NEXT_NUMBER.get().wrapping_add(1))
}

fn declare(cell: u32, writes: bool) {
    USED.set(true);
    if WATCHING.get() {
        ACCESSES.with_borrow_mut(|accesses| {
            let access = Access { cell, writes };
            if !accesses.contains(&access) {
                accesses.push(access);
            }
        });
    }
}

/// A run begins on this thread. The cells that it makes are numbered as in every other run, so
/// that what one run has declared can be held against the next.
pub(super) struct Watch {
    number_before: u32,
    watching_before: bool,
}

impl Watch {
    pub(super) fn begin(watching: bool) -> Watch {
        USED.set(false);
        turn::take_touched();
        ACTED.set(false);
        YIELDED.set(false);
        ACCESSES.with_borrow_mut(Vec::clear);
        Watch { number_before: NEXT_NUMBER.replace(0), watching_before: WATCHING.replace(watching) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        NEXT_NUMBER.set(self.number_before);
        WATCHING.set(self.watching_before);
    }
}

/// Whether a cell was used in the run.
pub(super) fn cells_were_used() -> bool {
    USED.get()
}

/// The step that a task takes is over, or a new run begins: what did it touch?
pub(super) fn take_step() -> Step {
    let acted = ACTED.replace(false) | turn::take_touched();
    let yielded = YIELDED.replace(false);
    let accesses = ACCESSES.take();
    let is_declared = yielded && !acted && !accesses.is_empty();
    Step { accesses: is_declared.then_some(accesses) }
}

/// Hears what a step does besides using cells.
pub(super) fn hear(event: &Event) {
    match event {
        Event::Poll { .. } => {}
        Event::Pending { why: Why::Yield, .. } => YIELDED.set(true),
        // The yield itself.
        Event::Wake { task, by: Cause::Task(by) } if task == by && YIELDED.get() => {}
        _ => ACTED.set(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(accesses: &[(u32, bool)]) -> Step {
        let access = |&(cell, writes): &(u32, bool)| Access { cell, writes };
        Step { accesses: Some(accesses.iter().map(access).collect()) }
    }

    #[test]
    fn steps_collide_where_one_writes_what_the_other_uses() {
        let anything = Step::default();
        let (read, write) = (step(&[(1, false)]), step(&[(1, true)]));
        let elsewhere = step(&[(2, true), (3, false)]);
        for (a, b, independent) in [
            (&read, &read, true),
            (&read, &write, false),
            (&write, &write, false),
            (&write, &elsewhere, true),
            (&anything, &elsewhere, false),
            (&anything, &anything, false),
        ] {
            assert_eq!(a.is_independent_of(b), independent, "{a:?} {b:?}");
            assert_eq!(b.is_independent_of(a), independent, "{b:?} {a:?}");
        }
    }
}
