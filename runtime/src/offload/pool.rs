//! The thread pool: a queue, a condition variable, and threads that come and go.
//!
//! A thread is started when a job comes and no thread is idle, up to the pool's size; one that has
//! had nothing to do for a while ends. All jobs are equal and are taken in the order in which they
//! came.
//!
//! Waking a thread is a system call, and costs more than many a job. So only one is ever on its way:
//! when it has arrived and taken a job, it wakes the next if there is more to do. A hundred short
//! jobs are done by the one or two threads that are awake; a hundred long ones get a thread each,
//! one after the other.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::base::atomics::ignore_poison;
use crate::base::world::{Job, Jobs};

/// Threads that run the jobs that would block the loop.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    shutdown_timeout: Duration,
}

/// What the pool and its threads hold together.
struct Shared {
    state: Mutex<State>,
    job_came: Condvar,
    thread_left: Condvar,
    name: String,
    size: usize,
    idle_time: Duration,
}

struct State {
    queue: VecDeque<Arc<dyn Job>>,
    threads: usize,
    /// How many threads wait for a job and have not been woken for one.
    idle: usize,
    /// A thread that has been woken or started and has not arrived yet. A waiting thread that wakes
    /// up and finds `None` here had a spurious wakeup, and keeps waiting.
    arriving: Option<Arriving>,
    /// The number in the next thread's name.
    next_number: usize,
    closing: bool,
}

/// Where the thread that is on its way comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arriving {
    /// It was idle and was woken.
    Woken,
    /// It was spawned.
    Started,
}

impl ThreadPool {
    pub(crate) const DEFAULT_SIZE: usize = 32;
    pub(crate) const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

    /// A pool without threads; they come with the jobs.
    pub(crate) fn new(
        name: &str,
        size: usize,
        idle_time: Duration,
        shutdown_timeout: Duration,
    ) -> Self {
        ThreadPool {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    queue: VecDeque::new(),
                    threads: 0,
                    idle: 0,
                    arriving: None,
                    next_number: 0,
                    closing: false,
                }),
                job_came: Condvar::new(),
                thread_left: Condvar::new(),
                name: name.to_string(),
                size,
                idle_time,
            }),
            shutdown_timeout,
        }
    }
}

impl Jobs for ThreadPool {
    fn submit(&self, job: Arc<dyn Job>) {
        let mut state = self.shared.lock();
        if state.closing {
            drop(state);
            drop(job);
            return;
        }
        state.queue.push_back(job);
        self.shared.wake_or_spawn_worker(state);
    }

    fn shut_down(&self) {
        // The tasks have been dropped before: queued jobs are abandoned and do nothing.
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.job_came.notify_all();
        let at_work = |state: &mut State| state.threads > 0;
        let waited =
            self.shared.thread_left.wait_timeout_while(state, self.shutdown_timeout, at_work);
        drop(waited);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        ignore_poison(self.state.lock())
    }

    /// Makes one more thread come for the queued jobs, unless one is on its way.
    fn wake_or_spawn_worker(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.queue.is_empty() || state.arriving.is_some() {
            return;
        }
        if state.idle > 0 {
            state.idle -= 1;
            state.arriving = Some(Arriving::Woken);
            drop(state);
            self.job_came.notify_one();
        } else if state.threads < self.size {
            state.arriving = Some(Arriving::Started);
            self.start_thread(state);
        }
    }

    fn start_thread(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let name = format!("{}-pool-{}", self.name, state.next_number);
        state.next_number += 1;
        state.threads += 1;
        // Starting a thread takes longer than the lock may be held.
        drop(state);
        let shared = self.clone();
        let started = thread::Builder::new().name(name).spawn(move || shared.work());
        if let Err(error) = started {
            self.could_not_start(error);
        }
    }

    /// Queued jobs wait for the existing threads; if there are none, they are refused.
    fn could_not_start(self: &Arc<Self>, error: io::Error) {
        let mut state = self.lock();
        state.threads -= 1;
        state.arriving = None;
        if state.threads > 0 {
            // One may have become idle meanwhile; a busy one will look into the queue again.
            if state.idle > 0 {
                self.wake_or_spawn_worker(state);
            }
            return;
        }
        let refused = std::mem::take(&mut state.queue);
        drop(state);
        for job in refused {
            job.refuse(same_error(&error));
        }
    }

    // ===== what each thread does ================================================================

    fn work(self: &Arc<Self>) {
        self.lock().arriving = None;
        while let Some(job) = self.next_job() {
            job.run();
        }
        self.thread_left.notify_all();
    }

    /// Waits for a job; `None` when the thread has to end, which is then no longer counted.
    fn next_job(self: &Arc<Self>) -> Option<Arc<dyn Job>> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                self.wake_or_spawn_worker(state);
                return Some(job);
            }
            if state.closing {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let is_not_woken =
                |state: &mut State| state.arriving != Some(Arriving::Woken) && !state.closing;
            let waited = self.job_came.wait_timeout_while(state, self.idle_time, is_not_woken);
            let (woken, _) = ignore_poison(waited);
            state = woken;
            if state.arriving == Some(Arriving::Woken) {
                state.arriving = None;
                continue;
            }
            state.idle -= 1;
            if !state.closing {
                state.threads -= 1;
                return None;
            }
        }
    }
}

/// A copy of `error` for each refused job, since an `io::Error` cannot be cloned.
fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
