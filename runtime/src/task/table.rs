//! The slab of all tasks.
//!
//! Every method borrows the table for a few lines and returns what has to be dropped or woken, so
//! that no user code (a poll, a wake, a drop) ever runs while the table is borrowed. That is the most
//! common way in which hand-written runtimes crash.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::body::Body;
use super::inbox::Inbox;
use super::local_waker::LocalWaker;
use super::record::{Name, Record};
use crate::base::event::{Cause, End, Event, emit};
use crate::base::id::Id;
use crate::base::lock_graph;
use crate::base::panics::catch_and_report;
use crate::base::peak::PeakOfSlab;
use crate::base::place::{Place, Why};
use crate::base::warning::{self, Warning};

/// How many records of ended tasks are kept for reuse.
const SPARE_RECORDS: usize = 1024;

/// The table grows by at least this many slots.
const FEWEST_NEW_SLOTS: usize = 64;

/// All tasks of one loop.
pub(crate) struct Table {
    slots: RefCell<Slab<Slot>>,
    /// Records of ended tasks with their wakers, for reuse.
    spare: RefCell<Vec<(Arc<Record>, Waker)>>,
    next_number: Cell<u32>,
    peak: PeakOfSlab,
    /// The runtime is being dropped: no new tasks.
    closed: Cell<bool>,
}

/// The state of a task. See `record.rs` for the transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in the deque: it waits to be woken, or is having its turn.
    Waiting,
    /// In the deque, once.
    Ready,
    /// It has ended; waking it has no effect.
    Ended,
}

/// One task.
struct Slot {
    /// The future or the result. `None` during its turn, and always for the main task, whose
    /// future is on the stack of `block_on`.
    body: Option<Pin<Box<dyn Body>>>,
    record: Arc<Record>,
    /// Woken when the task completes.
    joiner: LocalWaker,
    number: u32,
    state: State,
    /// There is no join handle: the slot is removed when the task ends.
    detached: bool,
    /// It is cancelled at its next turn.
    aborted: bool,
}

impl Slot {
    /// Makes a waiting task ready. False when it is in the deque already, or has ended.
    #[inline]
    fn make_ready(&mut self) -> bool {
        let waits = self.state == State::Waiting;
        if waits {
            self.state = State::Ready;
        }
        waits
    }
}

/// The properties of a new task besides its body.
pub(crate) struct NewTask {
    pub(crate) name: Option<Box<Name>>,
    pub(crate) spawned_at: Place,
    /// What it waits for from the start; `None` if it starts out ready.
    pub(crate) waits_for: Option<Why>,
}

/// What the loop takes out of a slot for the duration of a turn.
pub(crate) struct Taken {
    pub(crate) body: Option<Pin<Box<dyn Body>>>,
    pub(crate) aborted: bool,
}

/// What remains to be done after a task has finished, outside any borrow.
pub(crate) struct Finished {
    /// To be woken.
    pub(crate) joiner: LocalWaker,
    /// A detached task, whose result has to be dropped.
    pub(crate) unwanted: Option<Ended>,
}

/// An ended task that is no longer in the table.
pub(crate) struct Ended {
    pub(crate) record: Arc<Record>,
    /// Holds the result.
    pub(crate) body: Pin<Box<dyn Body>>,
}

/// The state of a task as its join handle finds it.
pub(crate) enum JoinState {
    /// The task has not ended. Holds the joiner before, which the caller has to drop.
    Waits(LocalWaker),
    /// The task has ended, and has been taken out of the table.
    Ended(Ended),
    /// The task was dropped with its runtime.
    Gone,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table {
            slots: RefCell::new(Slab::new()),
            spare: RefCell::new(Vec::new()),
            next_number: Cell::new(0),
            peak: PeakOfSlab::default(),
            closed: Cell::new(false),
        }
    }

    /// Whether the runtime is being dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    // ===== the life of a task, in order =========================================================

    /// Adds a task. `make_body` gets the waker with which the task will be polled, and boxes the
    /// future; it must not run any of the future's code, since the table is borrowed. It returns
    /// `None` for the main task.
    #[inline]
    pub(crate) fn insert(
        &self,
        new: NewTask,
        inbox: &Arc<Inbox>,
        now_ms: u64,
        make_body: impl FnOnce(Waker) -> Option<Pin<Box<dyn Body>>>,
    ) -> Id {
        let mut slots = self.slots.borrow_mut();
        if slots.len() == slots.capacity() {
            // A `Vec` would double its capacity: too much memory for rows that may stay empty.
            let more = (slots.len() / 8).max(FEWEST_NEW_SLOTS);
            slots.reserve_exact(more);
        }
        let number = self.next_number.get();
        self.next_number.set(number.wrapping_add(1));
        let slot = slots.vacant_entry();
        let id = Id { index: slot.key() as u32, number };
        let (spawned_at, waits_for) = (new.spawned_at, new.waits_for);
        let (record, waker) = self.record_for(id, new, inbox);
        if let Some(why) = waits_for {
            record.set_parked(why, spawned_at, now_ms);
        }
        slot.insert(Slot {
            body: make_body(waker),
            record,
            joiner: LocalWaker::NOBODY,
            number,
            state: if waits_for.is_some() { State::Waiting } else { State::Ready },
            detached: false,
            aborted: false,
        });
        id
    }

    /// A record and its waker: those of an ended task if possible. A task with a name gets new ones.
    #[inline]
    fn record_for(&self, id: Id, new: NewTask, inbox: &Arc<Inbox>) -> (Arc<Record>, Waker) {
        if new.name.is_none()
            && let Some((record, waker)) = self.spare.borrow_mut().pop()
        {
            record.reuse(id, new.spawned_at);
            return (record, waker);
        }
        let record = Arc::new(Record::new(id, new.name, new.spawned_at, inbox.clone()));
        (record.clone(), Waker::from(record))
    }

    /// The task's turn begins: takes out its body. `None` when the task has ended since it was put
    /// into the deque.
    #[inline]
    pub(crate) fn begin_turn(&self, id: Id) -> Option<Taken> {
        let mut slots = self.slots.borrow_mut();
        let slot = live(&mut slots, id)?;
        debug_assert_ne!(slot.state, State::Waiting, "a task in the deque waits");
        if slot.state != State::Ready {
            return None;
        }
        slot.state = State::Waiting;
        Some(Taken { body: slot.body.take(), aborted: slot.aborted })
    }

    /// The turn ended, and the task has yielded: puts the body back. True when the caller has to put
    /// the task into the deque; false when a wake during the turn has done that.
    #[inline]
    pub(crate) fn end_turn_ready(&self, id: Id, body: Option<Pin<Box<dyn Body>>>) -> bool {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = live(&mut slots, id) else {
            return false;
        };
        debug_assert!(slot.body.is_none());
        slot.body = body;
        slot.make_ready()
    }

    /// The turn ended, and the task waits: puts the body back.
    #[inline]
    pub(crate) fn end_turn_waiting(
        &self,
        id: Id,
        body: Option<Pin<Box<dyn Body>>>,
        (why, place): (Why, Place),
        since_ms: u64,
    ) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = live(&mut slots, id) {
            debug_assert!(slot.body.is_none());
            slot.body = body;
            slot.record.set_parked(why, place, since_ms);
        }
    }

    /// Makes a waiting task ready; the caller puts it into the deque. False when it is there already,
    /// or has ended.
    #[inline]
    pub(crate) fn make_ready(&self, id: Id) -> bool {
        match live(&mut self.slots.borrow_mut(), id) {
            Some(slot) => slot.make_ready(),
            None => false,
        }
    }

    /// The task has ended: keeps the result for the join handle, or returns it if there is none.
    #[inline]
    pub(crate) fn finish(&self, id: Id, body: Option<Pin<Box<dyn Body>>>) -> Finished {
        let mut slots = self.slots.borrow_mut();
        let mut left = Finished { joiner: LocalWaker::NOBODY, unwanted: None };
        if let Some(slot) = live(&mut slots, id) {
            debug_assert_ne!(slot.state, State::Ended);
            slot.state = State::Ended;
            left.joiner = std::mem::replace(&mut slot.joiner, LocalWaker::NOBODY);
            slot.body = body;
            if slot.detached {
                let slot = slots.remove(id.index as usize);
                let record = slot.record;
                left.unwanted = slot.body.map(|body| Ended { record, body });
            }
        }
        left
    }

    /// Drops the result of a detached task, and prints a warning if it is a panic.
    pub(crate) fn discard(&self, ended: Ended) {
        let Ended { record, mut body } = ended;
        report_panic(&record, &*body);
        let waker = body.as_mut().take(&mut ());
        catch_and_report(|| drop(body));
        self.recycle(record, waker);
    }

    /// Gives back the memory of a peak that is over.
    pub(crate) fn give_back(&self) {
        self.peak.give_back(&mut self.slots.borrow_mut());
    }

    /// Keeps the record and the waker of an ended task for reuse, unless they are still referenced.
    pub(crate) fn recycle(&self, record: Arc<Record>, waker: Option<Waker>) {
        let mut spare = self.spare.borrow_mut();
        if let Some(waker) = waker
            && spare.len() < SPARE_RECORDS
            && record.is_free(&waker)
        {
            spare.push((record, waker));
        }
    }

    /// Removes the main task, whether it has ended or not.
    pub(crate) fn remove_main(&self, id: Id) {
        let mut slots = self.slots.borrow_mut();
        if live(&mut slots, id).is_some() {
            let slot = slots.remove(id.index as usize);
            drop(slots);
            if slot.state != State::Ended {
                emit_cancelled(id);
            }
            drop(slot);
        }
    }

    // ===== for join handles =====================================================================

    /// Whether the task has ended, or was dropped with its runtime.
    pub(crate) fn has_ended(&self, id: Id) -> bool {
        let mut slots = self.slots.borrow_mut();
        live(&mut slots, id).is_none_or(|slot| slot.state == State::Ended)
    }

    /// Takes an ended task out of the table, or sets the waker to be woken when it completes.
    pub(crate) fn join(&self, id: Id, joiner: LocalWaker) -> JoinState {
        self.take_ended(id, |slot| std::mem::replace(&mut slot.joiner, joiner))
    }

    /// The join handle is gone: takes an ended task out, or marks the task to be removed when it ends.
    pub(crate) fn detach(&self, id: Id) -> JoinState {
        self.take_ended(id, |slot| {
            slot.detached = true;
            std::mem::replace(&mut slot.joiner, LocalWaker::NOBODY)
        })
    }

    #[inline]
    fn take_ended(&self, id: Id, or_else: impl FnOnce(&mut Slot) -> LocalWaker) -> JoinState {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = live(&mut slots, id) else {
            return JoinState::Gone;
        };
        if slot.state != State::Ended {
            return JoinState::Waits(or_else(slot));
        }
        let Slot { record, body, .. } = slots.remove(id.index as usize);
        match body {
            Some(body) => JoinState::Ended(Ended { record, body }),
            None => JoinState::Gone,
        }
    }

    /// Marks the task to be cancelled at its next turn. Returns its record, which has to be woken;
    /// `None` when it has ended already.
    pub(crate) fn abort(&self, id: Id) -> Option<Arc<Record>> {
        let mut slots = self.slots.borrow_mut();
        let slot = live(&mut slots, id)?;
        if slot.state == State::Ended {
            return None;
        }
        slot.aborted = true;
        Some(slot.record.clone())
    }

    // ===== queries ==============================================================================

    /// The loop has taken a wake message for the task out of the inbox. Returns what sent it: only
    /// the job itself holds the waker of a task that waits for a job.
    pub(crate) fn wake_cause(&self, id: Id) -> Cause {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = live(&mut slots, id) else {
            return Cause::Thread;
        };
        slot.record.leave_inbox();
        match slot.record.parked() {
            (Why::Offload, ..) if !slot.aborted => Cause::Job,
            _ => Cause::Thread,
        }
    }

    /// The record of a task, if it is in the table.
    pub(crate) fn record(&self, id: Id) -> Option<Ref<'_, Record>> {
        Ref::filter_map(self.slots.borrow(), |slots| {
            let slot = slots.get(id.index as usize)?;
            (slot.number == id.number).then_some(&*slot.record)
        })
        .ok()
    }

    /// The records of all tasks that have not ended, in the order in which they were spawned.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        let slots = self.slots.borrow();
        let mut records: Vec<_> = slots
            .iter()
            .filter(|(_, slot)| slot.state != State::Ended)
            .map(|(_, slot)| slot.record.clone())
            .collect();
        records.sort_by_key(|record| record.id().number);
        records
    }

    /// Whether a waker of a parked task is held outside the table, so that a wake may still come from
    /// where the runtime cannot look.
    pub(crate) fn has_external_wakers(&self) -> bool {
        let slots = self.slots.borrow();
        // A task awaited through a foreign waker holds that in `joiner`.
        let mut known: HashMap<usize, usize> = HashMap::new();
        for (_, slot) in slots.iter() {
            if let LocalWaker::Foreign(waker) = &slot.joiner {
                *known.entry(waker.data().addr()).or_default() += 1;
            }
        }
        slots.iter().any(|(_, slot)| {
            let inside = known.get(&Arc::as_ptr(&slot.record).addr()).copied();
            // Expected: one reference in the slot, one in the body's waker, and one in the lock that
            // the task waits for, which only another task can release.
            let in_a_lock = usize::from(lock_graph::has_waker_of(slot.record.id()));
            Arc::strong_count(&slot.record) > 2 + inside.unwrap_or(0) + in_a_lock
        })
    }

    // ===== shutdown =============================================================================

    /// Drops all tasks, on this thread, outside any borrow, in the order in which they were
    /// spawned. No task can be spawned from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        // All at once: while these are dropped, their destructors find an empty table.
        let mut slots: Vec<Slot> = self.slots.take().into_iter().map(|(_, slot)| slot).collect();
        slots.sort_by_key(|slot| slot.number);
        for slot in slots {
            let is_cancelled = slot.state != State::Ended;
            if let Some(mut body) = slot.body {
                if is_cancelled {
                    body.as_mut().cancel(slot.record.id());
                }
                report_panic(&slot.record, &*body);
                catch_and_report(|| drop(body));
            }
            slot.joiner.discard();
            if is_cancelled {
                emit_cancelled(slot.record.id());
            }
        }
        self.spare.take();
    }
}

/// For a task that was dropped with its loop before it had ended.
fn emit_cancelled(task: Id) {
    emit(|| Event::Done { task, how: End::Cancelled });
}

/// The slot of the task, unless it is gone and its row reused.
fn live(slots: &mut Slab<Slot>, id: Id) -> Option<&mut Slot> {
    slots.get_mut(id.index as usize).filter(|slot| slot.number == id.number)
}

/// Prints the panic of a task that was not joined. The panic hook has printed the panic already, but
/// it knows only the thread.
fn report_panic(record: &Record, body: &dyn Body) {
    if let Some(error) = body.untaken_panic() {
        let name = record.name().map(|name| format!(" ({name:?})"));
        let line = format!(
            "popleft: {error}; the task{}, spawned at {}, was never joined\n",
            name.unwrap_or_default(),
            record.spawned_at(),
        );
        warning::warn(Warning::Panic(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::body::{AlwaysOk, TaskBody};
    use std::mem::size_of;

    /// The layout of a row in the slab.
    enum Row {
        #[allow(dead_code)]
        Vacant(usize),
        #[allow(dead_code)]
        Occupied(Slot),
    }

    #[test]
    fn the_table_is_small_again_after_a_crowd_has_gone() {
        let runtime = crate::Runtime::new().unwrap();
        let capacity = || runtime.event_loop.tasks.table.slots.borrow().capacity();
        runtime.block_on(async {
            let crowd: Vec<_> = (0..50_000).map(|_| crate::spawn(async {})).collect();
            assert!(capacity() >= 50_000);
            for task in crowd {
                task.await.unwrap();
            }
            // The loop gives memory back before it sleeps.
            crate::time::sleep(std::time::Duration::from_millis(1)).await;
            assert!(capacity() <= 2 * crate::base::peak::KEPT, "{}", capacity());
        });
    }

    /// Its row, its record with the two counts of the `Arc`, and the box with its future.
    #[test]
    fn a_task_with_64_bytes_of_state_takes_at_most_192_bytes() {
        fn size_of_body<F: Future<Output = ()>>(_: &F) -> usize {
            size_of::<TaskBody<AlwaysOk<F>, ()>>()
        }
        let state = [0u64; 7];
        let future = async move {
            std::future::pending::<()>().await;
            std::hint::black_box(&state);
        };
        assert_eq!(size_of_val(&future), 64);
        let row = size_of::<Row>();
        let record = 2 * size_of::<usize>() + size_of::<Record>();
        let body = size_of_body(&future);
        assert!(row + record + body <= 192, "row {row} + record {record} + body {body}");
    }

    #[test]
    fn a_large_table_grows_by_an_eighth_at_a_time() {
        let poller = crate::base::poller::Poller::new().unwrap();
        let inbox = Arc::new(Inbox::new(poller.notifier()));
        let table = Table::new();
        let mut capacities = vec![];
        for _ in 0..20_000 {
            let new = NewTask { name: None, spawned_at: Place::UNKNOWN, waits_for: None };
            table.insert(new, &inbox, 0, |_| None);
            let capacity = table.slots.borrow().capacity();
            if capacities.last() != Some(&capacity) {
                capacities.push(capacity);
            }
        }
        for pair in capacities.windows(2) {
            assert_eq!(pair[1], pair[0] + (pair[0] / 8).max(FEWEST_NEW_SLOTS));
        }
    }

    #[test]
    fn the_record_of_an_ended_task_is_used_again_and_no_more_are_kept_than_are_worth_it() {
        crate::run(async {
            let event_loop = crate::current::event_loop().unwrap();
            let spare = || event_loop.tasks.table.spare.borrow().len();
            for _ in 0..3 {
                crate::spawn(async {}).await.unwrap();
                assert_eq!(spare(), 1);
            }
            let crowd: Vec<_> = (0..SPARE_RECORDS + 10).map(|_| crate::spawn(async {})).collect();
            assert_eq!(spare(), 0);
            for one in crowd {
                one.await.unwrap();
            }
            assert_eq!(spare(), SPARE_RECORDS);
        });
    }
}
