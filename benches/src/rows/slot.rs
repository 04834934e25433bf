//! Two tasks that hand a value to and fro. The slot is the same for all, so that what is measured
//! is waking and being polled, not whose channel is better.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::measure::{Sample, Stopwatch};
use crate::peers::Peer;

/// One value, and the waker of the task that waits for it.
#[derive(Default)]
struct Slot {
    value: Cell<Option<u64>>,
    waiting: RefCell<Option<Waker>>,
}

impl Slot {
    fn put(&self, value: u64) {
        self.value.set(Some(value));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<u64> {
        match self.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                *self.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// There and back.
#[derive(Default)]
struct Slots {
    there: Slot,
    back: Slot,
}

async fn ping(slots: Rc<Slots>, operations: u64) {
    for i in 0..operations {
        slots.there.put(i);
        poll_fn(|cx| slots.back.poll_take(cx)).await;
    }
}

async fn pong(slots: Rc<Slots>, operations: u64) {
    for _ in 0..operations {
        let value = poll_fn(|cx| slots.there.poll_take(cx)).await;
        slots.back.put(value);
    }
}

/// A value goes there and back.
pub fn round_trip<P: Peer>(operations: u64) -> Sample {
    P::run(inside::<P>(operations))
}

/// The row itself, for a runtime that is already running.
pub async fn inside<P: Peer>(operations: u64) -> Sample {
    let slots = Rc::new(Slots::default());
    let watch = Stopwatch::start();
    let pong = P::spawn(pong(slots.clone(), operations));
    let ping = P::spawn(ping(slots, operations));
    ping.await;
    pong.await;
    watch.stop(operations)
}

/// The limit: both are polled in turn, with a waker that does nothing.
pub fn limit(operations: u64) -> Sample {
    let slots = Rc::new(Slots::default());
    let watch = Stopwatch::start();
    let mut pong = pin!(pong(slots.clone(), operations));
    let mut ping = pin!(ping(slots, operations));
    let mut cx = Context::from_waker(Waker::noop());
    while ping.as_mut().poll(&mut cx).is_pending() {
        let _ = pong.as_mut().poll(&mut cx);
    }
    watch.stop(operations)
}
