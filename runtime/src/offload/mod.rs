//! The escape hatch: work that would block the loop goes to another thread.
//!
//! A blocking call, or a long computation, in a task would stop every other task. Here it becomes
//! a job: a thread of the pool runs it, and the task that waits for it is woken through the inbox
//! like by any other thread. `pool.rs` is the pool; this file is what passes between the two sides.

mod pool;

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::base::atomics::ignore_poison;
use crate::base::event::{self, Event, emit};
use crate::base::panics::catch_and_report;
use crate::base::place::{Place, Why};
use crate::base::turn::{self, At};
use crate::base::world::Job;
use crate::current;
use crate::task::body::TaskBody;
use crate::task::inbox::{Inbox, Message};
use crate::task::table::NewTask;
use crate::task::{Id, JoinError, JoinHandle};

pub(crate) use pool::ThreadPool;

/// Runs `work` on a thread of the runtime's pool, and returns a handle to await its result:
/// asyncio's `to_thread`.
///
/// It starts at once if a thread is free or another may be started; otherwise it queues, first in
/// first out, until a thread has time for it.
///
/// - The handle is ready once the work has returned; if it panics, with that panic.
/// - [`abort`](JoinHandle::abort) takes a job that is still queued out of the queue: it never
///   runs. One that runs cannot be stopped; it is abandoned, and its result dropped.
/// - Dropping the handle detaches the job: it runs, and its result is dropped.
/// - If the system refuses to start a thread, the job waits for one that exists; if there is none,
///   the handle is ready with an error that [says so](JoinError::not_started_because).
///
/// # Panics
///
/// When no runtime is running on this thread.
///
/// ```
/// popleft::run(async {
///     let file = popleft::spawn_blocking(|| std::fs::read_to_string("/proc/version"));
///     let text = file.await.unwrap();
///     println!("{text:?}");
/// });
/// ```
#[doc(alias = "offload")]
#[doc(alias = "unblock")]
#[doc(alias = "to_thread")]
#[doc(alias = "run_in_executor")]
#[track_caller]
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_blocking_at(work, Location::caller())
}

/// The same; the task was spawned `at` this place.
#[track_caller]
pub(crate) fn spawn_blocking_at<F, T>(work: F, at: &'static Location<'static>) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let Some(event_loop) = current::event_loop() else {
        panic!("cannot spawn a blocking job: no runtime is running on this thread");
    };
    let mut job: Option<Arc<dyn Job>> = None;
    // The task has nothing to do before its job is done, so it begins as one that waits.
    let spawned_at = Place::of(at);
    let new = NewTask { name: None, spawned_at, waits_for: Some(Why::Offload) };
    let task = event_loop.tasks.spawn(new, event_loop.clock.looked_at_ms(), |waker| {
        let exchange = Arc::new(JobState::new(work, waker.clone()));
        job = Some(exchange.clone());
        let outcome = JobFuture::new(exchange, event_loop.pending_jobs.clone());
        Some(Box::pin(TaskBody::new(outcome, waker)))
    });
    if let Some(job) = job {
        emit(|| Event::JobSubmit { task, at: spawned_at });
        let job = match event::has_listener() {
            true => Arc::new(TracedJob { job, task, inbox: event_loop.tasks.inbox.clone() }),
            false => job,
        };
        event_loop.jobs.submit(job);
    }
    JoinHandle::new(task, event_loop.tasks.clone())
}

/// A job whose beginning is an event. Nobody listens on the pool's threads, so the loop is sent
/// word and tells it.
struct TracedJob {
    job: Arc<dyn Job>,
    task: Id,
    inbox: Arc<Inbox>,
}

impl Job for TracedJob {
    fn run(&self) {
        let task = self.task;
        match event::has_listener() {
            true => emit(|| Event::JobStart { task }),
            false => drop(self.inbox.send(Message::JobStarted(task))),
        }
        self.job.run();
    }

    fn refuse(&self, error: io::Error) {
        self.job.refuse(error);
    }
}

/// What the loop's side and the thread's side share.
struct JobState<F, T> {
    inside: Mutex<Inside<F, T>>,
}

struct Inside<F, T> {
    stage: Stage<F, T>,
    /// The task that awaits the outcome.
    waker: Option<Waker>,
}

/// How far the job has come.
enum Stage<F, T> {
    Queued(F),
    Running,
    Done(Result<T, Failure>),
    /// Nobody wants the result, or it has been taken.
    Abandoned,
}

enum Failure {
    Panicked(Box<dyn Any + Send>),
    NotStarted(io::Error),
}

impl<F, T> JobState<F, T> {
    fn new(work: F, waker: Waker) -> Self {
        JobState { inside: Mutex::new(Inside { stage: Stage::Queued(work), waker: Some(waker) }) }
    }

    /// The user's code never runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Inside<F, T>> {
        ignore_poison(self.inside.lock())
    }

    // ----- the thread's side -----

    /// Takes the work out; `None` when it was cancelled while it was queued.
    fn begin(&self) -> Option<F> {
        let mut inside = self.lock();
        match std::mem::replace(&mut inside.stage, Stage::Running) {
            Stage::Queued(work) => Some(work),
            other => {
                inside.stage = other;
                None
            }
        }
    }

    /// Leaves the result and wakes the task that awaits it, or drops it if there is none.
    fn finish(&self, result: Result<T, Failure>) {
        let mut inside = self.lock();
        if let Stage::Abandoned = inside.stage {
            drop(inside);
            catch_and_report(|| drop(result));
            return;
        }
        inside.stage = Stage::Done(result);
        let waker = inside.waker.take();
        drop(inside);
        if let Some(waker) = waker {
            catch_and_report(|| waker.wake());
        }
    }

    // ----- the loop's side -----

    /// The result, if it is there.
    fn take_result(&self) -> Option<Result<T, Failure>> {
        let mut inside = self.lock();
        match std::mem::replace(&mut inside.stage, Stage::Abandoned) {
            Stage::Done(result) => Some(result),
            unfinished => {
                inside.stage = unfinished;
                None
            }
        }
    }

    /// The loop wants the result no more: what is queued never runs, what runs is abandoned.
    fn abandon(&self) {
        let mut inside = self.lock();
        let stage = std::mem::replace(&mut inside.stage, Stage::Abandoned);
        let waker = inside.waker.take();
        drop(inside);
        drop(waker);
        drop(stage);
    }
}

impl<F, T> Job for JobState<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&self) {
        if let Some(work) = self.begin() {
            let result = catch_unwind(AssertUnwindSafe(work));
            self.finish(result.map_err(Failure::Panicked));
        }
    }

    fn refuse(&self, error: io::Error) {
        if let Some(work) = self.begin() {
            catch_and_report(|| drop(work));
            self.finish(Err(Failure::NotStarted(error)));
        }
    }
}

/// The future of the task that waits for a job.
struct JobFuture<F, T> {
    exchange: Arc<JobState<F, T>>,
    /// The loop counts this job among them.
    pending_jobs: Rc<Cell<usize>>,
    has_result: bool,
}

impl<F, T> JobFuture<F, T> {
    fn new(exchange: Arc<JobState<F, T>>, pending_jobs: Rc<Cell<usize>>) -> Self {
        pending_jobs.set(pending_jobs.get() + 1);
        JobFuture { exchange, pending_jobs, has_result: false }
    }
}

impl<F, T> Future for JobFuture<F, T> {
    type Output = Result<T, JoinError>;

    /// Its waker has been with the job from the beginning; it is always the task's own.
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let task = turn::task();
        let Some(result) = self.exchange.take_result() else {
            turn::park(Why::Offload, At::Place(Place::UNKNOWN));
            return Poll::Pending;
        };
        self.has_result = true;
        emit(|| Event::JobDone { task });
        Poll::Ready(result.map_err(|failure| match failure {
            Failure::Panicked(payload) => JoinError::panic(task, payload),
            Failure::NotStarted(error) => JoinError::not_started(task, error),
        }))
    }
}

impl<F, T> Drop for JobFuture<F, T> {
    fn drop(&mut self) {
        debug_assert!(self.pending_jobs.get() > 0);
        self.pending_jobs.set(self.pending_jobs.get() - 1);
        if !self.has_result {
            self.exchange.abandon();
        }
    }
}
