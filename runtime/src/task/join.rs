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
/// - A task that awaits its own handle gets an error at once, and is detached.
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
        let joiner = if event_loop.is_running_here() {
            if turn::task() == id {
                return Poll::Ready(Err(self.join_itself()));
            }
            LocalWaker::of(cx.waker())
        } else {
            // A task of another loop waits for one of this, which would not know it by its id.
            LocalWaker::Foreign(cx.waker().clone())
        };
        let result = match event_loop.tasks.join(id, joiner) {
            Join::Waits(replaced) => {
                replaced.discard();
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

impl<T> JoinHandle<T> {
    /// The task awaits its own end: it would wait for ever, and nobody would take its result.
    #[cold]
    fn join_itself(&mut self) -> JoinError {
        let record = self.event_loop.tasks.record(self.id);
        let spawned_at = record.map_or(Place::UNKNOWN, |record| record.spawned_at());
        self.detach();
        JoinError::joins_itself(self.id, spawned_at)
    }

    fn detach(&mut self) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        access::touch(Object::Task(self.id));
        let tasks = &self.event_loop.tasks;
        match tasks.detach(self.id) {
            Join::Ended(ended) => tasks.discard(ended),
            Join::Waits(joiner) => joiner.discard(),
            Join::Gone => {}
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.detach();
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
    /// It panicked, and the payload has gone to whoever waits for the task in another way.
    PanicToldElsewhere,
    /// The task awaited its own handle. It was spawned at this line.
    Itself(Place),
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

    pub(crate) fn panic_told_elsewhere(task: Id) -> Self {
        JoinError::new(task, Kind::PanicToldElsewhere)
    }

    pub(crate) fn joins_itself(task: Id, spawned_at: Place) -> Self {
        JoinError::new(task, Kind::Itself(spawned_at))
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
            _ => None,
        }
    }

    /// Whether the task awaited its own handle, for which it would have waited for ever.
    pub fn is_itself(&self) -> bool {
        matches!(self.inner.kind, Kind::Itself(_))
    }

    /// What the task panicked with, to be passed to [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// When the task did not panic.
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.inner.kind {
            Kind::Panic(payload) => payload.into_inner().unwrap_or_else(|e| e.into_inner()),
            _ => panic!("`into_panic` on a task that did not panic"),
        }
    }

    /// How the task ended, as the event stream tells it.
    pub(crate) fn end(&self) -> End {
        match self.inner.kind {
            Kind::Panic(_) | Kind::PanicToldElsewhere => End::Panic,
            Kind::Cancelled | Kind::NotStarted(_) | Kind::Itself(_) => End::Cancelled,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.inner.task;
        match &self.inner.kind {
            Kind::Cancelled if task == Id::NOBODY => {
                f.write_str("a task was cancelled before it began: its runtime is gone")
            }
            Kind::Cancelled => write!(f, "task {task} was cancelled"),
            Kind::Itself(spawned_at) => write!(
                f,
                "task {task}, spawned at {spawned_at}, awaits its own handle: it would wait for \
                 ever"
            ),
            Kind::NotStarted(error) => write!(f, "the job of task {task} never began: {error}"),
            Kind::PanicToldElsewhere => write!(f, "task {task} panicked"),
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
