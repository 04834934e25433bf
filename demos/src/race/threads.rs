//! The lost update with threads, and what Rust's compiler has to say about it.
//!
//! **It refuses** the *data race*, two threads that write to one place at the same time:
//!
//! ```compile_fail,E0499
//! let mut counter = 0;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| counter += 1);
//!     scope.spawn(|| counter += 1); // error: `counter` is borrowed mutably twice
//! });
//! ```
//!
//! and a type that is not made for threads does not even get into another one:
//!
//! ```compile_fail,E0277
//! let counter = std::rc::Rc::new(std::cell::Cell::new(0));
//! std::thread::spawn(move || counter.set(1)); // error: `Rc<Cell<i32>>` cannot be sent
//! ```
//!
//! **It does not refuse** a read, a gap and a write. Each is correct; only together they are wrong,
//! and the compiler cannot know what belongs together. So an atomic `load` and `store` lose updates
//! as the tasks do.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;
use serde::Serialize;

/// How often two threads try.
const TRIES: u64 = 200_000;

/// What threads did.
#[derive(Serialize)]
pub(super) struct Tries {
    #[serde(rename = "mended")]
    fixed: bool,
    tries: u64,
    lost: u64,
}

/// Two threads add one each, again and again. The compiler has nothing against it: each `load` and
/// each `store` is in order.
pub(super) fn run_threads(fixed: bool) -> anyhow::Result<Tries> {
    let counter = AtomicU64::new(0);
    let add_one = || {
        if fixed {
            counter.fetch_add(1, Ordering::SeqCst);
        } else {
            let seen = counter.load(Ordering::SeqCst);
            counter.store(seen + 1, Ordering::SeqCst);
        }
    };
    let together = StartingLine::default();
    let mut lost = 0;
    thread::scope(|scope| {
        let other = || {
            for _ in 0..TRIES {
                together.wait();
                add_one();
                together.wait();
            }
        };
        thread::Builder::new().spawn_scoped(scope, other).context("cannot start a thread")?;
        for _ in 0..TRIES {
            counter.store(0, Ordering::SeqCst);
            together.wait();
            add_one();
            together.wait();
            lost += u64::from(counter.load(Ordering::SeqCst) != 2);
        }
        Ok(Tries { fixed, tries: TRIES, lost })
    })
}

/// Lets two threads go at the same moment. It does not sleep: a sleeping thread wakes too late.
#[derive(Default)]
struct StartingLine {
    came: AtomicU64,
}

impl StartingLine {
    fn wait(&self) {
        let came_before = self.came.fetch_add(1, Ordering::SeqCst);
        let both = came_before - came_before % 2 + 2;
        while self.came.load(Ordering::SeqCst) < both {
            thread::yield_now();
        }
    }
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tries { tries, lost, .. } = self;
        let how = if self.fixed { "fetch_add" } else { "load and store" };
        write!(f, "  Two threads, {how}: an update was lost in {lost} of {tries} tries.")
    }
}
