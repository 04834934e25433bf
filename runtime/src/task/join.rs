//! Waiting for a task: join handles, and what may come back instead of a result.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Context, Poll};

use super::Id;
use super::table::{Ended, Join};
use super::waker::LocalWaker;
use crate::access::{self, Access, Object};
use crate::event::{End, Place, Why, text_of};
use crate::event_loop::EventLoop;
use crate::turn::{self, At};

/// The other end of a spawned task: await it for the task's result.
///
/// - It is ready once the task has ended: `Ok` with what it returned, or a [`JoinError`] when it
///   panicked, was aborted, or was dropped with its runtime.
/// - Dropping it detaches the task, which runs on. If a detached task panics, the panic is printed
///   with the task's name and the line that spawned it.
/// - It cannot leave the thread; [`crate::Handle::spawn`] returns one that can.
///
/// # Panics
///
/// Polling it again after it was ready panics.
#[must_use = "dropping a join handle detaches the task; `drop(..)` it to say that this is meant"]
pub struct JoinHandle<T> {
    id: Id,
    event_loop: Rc<EventLoop>,
    taken: bool,
    result: PhantomData<T>,
}

// It holds no `T`; the task does.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(id: Id, event_loop: Rc<EventLoop>) -> Self {
        JoinHandle { id, event_loop, taken: false, result: PhantomData }
    }

    /// Cancels the task: its future is dropped at its next turn, in its place in the deque.
    ///
    /// A task that has ended is left as it is. A task that aborts itself goes on to its next
    /// `await` that is not ready; if it returns before, its result counts. A job on the thread
    /// pool that has begun cannot be stopped: it is abandoned, and its result dropped.
    pub fn abort(&self) {
        self.event_loop.abort(self.id);
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        access::note(Access { object: Object::Task(self.id), writes: false });
        self.taken || self.event_loop.tasks.has_ended(self.id)
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The name that the task was given, if it was and its result has not been taken.
    pub fn name(&self) -> Option<String> {
        let record = self.event_loop.tasks.record(self.id)?;
        record.name().map(str::to_string)
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.taken, "a join handle was polled after it was ready");
        let (id, event_loop) = (self.id, &self.event_loop);
        access::touch(Object::Task(id));
        let joiner = match event_loop.is_running_here() {
            true => LocalWaker::of(cx.waker()),
            // A task of another loop waits for one of this, which would not know it by its id.
            false => LocalWaker::Foreign(cx.waker().clone()),
        };
        let result = match event_loop.tasks.join(id, joiner) {
            Join::Waits(replaced) => {
                drop(replaced);
                turn::park(Why::Join, At::Place(Place::from_number(id.number)));
                return Poll::Pending;
            }
            Join::Ended(Ended { record, mut body }) => {
                let mut result = None;
                let waker = body.as_mut().take(&mut result);
                event_loop.tasks.recycle(record, waker);
                result
            }
            Join::Gone => None,
        };
        self.taken = true;
        Poll::Ready(result.unwrap_or_else(|| Err(JoinError::cancelled(id))))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        access::touch(Object::Task(self.id));
        let tasks = &self.event_loop.tasks;
        match tasks.detach(self.id) {
            Join::Ended(ended) => tasks.discard(ended),
            Join::Waits(_) | Join::Gone => {}
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id).finish()
    }
}

/// Why a task has no result.
pub struct JoinError {
    inner: Box<Inner>,
}

struct Inner {
    task: Id,
    kind: Kind,
}

enum Kind {
    Cancelled,
    /// The mutex is never locked by two: it makes the payload `Sync`, so that this error can go
    /// wherever errors go.
    Panic(Mutex<Box<dyn Any + Send>>),
    NotStarted(io::Error),
}

impl JoinError {
    fn new(task: Id, kind: Kind) -> Self {
        JoinError { inner: Box::new(Inner { task, kind }) }
    }

    pub(crate) fn cancelled(task: Id) -> Self {
        JoinError::new(task, Kind::Cancelled)
    }

    pub(crate) fn panic(task: Id, payload: Box<dyn Any + Send>) -> Self {
        JoinError::new(task, Kind::Panic(Mutex::new(payload)))
    }

    pub(crate) fn not_started(task: Id, error: io::Error) -> Self {
        JoinError::new(task, Kind::NotStarted(error))
    }

    /// Which task it is about.
    pub fn id(&self) -> Id {
        self.inner.task
    }

    /// Whether the task was aborted, or dropped with its runtime.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.kind, Kind::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, Kind::Panic(_))
    }

    /// Why the job of [`spawn_blocking`](crate::spawn_blocking) never began: there was no thread
    /// for it, and the system refused to start one.
    pub fn not_started_because(&self) -> Option<&io::Error> {
        match &self.inner.kind {
            Kind::NotStarted(error) => Some(error),
            Kind::Cancelled | Kind::Panic(_) => None,
        }
    }

    /// What the task panicked with, to be passed to [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// When the task did not panic.
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.inner.kind {
            Kind::Panic(payload) => payload.into_inner().unwrap_or_else(|e| e.into_inner()),
            Kind::Cancelled | Kind::NotStarted(_) => {
                panic!("`into_panic` on a task that did not panic")
            }
        }
    }

    /// How the task ended, as the event stream tells it.
    pub(crate) fn end(&self) -> End {
        match self.inner.kind {
            Kind::Panic(_) => End::Panic,
            Kind::Cancelled | Kind::NotStarted(_) => End::Cancelled,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.inner.task;
        match &self.inner.kind {
            Kind::Cancelled => write!(f, "task {task} was cancelled"),
            Kind::NotStarted(error) => write!(f, "the job of task {task} never began: {error}"),
            Kind::Panic(payload) => {
                write!(f, "task {task} panicked")?;
                let payload = payload.lock().unwrap_or_else(|e| e.into_inner());
                match text_of(&**payload) {
                    Some(text) => write!(f, ": {text}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.not_started_because().map(|error| error as _)
    }
}
