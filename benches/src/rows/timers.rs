//! Timers that are taken back, as most are, and timers that fire.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, pending, poll_fn};
use std::hint::black_box;
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::{Sample, Stopwatch, is_slowed_down};
use crate::peers::Peer;

/// Polls a future once, and leaves it at that.
async fn polled_once(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await
}

/// The deadlines of those that are set and taken back: about a second away, and all different.
fn soon(i: u64) -> Duration {
    Duration::from_micros(1_000_000 + i * 7_919 % 500_009)
}

/// How many of the timers that wait belong to one task; glommio's wakers cannot count to 2^15.
const PER_TASK: u64 = 1_000;

/// Sets timers that will not fire, and holds them.
async fn hold<P: Peer>(numbers: Range<u64>) {
    let mut waiting = Vec::new();
    for i in numbers {
        let mut sleep = Box::pin(P::sleep(Duration::from_secs(1_000 + i)));
        polled_once(sleep.as_mut()).await;
        waiting.push(sleep);
    }
    pending::<()>().await;
}

/// While `alive` timers wait, one is made, polled once and dropped.
pub fn set_and_dropped<P: Peer>(alive: u64, operations: u64) -> Sample {
    P::run(set_and_dropped_beside::<P>(alive, operations))
}

/// The row itself, for a runtime that is already running.
pub async fn set_and_dropped_beside<P: Peer>(alive: u64, operations: u64) -> Sample {
    for first in (0..alive).step_by(PER_TASK as usize) {
        P::spawn_detached(hold::<P>(first..alive.min(first + PER_TASK)));
    }
    // Each of them has had its turn before anything is measured.
    P::sleep(Duration::from_millis(1)).await;
    let watch = Stopwatch::start();
    for i in 0..operations {
        polled_once(P::sleep(soon(i))).await;
    }
    watch.stop(operations)
}

/// The limit: a heap in which what is taken back is crossed out, and thrown out when it is more
/// than half.
pub fn set_and_dropped_limit(alive: u64, operations: u64) -> Sample {
    let mut heap = BinaryHeap::new();
    let start = Instant::now();
    for i in 0..alive {
        heap.push((Reverse(start + Duration::from_secs(1_000 + i)), i));
    }
    let mut crossed_out = vec![false; (alive + operations) as usize];
    let mut dead = 0;
    let watch = Stopwatch::start();
    for i in 0..operations {
        let number = alive + i;
        heap.push((Reverse(Instant::now() + soon(i)), number));
        crossed_out[number as usize] = true;
        dead += 1;
        if dead > heap.len() / 2 {
            heap.retain(|&(_, number)| !crossed_out[number as usize]);
            dead = 0;
        }
    }
    watch.stop(operations)
}

/// Deadlines within a tenth of a second, in no order. None comes before all are set.
fn scattered(i: u64) -> Duration {
    let offset = Duration::from_micros(i * 7_919 % 100_003);
    if is_slowed_down() {
        // Setting them takes longer. They come so fast one after another that they are always
        // ahead of their tasks: how many fire at once then hardly depends on the machine.
        return Duration::from_millis(4_000) + offset / 10;
    }
    Duration::from_millis(100) + offset
}

/// So many tasks sleep, each for a time of its own, and end.
pub fn fired<P: Peer>(operations: u64) -> Sample {
    P::run(async move {
        let watch = Stopwatch::start();
        let sleeping: Vec<_> = (0..operations).map(|i| P::spawn(P::sleep(scattered(i)))).collect();
        for task in sleeping {
            task.await;
        }
        watch.stop(operations)
    })
}

/// The limit: a heap, and a thread that sleeps until its top is due.
pub fn fired_limit(operations: u64) -> Sample {
    let watch = Stopwatch::start();
    let mut heap = BinaryHeap::new();
    for i in 0..operations {
        heap.push((Reverse(Instant::now() + scattered(i)), i));
    }
    while let Some((Reverse(deadline), _)) = heap.peek() {
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        while heap.peek().is_some_and(|(Reverse(deadline), _)| *deadline <= now) {
            black_box(heap.pop());
        }
    }
    watch.stop(operations)
}
