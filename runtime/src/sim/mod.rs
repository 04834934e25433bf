//! The simulated world: the same program, the same run, as often as you like.
//!
//! A program on this runtime takes little from outside: the time, the order in which ready tasks
//! have their turns, the network, the ends of jobs, signals. Here all of it comes from the simulation. No
//! socket, thread or clock of the system is touched, a sleep of a year takes no time, and a run is
//! determined by the program and the choices of the next task: first in first out as in the real
//! loop, by a seed, or by a [`Schedule`]. [`explore`] tries all schedules of a small program.
//!
//! ```
//! use std::time::Duration;
//! use popleft::sim::{self, Sim};
//! use popleft::time::sleep;
//!
//! let elapsed = Sim::new().seed(7).run(async {
//!     let year = Duration::from_secs(365 * 24 * 3600);
//!     let naps = [popleft::spawn(sleep(year)), popleft::spawn(sleep(year / 2))];
//!     for nap in naps {
//!         nap.await.unwrap();
//!     }
//!     assert_eq!(sim::elapsed(), year);
//!     sim::elapsed()
//! });
//! assert_eq!(elapsed.as_secs() / 3600, 8760);
//! ```
//!
//! # What is simulated, and how
//!
//! - **The clock** stands still while a task is ready. When none is, it jumps to whatever comes
//!   next. [`time`](crate::time) counts by it; ask [`time::now`](crate::time::now) and not
//!   `Instant::now`, which knows nothing of it. A task that only yields until some time has passed
//!   yields for ever; the run is stopped after [a number of turns](Sim::max_turns). The clock's
//!   zero is the one thing that is read from the system, once in a process, because an `Instant`
//!   can be made in no other way (on Linux this is a read of shared memory, not a system call);
//!   only the differences between instants mean anything.
//! - **Jobs** of [`spawn_blocking`](crate::spawn_blocking) take a stated time ([`Sim::job_time`],
//!   [`takes`]), all at once, as if there were threads enough. The work itself is done on the
//!   loop's own thread when that time is over: then its effects and its result are seen together.
//!   A job that is aborted before never runs. It cannot block on the loop: what it would wait for
//!   cannot happen meanwhile.
//! - **The network** is in memory: [`net`](crate::net)'s TCP sockets run over it as they do over the
//!   system's, and names come from its table. How far hosts are from each other, and which links
//!   break, says [`Sim::network`]; a program can [break them itself](network).
//! - **Signals** are those that the program raises: [`raise`], [`Sim::raise_after`].
//! - **Deadlocks** are certain at once: when no task is ready, no deadline set, no job or packet under
//!   way and no signal to come, nothing can happen, whoever holds a waker. The run ends with a [`Failure`]
//!   that holds the [`Deadlock`] as data.
//!
//! Other threads may take no part in a simulated run, and it cannot watch file descriptors of the
//! system: that is an error of the kind `Unsupported`.

mod explore;
mod network;
mod quiet;
mod random;
mod schedule;
mod search;
mod shared;
mod simulated;

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

pub use crate::deadlock::{Deadlock, Waiting};
pub use explore::{Options, Report, explore};
pub use network::{Link, Network, NetworkControl, OnHost, network, on_host};
pub use schedule::{ParseScheduleError, Schedule};
pub use shared::Shared;

use crate::event::{self, Event, Listener, Place, Warning};
use crate::event_loop::EventLoop;
use crate::reactor::Reactor;
#[cfg(feature = "record")]
use crate::record::{self, Sink, Target};
use crate::runtime::{RunError, Runtime};
use crate::task::deque::Ready;
use crate::turn;
use crate::world::World;
use random::Random;
use simulated::{Chooser, Halt, Simulated, SimulatedJobs};

/// How long a job takes unless it is said.
const JOB_TIME: Duration = Duration::from_millis(1);

/// How many turns a run may take unless it is said.
const MAX_TURNS: u64 = 10_000_000;

/// How many turns are taken between two looks into the inbox, as in the real loop.
const POLLS_BETWEEN_LOOKS: u32 = 64;

/// A simulated run, or several that are the same; see [the module](self).
///
/// ```
/// use popleft::sim::Sim;
/// use std::{cell::RefCell, rc::Rc};
///
/// let order = |sim: Sim| {
///     let log = Rc::new(RefCell::new(vec![]));
///     sim.run(async {
///         let tasks = [1, 2, 3].map(|n| {
///             let log = log.clone();
///             popleft::spawn(async move { log.borrow_mut().push(n) })
///         });
///         for task in tasks {
///             task.await.unwrap();
///         }
///     });
///     log.take()
/// };
/// assert_eq!(order(Sim::new()), [1, 2, 3]);
/// assert_eq!(order(Sim::new().schedule("2,1".parse().unwrap())), [3, 2, 1]);
/// assert_eq!(order(Sim::new().seed(7)), order(Sim::new().seed(7)));
/// ```
#[derive(Clone)]
#[must_use = "a simulation does nothing until `run`"]
pub struct Sim {
    choice: Choice,
    job_time: Duration,
    max_turns: u64,
    network: Network,
    signals: Vec<(Duration, i32)>,
    listener: Option<Listener>,
    #[cfg(feature = "record")]
    targets: Vec<Rc<dyn Fn() -> Target>>,
}

#[derive(Clone, Debug)]
enum Choice {
    Fifo,
    Seed(u64),
    Schedule(Schedule),
}

impl Default for Sim {
    fn default() -> Self {
        Sim {
            choice: Choice::Fifo,
            job_time: JOB_TIME,
            max_turns: MAX_TURNS,
            network: Network::new(),
            signals: Vec::new(),
            listener: None,
            #[cfg(feature = "record")]
            targets: Vec::new(),
        }
    }
}

impl Sim {
    /// A simulation in which the task that has been ready longest goes next, as in the real loop.
    pub fn new() -> Self {
        Sim::default()
    }

    /// Has the next task chosen at random; the same seed makes the same choices.
    pub fn seed(mut self, seed: u64) -> Self {
        self.choice = Choice::Seed(seed);
        self
    }

    /// Has the next task chosen by a schedule.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.choice = Choice::Schedule(schedule);
        self
    }

    /// How long a job takes for which [`takes`] says nothing; 1 ms if you do not say.
    pub fn job_time(mut self, time: Duration) -> Self {
        self.job_time = time;
        self
    }

    /// After how many turns the run is stopped as one that does not end; ten million if you do not
    /// say.
    pub fn max_turns(mut self, turns: u64) -> Self {
        self.max_turns = turns;
        self
    }

    /// The network that the run begins with. One without names, whose links take no time, if you do
    /// not say.
    ///
    /// ```
    /// use std::time::Duration;
    /// use popleft::net::{TcpListener, TcpStream};
    /// use popleft::sim::{self, Link, Network, Sim};
    ///
    /// let network = Network::new()
    ///     .name("db", [10, 0, 0, 2])
    ///     .other_links(Link::new().latency(Duration::from_millis(20)));
    /// Sim::new().network(network).run(async {
    ///     let listener = TcpListener::bind("db:5432").await.unwrap();
    ///     let server = popleft::spawn(async move {
    ///         let (client, _) = listener.accept().await.unwrap();
    ///         client.write_all(b"hello").await.unwrap();
    ///     });
    ///     let db = TcpStream::connect("db:5432").await.unwrap();
    ///     let mut greeting = [0; 5];
    ///     db.read_exact(&mut greeting).await.unwrap();
    ///     assert_eq!(&greeting, b"hello");
    ///     // To connect took there, back and there; the greeting came back.
    ///     assert_eq!(sim::elapsed(), Duration::from_millis(80));
    ///     server.await.unwrap();
    /// });
    /// ```
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Has the signal with this number come when this time has passed.
    pub fn raise_after(mut self, time: Duration, signal: i32) -> Self {
        self.signals.push((time, signal));
        self
    }

    /// Has `listener` told of everything that happens in the run; see
    /// [`Builder::listener`](crate::Builder::listener). [`elapsed`] tells it when that was.
    pub fn listener(mut self, listener: impl Fn(&Event) + 'static) -> Self {
        self.listener = Some(Rc::new(listener));
        self
    }

    /// Records each run to a sink of its own, which `make_sink` makes. Times are virtual: the same
    /// program, seed and schedule make the same recording, byte by byte. What
    /// [records every runtime](crate::record::record_all) of a process records simulated runs too,
    /// but not those of [`explore`].
    ///
    /// ```
    /// use popleft::record::Memory;
    /// use popleft::sim::Sim;
    ///
    /// let record = || {
    ///     let memory = Memory::all();
    ///     let sink = memory.clone();
    ///     Sim::new().seed(7).record(move || sink.clone()).run(async {
    ///         let tasks = [1, 2, 3].map(|_| popleft::spawn(popleft::yield_now()));
    ///         for task in tasks {
    ///             task.await.unwrap();
    ///         }
    ///     });
    ///     let mut bytes = vec![];
    ///     memory.write_to(&mut bytes).unwrap();
    ///     bytes
    /// };
    /// assert_eq!(record(), record());
    /// ```
    #[cfg(feature = "record")]
    pub fn record<S: Sink + 'static>(mut self, make_sink: impl Fn() -> S + 'static) -> Self {
        self.targets.push(Rc::new(move || Target::of(make_sink())));
        self
    }

    /// What the run of this loop is listened to with.
    fn listener_of(&self, event_loop: &Rc<EventLoop>) -> Option<Listener> {
        let listener = self.listener.clone();
        #[cfg(feature = "record")]
        let listener = {
            let targets = self.targets.iter().map(|make| make()).collect();
            record::listener(listener, targets, POLLS_BETWEEN_LOOKS, event_loop)
        };
        #[cfg(not(feature = "record"))]
        let _ = event_loop;
        listener
    }

    /// Runs `future` as the main task, until it has ended; then all tasks that are left are
    /// dropped.
    ///
    /// # Panics
    ///
    /// - When the future panics, with its panic. A line on standard error says which seed or
    ///   schedule it was.
    /// - When another task panics and nobody joins it, also by leaving its handle; the real loop
    ///   prints that and goes on.
    /// - When the run fails in another way, with the [`Failure`] as its message.
    /// - When a runtime is running on this thread already.
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        match self.run_to_its_end(future) {
            Ok(output) => output,
            Err((failure, Some(payload))) => {
                if !matches!(self.choice, Choice::Fifo) {
                    eprintln!("popleft: in a simulation with {}", failure.how_to_reproduce());
                }
                resume_unwind(payload)
            }
            Err((failure, None)) => panic!("{failure}"),
        }
    }

    /// The same, but returns what went wrong.
    ///
    /// # Errors
    ///
    /// Whatever [`FailureKind`] says.
    ///
    /// # Panics
    ///
    /// When a runtime is running on this thread already.
    ///
    /// ```
    /// use popleft::sim::{FailureKind, Sim};
    ///
    /// let failure = Sim::new().try_run(std::future::pending::<()>()).unwrap_err();
    /// assert!(matches!(failure.kind, FailureKind::Deadlock(_)));
    /// ```
    #[track_caller]
    pub fn try_run<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        self.run_to_its_end(future).map_err(|(failure, _)| failure)
    }

    #[track_caller]
    fn run_to_its_end<F: Future>(
        &self,
        future: F,
    ) -> Result<F::Output, (Failure, Option<Payload>)> {
        assert_that_nothing_runs_here();
        let chooser = match &self.choice {
            Choice::Fifo => Chooser::Fifo,
            Choice::Seed(seed) => Chooser::Seeded(Random::new(*seed)),
            Choice::Schedule(schedule) => Chooser::Listed(schedule.clone(), 0),
        };
        let network = self.network.clone();
        let simulated = Rc::new(Simulated::new(chooser, self.job_time, self.max_turns, network));
        for &(time, signal) in &self.signals {
            simulated.raise_after(time, signal);
        }
        let at = Place::of(Location::caller());
        let (ended, warnings) =
            run_in(&simulated, &|event_loop| self.listener_of(event_loop), at, future);
        for warning in warnings {
            // A deadlock is returned, with all that there is to say of it.
            if matches!(warning, Warning::Panic(_))
                || matches!(ended, Ended::Returned(_) | Ended::Panicked(_))
            {
                event::warn(warning);
            }
        }
        let failure = |kind| Failure {
            kind,
            seed: match self.choice {
                Choice::Seed(seed) => Some(seed),
                _ => None,
            },
            schedule: simulated.schedule().trimmed(),
        };
        match ended {
            Ended::Returned(output) => Ok(output),
            Ended::Panicked(payload) => {
                let kind = FailureKind::Panic(text_of(&*payload));
                Err((failure(kind), Some(payload)))
            }
            Ended::Failed(kind) => Err((failure(kind), None)),
            Ended::GivenUp => unreachable!("only a search gives a run up"),
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("choice", &self.choice)
            .field("job_time", &self.job_time)
            .field("max_turns", &self.max_turns)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

// ===== one run ==================================================================================

/// How a run ended.
enum Ended<T> {
    Returned(T),
    Panicked(Payload),
    Failed(FailureKind),
    /// All that could come has been seen in other runs.
    GivenUp,
}

#[track_caller]
fn assert_that_nothing_runs_here() {
    assert!(
        turn::running_loop() == 0,
        "cannot simulate inside a runtime: this thread is running one already, simulated or not"
    );
}

/// Makes what a run is listened to with, if it is.
type Listen<'a> = &'a dyn Fn(&Rc<EventLoop>) -> Option<Listener>;

/// Runs `future` in a world of its own, from the making of its loop to the last drop. Returns what
/// a person should know besides, unprinted.
fn run_in<F: Future>(
    simulated: &Rc<Simulated>,
    listen: Listen<'_>,
    at: Place,
    future: F,
) -> (Ended<F::Output>, Vec<Warning>) {
    let warnings_before = event::collect_warnings(Some(Vec::new()));
    let ended = run_collecting(simulated, listen, at, future);
    let mut warnings = event::collect_warnings(warnings_before).unwrap_or_default();
    let unjoined = warnings.iter().position(|warning| matches!(warning, Warning::Panic(_)));
    match (ended, unjoined) {
        (Ended::Returned(_), Some(at)) => {
            let (Warning::Panic(text) | Warning::Locks(text) | Warning::Stall(text)) =
                warnings.remove(at);
            let text = text.trim_start_matches("popleft: ").trim_end().to_string();
            (Ended::Failed(FailureKind::Panic(text)), warnings)
        }
        (ended, _) => (ended, warnings),
    }
}

fn run_collecting<F: Future>(
    simulated: &Rc<Simulated>,
    listen: Listen<'_>,
    at: Place,
    future: F,
) -> Ended<F::Output> {
    let event_loop = Rc::new(EventLoop::new(
        String::from("main"),
        POLLS_BETWEEN_LOOKS,
        Duration::ZERO,
        Ready::new(World::Simulated(simulated.clone())),
        Reactor::simulated(simulated.clone()),
        Box::new(SimulatedJobs(simulated.clone())),
    ));
    simulated.set_inbox(event_loop.inbox.clone());
    let _running = Running::begin(simulated.clone());
    let listener = listen(&event_loop);
    let runtime = Runtime { event_loop, listener };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.try_block_on_at(future, at)));
    let found = runtime.event_loop.hope.take_found();
    // Tasks that are left may wake, raise or look at the clock while they are dropped.
    drop(runtime);
    match (ended, simulated.take_halt()) {
        (_, Some(Halt::GivenUp)) => Ended::GivenUp,
        (_, Some(Halt::Misfit(why))) => Ended::Failed(FailureKind::Misfit(why)),
        (_, Some(Halt::TooLong)) => Ended::Failed(FailureKind::Endless),
        (Err(payload), None) => Ended::Panicked(payload),
        (Ok(Ok(output)), None) => match simulated.unused_choices() {
            None => Ended::Returned(output),
            Some((used, all)) => Ended::Failed(FailureKind::Misfit(format!(
                "the schedule does not fit the program: it holds {all} choices, but more than one \
                 task was ready only {used} times"
            ))),
        },
        (Ok(Err(RunError::Stalled)), None) => match found {
            Some(deadlock) => Ended::Failed(FailureKind::Deadlock(deadlock)),
            None => unreachable!("a loop that stalls says who waits"),
        },
        (Ok(Err(RunError::Stopped)), None) => Ended::Failed(FailureKind::Stopped),
        (Ok(Err(RunError::Cancelled)), None) => Ended::Failed(FailureKind::Cancelled),
    }
}

/// The text that a panic carries.
fn text_of(payload: &dyn Any) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => String::from("a panic without a text"),
    }
}

thread_local! {
    static RUNNING: RefCell<Option<Rc<Simulated>>> = const { RefCell::new(None) };
}

/// Makes a world the one that is simulated on this thread, until it is dropped.
struct Running;

impl Running {
    fn begin(simulated: Rc<Simulated>) -> Running {
        RUNNING.replace(Some(simulated));
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.replace(None);
    }
}

fn running() -> Option<Rc<Simulated>> {
    RUNNING.with_borrow(Clone::clone)
}

// ===== what a simulated program may ask and do ==================================================

/// How much virtual time has passed since the run began.
///
/// # Panics
///
/// When no simulation is running on this thread.
#[track_caller]
pub fn elapsed() -> Duration {
    let Some(simulated) = running() else {
        panic!("no time has elapsed: no simulation is running on this thread");
    };
    simulated.elapsed()
}

/// The choices that the run has made so far. `None` when no simulation is running on this thread.
pub fn schedule() -> Option<Schedule> {
    running().map(|simulated| simulated.schedule())
}

/// Has the signal with this number come now: whoever listens for it hears of it. One for which
/// nobody listens does nothing.
///
/// # Panics
///
/// When no simulation is running on this thread.
///
/// ```
/// # #[cfg(feature = "signal")] {
/// use popleft::signal::{self, SIGINT};
/// use popleft::sim::{self, Sim};
///
/// Sim::new().run(async {
///     let pressed = popleft::spawn(signal::ctrl_c());
///     sim::raise(SIGINT);
///     pressed.await.unwrap().unwrap();
/// });
/// # }
/// ```
#[track_caller]
pub fn raise(signal: i32) {
    let Some(simulated) = running() else {
        panic!("cannot raise signal {signal}: no simulation is running on this thread");
    };
    simulated.raise(signal);
}

/// Says how long the next job takes that is given to [`spawn_blocking`](crate::spawn_blocking) on
/// this thread. Without a simulation it does nothing: there a job takes as long as it takes.
///
/// ```
/// use std::time::Duration;
/// use popleft::sim::{self, Sim};
///
/// Sim::new().run(async {
///     sim::takes(Duration::from_secs(3600));
///     let sum = popleft::spawn_blocking(|| 2 + 2);
///     assert_eq!(sum.await.unwrap(), 4);
///     assert_eq!(sim::elapsed(), Duration::from_secs(3600));
/// });
/// ```
pub fn takes(time: Duration) {
    if let Some(simulated) = running() {
        simulated.set_next_job_time(time);
    }
}

// ===== failures =================================================================================

/// A run that went wrong, and how to have it again.
///
/// ```
/// use popleft::sim::Sim;
///
/// let program = || async {
///     let broken = popleft::spawn(async { panic!("it broke") });
///     broken.await.unwrap()
/// };
/// let failure = Sim::new().try_run(program()).unwrap_err();
/// assert!(failure.to_string().contains("it broke"));
/// let again = Sim::new().schedule(failure.schedule.clone()).try_run(program());
/// assert_eq!(again.unwrap_err().kind, failure.kind);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The seed by which the next task was chosen, if it was.
    pub seed: Option<u64>,
    /// The choices up to the failure, without those at the end that the real loop makes by itself.
    /// A simulation with this [`schedule`](Sim::schedule) fails in the same way.
    pub schedule: Schedule,
}

/// What can go wrong in a simulated run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The main task panicked, or one that nobody joined; this is what it said.
    Panic(String),
    /// Every task is parked, and nothing can ever happen.
    Deadlock(Deadlock),
    /// The run took more turns than it was allowed.
    Endless,
    /// The schedule does not fit the program, or the program is not the same at every run; this
    /// is how.
    Misfit(String),
    /// The program stopped its own loop with [`Handle::stop`](crate::Handle::stop).
    Stopped,
    /// The main task was aborted.
    Cancelled,
}

impl Failure {
    fn how_to_reproduce(&self) -> String {
        let schedule = match self.schedule.choices() {
            [] => String::from("every choice first in first out"),
            _ => format!("schedule {}", self.schedule),
        };
        match self.seed {
            Some(seed) => format!("seed {seed}, {schedule}"),
            None => schedule,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  reproduced with {}", self.kind, self.how_to_reproduce())
    }
}

impl Error for Failure {}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureKind::Panic(text) => write!(f, "panic: {text}"),
            FailureKind::Deadlock(deadlock) => {
                let list = deadlock.to_string();
                write!(f, "deadlock: nothing can ever happen again\n{}", list.trim_end())
            }
            FailureKind::Endless => f.write_str("the run does not end: it took all its turns"),
            FailureKind::Misfit(how) => f.write_str(how),
            FailureKind::Stopped => write!(f, "{}", RunError::Stopped),
            FailureKind::Cancelled => write!(f, "{}", RunError::Cancelled),
        }
    }
}
