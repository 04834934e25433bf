//! From other threads: a handle through which they reach a runtime, and what comes back.

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

/// Reaches a runtime from any thread. Clones reach the same one.
///
/// Nothing is done at once: each call leaves a message in the loop's inbox, and wakes the loop if
/// it sleeps. Once the runtime is gone the calls do nothing.
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
    _alive: Arc<()>,
}

impl Runtime {
    /// A handle through which other threads reach this runtime.
    pub fn handle(&self) -> Handle {
        Handle::of(&self.event_loop)
    }
}

impl Handle {
    fn of(event_loop: &EventLoop) -> Handle {
        Handle { inbox: event_loop.tasks.inbox.clone(), _alive: event_loop.handles.clone() }
    }

    /// The handle of the runtime that is running on this thread, if one is.
    pub fn current() -> Option<Handle> {
        current::event_loop().map(|event_loop| Handle::of(&event_loop))
    }

    /// Spawns `future` on the runtime's own thread: asyncio's `run_coroutine_threadsafe`.
    ///
    /// The returned handle can be awaited on any executor, or waited for by a thread.
    ///
    /// ```
    /// popleft::run(async {
    ///     let handle = popleft::Handle::current().unwrap();
    ///     let asked = popleft::spawn_blocking(move || {
    ///         // On another thread: have the loop compute something, and block until it is there.
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
        let mailbox = Arc::new(RemoteResult::new(self.inbox.clone()));
        // If the task goes before it has a result, the postman says so while it is dropped.
        let postman = ResultSender { mailbox: Some(mailbox.clone()) };
        let errand = RemoteTask { future, postman };
        self.inbox.send(Message::Spawn(RemoteSpawn {
            make_body: Box::new(move |waker| Box::pin(TaskBody::new(errand, waker))),
            at: Place::of(Location::caller()),
        }));
        RemoteHandle { mailbox }
    }

    /// Cancels a task, as [`JoinHandle::abort`](crate::JoinHandle::abort) does.
    ///
    /// An id says nothing of its runtime: it must be one of this handle's.
    pub fn abort(&self, task: Id) {
        self.inbox.send(Message::Abort(task));
    }

    /// Makes the loop return before its main task has ended; see [`Runtime::run_until_stopped`] and
    /// [`RunError::Stopped`](crate::RunError::Stopped). If the loop is not running, its next run
    /// stops at once, before the main task has a turn. A run that ends by itself before it sees
    /// the message leaves nothing for the next one.
    pub fn stop(&self) {
        self.inbox.send(Message::Stop);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// What [`Handle::spawn`] returns: the result of a task on another thread's runtime.
///
/// A future for those who may await, [`wait`](RemoteHandle::wait) for those who may block. Either
/// gives what the task returned, or a [`JoinError`] when it panicked, was aborted, or was dropped
/// with its runtime. Dropping the handle leaves the task alone; if it then panics, the panic is
/// printed.
#[must_use = "dropping a remote handle detaches the task; `drop(..)` it to say that this is meant"]
pub struct RemoteHandle<T> {
    mailbox: Arc<RemoteResult<T>>,
}

/// What the two sides share.
struct RemoteResult<T> {
    inside: Mutex<Inside<T>>,
    delivered: Condvar,
    /// The way to the task's loop.
    inbox: Arc<Inbox>,
}

struct Inside<T> {
    delivery: Delivery<T>,
    /// The task, once it has had its first turn.
    task: Option<Id>,
    /// It was to be cancelled before that.
    aborted: bool,
}

enum Delivery<T> {
    Awaited(Option<Waker>),
    Here(Result<T, JoinError>),
    Taken,
    /// The handle is gone.
    Unwanted,
}

impl<T> RemoteResult<T> {
    fn new(inbox: Arc<Inbox>) -> Self {
        let delivery = Delivery::Awaited(None);
        let inside = Mutex::new(Inside { delivery, task: None, aborted: false });
        RemoteResult { inside, delivered: Condvar::new(), inbox }
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        ignore_poison(self.inside.lock())
    }
}

impl<T> Inside<T> {
    /// The result, if it is there.
    fn take(&mut self) -> Option<Result<T, JoinError>> {
        match std::mem::replace(&mut self.delivery, Delivery::Taken) {
            Delivery::Here(result) => Some(result),
            Delivery::Taken => panic!("a remote handle was polled after it was ready"),
            not_yet => {
                self.delivery = not_yet;
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
    /// As those of awaiting a [`JoinHandle`](crate::JoinHandle).
    ///
    /// # Panics
    ///
    /// When the task has not ended and this is the thread of its loop, running or not, or any
    /// thread on which a loop is running: it would wait for itself. Await the handle there.
    #[track_caller]
    pub fn wait(self) -> Result<T, JoinError> {
        let mut inside = self.mailbox.lock();
        loop {
            if let Some(result) = inside.take() {
                return result;
            }
            if turn::running_loop() != 0 || self.mailbox.inbox.is_of_this_thread() {
                drop(inside);
                panic!(
                    "`RemoteHandle::wait` would block the loop of this thread, which has to run \
                     the task: await the handle in it instead"
                );
            }
            let woken = self.mailbox.delivered.wait(inside);
            inside = ignore_poison(woken);
        }
    }

    /// Cancels the task, as [`JoinHandle::abort`](crate::JoinHandle::abort) does: its future is
    /// dropped on the loop's thread.
    pub fn abort(&self) {
        let mut inside = self.mailbox.lock();
        inside.aborted = true;
        let task = inside.task;
        drop(inside);
        if let Some(task) = task {
            self.mailbox.inbox.send(Message::Abort(task));
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(self.mailbox.lock().delivery, Delivery::Awaited(_))
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut inside = self.mailbox.lock();
        if let Some(result) = inside.take() {
            drop(inside);
            catch_and_report(|| drop(waker));
            return Poll::Ready(result);
        }
        let replaced = std::mem::replace(&mut inside.delivery, Delivery::Awaited(Some(waker)));
        drop(inside);
        catch_and_report(|| drop(replaced));
        Poll::Pending
    }
}

impl<T> Drop for RemoteHandle<T> {
    fn drop(&mut self) {
        let left = std::mem::replace(&mut self.mailbox.lock().delivery, Delivery::Unwanted);
        if let Delivery::Here(Err(error)) = &left
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
    /// The future of the task: runs the one that was given, and sends the result.
    struct RemoteTask<F: Future> {
        #[pin]
        future: F,
        postman: ResultSender<F::Output>,
    }
}

impl<F: Future> Future for RemoteTask<F> {
    type Output = Result<(), JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let task = turn::task();
        if this.postman.begin(task) {
            // The postman says so when it is dropped.
            return Poll::Ready(Err(JoinError::cancelled(task)));
        }
        let (result, ended) = match catch_unwind(AssertUnwindSafe(|| this.future.poll(cx))) {
            Ok(output) => (Ok(ready!(output)), Ok(())),
            Err(payload) => (
                Err(JoinError::panic(task, payload)),
                Err(JoinError::panic_delivered_elsewhere(task)),
            ),
        };
        Poll::Ready(match this.postman.deliver(result) {
            // Nobody hears of the panic there, so it is told of here.
            Some(Err(unheard)) => Err(unheard),
            _ => ended,
        })
    }
}

/// Brings a result into the mailbox; dropped with empty hands, it says that none will come.
struct ResultSender<T> {
    mailbox: Option<Arc<RemoteResult<T>>>,
}

impl<T> ResultSender<T> {
    /// The task has a turn. True when it was to be cancelled before the first.
    fn begin(&self, task: Id) -> bool {
        let Some(mailbox) = &self.mailbox else { return false };
        let mut inside = mailbox.lock();
        inside.task.replace(task).is_none() && inside.aborted
    }

    /// Gives the result back when nobody wants it.
    fn deliver(&mut self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        let mailbox = self.mailbox.take()?;
        let mut inside = mailbox.lock();
        if let Delivery::Unwanted = inside.delivery {
            return Some(result);
        }
        let before = std::mem::replace(&mut inside.delivery, Delivery::Here(result));
        drop(inside);
        mailbox.delivered.notify_all();
        if let Delivery::Awaited(Some(waker)) = before {
            catch_and_report(|| waker.wake());
        }
        None
    }
}

impl<T> Drop for ResultSender<T> {
    fn drop(&mut self) {
        let task = self.mailbox.as_ref().and_then(|mailbox| mailbox.lock().task);
        self.deliver(Err(JoinError::cancelled(task.unwrap_or(Id::NOBODY))));
    }
}
