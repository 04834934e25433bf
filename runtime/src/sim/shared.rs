//! A cell whose reads and writes declare themselves, and what a step of a task has declared.
//!
//! Two steps that touch different data give the same result in either order; a search through all
//! schedules need not try both. It can know this only of what it is told.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::base::access::{self, Access, Number, Object};
use crate::base::event::{Cause, End, Event};
use crate::base::place::Why;
use crate::task::Id;

/// Data that tasks share, whose every use is known to the simulator.
///
/// Put it in an `Rc`, as any data that tasks share. Outside a simulation it is a plain cell.
///
/// While [`explore`](crate::sim::explore) searches, a *step* of a task, from one `await` to the
/// next, counts as declared when it used at least one `Shared` and did nothing but what the search
/// can see through: use a `Shared`, take, await or release a [`Mutex`](crate::sync::Mutex), spawn,
/// await a [`JoinHandle`](crate::JoinHandle), [yield](crate::yield_now), and end. (It cannot see
/// through timers, sockets, jobs, aborts, panics and foreign wakers.) Two declared steps that use
/// nothing in common, or only read it, are the same in either order, and only one order is tried.
/// A step that declares nothing is never passed over. So: a step that uses a `Shared` must use
/// nothing else that tasks share, but for a `Shared`, a `Mutex`, and what a `Mutex` that it holds
/// protects. A program of which that holds throughout
/// [can say so](crate::sim::Options::declares_all); then all of its steps count.
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
    number: Number,
    value: RefCell<T>,
}

impl<T> Shared<T> {
    /// A cell with this value.
    pub fn new(value: T) -> Self {
        Shared { number: Number::default(), value: RefCell::new(value) }
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
        use_cell(self.number, true);
        self.value.replace(value)
    }

    /// Looks at the value.
    ///
    /// # Panics
    ///
    /// When it is called inside [`update`](Shared::update) of the same cell.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        use_cell(self.number, false);
        look(&self.value.borrow())
    }

    /// Changes the value.
    ///
    /// # Panics
    ///
    /// When it is called inside [`read`](Shared::read) or [`update`](Shared::update) of the same
    /// cell.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        use_cell(self.number, true);
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

/// What a step of a task touched. `None` when it may have touched anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    accesses: Option<Rc<[Access]>>,
}

impl Step {
    /// Whether it makes no difference which of the two comes first.
    pub(super) fn is_independent_of(&self, other: &Step) -> bool {
        let (Some(ours), Some(theirs)) = (&self.accesses, &other.accesses) else {
            return false;
        };
        let collide = |a: &Access, b: &Access| a.object == b.object && (a.writes || b.writes);
        !ours.iter().any(|a| theirs.iter().any(|b| collide(a, b)))
    }
}

/// Which steps count as declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// Those that use a cell: with that they promise to use nothing undeclared.
    WithACell,
    /// All, by a promise of the whole program.
    All,
}

thread_local! {
    /// A cell was used since the run began.
    static USED: Cell<bool> = const { Cell::new(false) };
    /// The step has ended, and what may still come belongs to that: waking itself after a yield,
    /// waking who awaits its end.
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

fn use_cell(number: Number, writes: bool) {
    USED.set(true);
    access::record_access(Access { object: Object::Cell(number), writes });
}

/// A run on this thread, whose steps are watched. What it makes is numbered as in every other run,
/// so that what one run has touched can be held against the next.
pub(super) struct Watch {
    before: (bool, u32),
}

impl Watch {
    /// What steps touch is noted if it is `wanted`.
    pub(super) fn begin(wanted: bool) -> Watch {
        USED.set(false);
        ENDED.set(false);
        access::take();
        Watch { before: access::watch(wanted, 0) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (wanted, next_number) = self.before;
        access::watch(wanted, next_number);
    }
}

/// Whether a cell was used in the run.
pub(super) fn cells_were_used() -> bool {
    USED.get()
}

/// The step that a task takes is over: what did it touch?
pub(super) fn take_step(declared: Declared) -> Step {
    let ended = ENDED.replace(false);
    let accesses = access::take();
    let uses = |wanted: fn(Object) -> bool| accesses.iter().any(|access| wanted(access.object));
    let has_promised =
        declared == Declared::All || uses(|object| matches!(object, Object::Cell(_)));
    let is_declared = ended && has_promised && !uses(|object| object == Object::Anything);
    Step { accesses: is_declared.then(|| accesses.into()) }
}

/// Hears what a step does. What is not known to be an access counts as anything.
pub(super) fn hear(event: &Event) {
    match *event {
        Event::Poll { task } => access::record_write(Object::Task(task)),
        Event::Spawn { by: Cause::Task(_), .. } => access::record_write(Object::Numbers),
        Event::Pending { why: Why::Yield | Why::Lock | Why::Join, .. } => ENDED.set(true),
        Event::Done { how: End::Ok, .. } => ENDED.set(true),
        Event::Wake { task, by: Cause::Task(_) } if ENDED.get() || is_touched(task) => {
            access::record_write(Object::Task(task));
        }
        _ => access::record_write(Object::Anything),
    }
}

/// Whether the step has said that it touches the task: it hands it a lock.
fn is_touched(task: Id) -> bool {
    access::is_recorded(Access { object: Object::Task(task), writes: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(accesses: &[(u32, bool)]) -> Step {
        let id = |number| Id { index: number, number };
        let access =
            |&(task, writes): &(u32, bool)| Access { object: Object::Task(id(task)), writes };
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
