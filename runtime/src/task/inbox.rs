//! What other threads ask of a loop.
//!
//! The deque belongs to the loop's thread and is plain memory. Everyone else leaves a message here,
//! behind a mutex. Whether the loop sleeps is written inside that mutex: whoever leaves a message
//! either finds the loop awake, and then it will look before it sleeps, or finds it asleep, and
//! notifies it. No wake can fall between.

use std::pin::Pin;
use std::sync::atomic::Ordering::*;
use std::task::Waker;
use std::thread::{self, ThreadId};

use super::body::Body;
use crate::base::access::{self, Object};
use crate::base::atomics::{AtomicBool, Mutex, MutexGuard};
use crate::base::id::Id;
use crate::base::place::Place;
use crate::base::poller::Notifier;
use crate::base::turn;

/// What another thread may ask of a loop.
pub(crate) enum Message {
    /// Put this task into the deque.
    Wake(Id),
    /// The job that this task waits for has begun. Sent only where somebody listens.
    JobStarted(Id),
    /// Make a task.
    Spawn(RemoteSpawn),
    /// Cancel this task.
    Abort(Id),
    /// Return from the loop before the main task has ended.
    Stop,
}

/// A task that comes from another thread: its future may not be `Send` once it runs, but what
/// makes it has to be.
pub(crate) struct RemoteSpawn {
    pub(crate) make_body: Box<dyn FnOnce(Waker) -> Pin<Box<dyn Body>> + Send>,
    pub(crate) at: Place,
}

/// The letter box of one loop.
pub(crate) struct Inbox {
    inside: Mutex<Inside>,
    /// Whether there is something inside. A hint, so that a loop with work to do need not take the
    /// lock to find nothing; it is exact whenever the lock is held.
    filled: AtomicBool,
    /// `None` when there is no other thread to ring it.
    notifier: Option<Notifier>,
    /// The thread of the loop.
    thread: ThreadId,
}

/// Whether a wake message of one task lies in the inbox. A second one would say nothing new.
pub(crate) struct OnItsWay(AtomicBool);

impl OnItsWay {
    pub(crate) fn new() -> Self {
        OnItsWay(AtomicBool::new(false))
    }

    /// Somebody wakes the task: true when a message has to be sent.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        !self.0.swap(true, AcqRel)
    }

    /// The loop has taken the message out of the inbox.
    ///
    /// A swap, not a store: a thread that found the flag set and left it at that wrote its data
    /// before, and the task that is woken now must see them.
    #[inline]
    pub(crate) fn end(&self) {
        self.0.swap(false, AcqRel);
    }

    /// For a task that is made anew from an ended one; nobody else knows of it.
    #[inline]
    pub(crate) fn reset(&self) {
        self.0.store(false, Relaxed);
    }
}

struct Inside {
    messages: Vec<Message>,
    /// The loop sleeps, or is about to, and nobody has rung yet.
    asleep: bool,
    /// The runtime is gone; nobody will read.
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

    /// What tells its loop from others.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether its loop is the one that runs on this thread now.
    #[inline]
    pub(crate) fn is_of_the_running_loop(&self) -> bool {
        turn::running_loop() == self.address()
    }

    /// Whether its loop runs on this thread, now or when it runs.
    pub(crate) fn is_of_this_thread(&self) -> bool {
        thread::current().id() == self.thread
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Nothing that can panic runs under this lock, but a poisoned one would still be whole.
        self.inside.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Leaves a message, and rings if the loop sleeps: at most once for each sleep. False, and the
    /// message is dropped, when the runtime is gone.
    pub(crate) fn send(&self, message: Message) -> bool {
        access::record_write(Object::Anything);
        match self.leave(message) {
            Ok(is_asleep) => {
                if is_asleep && let Some(notifier) = &self.notifier {
                    notifier.notify();
                }
                true
            }
            // It may hold a future of somebody's, so it is dropped here and not under the lock.
            Err(_unread) => false,
        }
    }

    /// Leaves a message. True when the loop sleeps and has to be rung, which nobody else does then;
    /// the message itself when nobody will read it.
    pub(crate) fn leave(&self, message: Message) -> Result<bool, Message> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(message);
        }
        inside.messages.push(message);
        self.filled.store(true, Release);
        Ok(std::mem::take(&mut inside.asleep))
    }

    /// Whether something may be inside. May be late in saying yes; never sleep on its word.
    #[inline]
    pub(crate) fn may_have_messages(&self) -> bool {
        self.filled.load(Acquire)
    }

    /// The loop wants to sleep. False when a message has come: then it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut inside = self.lock();
        inside.asleep = inside.messages.is_empty();
        inside.asleep
    }

    /// The loop is awake; from now on nobody needs to ring.
    pub(crate) fn wake_up(&self) {
        self.lock().asleep = false;
    }

    /// Whether nothing lies inside: exact, unlike the hint.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// The run that was asked to stop is over.
    pub(crate) fn forget_stops(&self) {
        if self.may_have_messages() {
            let mut inside = self.lock();
            inside.messages.retain(|message| !matches!(message, Message::Stop));
            self.filled.store(!inside.messages.is_empty(), Release);
        }
    }

    /// Takes all messages, in the order in which they came. `into` must be empty; its memory is
    /// used for the next ones.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        let mut inside = self.lock();
        std::mem::swap(&mut inside.messages, into);
        self.filled.store(false, Release);
    }

    /// The runtime ends: what is inside is returned, what comes later is dropped.
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
    fn who_has_a_message_does_not_fall_asleep() {
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
