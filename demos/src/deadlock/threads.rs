//! The deadlock with threads, and what Rust's compiler has to say about it.
//!
//! **It refuses** to use what a lock protects without the lock, or after it:
//!
//! ```compile_fail,E0382
//! let lock = std::sync::Mutex::new(vec![1]);
//! let guard = lock.lock().unwrap();
//! drop(guard);
//! println!("{:?}", *guard); // error: the guard has been given away
//! ```
//!
//! **It does not refuse** a deadlock. Each lock is used as it should be, and no type says in which
//! order several are taken.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use super::locks_of;

/// How often threads sit down at the table, if they do not get stuck before.
const TRIES: u64 = 10_000;

/// How long nothing may change before threads count as stuck for good.
const PATIENCE: Duration = Duration::from_secs(1);

/// After this time without either outcome the demo gives up.
const TOO_LONG: Duration = Duration::from_secs(30);

/// What the threads of one table have reported.
#[derive(Clone, Debug, PartialEq)]
struct Seats {
    /// Which threads hold their first lock. Set after the lock was taken, and cleared before it is
    /// released.
    holds_first: Vec<bool>,
    done: usize,
}

type Board = (Mutex<Seats>, Condvar);

fn change(board: &Board, change: impl FnOnce(&mut Seats)) {
    change(&mut board.0.lock().unwrap_or_else(PoisonError::into_inner));
    board.1.notify_all();
}

/// Starts the threads for one table. They are not joined: a thread that is stuck stays so until the
/// process ends.
fn seat_threads(threads: usize, fixed: bool) -> anyhow::Result<Arc<Board>> {
    let locks: Arc<[Mutex<()>]> = (0..threads).map(|_| Mutex::new(())).collect();
    let seats = Seats { holds_first: vec![false; threads], done: 0 };
    let board = Arc::new((Mutex::new(seats), Condvar::new()));
    for me in 0..threads {
        let (locks, board) = (locks.clone(), board.clone());
        let (one, two) = locks_of(me, threads, fixed);
        let take_both = move || {
            let first = locks[one].lock();
            change(&board, |seats| seats.holds_first[me] = true);
            thread::yield_now(); // here others may run
            let second = locks[two].lock();
            change(&board, |seats| seats.holds_first[me] = false);
            drop((first, second));
            change(&board, |seats| seats.done += 1);
        };
        thread::Builder::new().spawn(take_both).context("cannot start a thread")?;
    }
    Ok(board)
}

impl Seats {
    fn is_over(&self) -> bool {
        self.done == self.holds_first.len()
    }

    /// Each holds its first lock, which is the second one of another: a circle.
    fn is_a_circle(&self) -> bool {
        self.holds_first.iter().all(|&holds| holds)
    }
}

/// Waits until all are done, or all hold one lock and have held it for a while. True when stuck.
fn are_stuck(board: &Board) -> anyhow::Result<bool> {
    let (seats, changed) = board;
    let begun = Instant::now();
    let mut now = seats.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let before = now.clone();
        let waited =
            changed.wait_timeout_while(now, PATIENCE, |now| *now == before && !now.is_over());
        let (after, wait) = waited.unwrap_or_else(PoisonError::into_inner);
        now = after;
        if now.is_over() {
            return Ok(false);
        }
        if wait.timed_out() && now.is_a_circle() {
            return Ok(true);
        }
        if begun.elapsed() > TOO_LONG {
            bail!("the threads are neither done nor stuck after {} s", TOO_LONG.as_secs());
        }
    }
}

/// What threads did.
#[derive(Serialize)]
pub(super) struct Tries {
    #[serde(rename = "mended")]
    fixed: bool,
    threads: usize,
    tries: u64,
    /// At the last of the tries.
    stuck: bool,
}

/// Seats threads again and again, until they are stuck.
pub(super) fn run_threads(threads: usize, fixed: bool) -> anyhow::Result<Tries> {
    let mut tries = 0;
    let mut stuck = false;
    while tries < TRIES && !stuck {
        tries += 1;
        stuck = are_stuck(&*seat_threads(threads, fixed)?)?;
    }
    Ok(Tries { fixed, threads, tries, stuck })
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tries { threads, tries, stuck, .. } = self;
        if *stuck {
            write!(
                f,
                "  {threads} threads: stuck at try {tries}. Each holds one lock and waits for the \
                 next one's.\n  After {} s that was still so. They hang until this process ends.",
                PATIENCE.as_secs()
            )
        } else {
            write!(f, "  {threads} threads: {tries} tries, and they were never stuck.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(holds_first: [bool; 2], done: usize) -> Board {
        (Mutex::new(Seats { holds_first: holds_first.to_vec(), done }), Condvar::new())
    }

    #[test]
    fn threads_are_stuck_when_each_holds_a_lock_that_another_wants_and_nothing_changes() {
        assert!(are_stuck(&board([true, true], 0)).unwrap());
        assert!(!are_stuck(&board([false, false], 2)).unwrap());
    }

    #[test]
    fn threads_that_are_only_slow_are_waited_for() {
        let board = board([true, false], 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                change(&board, |seats| seats.holds_first[0] = false);
                change(&board, |seats| seats.done = 2);
            });
            assert!(!are_stuck(&board).unwrap());
        });
    }
}
