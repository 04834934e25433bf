//! Waiting for a task: join handles.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::error::JoinError;
use super::local_waker::LocalWaker;
use super::table::{Ended, JoinState};
use super::tasks::Tasks;
use crate::base::access::{self, Access, Object};
use crate::base::id::Id;
use crate::base::place::{Place, Why};
use crate::base::turn::{self, At};

/// The handle of a spawned task: await it to get the task's result.
///
/// - It is ready once the task has ended: `Ok` with what it returned, or a [`JoinError`] when it
///   panicked, was aborted, or was dropped with its runtime.
/// - Dropping it detaches the task, which runs on. If a detached task panics, the panic is printed
///   with the task's name and the line that spawned it.
/// - A task that awaits its own handle gets an error at once, and is detached.
/// - It cannot be sent to another thread; [`crate::Handle::spawn`] returns a handle that can.
///
/// # Panics
///
/// Polling it again after it was ready panics.
#[must_use = "dropping a join handle detaches the task; use `drop(..)` to do so explicitly"]
pub struct JoinHandle<T> {
    id: Id,
    tasks: Rc<Tasks>,
    taken: bool,
    result: PhantomData<T>,
}

// It holds no `T`; the task does.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(id: Id, tasks: Rc<Tasks>) -> Self {
        JoinHandle { id, tasks, taken: false, result: PhantomData }
    }

    /// Cancels the task: its future is dropped at its next turn, in its place in the deque.
    ///
    /// Does nothing if the task has ended. A task that aborts itself runs on to its next `await`
    /// that is not ready; if it returns before that, its result counts. A job on the thread pool
    /// that has started cannot be stopped: it is abandoned, and its result is dropped.
    pub fn abort(&self) {
        self.tasks.abort(self.id);
    }

    /// Whether the task has ended: returned, panicked, or was cancelled.
    pub fn is_finished(&self) -> bool {
        access::record_access(Access { object: Object::Task(self.id), writes: false });
        self.taken || self.tasks.table.has_ended(self.id)
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The task's name, if it was given one and its result has not been taken.
    pub fn name(&self) -> Option<String> {
        let record = self.tasks.table.record(self.id)?;
        record.name().map(str::to_string)
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.taken, "a join handle was polled after it was ready");
        let (id, tasks) = (self.id, &self.tasks);
        access::record_write(Object::Task(id));
        let joiner = if tasks.are_running_here() {
            if turn::task() == id {
                return Poll::Ready(Err(self.join_itself()));
            }
            LocalWaker::of(cx.waker())
        } else {
            // The awaiting task belongs to another loop, and its id means nothing to this one.
            LocalWaker::Foreign(cx.waker().clone())
        };
        let result = match tasks.table.join(id, joiner) {
            JoinState::Waits(replaced) => {
                replaced.discard();
                turn::park(Why::Join, At::Place(Place::from_number(id.number)));
                return Poll::Pending;
            }
            JoinState::Ended(Ended { record, mut body }) => {
                let mut result = None;
                let waker = body.as_mut().take(&mut result);
                tasks.table.recycle(record, waker);
                result
            }
            JoinState::Gone => None,
        };
        self.taken = true;
        Poll::Ready(result.unwrap_or_else(|| Err(JoinError::cancelled(id))))
    }
}

impl<T> JoinHandle<T> {
    /// The task awaits its own completion: it would wait for ever, and keep its result for ever.
    #[cold]
    fn join_itself(&mut self) -> JoinError {
        let record = self.tasks.table.record(self.id);
        let spawned_at = record.map_or(Place::UNKNOWN, |record| record.spawned_at());
        self.detach();
        JoinError::joins_itself(self.id, spawned_at)
    }

    fn detach(&mut self) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        access::record_write(Object::Task(self.id));
        let table = &self.tasks.table;
        match table.detach(self.id) {
            JoinState::Ended(ended) => table.discard(ended),
            JoinState::Waits(joiner) => joiner.discard(),
            JoinState::Gone => {}
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
