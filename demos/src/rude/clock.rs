//! What the others pay, by the clock; and what Rust's compiler has to say about it.
//!
//! **It refuses** to move to another thread what belongs to this one:
//!
//! ```compile_fail,E0277
//! let mine = std::rc::Rc::new(7);
//! popleft::spawn_blocking(move || *mine); // error: `Rc<i32>` cannot be sent between threads
//! ```
//!
//! **It does not refuse** a rude task. How long a turn takes is no property of a type; an `async fn`
//! without a single `await` is as good as any other.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use popleft::{JoinError, spawn_blocking, yield_now};
use serde::Serialize;

use super::work::{Manners, PIECES, compute};

/// The longest time for which a task or thread that should run every millisecond did not run.
#[derive(Serialize)]
pub(super) struct Waits {
    manners: Manners,
    computing_ms: f64,
    in_the_loop_ms: f64,
    as_threads_ms: f64,
}

/// Measures the waits on the real loop, and among threads.
pub(super) fn measure(manners: Manners) -> anyhow::Result<Waits> {
    let started = Instant::now();
    (0..PIECES).for_each(|_| compute(LONG));
    let computing = started.elapsed();
    let in_the_loop = popleft::try_run(worst_gap_in_the_loop(manners))??;
    Ok(Waits {
        manners,
        computing_ms: millis(computing),
        in_the_loop_ms: millis(in_the_loop),
        as_threads_ms: millis(worst_gap_among_threads().context("cannot start a thread")?),
    })
}

async fn worst_gap_in_the_loop(manners: Manners) -> Result<Duration, JoinError> {
    let computes = popleft::spawn(async move {
        popleft::time::sleep(TICK).await;
        match manners {
            Manners::Rude => (0..PIECES).for_each(|_| compute(LONG)),
            Manners::Polite => {
                for _ in 0..PIECES {
                    compute(LONG);
                    yield_now().await;
                }
            }
            Manners::Helped => {
                spawn_blocking(|| (0..PIECES).for_each(|_| compute(LONG))).await?;
            }
        }
        Ok(())
    });
    let mut worst = Duration::ZERO;
    while !computes.is_finished() {
        let before = Instant::now();
        popleft::time::sleep(TICK).await;
        worst = worst.max(before.elapsed());
    }
    computes.await??;
    Ok(worst)
}

fn worst_gap_among_threads() -> io::Result<Duration> {
    let done = AtomicBool::new(false);
    let mut worst = Duration::ZERO;
    thread::scope(|scope| {
        let computes = || {
            (0..PIECES).for_each(|_| compute(LONG));
            done.store(true, Ordering::Release);
        };
        thread::Builder::new().spawn_scoped(scope, computes)?;
        while !done.load(Ordering::Acquire) {
            let before = Instant::now();
            thread::sleep(TICK);
            worst = worst.max(before.elapsed());
        }
        Ok(worst)
    })
}

/// How often the task or thread that is measured wants to run.
const TICK: Duration = Duration::from_millis(1);

/// The `n` of a piece of work that can be felt.
const LONG: u64 = 32;

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waits { computing_ms, in_the_loop_ms, as_threads_ms, .. } = self;
        write!(
            f,
            "  By the clock: somebody computes for {computing_ms} ms, and whoever wants to go every \
             millisecond\n  waits for {in_the_loop_ms} ms in the loop, and for {as_threads_ms} ms \
             as a thread among threads, at the worst."
        )
    }
}
