//! How a program gets a loop: `run`, or a runtime with settings of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::base::event::{Event, Listener};
use crate::base::world::World;
use crate::event_loop::{self, EventLoop};
use crate::offload::ThreadPool;
use crate::reactor::Backend;
#[cfg(feature = "record")]
use crate::record::{self, Sink, Target};
use crate::runtime::Runtime;
use crate::sim;

/// The default of [`Builder::polls_between_looks`].
const POLLS_BETWEEN_LOOKS: u32 = 64;

/// Runs `future` to its end on this thread and returns what it returned.
///
/// This is `asyncio.run`: it makes a [`Runtime`], runs the future as its main task, and drops the
/// runtime, with all remaining tasks, when the main task completes.
///
/// # Panics
///
/// - When the future panics, with its panic.
/// - When a runtime is already running on this thread.
/// - When the main task is aborted, the loop is stopped, or the program can never continue; see
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

/// Runs `future` to its end on this thread, and returns an error if that is not possible.
///
/// Like [`run`], but a runtime that cannot be made and a main task that cannot complete are errors
/// rather than panics.
///
/// # Errors
///
/// - When the system refuses what a runtime needs (no file descriptors or no memory left); the
///   error names the call that failed.
/// - A [`RunError`](crate::RunError), inside the [`io::Error`], when the main task was aborted, the
///   loop was stopped, or the program can never continue.
///
/// # Panics
///
/// When the future panics, with its panic, and when a runtime is already running on this thread.
///
/// ```
/// let answer = popleft::try_run(async { 6 * 7 })?;
/// assert_eq!(answer, 42);
///
/// let hangs = popleft::try_run(std::future::pending::<()>()).unwrap_err();
/// assert!(hangs.get_ref().unwrap().is::<popleft::RunError>());
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn try_run<F: Future>(future: F) -> io::Result<F::Output> {
    Runtime::new()?.try_block_on(future).map_err(io::Error::other)
}

impl Runtime {
    /// Makes a runtime with the default settings.
    ///
    /// # Errors
    ///
    /// When the system has no file descriptors left.
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Returns a builder, for a runtime with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

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
    #[cfg(feature = "record")]
    targets: Vec<Target>,
}

/// The settings that can be sent to another thread.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    polls_between_looks: u32,
    spin: Duration,
    report_stalls: bool,
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
            report_stalls: true,
            pool_size: ThreadPool::DEFAULT_SIZE,
            pool_idle: ThreadPool::DEFAULT_IDLE_TIMEOUT,
            shutdown_timeout: Duration::from_secs(1),
        }
    }
}

impl Builder {
    /// Sets the name of the main task, which is also the prefix of the names of the pool's threads.
    ///
    /// Defaults to `main`. It must not contain a zero byte.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Sets how many turns the loop takes before it polls for I/O, timers and messages from other
    /// threads, although more tasks are ready.
    ///
    /// A lower number notices sockets and timers sooner, a higher one makes fewer system calls.
    /// Defaults to 64; 0 counts as 1.
    pub fn polls_between_looks(mut self, polls: u32) -> Self {
        self.settings.polls_between_looks = polls.max(1);
        self
    }

    /// Sets how long an idle loop keeps polling for events before it sleeps.
    ///
    /// Defaults to zero: it sleeps at once. Falling asleep and being woken costs a few microseconds.
    /// A loop that spins a little longer than its peer takes to answer never pays them, but keeps a
    /// processor busy: for one connection between two otherwise idle processors it handles about a
    /// third more requests.
    pub fn spin(mut self, time: Duration) -> Self {
        self.settings.spin = time;
        self
    }

    /// Sets how many threads the pool behind [`spawn_blocking`](crate::spawn_blocking) may have.
    ///
    /// They are started when they are needed. Defaults to 32; 0 counts as 1.
    pub fn pool_size(mut self, threads: usize) -> Self {
        self.settings.pool_size = threads.max(1);
        self
    }

    /// Sets how long an idle thread of the pool waits for a job before it exits. Defaults to 10 s.
    pub fn pool_idle(mut self, idle: Duration) -> Self {
        self.settings.pool_idle = idle;
        self
    }

    /// Sets how long dropping the runtime waits for jobs that are running on the pool.
    ///
    /// Jobs that take longer are abandoned: their threads keep running. Defaults to 1 s.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout;
        self
    }

    /// Calls `listener` with every [event](crate::event) of the runtime, as it happens, on the
    /// loop's own thread.
    ///
    /// What the listener itself does causes no events. It should not panic: the panic is caught and
    /// printed.
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

    /// Records everything that happens in the runtime to `sink`.
    ///
    /// A second call adds a second sink. The recording begins when the runtime is made and ends
    /// when it is dropped. See [`record`](mod@crate::record). Needs the feature `record`, which is
    /// on by default.
    ///
    /// ```
    /// use popleft::record::Memory;
    ///
    /// let memory = Memory::all();
    /// let runtime = popleft::Runtime::builder().record(memory.clone()).build().unwrap();
    /// runtime.block_on(async {});
    /// for entry in memory.entries() {
    ///     println!("{:>10?} {:?}", entry.t, entry.event);
    /// }
    /// ```
    #[cfg(feature = "record")]
    pub fn record(mut self, sink: impl Sink + 'static) -> Self {
        self.targets.push(Target::of(sink));
        self
    }

    /// Sets whether a report is printed when every task has been parked for a second and only
    /// another thread could wake one.
    ///
    /// Defaults to true, because most programs in that state hang. Turn it off for a program whose
    /// tasks wait for its own threads, or for another crate's reactor. A program in which nothing
    /// can ever happen again still ends with a report.
    pub fn report_stalls(mut self, yes: bool) -> Self {
        self.settings.report_stalls = yes;
        self
    }

    /// Makes the runtime.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) when the [name](Builder::name) contains a
    ///   zero byte, which no thread's name can contain.
    /// - When the system has no file descriptors left.
    pub fn build(self) -> io::Result<Runtime> {
        let settings = self.settings;
        if settings.name.contains('\0') {
            let said = format!("a runtime's name cannot contain a zero byte: {:?}", settings.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
        }
        let polls_between_looks = settings.polls_between_looks;
        let mut listener = self.listener;
        let simulated = sim::loop_for_a_job(&settings.name, polls_between_looks);
        if simulated.is_some() {
            // Events of this runtime must not reach the listener of the simulation around it.
            listener.get_or_insert_with(|| Rc::new(|_: &Event| {}));
        }
        let event_loop = match simulated {
            Some(event_loop) => event_loop,
            None => real_loop(settings)?,
        };
        #[cfg(feature = "record")]
        let listener = record::listener(listener, self.targets, polls_between_looks, &event_loop);
        Ok(Runtime { event_loop, listener })
    }
}

/// A loop that uses the system's clock, poller and threads.
fn real_loop(settings: Settings) -> io::Result<Rc<EventLoop>> {
    let jobs = ThreadPool::new(
        &settings.name,
        settings.pool_size,
        settings.pool_idle,
        settings.shutdown_timeout,
    );
    let settings = event_loop::Settings {
        name: settings.name,
        polls_between_looks: settings.polls_between_looks,
        spin: settings.spin,
        report_stalls: settings.report_stalls,
    };
    let world = World::Real;
    Ok(Rc::new(EventLoop::new(settings, world, Backend::kernel()?, Box::new(jobs))))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
