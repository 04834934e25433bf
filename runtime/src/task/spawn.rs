//! Spawning tasks, and what a running task can do with itself: know its name, yield.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::base::id::Id;
use crate::base::place::{Place, Why};
use crate::base::turn;
use crate::task::body::{AlwaysOk, TaskBody};
use crate::task::join::JoinHandle;
use crate::task::record::Name;
use crate::task::table::NewTask;
use crate::task::tasks;

/// Spawns `future` as a new task, at the right end of the deque.
///
/// It starts at its turn, not now. It runs on this thread only, so it need not be `Send`. Dropping
/// the returned handle detaches the task: it runs on, and its result is dropped. To cancel it, use
/// [`JoinHandle::abort`].
///
/// # Panics
///
/// When no runtime is running on this thread.
///
/// ```
/// let sum = popleft::run(async {
///     let one = popleft::spawn(async { 1 });
///     let two = popleft::spawn(async { 2 });
///     one.await.unwrap() + two.await.unwrap()
/// });
/// assert_eq!(sum, 3);
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    Builder::new().spawn(future)
}

/// Spawns a task with a name, which appears in reports, in a debugger and in the message of a panic.
///
/// ```
/// popleft::run(async {
///     let task = popleft::task::Builder::new().name("monitor").spawn(async {
///         popleft::task::current().unwrap().name().unwrap().to_string()
///     });
///     assert_eq!(task.await.unwrap(), "monitor");
/// });
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<Box<str>>,
}

impl Builder {
    /// A builder without a name.
    pub fn new() -> Self {
        Builder::default()
    }

    /// Sets the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Spawns the task; see [`spawn`].
    ///
    /// # Panics
    ///
    /// When no runtime is running on this thread.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        let Some(tasks) = tasks::current() else {
            panic!("cannot spawn a task: no runtime is running on this thread");
        };
        let name = self.name.map(|name| Box::new(Name(name)));
        let new = NewTask { name, spawned_at: Place::of(Location::caller()), waits_for: None };
        let id = tasks
            .spawn(new, 0, |waker| Some(Box::pin(TaskBody::new(AlwaysOk::new(future), waker))));
        JoinHandle::new(id, tasks)
    }
}

/// The id and the name of the running task; see [`current`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    id: Id,
    name: Option<String>,
}

impl Current {
    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The task's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// The task whose turn it is on this thread; `None` outside of any.
pub fn current() -> Option<Current> {
    let id = turn::task();
    let tasks = tasks::current()?;
    let name = tasks.table.record(id)?.name().map(str::to_string);
    Some(Current { id, name })
}

/// Moves the task to the right end of the deque: all tasks that are ready now have a turn before it
/// continues.
///
/// The future is ready at its second poll. Dropping it does nothing.
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
///
/// let log = Rc::new(RefCell::new(vec![]));
/// popleft::run(async {
///     let other = log.clone();
///     popleft::spawn(async move { other.borrow_mut().push("other") });
///     log.borrow_mut().push("main");
///     popleft::yield_now().await;
///     log.borrow_mut().push("main again");
/// });
/// assert_eq!(*log.borrow(), ["main", "other", "main again"]);
/// ```
#[track_caller]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false, at: Location::caller() }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
    at: &'static Location<'static>,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        turn::park_at(Why::Yield, self.at);
        turn::yield_turn(cx.waker());
        Poll::Pending
    }
}
