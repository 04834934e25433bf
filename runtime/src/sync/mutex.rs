//! A lock that tasks wait for without blocking the thread.
//!
//! First come, first served: unlocking hands the lock to the longest waiter, and later requests
//! queue behind. So no task can take it out of turn, and one that locks it in a loop cannot starve
//! the others.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::base::access::{self, Object};
use crate::base::lock_graph::{self, TaskRef};
use crate::base::panics::catch_and_report;
use crate::base::turn;

/// A value that one task at a time may use, also across an `await`: asyncio's `Lock`.
///
/// - Waiters get the lock in the order in which they were first polled; it is handed over directly.
/// - It is not reentrant: a task that locks it twice waits for itself.
/// - It is not poisoned: when a task panics while it holds the lock, the lock is released.
/// - It is not `Send`; tasks of one thread share it in an `Rc`.
///
/// When tasks wait in a cycle for locks that they hold, a report is printed to standard error, even
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
    /// The task that holds the lock, or the waiter that it was handed to.
    holder: Option<TaskRef>,
    /// The waiter that has been handed the lock.
    handed_to: Option<Ticket>,
    /// First come, first served; their tickets ascend.
    waiters: VecDeque<Waiter>,
    next_ticket: Ticket,
    /// This lock's number in the wait-for graph, while it is contended.
    number: Option<lock_graph::Number>,
    /// Identifies this lock in the record of what a turn accesses.
    identity: access::Number,
}

type Ticket = u64;

struct Waiter {
    ticket: Ticket,
    waker: Waker,
    task: TaskRef,
}

impl<T> Mutex<T> {
    /// Makes an unlocked mutex around `value`.
    pub fn new(value: T) -> Self {
        Mutex { queue: RefCell::default(), value: RefCell::new(value) }
    }

    /// Waits until the lock is free and all earlier waiters have had it, and takes it.
    ///
    /// The future enters the queue when it is first polled. Dropping it leaves the queue; if the
    /// lock was just handed to it, the next waiter gets it.
    ///
    /// # Panics
    ///
    /// Polling the future again after it was ready panics.
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, state: State::New, at: Location::caller() }
    }

    /// Takes the lock if it is free; returns `None` if a task holds it or waits for it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let mut queue = Queue::change(&self.queue);
        if queue.holder.is_some() {
            return None;
        }
        queue.holder = Some(TaskRef::current());
        drop(queue);
        Some(self.guard())
    }

    /// Returns the value without locking: the exclusive reference proves that no task holds the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Consumes the mutex and returns the value.
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

/// Hands the lock to the longest waiter, or leaves it free.
fn release(queue: &RefCell<Queue>) {
    let mut inside = Queue::change(queue);
    let next = inside.waiters.pop_front();
    inside.handed_to = next.as_ref().map(|next| next.ticket);
    inside.holder = next.as_ref().map(|next| next.task);
    if let (Some(next), Some(number)) = (&next, inside.number) {
        lock_graph::remove_wait(next.task, number);
        lock_graph::hand_over(number, next.task);
    }
    inside.forget_number_if_unused();
    drop(inside);
    if let Some(next) = next {
        access::record_write(Object::Task(next.task.task));
        catch_and_report(|| next.waker.wake());
    }
}

impl Queue {
    /// Borrows the queue and records a write, since other tasks may notice any change of it.
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
///
/// Dropping it leaves the queue.
#[must_use = "futures do nothing unless awaited"]
pub struct Lock<'a, T> {
    mutex: &'a Mutex<T>,
    state: State,
    at: &'static Location<'static>,
}

#[derive(Clone, Copy)]
enum State {
    New,
    Queued(Ticket),
    Done,
}

impl<'a, T> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MutexGuard<'a, T>> {
        match self.state {
            State::New => ready!(self.take_or_queue(cx)),
            State::Queued(ticket) => ready!(self.wait(ticket, cx)),
            State::Done => panic!("a lock's future was polled after it was ready"),
        }
        self.state = State::Done;
        Poll::Ready(self.mutex.guard())
    }
}

impl<T> Lock<'_, T> {
    /// Takes the lock, or enters the queue.
    fn take_or_queue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(turn::consume_budget_untracked(cx));
        let waker = cx.waker().clone();
        let task = TaskRef::current();
        let mut queue = Queue::change(&self.mutex.queue);
        let Some(holder) = queue.holder else {
            queue.holder = Some(task);
            drop(queue);
            drop(waker);
            return Poll::Ready(());
        };
        let number = *queue.number.get_or_insert_with(|| lock_graph::add_lock(holder));
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiters.push_back(Waiter { ticket, waker, task });
        drop(queue);
        self.state = State::Queued(ticket);
        lock_graph::park(holder);
        lock_graph::add_wait(number, cx.waker(), self.at);
        Poll::Pending
    }

    /// Ready when the lock was handed over; otherwise the task that polls now is woken when it is.
    fn wait(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let task = TaskRef::current();
        let mut queue = Queue::change(&self.mutex.queue);
        if queue.handed_to == Some(ticket) {
            queue.handed_to = None;
            // The future may have moved to another task since it entered the queue.
            queue.holder = Some(task);
            if let Some(number) = queue.number {
                lock_graph::hand_over(number, task);
            }
            drop(queue);
            drop(waker);
            return Poll::Ready(());
        }
        let (Some(holder), Some(number)) = (queue.holder, queue.number) else {
            unreachable!("a lock with a waiter has a holder and a number");
        };
        let Some(at) = queue.position(ticket) else {
            unreachable!("a future that was not handed the lock is in the queue");
        };
        let waiter = &mut queue.waiters[at];
        let queued_before = std::mem::replace(&mut waiter.task, task);
        let replaced = std::mem::replace(&mut waiter.waker, waker);
        drop(queue);
        drop(replaced);
        if queued_before != task {
            lock_graph::remove_wait(queued_before, number);
        }
        lock_graph::park(holder);
        lock_graph::add_wait(number, cx.waker(), self.at);
        Poll::Pending
    }
}

impl<T> Drop for Lock<'_, T> {
    fn drop(&mut self) {
        let State::Queued(ticket) = self.state else {
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
            lock_graph::remove_wait(left.task, number);
        }
        queue.forget_number_if_unused();
        drop(queue);
        catch_and_report(|| drop(left));
    }
}

impl<T> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = matches!(self.state, State::Queued(_));
        f.debug_struct("Lock").field("queued", &queued).finish_non_exhaustive()
    }
}

/// The value of a locked [`Mutex`]; dropping the guard releases the lock.
///
/// The lock goes to the longest waiter. A guard may be held across an `await`.
#[must_use = "the lock is released when the guard is dropped"]
pub struct MutexGuard<'a, T> {
    // Fields are dropped in order: the borrow ends before the lock is handed on.
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
