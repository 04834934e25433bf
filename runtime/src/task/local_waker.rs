//! A waker that cannot leave its loop.

use std::task::Waker;

use crate::base::id::Id;
use crate::base::panics::catch_and_report;
use crate::base::turn;

/// What timers, sources and join handles hold instead of a `Waker`.
///
/// A `Waker` can be sent to other threads, so its reference count is atomic: a clone and a drop cost
/// as much as a whole turn. A waker that never leaves the loop needs no count: it is the task's id,
/// which wakes nothing once the task is gone. The exception is a future that was polled with another
/// waker than its task's own, as in a `select` or a `FuturesUnordered`.
#[derive(Debug)]
pub(crate) enum LocalWaker {
    /// A task of the loop that holds this.
    Task(Id),
    /// Any other waker.
    Foreign(Waker),
}

impl LocalWaker {
    /// Wakes no task.
    pub(crate) const NOBODY: LocalWaker = LocalWaker::Task(Id::NOBODY);

    /// Equivalent to `waker`, to be held by the loop that runs on this thread.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Self {
        match turn::task_of(waker) {
            Some(task) => LocalWaker::Task(task),
            None => LocalWaker::Foreign(waker.clone()),
        }
    }

    /// The task that it wakes, if it is one of this loop's.
    pub(crate) fn task(&self) -> Option<Id> {
        match self {
            LocalWaker::Task(task) => Some(*task),
            LocalWaker::Foreign(_) => None,
        }
    }

    /// Whether it wakes the same task as `waker`.
    #[inline]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        match self {
            LocalWaker::Task(task) => turn::task_of(waker) == Some(*task),
            LocalWaker::Foreign(own) => own.will_wake(waker),
        }
    }

    /// Drops it; if the drop of a foreign waker panics, the panic is caught and reported.
    #[inline]
    pub(crate) fn discard(self) {
        if let LocalWaker::Foreign(waker) = self {
            catch_and_report(|| drop(waker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_waker_is_no_larger_than_a_waker() {
        assert_eq!(size_of::<LocalWaker>(), size_of::<Waker>());
    }
}
