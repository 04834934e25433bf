//! Messages from other threads to a loop.
//!
//! The deque belongs to the loop's thread and is plain memory. Other threads put messages into this
//! queue, behind a mutex. Whether the loop sleeps is stored under the same mutex: a sender either
//! finds the loop awake, and then the loop checks the inbox before it sleeps, or finds it asleep, and
//! notifies it. So no wake is lost.

use std::pin::Pin;
use std::sync::atomic::Ordering::*;
use std::task::Waker;
use std::thread::{self, ThreadId};

use super::body::Body;
use crate::base::access::{self, Object};
use crate::base::atomics::{AtomicBool, Mutex, MutexGuard, ignore_poison};
use crate::base::id::Id;
use crate::base::place::Place;
use crate::base::poller::Notifier;
use crate::base::turn;

/// What another thread can request from a loop.
pub(crate) enum Message {
    /// Put this task into the deque.
    Wake(Id),
    /// The job that this task waits for has started. Sent only if the loop's thread has a listener.
    JobStarted(Id),
    /// Spawn a task.
    Spawn(RemoteSpawn),
    /// Cancel this task.
    Abort(Id),
    /// Return from the loop, though the main task has not ended.
    Stop,
}

/// A task spawned from another thread. Its future need not be `Send`; the closure that creates it
/// must be.
pub(crate) struct RemoteSpawn {
    pub(crate) make_body: Box<dyn FnOnce(Waker) -> Pin<Box<dyn Body>> + Send>,
    pub(crate) at: Place,
}

/// The queue of messages from other threads to one loop.
pub(crate) struct Inbox {
    inside: Mutex<Inside>,
    /// Whether there are messages. Changed only under the lock, and exact while it is held; read
    /// without the lock it is a hint, which saves a busy loop from taking the lock in vain.
    filled: AtomicBool,
    /// `None` when there is no other thread that could use it.
    notifier: Option<Notifier>,
    /// The thread of the loop.
    thread: ThreadId,
}

/// Whether a wake message of one task is in the inbox. A second one would be redundant.
pub(crate) struct WakeInFlight(AtomicBool);

impl WakeInFlight {
    pub(crate) fn new() -> Self {
        WakeInFlight(AtomicBool::new(false))
    }

    /// The task is being woken: true when a message has to be sent.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        !self.0.swap(true, AcqRel)
    }

    /// The loop has taken the message out of the inbox.
    ///
    /// A swap, not a store: a thread that found the flag set, and sent nothing, wrote its data
    /// before, and the task that is woken now must see them.
    #[inline]
    pub(crate) fn end(&self) {
        self.0.swap(false, AcqRel);
    }

    /// For the record of an ended task that is reused: no other thread has access to it.
    #[inline]
    pub(crate) fn reset(&self) {
        self.0.store(false, Relaxed);
    }
}

struct Inside {
    messages: Vec<Message>,
    /// The loop sleeps, or is about to, and has not been notified yet. Set by the loop before it
    /// sleeps; the sender that clears it notifies the loop, so a sleep takes one notification.
    asleep: bool,
    /// The runtime is gone; messages are no longer read.
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(notifier: impl Into<Option<Notifier>>) -> Self {
        Inbox {
            inside: Mutex::new(Inside { messages: Vec::new(), asleep: false, closed: false }),
            filled: AtomicBool::new(false),
            notifier: notifier.into(),
            thread: thread::current().id(),
        }
    }

    /// Identifies its loop.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether its loop is the one that runs on this thread now.
    #[inline]
    pub(crate) fn is_of_the_running_loop(&self) -> bool {
        turn::running_loop() == self.address()
    }

    /// Whether its loop belongs to this thread, running or not.
    pub(crate) fn is_of_this_thread(&self) -> bool {
        thread::current().id() == self.thread
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        let inside = ignore_poison(self.inside.lock());
        debug_assert_eq!(self.filled.load(Relaxed), !inside.messages.is_empty());
        inside
    }

    /// Sends a message, and notifies the loop if it sleeps, at most once per sleep. False when the
    /// runtime is gone; then the message is dropped.
    pub(crate) fn send(&self, message: Message) -> bool {
        access::record_write(Object::Anything);
        match self.leave(message) {
            Ok(is_asleep) => {
                if is_asleep && let Some(notifier) = &self.notifier {
                    notifier.notify();
                }
                true
            }
            // It may hold a user's future, so it is dropped here and not under the lock.
            Err(_unread) => false,
        }
    }

    /// Adds a message. True when the loop sleeps, and the caller, as the only one, has to notify it;
    /// the message itself when the runtime is gone.
    pub(crate) fn leave(&self, message: Message) -> Result<bool, Message> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(message);
        }
        inside.messages.push(message);
        self.filled.store(true, Release);
        Ok(std::mem::take(&mut inside.asleep))
    }

    /// Whether there may be messages. It may be late in becoming true, so the loop must not sleep
    /// because of it.
    #[inline]
    pub(crate) fn may_have_messages(&self) -> bool {
        self.filled.load(Acquire)
    }

    /// The loop is about to sleep. False when there is a message: then it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut inside = self.lock();
        inside.asleep = inside.messages.is_empty();
        inside.asleep
    }

    /// The loop is awake: it need not be notified any more.
    pub(crate) fn wake_up(&self) {
        self.lock().asleep = false;
    }

    /// Whether there are no messages: exact, unlike the hint.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Removes all stop messages: the run for which they were meant is over.
    pub(crate) fn forget_stops(&self) {
        if self.may_have_messages() {
            let mut inside = self.lock();
            inside.messages.retain(|message| !matches!(message, Message::Stop));
            self.filled.store(!inside.messages.is_empty(), Release);
        }
    }

    /// Takes all messages, in the order in which they were sent. `into` must be empty; its memory is
    /// used for the next ones.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        debug_assert!(into.is_empty());
        let mut inside = self.lock();
        std::mem::swap(&mut inside.messages, into);
        self.filled.store(false, Release);
    }

    /// The runtime ends: returns the messages; later ones are dropped.
    pub(crate) fn close(&self) -> Vec<Message> {
        let mut inside = self.lock();
        inside.closed = true;
        self.filled.store(false, Release);
        std::mem::take(&mut inside.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::poller::{Poller, Until};
    use crate::task::record::Record;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn id(number: u32) -> Id {
        Id { index: 0, number }
    }

    fn ids(messages: &[Message]) -> Vec<u32> {
        let number = |message: &Message| match message {
            Message::Wake(id) | Message::Abort(id) => id.number(),
            _ => unreachable!("not sent here"),
        };
        messages.iter().map(number).collect()
    }

    #[test]
    fn a_loop_with_a_message_does_not_fall_asleep() {
        let poller = Poller::new().unwrap();
        let inbox = Inbox::new(poller.notifier());
        assert!(inbox.fall_asleep());
        inbox.wake_up();
        assert!(!inbox.may_have_messages());
        assert!(inbox.send(Message::Wake(id(7))));
        assert!(inbox.may_have_messages());
        assert!(!inbox.fall_asleep());
        let mut messages = vec![];
        inbox.take(&mut messages);
        assert_eq!(ids(&messages), [7]);
        assert!(inbox.fall_asleep());
    }

    #[test]
    fn a_message_ends_the_sleep_that_has_begun() {
        let poller = Poller::new().unwrap();
        let inbox = Arc::new(Inbox::new(poller.notifier()));
        for round in 0..100 {
            assert!(inbox.fall_asleep());
            let other = inbox.clone();
            let sender = thread::spawn(move || other.send(Message::Abort(id(round))));
            let end = Instant::now() + Duration::from_secs(60);
            poller.wait(Until::Deadline(end), Instant::now, &mut vec![]).unwrap();
            assert!(Instant::now() < end, "the message did not end the sleep");
            inbox.wake_up();
            let mut messages = vec![];
            inbox.take(&mut messages);
            assert_eq!(ids(&messages), [round]);
            assert!(sender.join().unwrap());
        }
    }

    #[test]
    fn many_wakes_of_one_task_are_one_message() {
        let poller = Poller::new().unwrap();
        let inbox = Arc::new(Inbox::new(poller.notifier()));
        let record = Arc::new(Record::new(id(3), None, Place::UNKNOWN, inbox.clone()));
        let waker = Waker::from(record.clone());
        for _ in 0..2 {
            (0..1000).for_each(|_| waker.wake_by_ref());
            let mut messages = vec![];
            inbox.take(&mut messages);
            assert_eq!(ids(&messages), [3]);
            // Once it is out of the inbox the next wake counts again.
            record.leave_inbox();
        }
    }

    #[test]
    fn a_closed_inbox_takes_nothing() {
        let poller = Poller::new().unwrap();
        let inbox = Inbox::new(poller.notifier());
        inbox.send(Message::Wake(id(1)));
        assert_eq!(ids(&inbox.close()), [1]);
        assert!(!inbox.send(Message::Wake(id(2))));
        assert!(!inbox.may_have_messages());
    }
}
