//! The front of the machine: how a program gets a loop, and how others reach it.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::event::{self, Event, Listener, Place};
use crate::event_loop::{self, EventLoop, Returned};
use crate::offload::ThreadPool;
use crate::reactor::Reactor;
use crate::task::body::{Body, Plain, TaskBody, catching};
use crate::task::deque::Ready;
use crate::task::waker::Name;
use crate::task::{Id, JoinError};
use crate::turn;
use crate::world::World;

/// How many turns the loop takes between two looks outside, unless it is told otherwise.
const POLLS_BETWEEN_LOOKS: u32 = 64;

/// Runs `future` to its end on this thread and returns what it returned.
///
/// This is `asyncio.run`: it makes a [`Runtime`], runs the future as its main task, and drops the
/// runtime, with all tasks that are left, when the main task has ended.
///
/// # Panics
///
/// - When the future panics, with its panic.
/// - When a runtime is running on this thread already.
/// - When the main task is aborted, the loop is stopped, or the program can never go on; see
///   [`Runtime::try_block_on`].
/// - When the system has no file descriptors left for the loop.
///
/// ```
/// let answer = popleft::run(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// ```
#[track_caller]
pub fn run<F: Future>(future: F) -> F::Output {
    match Runtime::new() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => panic!("cannot make a runtime: {error}"),
    }
}

/// A loop with its tasks, timers, sources and thread pool.
///
/// Tasks live as long as their runtime: those that were spawned in one [`block_on`] and have not
/// ended go on in the next one. Dropping the runtime drops them all, on this thread, and waits a
/// set time for jobs that are running on the thread pool (see [`Builder::shutdown_timeout`]).
///
/// [`block_on`]: Runtime::block_on
pub struct Runtime {
    pub(crate) event_loop: Rc<EventLoop>,
    listener: Option<Listener>,
}

impl Runtime {
    /// A runtime with the usual settings.
    ///
    /// # Errors
    ///
    /// When the system has no file descriptors left.
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Makes a runtime with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs `future` as the main task, and all other tasks meanwhile, until it has ended. It need
    /// not be `'static`: it may borrow from the caller.
    ///
    /// # Panics
    ///
    /// As [`run`] does.
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

    /// The same, but returns an error where the main task cannot come to its end.
    ///
    /// # Errors
    ///
    /// - [`RunError::Stopped`]: another thread called [`Handle::stop`](crate::Handle::stop).
    /// - [`RunError::Cancelled`]: the main task was aborted.
    /// - [`RunError::Stalled`]: all tasks are parked, no deadline is set, nobody waits for a socket
    ///   or for the thread pool, and there is no waker and no [`Handle`](crate::Handle) left
    ///   outside the loop:
    ///   nothing can ever happen. A report of who waits for what has been printed to standard
    ///   error.
    ///
    /// # Panics
    ///
    /// When the future panics, and when a runtime is running on this thread already.
    #[track_caller]
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, RunError> {
        assert!(
            turn::running_loop() == 0,
            "cannot run a runtime inside a runtime: this thread is running one already; \
             spawn a task or await the future instead"
        );
        let mut output = None;
        // Through the block the task's own output is `()`, which may lie in a task's box; the
        // future and its output may borrow whatever they like.
        let main = async { output = Some(future.await) };
        let (returned, ended) = self.run_main(main, Place::of(Location::caller()));
        match (returned, ended) {
            (Returned::Stopped, _) => Err(RunError::Stopped),
            (Returned::Stalled, _) => Err(RunError::Stalled),
            (Returned::MainEnded, Some(Err(error))) if error.is_panic() => {
                resume_unwind(error.into_panic())
            }
            (Returned::MainEnded, _) => output.ok_or(RunError::Cancelled),
        }
    }

    /// Runs the loop with `main` on this stack. All that is made here goes in the opposite order:
    /// the main future while the loop is still this thread's, since what it holds may need it.
    fn run_main<F>(&self, main: F, at: Place) -> (Returned, Option<Result<(), JoinError>>)
    where
        F: Future<Output = ()>,
    {
        let _listening = Listening::start(self.listener.clone());
        let _entered = event_loop::enter(self.event_loop.clone());
        let _door = DebuggersDoor::open(&self.event_loop);
        let (task, waker) = MainTask::spawn(&self.event_loop, at);
        let mut body = pin!(TaskBody::new(Plain::new(main), waker));
        let returned = self.event_loop.run(task.id, body.as_mut());
        let mut ended = None;
        body.take_result(&mut ended);
        (returned, ended)
    }

    /// Runs tasks until another thread, or a task, calls [`Handle::stop`](crate::Handle::stop):
    /// asyncio's `run_forever`.
    ///
    /// # Panics
    ///
    /// When a runtime is running on this thread already, and when the tasks can never go on.
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
        let _listening = Listening::start(self.listener.clone());
        // What tasks hold may wake, spawn, or give timers back while it is dropped; all that is
        // meant for this loop, whichever runs on this thread.
        let _entered = event_loop::enter(self.event_loop.clone());
        self.event_loop.tasks.close();
        let unread = self.event_loop.inbox.close();
        catching(|| drop(unread));
        self.event_loop.jobs.shut_down();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("name", &self.event_loop.name).finish_non_exhaustive()
    }
}

/// The main task's row in the table, for as long as its future lies on the stack.
struct MainTask<'a> {
    event_loop: &'a EventLoop,
    id: Id,
}

impl<'a> MainTask<'a> {
    fn spawn(event_loop: &'a EventLoop, at: Place) -> (Self, Waker) {
        let name = Name(event_loop.name.clone().into_boxed_str());
        let mut own_waker = None;
        let id = event_loop.spawn(Some(Box::new(name)), at, |waker| {
            own_waker = Some(waker);
            None
        });
        let waker = own_waker.expect("a runtime that runs is not being dropped");
        (MainTask { event_loop, id }, waker)
    }
}

impl Drop for MainTask<'_> {
    fn drop(&mut self) {
        self.event_loop.tasks.remove_main(self.id);
    }
}

/// Installs a runtime's listener for as long as the runtime is at work on this thread.
struct Listening {
    before: Option<Option<Listener>>,
}

impl Listening {
    fn start(listener: Option<Listener>) -> Self {
        Listening { before: listener.map(|listener| event::listen(Some(listener))) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            event::listen(before);
        }
    }
}

/// Why [`Runtime::try_block_on`] has no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

// ===== settings =================================================================================

/// The settings of a runtime; see [`Runtime::builder`].
///
/// ```
/// use std::time::Duration;
///
/// let runtime = popleft::Runtime::builder()
///     .name("server")
///     .pool_size(4)
///     .shutdown_timeout(Duration::from_millis(200))
///     .build()
///     .unwrap();
/// runtime.block_on(async {});
/// ```
#[must_use = "a builder does nothing until `build`"]
#[derive(Default)]
pub struct Builder {
    pub(crate) settings: Settings,
    listener: Option<Listener>,
}

/// What can be set, and given to another thread.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    polls_between_looks: u32,
    spin: Duration,
    pool_size: usize,
    pool_idle: Duration,
    shutdown_timeout: Duration,
}

impl Settings {
    /// The name of one of several runtimes.
    pub(crate) fn name_of(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: String::from("main"),
            polls_between_looks: POLLS_BETWEEN_LOOKS,
            spin: Duration::ZERO,
            pool_size: ThreadPool::USUAL_SIZE,
            pool_idle: ThreadPool::USUAL_IDLE_TIME,
            shutdown_timeout: Duration::from_secs(1),
        }
    }
}

impl Builder {
    /// The name of the main task, and the beginning of the names of the pool's threads. `main` if
    /// you do not say.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// How many turns the loop takes before it looks outside though more tasks are ready. Fewer
    /// make it quicker to see sockets and timers, more make it look less often. 64 if you do not
    /// say; 0 counts as 1.
    pub fn polls_between_looks(mut self, polls: u32) -> Self {
        self.settings.polls_between_looks = polls.max(1);
        self
    }

    /// How long the loop goes on looking when it has nothing to do, before it sleeps. Off if you do
    /// not say.
    ///
    /// Falling asleep and being woken costs a few microseconds. A loop that spins a little longer
    /// than its peer takes to answer never pays them, and burns a processor instead: for one
    /// connection between two processors that have nothing else to do, it buys about a third
    /// more requests.
    pub fn spin(mut self, time: Duration) -> Self {
        self.settings.spin = time;
        self
    }

    /// How many threads the pool behind [`spawn_blocking`](crate::spawn_blocking) may have. They
    /// are started when they are needed. 32 if you do not say; 0 counts as 1.
    pub fn pool_size(mut self, threads: usize) -> Self {
        self.settings.pool_size = threads.max(1);
        self
    }

    /// How long a thread of the pool waits for a job before it ends. 10 s if you do not say.
    pub fn pool_idle(mut self, idle: Duration) -> Self {
        self.settings.pool_idle = idle;
        self
    }

    /// How long dropping the runtime waits for jobs that are running on the pool. Those that take
    /// longer are abandoned: their threads run on. 1 s if you do not say.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout;
        self
    }

    /// Has `listener` told of everything that happens in the runtime, as it happens, on the loop's
    /// own thread. What the listener does itself is not told, and it should not panic: the panic
    /// would end here.
    ///
    /// ```
    /// use popleft::event::Event;
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let polls = Rc::new(Cell::new(0));
    /// let count = polls.clone();
    /// let runtime = popleft::Runtime::builder()
    ///     .listener(move |event| {
    ///         if let Event::Poll { .. } = event {
    ///             count.set(count.get() + 1);
    ///         }
    ///     })
    ///     .build()
    ///     .unwrap();
    /// runtime.block_on(popleft::yield_now());
    /// assert_eq!(polls.get(), 2);
    /// ```
    pub fn listener(mut self, listener: impl Fn(&Event) + 'static) -> Self {
        self.listener = Some(Rc::new(listener));
        self
    }

    /// Makes the runtime.
    ///
    /// # Errors
    ///
    /// When the system has no file descriptors left.
    pub fn build(self) -> io::Result<Runtime> {
        let settings = self.settings;
        let jobs = ThreadPool::new(
            &settings.name,
            settings.pool_size,
            settings.pool_idle,
            settings.shutdown_timeout,
        );
        let event_loop = EventLoop::new(
            settings.name,
            settings.polls_between_looks,
            settings.spin,
            Ready::new(World::Real),
            Reactor::new()?,
            Box::new(jobs),
        );
        Ok(Runtime { event_loop: Rc::new(event_loop), listener: self.listener })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

// ===== the debugger's door ======================================================================

/// The loops that are running in this process, for a debugger to find: it can read a static
/// without knowing any thread's stack. Nothing in the library reads them.
static RUNNING_LOOPS: [AtomicPtr<EventLoop>; 64] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; 64];

struct DebuggersDoor {
    /// `None` when more loops are running than the debugger can be shown.
    slot: Option<&'static AtomicPtr<EventLoop>>,
}

impl DebuggersDoor {
    fn open(event_loop: &Rc<EventLoop>) -> Self {
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
        DebuggersDoor { slot }
    }
}

impl Drop for DebuggersDoor {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.store(std::ptr::null_mut(), Ordering::Relaxed);
        }
    }
}
