//! Tasks that do nothing but come and go.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::measure::{Sample, Stopwatch};
use crate::peers::Peer;

/// How many tasks are started before they get their turns.
const BATCH: u64 = 100;

/// Starts a hundred tasks, then waits for the end of each.
pub fn joined<P: Peer>(operations: u64) -> Sample {
    P::run(joined_in_batches::<P, _, _>(operations, |i| async move { black_box(i) }))
}

async fn joined_in_batches<P: Peer, F: Future<Output = u64> + 'static, T: Fn(u64) -> F>(
    operations: u64,
    task: T,
) -> Sample {
    let mut handles = Vec::with_capacity(BATCH as usize);
    let watch = Stopwatch::start();
    for _ in 0..operations.div_ceil(BATCH) {
        handles.extend((0..BATCH).map(|i| P::spawn(task(i))));
        for handle in handles.drain(..) {
            handle.await;
        }
    }
    watch.stop(operations.div_ceil(BATCH) * BATCH)
}

/// Starts a task and waits for its end, then the next.
pub fn joined_in_turn<P: Peer>(operations: u64) -> Sample {
    P::run(joined_inside::<P>(operations))
}

/// The row itself, for a runtime that is already running.
pub async fn joined_inside<P: Peer>(operations: u64) -> Sample {
    let watch = Stopwatch::start();
    for i in 0..operations {
        P::spawn(async move { black_box(i) }).await;
    }
    watch.stop(operations)
}

/// Starts a hundred tasks and lets them go first.
pub fn detached<P: Peer>(operations: u64) -> Sample {
    P::run(async move {
        let watch = Stopwatch::start();
        for _ in 0..operations.div_ceil(BATCH) {
            for i in 0..BATCH {
                P::spawn_detached(async move {
                    black_box(i);
                });
            }
            P::yield_now().await;
        }
        watch.stop(operations.div_ceil(BATCH) * BATCH)
    })
}

/// Starts a hundred tasks of 4 KiB each, then waits for the end of each.
pub fn joined_with_state<P: Peer>(operations: u64) -> Sample {
    P::run(joined_in_batches::<P, _, _>(operations, with_state))
}

/// A task's future with room for 4 KiB. Nobody fills it: that would take longer than all the rest.
async fn with_state(i: u64) -> u64 {
    let mut state = [const { MaybeUninit::<u64>::uninit() }; 512];
    let first = *state[0].write(i);
    // What is alive where it may wait is a part of the future.
    ready(()).await;
    black_box(&state);
    first
}

type Tasks = VecDeque<Pin<Box<dyn Future<Output = u64>>>>;

/// The limit: a box, through a deque, polled once.
pub fn joined_in_turn_limit(operations: u64) -> Sample {
    let mut deque = Tasks::new();
    let mut cx = Context::from_waker(Waker::noop());
    let watch = Stopwatch::start();
    for i in 0..operations {
        deque.push_back(Box::pin(async move { black_box(i) }));
        poll_all(&mut deque, &mut cx);
    }
    watch.stop(operations)
}

/// The limit: a hundred boxes, through a deque, polled once each.
pub fn batch_limit(operations: u64) -> Sample {
    batches_by_hand(operations, |i| async move { black_box(i) })
}

/// The limit with tasks of 4 KiB.
pub fn batch_with_state_limit(operations: u64) -> Sample {
    batches_by_hand(operations, with_state)
}

fn batches_by_hand<F: Future<Output = u64> + 'static>(
    operations: u64,
    task: impl Fn(u64) -> F,
) -> Sample {
    let mut deque = Tasks::new();
    let mut cx = Context::from_waker(Waker::noop());
    let watch = Stopwatch::start();
    for _ in 0..operations.div_ceil(BATCH) {
        for i in 0..BATCH {
            deque.push_back(Box::pin(task(i)));
        }
        poll_all(&mut deque, &mut cx);
    }
    watch.stop(operations.div_ceil(BATCH) * BATCH)
}

fn poll_all(deque: &mut Tasks, cx: &mut Context<'_>) {
    while let Some(mut task) = deque.pop_front() {
        if let Poll::Ready(output) = task.as_mut().poll(cx) {
            black_box(output);
        }
    }
}
