//! From other threads: a handle through which they reach a runtime, and what comes back.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::event::Place;
use crate::event_loop::{self, EventLoop};
use crate::runtime::Runtime;
use crate::task::Id;
use crate::task::body::{Plain, TaskBody, catching};
use crate::task::deque::{Inbox, Message, RemoteSpawn};
use crate::turn;

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
        Handle { inbox: event_loop.inbox.clone(), _alive: event_loop.handles.clone() }
    }

    /// The handle of the runtime that is running on this thread, if one is.
    pub fn current() -> Option<Handle> {
        event_loop::current().map(|event_loop| Handle::of(&event_loop))
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
        let mailbox = Arc::new(Mailbox {
            inside: Mutex::new(Delivery::Awaited(None)),
            delivered: Condvar::new(),
        });
        // If the task goes before it has a result, the postman says so while it is dropped.
        let postman = Postman { mailbox: Some(mailbox.clone()) };
        let send_result = async move {
            let output = future.await;
            postman.deliver(Some(output));
        };
        self.inbox.send(Message::Spawn(RemoteSpawn {
            make_body: Box::new(move |waker| {
                Box::pin(TaskBody::new(Plain::new(send_result), waker))
            }),
            at: Place::of(Location::caller()),
        }));
        RemoteHandle { mailbox }
    }

    /// Cancels a task, as [`JoinHandle::abort`](crate::JoinHandle::abort) does.
    pub fn abort(&self, task: Id) {
        self.inbox.send(Message::Abort(task));
    }

    /// Has the loop return before its main task has ended; see [`Runtime::run_until_stopped`] and
    /// [`RunError::Stopped`](crate::RunError::Stopped). If the loop is not running, its next run
    /// stops at once.
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
/// A future for those who may await, [`wait`](RemoteHandle::wait) for those who may block. Dropping
/// it leaves the task alone.
pub struct RemoteHandle<T> {
    mailbox: Arc<Mailbox<T>>,
}

/// The task was cancelled, panicked, or went with its runtime before it had a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task ended without a result")
    }
}

impl Error for Lost {}

struct Mailbox<T> {
    inside: Mutex<Delivery<T>>,
    delivered: Condvar,
}

enum Delivery<T> {
    Awaited(Option<Waker>),
    Here(Option<T>),
}

impl<T> Mailbox<T> {
    fn lock(&self) -> MutexGuard<'_, Delivery<T>> {
        self.inside.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl<T> RemoteHandle<T> {
    /// Blocks this thread until the task has ended.
    ///
    /// Called on the loop's own thread it would wait for itself: await the handle there.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the task was cancelled, panicked, or went with its runtime.
    ///
    /// # Panics
    ///
    /// When a runtime is running on this thread: it would stand still.
    #[track_caller]
    pub fn wait(self) -> Result<T, Lost> {
        assert!(
            turn::running_loop() == 0,
            "`RemoteHandle::wait` would block the runtime that is running on this thread; \
             await the handle instead"
        );
        let mut delivery = self.mailbox.lock();
        loop {
            match &mut *delivery {
                Delivery::Here(result) => return result.take().ok_or(Lost),
                Delivery::Awaited(_) => {
                    let woken = self.mailbox.delivered.wait(delivery);
                    delivery = woken.unwrap_or_else(|e| e.into_inner());
                }
            }
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        matches!(*self.mailbox.lock(), Delivery::Here(_))
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut delivery = self.mailbox.lock();
        match &mut *delivery {
            Delivery::Here(result) => Poll::Ready(result.take().ok_or(Lost)),
            Delivery::Awaited(waiting) => {
                let replaced = waiting.replace(waker);
                drop(delivery);
                drop(replaced);
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle").field("finished", &self.is_finished()).finish()
    }
}

/// Brings a result into the mailbox; dropped with empty hands, it says that none will come.
struct Postman<T> {
    mailbox: Option<Arc<Mailbox<T>>>,
}

impl<T> Postman<T> {
    fn deliver(mut self, result: Option<T>) {
        self.put(result);
    }

    fn put(&mut self, result: Option<T>) {
        let Some(mailbox) = self.mailbox.take() else {
            return;
        };
        let before = std::mem::replace(&mut *mailbox.lock(), Delivery::Here(result));
        mailbox.delivered.notify_all();
        if let Delivery::Awaited(Some(waker)) = before {
            catching(|| waker.wake());
        }
    }
}

impl<T> Drop for Postman<T> {
    fn drop(&mut self) {
        self.put(None);
    }
}
