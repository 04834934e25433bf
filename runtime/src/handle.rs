//! Reaching a runtime from other threads: a handle, and the result of a task spawned through it.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;

use crate::base::atomics::ignore_poison;
use crate::base::panics::catch_and_report;
use crate::base::place::Place;
use crate::base::turn;
use crate::base::warning::{self, Warning};
use crate::current;
use crate::event_loop::EventLoop;
use crate::runtime::Runtime;
use crate::task::body::TaskBody;
use crate::task::inbox::{Inbox, Message, RemoteSpawn};
use crate::task::{Id, JoinError};

/// A handle to a runtime, for use from any thread.
///
/// No call acts at once: each leaves a message in the loop's inbox, and wakes the loop if it sleeps.
/// Once the runtime has been dropped the calls do nothing. Clones refer to the same runtime.
///
/// ```
/// let runtime = popleft::Runtime::new().unwrap();
/// let handle = runtime.handle();
/// let thread = std::thread::spawn(move || handle.spawn(async { 6 * 7 }).wait());
/// runtime.block_on(async {
///     while !thread.is_finished() {
///         popleft::yield_now().await;
///     }
/// });
/// assert_eq!(thread.join().unwrap().unwrap(), 42);
/// ```
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
    _alive: Arc<()>,
}

impl Runtime {
    /// Returns a handle through which other threads reach this runtime.
    pub fn handle(&self) -> Handle {
        Handle::of(&self.event_loop)
    }
}

impl Handle {
    fn of(event_loop: &EventLoop) -> Handle {
        Handle { inbox: event_loop.tasks.inbox.clone(), _alive: event_loop.handles.clone() }
    }

    /// Returns a handle to the runtime that is running on this thread, if one is.
    pub fn current() -> Option<Handle> {
        current::event_loop().map(|event_loop| Handle::of(&event_loop))
    }

    /// Spawns `future` on the runtime's own thread: asyncio's `run_coroutine_threadsafe`.
    ///
    /// The returned handle can be awaited under any executor, or waited for by a thread. Once the
    /// runtime has been dropped, the future is dropped and the result is a [`JoinError`].
    ///
    /// ```
    /// popleft::run(async {
    ///     let handle = popleft::Handle::current().unwrap();
    ///     let asked = popleft::spawn_blocking(move || {
    ///         // On another thread: make the loop compute something, and block until it is done.
    ///         handle.spawn(async { 6 * 7 }).wait().unwrap()
    ///     });
    ///     assert_eq!(asked.await.unwrap(), 42);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> RemoteHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let shared = Arc::new(Shared::new(self.inbox.clone()));
        // If the task is dropped before it has a result, the sender reports that when it is dropped.
        let sender = ResultSender { shared: Some(shared.clone()) };
        let task = RemoteTask { future, sender };
        self.inbox.send(Message::Spawn(RemoteSpawn {
            make_body: Box::new(move |waker| Box::pin(TaskBody::new(task, waker))),
            at: Place::of(Location::caller()),
        }));
        RemoteHandle { shared }
    }

    /// Cancels a task, as [`JoinHandle::abort`](crate::JoinHandle::abort) does.
    ///
    /// Does nothing if the task has ended. An id does not identify its runtime: it must be the id of
    /// a task of this handle's runtime.
    pub fn abort(&self, task: Id) {
        self.inbox.send(Message::Abort(task));
    }

    /// Makes the loop return before its main task has ended.
    ///
    /// See [`Runtime::run_until_stopped`] and [`RunError::Stopped`](crate::RunError::Stopped). If
    /// the loop is not running, its next run stops at once, before the main task has a turn. If a
    /// run ends before it sees the message, the message does not stop the next one.
    pub fn stop(&self) {
        self.inbox.send(Message::Stop);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// A handle to a task of another thread's runtime, returned by [`Handle::spawn`].
///
/// A task awaits it; a thread that may block calls [`wait`](RemoteHandle::wait). Either returns the
/// task's output, or a [`JoinError`] if it panicked, was aborted, or was dropped with its runtime.
/// Dropping the handle detaches the task; if it then panics, the panic is printed.
///
/// # Panics
///
/// Polling it again after it was ready panics.
///
/// ```
/// popleft::run(async {
///     let handle = popleft::Handle::current().unwrap();
///     let remote = handle.spawn(async { 6 * 7 });
///     assert_eq!(remote.await.unwrap(), 42);
/// });
/// ```
#[must_use = "dropping a remote handle detaches the task; `drop(..)` it to say that this is meant"]
pub struct RemoteHandle<T> {
    shared: Arc<Shared<T>>,
}

/// What the handle and the task share.
struct Shared<T> {
    inside: Mutex<Inside<T>>,
    done: Condvar,
    /// The inbox of the task's loop.
    inbox: Arc<Inbox>,
}

struct Inside<T> {
    state: State<T>,
    /// The task, once it has had its first turn.
    task: Option<Id>,
    /// The task was aborted, perhaps before its first turn.
    aborted: bool,
}

enum State<T> {
    Pending(Option<Waker>),
    Done(Result<T, JoinError>),
    Taken,
    /// The handle has been dropped.
    Detached,
}

impl<T> Shared<T> {
    fn new(inbox: Arc<Inbox>) -> Self {
        let state = State::Pending(None);
        let inside = Mutex::new(Inside { state, task: None, aborted: false });
        Shared { inside, done: Condvar::new(), inbox }
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        ignore_poison(self.inside.lock())
    }
}

impl<T> Inside<T> {
    /// Takes the result, if there is one.
    fn take(&mut self) -> Option<Result<T, JoinError>> {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Done(result) => Some(result),
            State::Taken => panic!("a remote handle was polled after it was ready"),
            not_yet => {
                self.state = not_yet;
                None
            }
        }
    }
}

impl<T> RemoteHandle<T> {
    /// Blocks this thread until the task has ended, and returns its result.
    ///
    /// # Errors
    ///
    /// Those of awaiting a [`JoinHandle`](crate::JoinHandle): the task panicked, was aborted, or was
    /// dropped with its runtime.
    ///
    /// # Panics
    ///
    /// When the task has not ended and this is the thread of its loop, running or not, or any
    /// thread on which a loop is running: the call would block that loop. Await the handle there.
    #[track_caller]
    pub fn wait(self) -> Result<T, JoinError> {
        let mut inside = self.shared.lock();
        loop {
            if let Some(result) = inside.take() {
                return result;
            }
            if turn::running_loop() != 0 || self.shared.inbox.is_of_this_thread() {
                drop(inside);
                panic!(
                    "`RemoteHandle::wait` would block the loop of this thread, which has to run \
                     the task: await the handle in it instead"
                );
            }
            let woken = self.shared.done.wait(inside);
            inside = ignore_poison(woken);
        }
    }

    /// Cancels the task: its future is dropped on the loop's thread.
    ///
    /// See [`JoinHandle::abort`](crate::JoinHandle::abort). Does nothing if the task has ended.
    pub fn abort(&self) {
        let mut inside = self.shared.lock();
        inside.aborted = true;
        let task = inside.task;
        drop(inside);
        if let Some(task) = task {
            self.shared.inbox.send(Message::Abort(task));
        }
    }

    /// Returns whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(self.shared.lock().state, State::Pending(_))
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut inside = self.shared.lock();
        if let Some(result) = inside.take() {
            drop(inside);
            catch_and_report(|| drop(waker));
            return Poll::Ready(result);
        }
        let replaced = std::mem::replace(&mut inside.state, State::Pending(Some(waker)));
        drop(inside);
        catch_and_report(|| drop(replaced));
        Poll::Pending
    }
}

impl<T> Drop for RemoteHandle<T> {
    fn drop(&mut self) {
        let left = std::mem::replace(&mut self.shared.lock().state, State::Detached);
        if let State::Done(Err(error)) = &left
            && error.is_panic()
        {
            warning::warn(Warning::Panic(format!("popleft: {error}; it was never joined\n")));
        }
        catch_and_report(|| drop(left));
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle").field("finished", &self.is_finished()).finish()
    }
}

pin_project! {
    /// The task's future: polls the user's future, and sends its result.
    struct RemoteTask<F: Future> {
        #[pin]
        future: F,
        sender: ResultSender<F::Output>,
    }
}

impl<F: Future> Future for RemoteTask<F> {
    type Output = Result<(), JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let task = turn::task();
        if this.sender.begin(task) {
            // The sender reports the cancellation when it is dropped.
            return Poll::Ready(Err(JoinError::cancelled(task)));
        }
        let (result, ended) = match catch_unwind(AssertUnwindSafe(|| this.future.poll(cx))) {
            Ok(output) => (Ok(ready!(output)), Ok(())),
            Err(payload) => (
                Err(JoinError::panic(task, payload)),
                Err(JoinError::panic_delivered_elsewhere(task)),
            ),
        };
        Poll::Ready(match this.sender.send(result) {
            // No handle is left to report the panic, so the task reports it.
            Some(Err(unseen)) => Err(unseen),
            _ => ended,
        })
    }
}

/// The task's side, as of a oneshot channel; dropped before it has sent a result, it sends a
/// cancellation.
struct ResultSender<T> {
    shared: Option<Arc<Shared<T>>>,
}

impl<T> ResultSender<T> {
    /// Called at each turn. Returns true if the task was aborted before its first turn.
    fn begin(&self, task: Id) -> bool {
        let Some(shared) = &self.shared else { return false };
        let mut inside = shared.lock();
        inside.task.replace(task).is_none() && inside.aborted
    }

    /// Returns the result if the handle has been dropped.
    fn send(&mut self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        let shared = self.shared.take()?;
        let mut inside = shared.lock();
        if let State::Detached = inside.state {
            return Some(result);
        }
        let before = std::mem::replace(&mut inside.state, State::Done(result));
        drop(inside);
        shared.done.notify_all();
        if let State::Pending(Some(waker)) = before {
            catch_and_report(|| waker.wake());
        }
        None
    }
}

impl<T> Drop for ResultSender<T> {
    fn drop(&mut self) {
        let task = self.shared.as_ref().and_then(|shared| shared.lock().task);
        self.send(Err(JoinError::cancelled(task.unwrap_or(Id::NOBODY))));
    }
}
