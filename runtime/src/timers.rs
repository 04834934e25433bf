//! Timers: deadlines and the wakers to be woken.
//!
//! Most timers never fire: a timeout guards a read, and the read is quicker. So setting and
//! cancelling have to be cheap. A timer here is a row in a slab and an entry, first in a list of
//! fresh ones and, once the loop needs to know what is due, in a binary heap ordered by deadline.
//! Cancelling removes the row and leaves the entry, dead; a dead entry is discarded when it comes
//! to the top, or together with all others when more than half of all entries are dead. Neither
//! setting nor cancelling allocates, once all of these have grown.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::base::event::{Cause, Event, emit};
use crate::base::peak::{self, PeakOfSlab};
use crate::base::turn;
use crate::task::local_waker::LocalWaker;

/// In a heap smaller than this, dead entries are left until they come to the top.
const SMALL: usize = 64;

/// All timers of one loop.
pub(crate) struct Timers {
    /// Entries count nanoseconds from here.
    started: Instant,
    rows: RefCell<Slab<Row>>,
    heap: RefCell<BinaryHeap<Reverse<Entry>>>,
    /// Entries set since the loop last asked for the next deadline. They go into the heap only
    /// then: a timer cancelled before that, like one around a join or a lock, never costs the heap
    /// anything.
    fresh: RefCell<Vec<Entry>>,
    /// How many entries, in the heap and among the fresh ones, are dead. Exact; never more than
    /// there are entries. Raised when a row is removed, lowered when a dead entry is discarded.
    dead: Cell<usize>,
    next_sequence: Cell<u32>,
    peak: PeakOfSlab,
}

struct Row {
    sequence: u32,
    waker: LocalWaker,
}

/// One deadline. Equal deadlines fire in the order in which they were set, until four thousand
/// million timers have been set and the numbers begin again.
///
/// Sixteen bytes: four of them fit a line of the processor's cache, and a large heap mostly waits
/// for memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// The deadline, in nanoseconds since the loop started.
    due_ns: u64,
    sequence: u32,
    row: u32,
}

/// The key of one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    row: u32,
    sequence: u32,
}

impl Key {
    /// The timer's number among all that its loop has had.
    pub(crate) fn number(self) -> u32 {
        self.sequence
    }
}

impl Timers {
    /// The timers of a loop that started at `started`.
    pub(crate) fn new(started: Instant) -> Self {
        Timers {
            started,
            rows: RefCell::new(Slab::new()),
            heap: RefCell::new(BinaryHeap::new()),
            fresh: RefCell::new(Vec::new()),
            dead: Cell::new(0),
            next_sequence: Cell::new(0),
            peak: PeakOfSlab::default(),
        }
    }

    /// Sets a timer: the loop's first look outside at or after `deadline` wakes `waker`.
    pub(crate) fn set(&self, deadline: Instant, waker: LocalWaker) -> Key {
        let sequence = self.next_sequence.get();
        self.next_sequence.set(sequence.wrapping_add(1));
        let row = self.rows.borrow_mut().insert(Row { sequence, waker }) as u32;
        let due_ns = self.nanoseconds(deadline);
        self.fresh.borrow_mut().push(Entry { due_ns, sequence, row });
        Key { row, sequence }
    }

    /// Whether no timer is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.borrow().is_empty()
    }

    /// Whether the timer has neither fired nor been cancelled.
    pub(crate) fn is_set(&self, key: Key) -> bool {
        is_alive(&self.rows.borrow(), key.row, key.sequence)
    }

    /// Whether this timer wakes the same task as `waker`.
    pub(crate) fn wakes(&self, key: Key, waker: &Waker) -> bool {
        let rows = self.rows.borrow();
        is_alive(&rows, key.row, key.sequence) && rows[key.row as usize].waker.will_wake(waker)
    }

    /// Replaces the timer's waker. Returns the one that is no longer needed, which has to be
    /// dropped.
    pub(crate) fn set_waker(&self, key: Key, waker: LocalWaker) -> LocalWaker {
        let mut rows = self.rows.borrow_mut();
        if !is_alive(&rows, key.row, key.sequence) {
            return waker;
        }
        std::mem::replace(&mut rows[key.row as usize].waker, waker)
    }

    /// The deadline as entries hold it. 64 bits are enough for 584 years.
    fn nanoseconds(&self, deadline: Instant) -> u64 {
        let left = deadline.saturating_duration_since(self.started);
        u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Cancels a timer. Does nothing if it has fired.
    pub(crate) fn cancel(&self, key: Key) {
        let mut rows = self.rows.borrow_mut();
        if !is_alive(&rows, key.row, key.sequence) {
            return;
        }
        let row = rows.remove(key.row as usize);
        self.forget(key, &rows);
        drop(rows);
        emit(|| Event::TimerCancelled { timer: key.sequence, task: row.waker.task() });
        row.waker.discard();
    }

    /// A timer's row has been removed: removes its entry, too, if that was the last one set;
    /// otherwise the entry is dead. Discards all dead entries when they are more than half: each
    /// was set once and is discarded once, so cancelling stays cheap on average.
    fn forget(&self, key: Key, rows: &Slab<Row>) {
        let mut fresh = self.fresh.borrow_mut();
        if fresh.pop_if(|last| last.sequence == key.sequence).is_some() {
            return;
        }
        self.dead.set(self.dead.get() + 1);
        let mut heap = self.heap.borrow_mut();
        let all = heap.len() + fresh.len();
        debug_assert!(self.dead.get() <= all);
        if all >= SMALL && self.dead.get() > all / 2 {
            fresh.retain(|entry| is_alive(rows, entry.row, entry.sequence));
            heap.retain(|Reverse(entry)| is_alive(rows, entry.row, entry.sequence));
            self.dead.set(0);
        }
    }

    /// Moves the fresh entries into the heap, except for dead ones.
    fn flush_fresh(&self, rows: &Slab<Row>) {
        let mut heap = self.heap.borrow_mut();
        for entry in self.fresh.borrow_mut().drain(..) {
            if is_alive(rows, entry.row, entry.sequence) {
                heap.push(Reverse(entry));
            } else {
                self.discarded_dead();
            }
        }
    }

    /// A dead entry has been discarded.
    fn discarded_dead(&self) {
        debug_assert!(self.dead.get() > 0);
        self.dead.set(self.dead.get() - 1);
    }

    /// The earliest deadline of all timers.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let rows = self.rows.borrow();
        self.flush_fresh(&rows);
        let mut heap = self.heap.borrow_mut();
        while let Some(Reverse(entry)) = heap.peek() {
            if is_alive(&rows, entry.row, entry.sequence) {
                return Some(self.started + Duration::from_nanos(entry.due_ns));
            }
            heap.pop();
            self.discarded_dead();
        }
        None
    }

    /// Fires all timers with a deadline at or before `now`, earliest first.
    pub(crate) fn fire(&self, now: Instant) {
        while let Some((deadline, timer, waker)) = self.pop_due(now) {
            turn::set_cause(Cause::Timer(timer));
            emit(|| Event::TimerFired { timer, task: waker.task(), deadline });
            waker.wake();
        }
    }

    /// Gives back the memory of a peak that is over.
    pub(crate) fn give_back(&self) {
        self.peak.give_back(&mut self.rows.borrow_mut());
        let (mut heap, mut fresh) = (self.heap.borrow_mut(), self.fresh.borrow_mut());
        if peak::is_over(heap.len(), heap.capacity()) {
            heap.shrink_to(peak::KEPT);
        }
        if peak::is_over(fresh.len(), fresh.capacity()) {
            fresh.shrink_to(peak::KEPT);
        }
    }

    /// Takes out the earliest timer if it is due.
    fn pop_due(&self, now: Instant) -> Option<(Instant, u32, LocalWaker)> {
        let deadline = self.next_deadline().filter(|&deadline| deadline <= now)?;
        let Reverse(entry) = self.heap.borrow_mut().pop()?;
        let row = self.rows.borrow_mut().remove(entry.row as usize);
        Some((deadline, entry.sequence, row.waker))
    }
}

/// Whether the row belongs to the timer with this sequence number: rows are reused, numbers are
/// not.
fn is_alive(rows: &Slab<Row>, row: u32, sequence: u32) -> bool {
    rows.get(row as usize).is_some_and(|row| row.sequence == sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    /// Writes its name into a log when it is woken.
    struct Named {
        name: usize,
        log: Arc<Mutex<Vec<usize>>>,
    }

    impl Wake for Named {
        fn wake(self: Arc<Self>) {
            self.log.lock().unwrap().push(self.name);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64),
        Cancel(usize),
        Fire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0u64..50).prop_map(Step::Set),
            4 => (0usize..200).prop_map(Step::Cancel),
            1 => (0u64..60).prop_map(Step::Fire),
        ]
    }

    /// The number of dead entries, counted one by one.
    fn dead_entries(timers: &Timers) -> usize {
        let rows = timers.rows.borrow();
        let is_dead = |entry: &&Entry| !is_alive(&rows, entry.row, entry.sequence);
        let in_heap = timers.heap.borrow().iter().map(|entry| &entry.0).filter(is_dead).count();
        in_heap + timers.fresh.borrow().iter().filter(is_dead).count()
    }

    proptest! {
        /// The model is a list of (deadline, name) that is sorted whenever it is asked.
        #[test]
        fn behave_as_a_sorted_list(steps in proptest::collection::vec(step(), 0..400)) {
            let start = Instant::now();
            let at = |tick: u64| start + Duration::from_millis(tick);
            let timers = Timers::new(start);
            let log = Arc::new(Mutex::new(vec![]));
            let mut model: Vec<(Instant, usize)> = vec![];
            let mut keys = vec![];
            for step in steps {
                match step {
                    Step::Set(tick) => {
                        let name = keys.len();
                        let waker = Waker::from(Arc::new(Named { name, log: log.clone() }));
                        keys.push(timers.set(at(tick), LocalWaker::Foreign(waker)));
                        model.push((at(tick), name));
                    }
                    Step::Cancel(which) => {
                        if let Some(&key) = keys.get(which) {
                            timers.cancel(key);
                            model.retain(|&(_, name)| name != which);
                        }
                    }
                    Step::Fire(tick) => {
                        timers.fire(at(tick));
                        let (mut due, rest): (Vec<_>, Vec<_>) =
                            model.iter().partition(|&&(deadline, _)| deadline <= at(tick));
                        due.sort();
                        model = rest;
                        let names: Vec<_> = due.into_iter().map(|(_, name)| name).collect();
                        prop_assert_eq!(&*log.lock().unwrap(), &names);
                        log.lock().unwrap().clear();
                    }
                }
                prop_assert_eq!(timers.dead.get(), dead_entries(&timers));
                prop_assert_eq!(timers.rows.borrow().len(), model.len());
                prop_assert_eq!(timers.next_deadline(), model.iter().map(|t| t.0).min());
                let set: Vec<_> = keys.iter().map(|&key| timers.is_set(key)).collect();
                let expected: Vec<_> =
                    (0..keys.len()).map(|i| model.iter().any(|t| t.1 == i)).collect();
                prop_assert_eq!(set, expected);
            }
        }
    }

    #[test]
    fn four_entries_fit_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn a_million_live_timers_fire_in_order() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let log = Arc::new(Mutex::new(vec![]));
        let count = 1_000_000;
        for name in 0..count {
            // A fixed stride that is prime to the count visits every millisecond once.
            let tick = (name * 7_919) % count;
            let log = log.clone();
            let waker = Waker::from(Arc::new(Named { name: tick, log }));
            timers.set(start + Duration::from_millis(tick as u64), LocalWaker::Foreign(waker));
        }
        assert_eq!(timers.rows.borrow().len(), count);
        timers.fire(start + Duration::from_millis(count as u64));
        assert!(log.lock().unwrap().iter().copied().eq(0..count));
    }

    #[test]
    fn the_dead_never_outnumber_the_living_for_long() {
        let timers = Timers::new(Instant::now());
        let far = Instant::now() + Duration::from_secs(1_000);
        let keep = timers.set(far, LocalWaker::NOBODY);
        for _ in 0..100_000 {
            let key = timers.set(far, LocalWaker::NOBODY);
            // The loop asks, so that it is in the heap when it is cancelled.
            assert_eq!(timers.next_deadline(), Some(far));
            timers.cancel(key);
            let entries = timers.heap.borrow().len() + timers.fresh.borrow().len();
            assert!(entries <= SMALL + 1);
        }
        assert!(timers.is_set(keep));
    }

    #[test]
    fn the_lists_are_small_again_after_a_peak() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let keys: Vec<_> = (0..100_000).map(|_| timers.set(start, LocalWaker::NOBODY)).collect();
        let (half, other_half) = keys.split_at(keys.len() / 2);
        half.iter().for_each(|&key| timers.cancel(key));
        timers.fire(start);
        assert!(!other_half.iter().any(|&key| timers.is_set(key)));
        timers.give_back();
        let rows = timers.rows.borrow().capacity();
        let (heap, fresh) = (timers.heap.borrow().capacity(), timers.fresh.borrow().capacity());
        assert!(rows.max(heap).max(fresh) <= 2 * peak::KEPT, "{rows} {heap} {fresh}");
    }

    #[test]
    fn the_dead_are_discarded_only_when_they_outnumber_the_living() {
        let timers = Timers::new(Instant::now());
        let far = Instant::now() + Duration::from_secs(1_000);
        let keys: Vec<_> = (0..1_000).map(|_| timers.set(far, LocalWaker::NOBODY)).collect();
        assert_eq!(timers.next_deadline(), Some(far));
        let (half, one_more) = (keys.len() / 2, keys.len() / 2 + 1);
        keys[..half].iter().for_each(|&key| timers.cancel(key));
        assert_eq!((timers.heap.borrow().len(), timers.dead.get()), (keys.len(), half));
        keys[half..one_more].iter().for_each(|&key| timers.cancel(key));
        assert_eq!((timers.heap.borrow().len(), timers.dead.get()), (keys.len() - one_more, 0));
    }

    #[test]
    fn a_fresh_timer_that_is_cancelled_is_discarded_when_the_loop_asks() {
        let timers = Timers::new(Instant::now());
        let far = Instant::now() + Duration::from_secs(1_000);
        let first = timers.set(far, LocalWaker::NOBODY);
        let last = timers.set(far, LocalWaker::NOBODY);
        // The last one is removed at once, any other when all of them are visited.
        timers.cancel(first);
        assert_eq!((timers.fresh.borrow().len(), timers.dead.get()), (2, 1));
        timers.cancel(last);
        assert_eq!((timers.fresh.borrow().len(), timers.dead.get()), (1, 1));
        assert_eq!(timers.next_deadline(), None);
        assert_eq!((timers.fresh.borrow().len(), timers.dead.get()), (0, 0));
    }

    #[test]
    fn a_timer_that_is_no_longer_set_returns_a_new_waker() {
        let timers = Timers::new(Instant::now());
        let log = Arc::new(Mutex::new(vec![]));
        let named = |name| Waker::from(Arc::new(Named { name, log: log.clone() }));
        let key = timers.set(Instant::now(), LocalWaker::Foreign(named(1)));
        let second = named(2);
        drop(timers.set_waker(key, LocalWaker::Foreign(second.clone())));
        assert!(timers.wakes(key, &second) && !timers.wakes(key, Waker::noop()));
        timers.fire(Instant::now() + Duration::from_secs(1));
        assert!(!timers.wakes(key, &second));
        timers.set_waker(key, LocalWaker::Foreign(named(3))).wake();
        assert_eq!(*log.lock().unwrap(), [2, 3]);
    }

    #[test]
    fn an_old_key_does_not_touch_the_timer_in_the_same_row() {
        let timers = Timers::new(Instant::now());
        let far = Instant::now() + Duration::from_secs(1_000);
        let old = timers.set(far, LocalWaker::NOBODY);
        timers.cancel(old);
        let new = timers.set(far, LocalWaker::NOBODY);
        assert_eq!(old.row, new.row);
        timers.cancel(old);
        assert!(timers.is_set(new));
        assert!(!timers.is_set(old));
    }
}
