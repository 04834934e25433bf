//! Why a task has no result.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Mutex;

use crate::base::atomics::ignore_poison;
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
    /// The mutex is never contended. It makes the payload `Sync`, so that this error can be used
    /// wherever errors are.
    Panic(Mutex<Box<dyn Any + Send>>),
    NotStarted(io::Error),
    /// It panicked, and the payload has been delivered in another way.
    PanicDeliveredElsewhere,
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

    pub(crate) fn panic_delivered_elsewhere(task: Id) -> Self {
        JoinError::new(task, Kind::PanicDeliveredElsewhere)
    }

    pub(crate) fn joins_itself(task: Id, spawned_at: Place) -> Self {
        JoinError::new(task, Kind::Itself(spawned_at))
    }

    /// The task that has no result.
    pub fn id(&self) -> Id {
        self.inner.task
    }

    /// Whether the task was aborted, or was dropped with its runtime.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.kind, Kind::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, Kind::Panic(_))
    }

    /// Why the job of [`spawn_blocking`](crate::spawn_blocking) never started: there was no thread
    /// for it, and the system refused to create one.
    pub fn not_started_because(&self) -> Option<&io::Error> {
        match &self.inner.kind {
            Kind::NotStarted(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the task awaited its own handle, which would never have become ready.
    pub fn is_itself(&self) -> bool {
        matches!(self.inner.kind, Kind::Itself(_))
    }

    /// The payload of the task's panic, which can be passed to [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// When the task did not panic.
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.inner.kind {
            Kind::Panic(payload) => ignore_poison(payload.into_inner()),
            _ => panic!("`into_panic` on a task that did not panic"),
        }
    }

    /// How the task ended, as its [`Event::Done`](crate::event::Event::Done) has it.
    pub(crate) fn end(&self) -> End {
        match self.inner.kind {
            Kind::Panic(_) | Kind::PanicDeliveredElsewhere => End::Panic,
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
            Kind::PanicDeliveredElsewhere => write!(f, "task {task} panicked"),
            Kind::Panic(payload) => {
                write!(f, "task {task} panicked")?;
                let payload = ignore_poison(payload.lock());
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
