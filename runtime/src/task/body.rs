//! A task's future, and after its end its result, in one box.
//!
//! The loop holds tasks of every type, so it sees them through the trait [`Body`]. The result
//! stays in the task's own box until a join handle, which knows its type, takes it out through
//! `&mut dyn Any`: one allocation a task, and no `unsafe`.

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
    /// Polls the future. `Ready` says how the task ended; the result is kept. Never panics: a
    /// panic of the future, also in its drop, is a way to end.
    fn poll(self: Pin<&mut Self>, id: Id) -> Poll<End>;

    /// Drops the future where it stands. Never panics.
    fn cancel(self: Pin<&mut Self>, id: Id) -> End;

    /// Moves the result of a task that has ended into `out`, if that is an
    /// `Option<Result<T, JoinError>>` of the task's own `T`. Returns the task's waker, to be used
    /// for another.
    fn take(self: Pin<&mut Self>, out: &mut dyn Any) -> Option<Waker>;

    /// The panic with which the task ended and which nobody has taken.
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
    /// `waker` is what the future is polled with: the task's own.
    pub(crate) fn new(future: F, waker: Waker) -> Self {
        TaskBody::Running { future, waker }
    }

    /// Drops the future and puts `result` in its place. If that drop panics the task ends with
    /// this panic.
    fn end(mut self: Pin<&mut Self>, id: Id, result: Result<T, JoinError>) -> End {
        let ended = |result| TaskBody::Ended { result: Some(result), waker: None };
        let replace = || self.as_mut().project_replace(ended(result));
        let before = catch_unwind(AssertUnwindSafe(replace));
        if let Err(payload) = before {
            // It was replaced nevertheless; the result that was brought goes now.
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
    /// A future as people write them: whatever it returns is a success.
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
