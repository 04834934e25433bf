//! A lock that is waited for without blocking the thread.
//!
//! First come, first served: who unlocks it hands it over to the one who has waited longest, and
//! whoever asks meanwhile queues behind. So nobody can take it out of turn, and a task that locks
//! it again and again cannot starve the others.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::base::access::{self, Object};
use crate::base::lock_graph::{self, Number, TaskRef};
use crate::base::panics::catch_and_report;
use crate::base::turn;

/// A value that one task at a time may use, also across an `await`: asyncio's `Lock`.
///
/// - Waiters get it in the order in which they first asked; it is handed over, never snatched.
/// - It is not reentrant: a task that locks it twice waits for itself.
/// - It is not poisoned: when a task panics while it holds the lock, the lock is released.
/// - It stays on its thread; tasks share it in an `Rc`.
///
/// When tasks wait in a circle for locks that they hold, a line on standard error says so, also
/// while other tasks run.
///
/// ```
/// use std::rc::Rc;
/// use popleft::sync::Mutex;
///
/// popleft::run(async {
///     let balance = Rc::new(Mutex::new(100));
///     let withdraw = |amount: i32| {
///         let balance = balance.clone();
///         popleft::spawn(async move {
///             let mut balance = balance.lock().await;
///             let before = *balance;
///             popleft::yield_now().await; // The others run, but none gets the balance.
///             *balance = before - amount;
///         })
///     };
///     let (first, second) = (withdraw(30), withdraw(20));
///     first.await.unwrap();
///     second.await.unwrap();
///     assert_eq!(*balance.lock().await, 50);
/// });
/// ```
#[derive(Default)]
pub struct Mutex<T> {
    queue: RefCell<Queue>,
    value: RefCell<T>,
}

#[derive(Default)]
struct Queue {
    /// TaskRef has the lock, or has been handed it and does not know yet.
    holder: Option<TaskRef>,
    /// The waiter that has been handed the lock.
    handed_to: Option<Ticket>,
    /// First come, first served; their tickets ascend.
    waiters: VecDeque<Waiter>,
    next_ticket: Ticket,
    /// Under which number it is known who waits, while somebody does.
    number: Option<Number>,
    /// What tells it from other locks.
    identity: access::Number,
}

type Ticket = u64;

struct Waiter {
    ticket: Ticket,
    waker: Waker,
    who: TaskRef,
}

impl<T> Mutex<T> {
    /// A lock around `value` that nobody holds.
    pub fn new(value: T) -> Self {
        Mutex { queue: RefCell::default(), value: RefCell::new(value) }
    }

    /// Waits until the lock is free and everyone who asked before has had it, and takes it.
    ///
    /// It asks at its first poll. Dropping the future gives up the place in the queue; if the lock
    /// was just handed to it, the next one gets it.
    ///
    /// # Panics
    ///
    /// Polling it again after it was ready panics.
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, stage: Stage::New, at: Location::caller() }
    }

    /// Takes the lock if nobody holds it and nobody waits for it; `None` otherwise.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let mut queue = Queue::change(&self.queue);
        if queue.holder.is_some() {
            return None;
        }
        queue.holder = Some(TaskRef::current());
        drop(queue);
        Some(self.guard())
    }

    /// The value, without locking: nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value; the lock is gone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { value: self.value.borrow_mut(), _release: Release { queue: &self.queue } }
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.try_borrow() {
            Ok(value) => f.debug_struct("Mutex").field("value", &value).finish(),
            Err(_) => f.debug_struct("Mutex").field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// Gives the lock to the one who has waited longest, or leaves it free.
fn release(queue: &RefCell<Queue>) {
    let mut inside = Queue::change(queue);
    let next = inside.waiters.pop_front();
    inside.handed_to = next.as_ref().map(|next| next.ticket);
    inside.holder = next.as_ref().map(|next| next.who);
    if let (Some(next), Some(number)) = (&next, inside.number) {
        lock_graph::remove_wait(next.who, number);
        lock_graph::hand_over(number, next.who);
    }
    inside.forget_number_if_unused();
    drop(inside);
    if let Some(next) = next {
        access::record_write(Object::Task(next.who.task));
        catch_and_report(|| next.waker.wake());
    }
}

impl Queue {
    /// Whatever is done with it, other tasks may notice.
    fn change(queue: &RefCell<Queue>) -> RefMut<'_, Queue> {
        let queue = queue.borrow_mut();
        access::record_write(Object::Lock(queue.identity));
        queue
    }

    fn forget_number_if_unused(&mut self) {
        if self.waiters.is_empty()
            && let Some(number) = self.number.take()
        {
            lock_graph::remove_lock(number);
        }
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }
}

/// The future of [`Mutex::lock`].
#[must_use = "futures do nothing unless awaited"]
pub struct Lock<'a, T> {
    mutex: &'a Mutex<T>,
    stage: Stage,
    at: &'static Location<'static>,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    Queued(Ticket),
    Over,
}

impl<'a, T> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MutexGuard<'a, T>> {
        match self.stage {
            Stage::New => ready!(self.ask(cx)),
            Stage::Queued(ticket) => ready!(self.wait(ticket, cx)),
            Stage::Over => panic!("a lock's future was polled after it was ready"),
        }
        self.stage = Stage::Over;
        Poll::Ready(self.mutex.guard())
    }
}

impl<T> Lock<'_, T> {
    /// Takes the lock, or queues for it.
    fn ask(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(turn::consume_budget_untracked(cx));
        let waker = cx.waker().clone();
        let who = TaskRef::current();
        let mut queue = Queue::change(&self.mutex.queue);
        let Some(holder) = queue.holder else {
            queue.holder = Some(who);
            drop(queue);
            drop(waker);
            return Poll::Ready(());
        };
        let number = *queue.number.get_or_insert_with(|| lock_graph::add_lock(holder));
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiters.push_back(Waiter { ticket, waker, who });
        drop(queue);
        self.stage = Stage::Queued(ticket);
        lock_graph::park(holder);
        lock_graph::add_wait(number, cx.waker(), self.at);
        Poll::Pending
    }

    /// Ready when the lock was handed over; otherwise whoever polls now is woken when it is.
    fn wait(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let who = TaskRef::current();
        let mut queue = Queue::change(&self.mutex.queue);
        if queue.handed_to == Some(ticket) {
            queue.handed_to = None;
            // Another task may have come for it than the one that had asked.
            queue.holder = Some(who);
            if let Some(number) = queue.number {
                lock_graph::hand_over(number, who);
            }
            drop(queue);
            drop(waker);
            return Poll::Ready(());
        }
        let (Some(holder), Some(number)) = (queue.holder, queue.number) else {
            unreachable!("somebody queues for this lock");
        };
        let Some(at) = queue.position(ticket) else {
            unreachable!("who was not handed the lock queues for it");
        };
        let waiter = &mut queue.waiters[at];
        let asked_before = std::mem::replace(&mut waiter.who, who);
        let replaced = std::mem::replace(&mut waiter.waker, waker);
        drop(queue);
        drop(replaced);
        if asked_before != who {
            lock_graph::remove_wait(asked_before, number);
        }
        lock_graph::park(holder);
        lock_graph::add_wait(number, cx.waker(), self.at);
        Poll::Pending
    }
}

impl<T> Drop for Lock<'_, T> {
    fn drop(&mut self) {
        let Stage::Queued(ticket) = self.stage else {
            return;
        };
        let mut queue = Queue::change(&self.mutex.queue);
        if queue.handed_to == Some(ticket) {
            drop(queue);
            release(&self.mutex.queue);
            return;
        }
        let left = queue.position(ticket).and_then(|at| queue.waiters.remove(at));
        if let (Some(left), Some(number)) = (&left, queue.number) {
            lock_graph::remove_wait(left.who, number);
        }
        queue.forget_number_if_unused();
        drop(queue);
        catch_and_report(|| drop(left));
    }
}

impl<T> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = matches!(self.stage, Stage::Queued(_));
        f.debug_struct("Lock").field("queued", &queued).finish_non_exhaustive()
    }
}

/// The lock, held: it is the value, and dropping it hands the lock on.
#[must_use = "the lock is released when the guard is dropped"]
pub struct MutexGuard<'a, T> {
    // Let go of before the lock is.
    value: RefMut<'a, T>,
    _release: Release<'a>,
}

struct Release<'a> {
    queue: &'a RefCell<Queue>,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        release(self.queue);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
