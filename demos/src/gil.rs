//! A toy of CPython's global interpreter lock.
//!
//! A thread holds the lock while it interprets. A thread that wants it waits for one switch
//! interval; then it asks for it, and the holder, which looks for such requests every so many
//! calls, releases the lock and stands aside *until another thread has taken it*. Without this forced
//! hand-over the holder, which is running already, would win it back nearly every time.
//!
//! Around calls that block, the lock is released. That is why threads help a program that waits,
//! and do not help one that computes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits before it asks for the lock: `sys.getswitchinterval()` in Python.
pub const SWITCH_INTERVAL: Duration = Duration::from_millis(5);

/// How many calls are interpreted between two checks whether another thread asked.
const CALLS_BETWEEN_LOOKS: u32 = 128;

/// The lock.
#[derive(Debug)]
pub struct Gil {
    interval: Duration,
    state: Mutex<State>,
    /// Signalled when the lock is released.
    released: Condvar,
    /// Signalled when the lock is taken.
    taken: Condvar,
    /// A thread has waited for a whole interval.
    drop_request: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    locked: bool,
    /// How often the lock has been taken: shows whether another thread took it meanwhile.
    times_taken: u64,
}

/// The right to interpret. Dropping it releases the lock.
#[derive(Debug)]
pub struct Interpreter<'a> {
    gil: &'a Gil,
    calls_until_look: u32,
}

impl Default for Gil {
    fn default() -> Self {
        Gil::new(SWITCH_INTERVAL)
    }
}

impl Gil {
    /// A lock that no thread holds.
    pub fn new(interval: Duration) -> Self {
        Gil {
            interval,
            state: Mutex::default(),
            released: Condvar::new(),
            taken: Condvar::new(),
            drop_request: AtomicBool::new(false),
        }
    }

    /// Waits for the lock. A thread that already holds it would wait for ever.
    pub fn acquire(&self) -> Interpreter<'_> {
        self.take();
        Interpreter { gil: self, calls_until_look: CALLS_BETWEEN_LOOKS }
    }

    fn take(&self) {
        let mut state = self.state();
        while state.locked {
            let taken_before = state.times_taken;
            let (woken, wait) = self
                .released
                .wait_timeout(state, self.interval)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            // When the count has changed, another thread's turn has just begun: leave it an interval.
            if wait.timed_out() && state.locked && state.times_taken == taken_before {
                self.drop_request.store(true, Ordering::Relaxed);
            }
        }
        state.locked = true;
        state.times_taken += 1;
        self.drop_request.store(false, Ordering::Relaxed);
        self.taken.notify_all();
    }

    fn release(&self) {
        let mut state = self.state();
        state.locked = false;
        self.released.notify_one();
        if !self.drop_request.load(Ordering::Relaxed) {
            return;
        }
        // The thread that asked is still waiting, so this ends.
        let taken_before = state.times_taken;
        while state.times_taken == taken_before {
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    // The state is never left half changed, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interpreter<'_> {
    /// To be called at every call of a function, as an interpreter's loop does: every so many
    /// calls it looks whether another thread asked for the lock, and hands it over.
    pub fn tick(&mut self) {
        self.calls_until_look -= 1;
        if self.calls_until_look == 0 {
            self.calls_until_look = CALLS_BETWEEN_LOOKS;
            self.hand_over_if_asked();
        }
    }

    fn hand_over_if_asked(&mut self) {
        if self.gil.drop_request.load(Ordering::Relaxed) {
            self.gil.release();
            self.gil.take();
        }
    }

    /// Runs `blocking` without the lock, and takes it again afterwards, also after a panic.
    pub fn released<T>(&mut self, blocking: impl FnOnce() -> T) -> T {
        self.gil.release();
        let _take_again = TakeAgain(self.gil);
        blocking()
    }
}

impl Drop for Interpreter<'_> {
    fn drop(&mut self) {
        self.gil.release();
    }
}

struct TakeAgain<'a>(&'a Gil);

impl Drop for TakeAgain<'_> {
    fn drop(&mut self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn one_thread_at_a_time_interprets() {
        let gil = Gil::new(Duration::from_micros(100));
        let inside = AtomicU32::new(0);
        let together = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut interpreter = gil.acquire();
                        for _ in 0..1000 {
                            let others = inside.fetch_add(1, Ordering::SeqCst);
                            together.fetch_max(others, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            interpreter.tick();
                        }
                        interpreter.released(thread::yield_now);
                    }
                });
            }
        });
        assert_eq!(together.into_inner(), 0);
    }

    #[test]
    fn a_thread_that_only_computes_is_made_to_hand_over() {
        let gil = Gil::new(Duration::from_millis(1));
        let taken = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut interpreter = gil.acquire();
            scope.spawn(|| {
                let _interpreter = gil.acquire();
                taken.store(true, Ordering::SeqCst);
            });
            let started = Instant::now();
            while !taken.load(Ordering::SeqCst) {
                assert!(started.elapsed() < DEADLINE, "it was never handed over");
                interpreter.tick();
            }
        });
    }

    #[test]
    fn without_a_tick_nobody_else_gets_it() {
        let gil = Gil::new(Duration::from_micros(100));
        let taken = AtomicBool::new(false);
        thread::scope(|scope| {
            let interpreter = gil.acquire();
            scope.spawn(|| {
                let _interpreter = gil.acquire();
                taken.store(true, Ordering::SeqCst);
            });
            let started = Instant::now();
            while !gil.drop_request.load(Ordering::SeqCst) {
                assert!(started.elapsed() < DEADLINE, "nobody asked");
                thread::yield_now();
            }
            assert!(!taken.load(Ordering::SeqCst));
            drop(interpreter);
        });
        assert!(taken.into_inner());
    }

    #[test]
    fn the_holder_stands_aside_until_the_one_who_asked_has_had_its_turn() {
        let gil = Gil::new(Duration::from_millis(1));
        thread::scope(|scope| {
            let mut interpreter = gil.acquire();
            let waiting = scope.spawn(|| drop(gil.acquire()));
            let started = Instant::now();
            while !gil.drop_request.load(Ordering::SeqCst) {
                assert!(started.elapsed() < DEADLINE, "nobody asked");
                thread::yield_now();
            }
            let before = gil.state().times_taken;
            interpreter.hand_over_if_asked();
            // Once by the one who asked, once by us.
            assert_eq!(gil.state().times_taken, before + 2);
            waiting.join().unwrap();
        });
    }

    #[test]
    fn it_is_free_while_its_holder_blocks() {
        let gil = Gil::default();
        let mut interpreter = gil.acquire();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let gil = &gil;
            scope.spawn(move || {
                let _interpreter = gil.acquire();
                sender.send(()).unwrap();
            });
            let got = interpreter.released(|| receiver.recv_timeout(DEADLINE));
            assert_eq!(got, Ok(()));
            assert!(gil.state().locked);
        });
    }

    #[test]
    fn a_panic_in_a_blocking_call_leaves_it_as_it_was() {
        let gil = Gil::default();
        let mut interpreter = gil.acquire();
        let blocking = AssertUnwindSafe(|| interpreter.released(|| panic!("in the call")));
        assert!(catch_unwind(blocking).is_err());
        assert!(gil.state().locked);
        drop(interpreter);
        assert!(!gil.state().locked);
    }
}
