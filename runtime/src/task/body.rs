//! A task's future, and after its completion its result, in one box.
//!
//! The loop holds tasks of every type, so it uses them through the trait [`Body`]. The result
//! stays in the task's own box until a join handle, which knows its type, takes it out through
//! `&mut dyn Any`: one allocation per task, and no `unsafe`.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::error::JoinError;
use crate::base::event::End;
use crate::base::id::Id;
use crate::base::panics::catch_and_report;
use crate::base::turn;

/// What the loop can do with a task whatever its type.
pub(crate) trait Body {
    /// Polls the future. `Ready` holds how the task ended; the result is kept. Never panics: if the
    /// future panics, also in its drop, the task ends with that panic.
    fn poll(self: Pin<&mut Self>, id: Id) -> Poll<End>;

    /// Drops the future wherever it has got to. Never panics.
    fn cancel(self: Pin<&mut Self>, id: Id) -> End;

    /// Moves the result of a task that has ended into `out`, if that is an
    /// `Option<Result<T, JoinError>>` of the task's own `T`. Returns the task's waker, for reuse.
    fn take(self: Pin<&mut Self>, out: &mut dyn Any) -> Option<Waker>;

    /// The panic with which the task ended, if it has not been taken.
    fn untaken_panic(&self) -> Option<&JoinError>;
}

pin_project! {
    /// The one implementation: the future first, its result later, in the same place.
    #[project = TaskBodyProjection]
    #[project_replace = TaskBodyReplaced]
    pub(crate) enum TaskBody<F, T> {
        Running { #[pin] future: F, waker: Waker },
        Ended { result: Option<Result<T, JoinError>>, waker: Option<Waker> },
    }
}

impl<F, T> TaskBody<F, T>
where
    F: Future<Output = Result<T, JoinError>>,
{
    /// `waker` is the task's own, with which the future is polled.
    pub(crate) fn new(future: F, waker: Waker) -> Self {
        TaskBody::Running { future, waker }
    }

    /// Drops the future and puts `result` in its place. If the drop panics, the task ends with that
    /// panic instead.
    fn end(mut self: Pin<&mut Self>, id: Id, result: Result<T, JoinError>) -> End {
        let ended = |result| TaskBody::Ended { result: Some(result), waker: None };
        let replace = || self.as_mut().project_replace(ended(result));
        let before = catch_unwind(AssertUnwindSafe(replace));
        if let Err(payload) = before {
            // The future was replaced nevertheless. This drops the result that is overruled.
            catch_and_report(|| self.set(ended(Err(JoinError::panic(id, payload)))));
            return End::Panic;
        }
        if let TaskBodyProjection::Ended { result, waker } = self.project() {
            if let Ok(TaskBodyReplaced::Running { waker: own, .. }) = before {
                *waker = Some(own);
            }
            if let Some(Err(error)) = result {
                return error.end();
            }
        }
        End::Ok
    }
}

impl<F, T> Body for TaskBody<F, T>
where
    F: Future<Output = Result<T, JoinError>>,
    T: 'static,
{
    fn poll(mut self: Pin<&mut Self>, id: Id) -> Poll<End> {
        let TaskBodyProjection::Running { future, waker } = self.as_mut().project() else {
            unreachable!("an ended task has no turn");
        };
        turn::set_own_waker(waker);
        let mut cx = Context::from_waker(waker);
        let result = match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(payload) => Err(JoinError::panic(id, payload)),
        };
        Poll::Ready(self.end(id, result))
    }

    fn cancel(self: Pin<&mut Self>, id: Id) -> End {
        turn::forget_own_waker();
        self.end(id, Err(JoinError::cancelled(id)))
    }

    fn take(self: Pin<&mut Self>, out: &mut dyn Any) -> Option<Waker> {
        let TaskBodyProjection::Ended { result, waker } = self.project() else {
            return None;
        };
        if let Some(out) = out.downcast_mut() {
            *out = result.take();
        }
        waker.take()
    }

    fn untaken_panic(&self) -> Option<&JoinError> {
        match self {
            TaskBody::Ended { result: Some(Err(error)), .. } if error.is_panic() => Some(error),
            _ => None,
        }
    }
}

pin_project! {
    /// Wraps the output of an ordinary future in `Ok`.
    pub(crate) struct AlwaysOk<F> {
        #[pin]
        future: F,
    }
}

impl<F> AlwaysOk<F> {
    pub(crate) fn new(future: F) -> Self {
        AlwaysOk { future }
    }
}

impl<F: Future> Future for AlwaysOk<F> {
    type Output = Result<F::Output, JoinError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}
