//! Running work that would block the loop on another thread.
//!
//! A blocking call, or a long computation, in a task would stop every other task. Here it becomes
//! a job: a thread of the pool runs it, and the task that waits for it is woken through the inbox,
//! as by any other thread. `pool.rs` is the pool; this file is what the two sides share.

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
/// It starts at once if a thread is idle or another may be started; otherwise it waits in a queue,
/// first in first out.
///
/// - The handle is ready once the work has returned or panicked.
/// - [`abort`](JoinHandle::abort) cancels a job that is still queued: it never runs. A running job
///   cannot be stopped; it is abandoned, and its result is dropped.
/// - Dropping the handle detaches the job: it runs, and its result is dropped.
/// - If the system refuses to start a thread, the job waits for an existing one.
///
/// # Errors
///
/// Awaiting the handle returns a [`JoinError`] if the work panicked, if the job was aborted, and if
/// no thread exists and the system refuses to start one; see [`JoinError::not_started_because`].
/// With `?` it converts to an [`io::Error`].
///
/// # Panics
///
/// When no runtime is running on this thread.
///
/// ```
/// popleft::run(async {
///     let file = popleft::spawn_blocking(|| std::fs::read_to_string("Cargo.toml"));
///     // The first `?` is for the job, the second for what it returned.
///     let text = file.await??;
///     assert!(text.contains("[package]"));
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
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

/// [`spawn_blocking`], with the place that reports show for the task.
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
    // The task has nothing to do before its job is done, so it begins parked.
    let spawned_at = Place::of(at);
    let new = NewTask { name: None, spawned_at, waits_for: Some(Why::Offload) };
    let task = event_loop.tasks.spawn(new, event_loop.clock.looked_at_ms(), |waker| {
        let state = Arc::new(JobState::new(work, waker.clone()));
        job = Some(state.clone());
        let future = JobFuture::new(state, event_loop.pending_jobs.clone());
        Some(Box::pin(TaskBody::new(future, waker)))
    });
    if let Some(job) = job {
        emit(|| Event::JobSubmit { task, at: spawned_at });
        let job = if event::has_listener() {
            Arc::new(TracedJob { job, task, inbox: event_loop.tasks.inbox.clone() })
        } else {
            job
        };
        event_loop.jobs.submit(job);
    }
    JoinHandle::new(task, event_loop.tasks.clone())
}

/// A job whose beginning is an event. The pool's threads have no listener, so a message makes the
/// loop emit it.
struct TracedJob {
    job: Arc<dyn Job>,
    task: Id,
    inbox: Arc<Inbox>,
}

impl Job for TracedJob {
    fn run(&self) {
        let task = self.task;
        if event::has_listener() {
            emit(|| Event::JobStart { task });
        } else {
            self.inbox.send(Message::JobStarted(task));
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
    /// The task that waits for the result.
    waker: Option<Waker>,
}

/// How far the job has got.
enum Stage<F, T> {
    Queued(F),
    Running,
    Done(Result<T, Failure>),
    /// The result is not wanted any more, or has been taken.
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

    /// No user code runs while this lock is held.
    fn lock(&self) -> MutexGuard<'_, Inside<F, T>> {
        ignore_poison(self.inside.lock())
    }

    // ----- the thread's side -----

    /// Takes the work; `None` if the job was cancelled while it was queued.
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

    /// Stores the result and wakes the task that waits for it, or drops it if the job is abandoned.
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

    /// Takes the result, if there is one.
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

    /// Abandons the job: if it is queued it never runs, if it is running its result is dropped.
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
    state: Arc<JobState<F, T>>,
    /// The loop's count of jobs whose result is still to come; this is one of them.
    pending_jobs: Rc<Cell<usize>>,
    has_result: bool,
}

impl<F, T> JobFuture<F, T> {
    fn new(state: Arc<JobState<F, T>>, pending_jobs: Rc<Cell<usize>>) -> Self {
        pending_jobs.set(pending_jobs.get() + 1);
        JobFuture { state, pending_jobs, has_result: false }
    }
}

impl<F, T> Future for JobFuture<F, T> {
    type Output = Result<T, JoinError>;

    /// The job has had the task's own waker from the beginning, so that of `cx` is not needed.
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let task = turn::task();
        let Some(result) = self.state.take_result() else {
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
            self.state.abandon();
        }
    }
}

/// For `?` in functions that return an [`io::Error`]. The kind is that of
/// [`JoinError::not_started_because`] if there is one, else [`Other`](io::ErrorKind::Other).
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        let kind = error.not_started_because().map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, error)
    }
}
