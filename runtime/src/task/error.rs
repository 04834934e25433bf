//! Why a task has no result.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Mutex;

use crate::base::event::End;
use crate::base::id::Id;
use crate::base::panics::text_of;
use crate::base::place::Place;

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
