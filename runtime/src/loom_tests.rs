//! All interleavings of a loop and the threads that wake its tasks:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p popleft --release loom
//! ```
//!
//! The parts are the library's own: the inbox, the flag of a task that is on its way into it, and
//! the verdict that nothing can come. What is put together here is what `event_loop.rs` does with
//! them, with a counter in the place of the count of an `Arc`'s owners and a notification in the
//! place of the system's.

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use loom::sync::{Arc, Notify};
use loom::thread;

use crate::stall::nothing_can_come;
use crate::task::Id;
use crate::task::inbox::{Inbox, Message, WakeInFlight};

/// One parked task, its loop's inbox, and those who may wake it.
struct Parked {
    inbox: Inbox,
    wake_in_flight: WakeInFlight,
    notifier: Notify,
    /// How many others hold the task's waker. Given up as the owner of an `Arc` gives up: with a
    /// release.
    owners: AtomicUsize,
    /// What the wakers wake it for.
    done: Vec<AtomicBool>,
}

const TASK: Id = Id { index: 0, number: 1 };

impl Parked {
    fn new(wakers: usize) -> Arc<Self> {
        Arc::new(Parked {
            inbox: Inbox::new(None),
            wake_in_flight: WakeInFlight::new(),
            notifier: Notify::new(),
            owners: AtomicUsize::new(wakers),
            done: (0..wakers).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// What another thread does: says what is done, wakes, and lets go of the waker.
    fn wake_and_let_go(&self, waker: usize) {
        self.done[waker].store(true, Relaxed);
        if self.wake_in_flight.begin()
            && self.inbox.leave(Message::Wake(TASK)).is_ok_and(|is_asleep| is_asleep)
        {
            self.notifier.notify();
        }
        self.owners.fetch_sub(1, Release);
    }

    /// What the task does in its turn: it has ended when all is done.
    fn is_done(&self) -> bool {
        self.done.iter().all(|done| done.load(Relaxed))
    }

    /// What the loop does while its only task is parked. False when it gives up.
    fn run(&self) -> bool {
        loop {
            if !self.inbox.may_have_messages() {
                if nothing_can_come(&self.inbox, || self.owners.load(Relaxed) > 0) {
                    return false;
                }
                if self.inbox.fall_asleep() {
                    self.notifier.wait();
                    self.inbox.wake_up();
                }
            }
            let mut messages = Vec::new();
            self.inbox.take(&mut messages);
            for _ in messages {
                self.wake_in_flight.end();
                if self.is_done() {
                    return true;
                }
            }
        }
    }
}

/// One waker is tried in all interleavings, several in all that take a thread off its processor at
/// most `preemptions` times.
fn wakers_against_a_parked_task(wakers: usize, preemptions: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let parked = Parked::new(wakers);
        let threads: Vec<_> = (0..wakers)
            .map(|waker| {
                let parked = parked.clone();
                thread::spawn(move || parked.wake_and_let_go(waker))
            })
            .collect();
        assert!(parked.run(), "a wake was taken for nothing");
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_waker_is_never_missed() {
    wakers_against_a_parked_task(1, None);
}

#[test]
fn two_wakers_are_never_missed() {
    wakers_against_a_parked_task(2, Some(3));
}

#[test]
fn three_wakers_are_never_missed() {
    wakers_against_a_parked_task(3, Some(2));
}

/// A waker that is let go of unused: the loop ends, sooner or later, and only when it is gone.
#[test]
fn a_verdict_comes_only_when_the_last_owner_has_let_go() {
    loom::model(|| {
        let parked = Parked::new(2);
        let other = parked.clone();
        let wakes = thread::spawn(move || other.wake_and_let_go(0));
        let other = parked.clone();
        let forgets = thread::spawn(move || other.owners.fetch_sub(1, Release));
        while !nothing_can_come(&parked.inbox, || parked.owners.load(Relaxed) > 0) {
            let mut messages = Vec::new();
            parked.inbox.take(&mut messages);
            for _ in messages {
                parked.wake_in_flight.end();
                assert!(parked.done[0].load(Relaxed), "what was done before the wake is seen");
            }
            thread::yield_now();
        }
        assert!(parked.done[0].load(Relaxed), "the one that wakes had not let go");
        wakes.join().unwrap();
        forgets.join().unwrap();
    });
}

fn senders_against_a_drop(senders: usize) {
    loom::model(move || {
        let inbox = Arc::new(Inbox::new(None));
        let threads: Vec<_> = (0..senders)
            .map(|_| {
                let inbox = inbox.clone();
                thread::spawn(move || inbox.leave(Message::Wake(TASK)).is_err())
            })
            .collect();
        let unread = inbox.close().len();
        let refused = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(unread + refused.filter(|&refused| refused).count(), senders);
        assert!(inbox.is_empty());
    });
}

#[test]
fn each_message_to_a_loop_that_is_dropped_is_given_back_or_refused() {
    for senders in 1..=3 {
        senders_against_a_drop(senders);
    }
}
