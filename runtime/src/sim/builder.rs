//! The settings of a simulated run, and the ways to have it.

use std::fmt;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::failure::{Failure, FailureKind};
use super::network::Network;
use super::random::Random;
#[cfg(feature = "record")]
use super::run::POLLS_BETWEEN_LOOKS;
use super::run::{Payload, RunEnd, assert_that_nothing_runs_here, run_in};
use super::schedule::Schedule;
use super::simulated::{Chooser, Simulated};
use crate::base::event::{Event, Listener};
use crate::base::panics::words_of;
use crate::base::place::Place;
use crate::base::warning::{self, Warning};
use crate::event_loop::EventLoop;
#[cfg(feature = "record")]
use crate::record::{self, Sink, Target};

/// How long a job takes unless it is said.
pub(super) const JOB_TIME: Duration = Duration::from_millis(1);

/// How many turns a run may take unless it is said.
const MAX_TURNS: u64 = 10_000_000;

/// A simulated run, or several that are the same; see [the module](super).
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

    /// How long a job takes for which [`next_job_takes`](super::next_job_takes) says nothing. Defaults to 1 ms.
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
    /// [`Builder::listener`](crate::Builder::listener). [`elapsed`](super::elapsed) tells it when that was.
    pub fn listener(mut self, listener: impl Fn(&Event) + 'static) -> Self {
        self.listener = Some(Rc::new(listener));
        self
    }

    /// Records each run to a sink of its own, which `make_sink` makes. Times are virtual: the same
    /// program, seed and schedule make the same recording, byte by byte. What
    /// [records every runtime](crate::record::record_all) of a process records simulated runs too,
    /// but not those of [`explore`](super::explore()).
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
    /// - When another task panics and no task joins it, also by leaving its handle; and when
    ///   something panics that cannot be joined: a destructor of a task that is dropped with the
    ///   run, a waker. The real loop prints that and goes on.
    /// - When the run fails in another way, with the [`Failure`] as its message.
    /// - When a runtime is running on this thread already.
    #[track_caller]
    #[expect(clippy::print_stderr, reason = "a test harness keeps it with the panic's own message")]
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

    /// Runs a main task as [`run`](Sim::run) does, but returns what went wrong.
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
                || matches!(ended, RunEnd::Returned(_) | RunEnd::Panicked(_))
            {
                warning::warn(warning);
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
            RunEnd::Returned(output) => Ok(output),
            RunEnd::Panicked(payload) => {
                let kind = FailureKind::Panic(words_of(&*payload));
                Err((failure(kind), Some(payload)))
            }
            RunEnd::Failed(kind) => Err((failure(kind), None)),
            RunEnd::GivenUp | RunEnd::NotTheSame(_) => {
                unreachable!("only a search gives a run up, or holds it against another")
            }
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
