//! `Runtime`: a loop that runs a main task until it completes.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::task::Waker;

use crate::base::event::{self, Listener};
use crate::base::panics::catch_and_report;
use crate::base::place::Place;
use crate::base::turn;
use crate::current;
use crate::event_loop::{EventLoop, ExitReason};
use crate::task::body::{AlwaysOk, Body, TaskBody};
use crate::task::record::Name;
use crate::task::table::NewTask;
use crate::task::{Id, JoinError};

/// A loop with its tasks, timers, sources and thread pool.
///
/// Tasks live as long as their runtime: tasks that were spawned in one [`block_on`] and have not
/// ended continue in the next one. Dropping the runtime drops them all, on this thread, and waits
/// up to a set time for jobs that are running on the thread pool (see
/// [`Builder::shutdown_timeout`]).
///
/// A runtime stays on the thread that created it: it is neither `Send` nor `Sync`, because its
/// tasks need not be. Other threads use a [`Handle`](crate::Handle).
///
/// ```compile_fail,E0277
/// let runtime = popleft::Runtime::new().unwrap();
/// std::thread::spawn(move || runtime.block_on(async {}));
/// ```
///
/// It also stays in its process: a forked child (`fork` without an `exec`) shares the loop's epoll
/// instance with its parent, so that what it closes or drops there is no longer watched in the
/// parent, either. Start other programs through [`std::process::Command`]; all descriptors are
/// closed on `exec`.
///
/// [`block_on`]: Runtime::block_on
/// [`Builder::shutdown_timeout`]: crate::Builder::shutdown_timeout
#[must_use = "a runtime does nothing until `block_on`"]
pub struct Runtime {
    pub(crate) event_loop: Rc<EventLoop>,
    pub(crate) listener: Option<Listener>,
}

impl Runtime {
    /// Runs `future` as the main task, together with all other tasks, until it has ended. It need
    /// not be `'static`: it may borrow from the caller.
    ///
    /// # Panics
    ///
    /// As [`run`](crate::run) does.
    ///
    /// ```
    /// let runtime = popleft::Runtime::new().unwrap();
    /// let text = String::from("borrowed");
    /// let length = runtime.block_on(async { text.len() });
    /// assert_eq!(length, 8);
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`block_on`](Runtime::block_on) that returns an error if the main task cannot complete.
    ///
    /// # Errors
    ///
    /// - [`RunError::Stopped`]: another thread called [`Handle::stop`](crate::Handle::stop).
    /// - [`RunError::Cancelled`]: the main task was aborted.
    /// - [`RunError::Stalled`]: all tasks are parked, no deadline is set, no task waits for a
    ///   socket or for the thread pool, and there is no waker and no [`Handle`](crate::Handle) left
    ///   outside the loop: nothing can ever happen. A report of what each task waits for has been
    ///   printed to standard error.
    ///
    /// # Panics
    ///
    /// When the future panics, and when a runtime is running on this thread already.
    #[track_caller]
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, RunError> {
        self.try_block_on_at(future, Place::of(Location::caller()))
    }

    /// [`try_block_on`](Runtime::try_block_on) for a main task that was spawned at `at`.
    #[track_caller]
    pub(crate) fn try_block_on_at<F: Future>(
        &self,
        future: F,
        at: Place,
    ) -> Result<F::Output, RunError> {
        let here = turn::running_loop();
        assert!(
            here == 0 || here == turn::NO_LOOP_HERE,
            "cannot run a runtime inside a runtime: this thread is running one already; \
             spawn a task or await the future instead"
        );
        let mut output = None;
        // The block's own output is `()`, which satisfies the `'static` bound of a task's result;
        // the future and its output may borrow.
        let main = async { output = Some(future.await) };
        let (returned, ended) = self.run_main(main, at);
        match (returned, ended) {
            (ExitReason::Stopped, _) => Err(RunError::Stopped),
            (ExitReason::Stalled, _) => Err(RunError::Stalled),
            (ExitReason::MainEnded, Some(Err(error))) if error.is_panic() => {
                resume_unwind(error.into_panic())
            }
            (ExitReason::MainEnded, _) => output.ok_or(RunError::Cancelled),
        }
    }

    /// Runs the loop with `main` on this stack. The guards are dropped in reverse order: the main
    /// future goes while the loop is still current, since what it holds may need the loop.
    fn run_main<F>(&self, main: F, at: Place) -> (ExitReason, Option<Result<(), JoinError>>)
    where
        F: Future<Output = ()>,
    {
        let _listener = ListenerGuard::install(self.listener.clone());
        let _entered = current::enter(self.event_loop.clone());
        let _slot = DebuggerSlot::claim(&self.event_loop);
        let (task, waker) = MainTask::spawn(&self.event_loop, at);
        let mut body = pin!(TaskBody::new(AlwaysOk::new(main), waker));
        self.event_loop.begin_run();
        let returned = self.event_loop.run(task.id, body.as_mut());
        self.event_loop.end_run();
        let mut ended = None;
        body.take(&mut ended);
        (returned, ended)
    }

    /// Runs tasks until another thread, or a task, calls [`Handle::stop`](crate::Handle::stop),
    /// like asyncio's `run_forever`.
    ///
    /// # Panics
    ///
    /// When a runtime is running on this thread already, and when the tasks can never continue.
    #[track_caller]
    pub fn run_until_stopped(&self) {
        match self.try_block_on(std::future::pending::<()>()) {
            Ok(()) | Err(RunError::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _listener = ListenerGuard::install(self.listener.clone());
        // While tasks are dropped they may wake, spawn, or cancel timers. All that is meant for
        // this loop, whichever one runs on this thread.
        let _entered = current::enter(self.event_loop.clone());
        self.event_loop.tasks.table.close();
        let unread = self.event_loop.tasks.inbox.close();
        catch_and_report(|| drop(unread));
        self.event_loop.jobs.shut_down();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("name", &self.event_loop.name).finish_non_exhaustive()
    }
}

/// The main task's row in the table, for as long as its future is on the stack.
struct MainTask<'a> {
    event_loop: &'a EventLoop,
    id: Id,
}

impl<'a> MainTask<'a> {
    fn spawn(event_loop: &'a EventLoop, at: Place) -> (Self, Waker) {
        let name = Name(event_loop.name.clone().into_boxed_str());
        let new = NewTask { name: Some(Box::new(name)), spawned_at: at, waits_for: None };
        let mut own_waker = None;
        let id = event_loop.tasks.spawn(new, 0, |waker| {
            own_waker = Some(waker);
            None
        });
        let waker = own_waker.expect("a runtime that runs is not being dropped");
        (MainTask { event_loop, id }, waker)
    }
}

impl Drop for MainTask<'_> {
    fn drop(&mut self) {
        self.event_loop.tasks.table.remove_main(self.id);
    }
}

/// Installs a runtime's listener while the runtime is active on this thread.
struct ListenerGuard {
    /// The listener to be restored. The outer `None`: nothing was installed.
    before: Option<Option<Listener>>,
}

impl ListenerGuard {
    fn install(listener: Option<Listener>) -> Self {
        ListenerGuard { before: listener.map(|listener| event::listen(Some(listener))) }
    }
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            event::listen(before);
        }
    }
}

/// Why [`Runtime::try_block_on`] has no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunError {
    /// [`Handle::stop`](crate::Handle::stop) was called before the main task had ended.
    Stopped,
    /// The main task was aborted.
    Cancelled,
    /// Every task is parked and nothing is left that could wake one.
    Stalled,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunError::Stopped => "the loop was stopped before its main task had ended",
            RunError::Cancelled => "the main task was cancelled",
            RunError::Stalled => "every task is parked and nothing is left that could wake one",
        })
    }
}

impl Error for RunError {}

// ===== for debuggers ============================================================================

/// The loops that are running in this process, for a debugger: it can read a static without
/// searching the threads' stacks. Nothing in the library reads it.
static RUNNING_LOOPS: [AtomicPtr<EventLoop>; 64] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; 64];

struct DebuggerSlot {
    /// `None` when all slots are taken: the debugger does not see this loop.
    slot: Option<&'static AtomicPtr<EventLoop>>,
}

impl DebuggerSlot {
    fn claim(event_loop: &Rc<EventLoop>) -> Self {
        let address = Rc::as_ptr(event_loop).cast_mut();
        let slot = RUNNING_LOOPS.iter().find(|slot| {
            slot.compare_exchange(
                std::ptr::null_mut(),
                address,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
        });
        DebuggerSlot { slot }
    }
}

impl Drop for DebuggerSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.store(std::ptr::null_mut(), Ordering::Relaxed);
        }
    }
}
