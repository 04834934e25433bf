//! Tasks that only let each other go first.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use futures_lite::future;

use crate::measure::{Sample, Stopwatch};
use crate::peers::Peer;

/// So many tasks take turns; the cost of one turn.
pub fn yields<P: Peer>(tasks: u64, operations: u64) -> Sample {
    P::run(inside::<P>(tasks, operations))
}

/// The row itself, for a runtime that is already running.
pub async fn inside<P: Peer>(tasks: u64, operations: u64) -> Sample {
    let turns = operations.div_ceil(tasks);
    let watch = Stopwatch::start();
    let spawned: Vec<_> = (0..tasks).map(|_| P::spawn(yield_often::<P>(turns))).collect();
    for task in spawned {
        task.await;
    }
    watch.stop(turns * tasks)
}

async fn yield_often<P: Peer>(turns: u64) {
    for _ in 0..turns {
        P::yield_now().await;
    }
}

/// The limit: boxed futures in a deque, polled in turn with a waker that does nothing.
pub fn limit(tasks: u64, operations: u64) -> Sample {
    let turns = operations.div_ceil(tasks);
    let watch = Stopwatch::start();
    let mut deque: VecDeque<Pin<Box<dyn Future<Output = ()>>>> = VecDeque::new();
    for _ in 0..tasks {
        deque.push_back(Box::pin(async move {
            for _ in 0..turns {
                future::yield_now().await;
            }
        }));
    }
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(mut task) = deque.pop_front() {
        if task.as_mut().poll(&mut cx).is_pending() {
            deque.push_back(task);
        }
    }
    watch.stop(turns * tasks)
}
