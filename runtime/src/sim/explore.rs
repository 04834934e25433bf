//! All schedules of a program, or as many as there is time for.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::builder::JOB_TIME;
use super::failure::{Failure, FailureKind};
use super::network::Network;
use super::quiet::{Heard, Quiet};
use super::random::Random;
use super::run::{RunEnd, assert_that_nothing_runs_here, run_in};
use super::schedule::Schedule;
use super::search::Search;
use super::shared::{self, Declared, Watch};
use super::simulated::{Chooser, Simulated};
use super::trail::Trail;
use crate::base::event::Listener;
use crate::base::panics::words_of;
use crate::base::place::{Place, Why};

/// How often the first schedule is repeated, to see whether the program does the same again. A
/// program with few schedules has few other runs in which it could give itself away.
const REPEATS_OF_THE_FIRST: u32 = 31;

/// How far [`explore`] goes.
///
/// ```
/// use popleft::sim::{ExploreOptions, explore};
///
/// let options = ExploreOptions::new().max_schedules(10).random(5).seed(7);
/// let report = explore(options, || async {
///     for _ in 0..4 {
///         popleft::spawn(popleft::yield_now());
///     }
///     popleft::yield_now().await;
/// });
/// assert_eq!((report.schedules, report.complete), (15, false));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ExploreOptions {
    max_schedules: u64,
    random: u64,
    seed: u64,
    max_turns: u64,
    job_time: Duration,
    network: Network,
    skip_equivalent: bool,
    declares_all: bool,
}

impl Default for ExploreOptions {
    fn default() -> Self {
        ExploreOptions {
            max_schedules: 100_000,
            random: 10_000,
            seed: 0,
            max_turns: 10_000,
            job_time: JOB_TIME,
            network: Network::new(),
            skip_equivalent: true,
            declares_all: false,
        }
    }
}

impl ExploreOptions {
    /// The usual ones.
    pub fn new() -> Self {
        ExploreOptions::default()
    }

    /// How many schedules are tried one after the other, depth-first. Defaults to 100,000.
    pub fn max_schedules(mut self, schedules: u64) -> Self {
        self.max_schedules = schedules;
        self
    }

    /// How many are tried at random when those were not all. Defaults to 10,000.
    pub fn random(mut self, schedules: u64) -> Self {
        self.random = schedules;
        self
    }

    /// The seed of the random ones. Defaults to 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// After how many turns a run counts as one that does not end. Defaults to 10,000.
    pub fn max_turns(mut self, turns: u64) -> Self {
        self.max_turns = turns;
        self
    }

    /// How long a job takes; see [`Sim::job_time`](super::Sim::job_time).
    pub fn job_time(mut self, time: Duration) -> Self {
        self.job_time = time;
        self
    }

    /// The network that each run begins with; see [`Sim::network`](super::Sim::network).
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Whether schedules are skipped that can only do what another has done; see
    /// [`Shared`](super::Shared). Defaults to `true`.
    pub fn skip_equivalent(mut self, skip: bool) -> Self {
        self.skip_equivalent = skip;
        self
    }

    /// A promise: what tasks share is in a [`Shared`](super::Shared) or in a
    /// [`Mutex`](crate::sync::Mutex), but for what nothing depends on, and they wake each other only
    /// through locks and join handles. Then a step of a task counts as declared also when it uses no
    /// `Shared`, and far more schedules are skipped. If the promise is broken, so may be the proof:
    /// a failure may go unseen. Defaults to `false`.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use popleft::sim::{ExploreOptions, explore};
    /// use popleft::sync::Mutex;
    ///
    /// let program = || async {
    ///     let locks = [(); 2].map(|()| Rc::new(Mutex::new(0)));
    ///     let tasks = [0, 0, 1, 1].map(|n| {
    ///         let lock = locks[n].clone();
    ///         popleft::spawn(async move { *lock.lock().await += 1 })
    ///     });
    ///     for task in tasks {
    ///         task.await.unwrap();
    ///     }
    /// };
    /// let some = explore(ExploreOptions::new().declares_all(true), program);
    /// let all = explore(ExploreOptions::new(), program);
    /// assert!(some.complete && all.complete);
    /// assert!(some.schedules * 3 < all.schedules);
    /// ```
    pub fn declares_all(mut self, promise: bool) -> Self {
        self.declares_all = promise;
        self
    }
}

/// What [`explore`] has found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExploreReport {
    /// How many schedules ran to their end. Their repeats are not counted.
    pub schedules: u64,
    /// How many runs were given up because all that could follow had been seen.
    pub skipped: u64,
    /// Whether that was all: every schedule of the program ran, or was skipped as equivalent, and
    /// the program did the same whenever a schedule was repeated.
    pub complete: bool,
    /// Whether schedules were skipped that can only do what another has done. If not, and if the
    /// search is complete, each schedule there is ran once.
    pub skipping: bool,
    /// Each distinct failure once, with the shortest schedule that was found for it. Panics are
    /// told apart by their lines, deadlocks by which task waits where.
    pub failures: Vec<Failure>,
}

impl ExploreReport {
    /// For tests: nothing may have failed.
    ///
    /// # Panics
    ///
    /// When there is a failure; the message says which, and how to have it again.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert!(self.failures.is_empty(), "{self}");
    }
}

impl fmt::Display for ExploreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = match (self.complete, self.skipping) {
            (true, false) => "which is all",
            (true, true) => "and all others can only do what one of these did",
            (false, _) => "which is not all",
        };
        write!(f, "{} schedules ran, {all}; ", self.schedules)?;
        if self.skipped > 0 {
            write!(f, "{} were given up as equivalent; ", self.skipped)?;
        }
        match self.failures.len() {
            0 => f.write_str("none failed")?,
            1 => f.write_str("one failure:")?,
            several => write!(f, "{several} different failures:")?,
        }
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

/// Runs `program` under every schedule: one run for each way to choose the next task, wherever
/// more than one is ready. What is simulated, and how, says [the module](super).
///
/// It searches depth-first; when [that takes too many runs](ExploreOptions::max_schedules) it goes on with
/// schedules chosen at random. A run fails when the main task panics, when a task panics and nothing
/// joins it, when a destructor panics while the tasks that are left are dropped, when nothing can
/// happen any more (a deadlock), and when it does not end. Panics of the runs are not printed, unless
/// one ends the process (it leaves a destructor while another panic unwinds the stack): before the
/// end that run's panics and its schedule are written to standard error.
///
/// `program` must do the same at every run but for the schedule: what it shares has to be made
/// inside it, and nothing may depend on the order of a `HashMap` or on a clock of the system. A
/// program of which that does not hold is found out: every run is made twice, that of the first
/// schedule thirty-two times, and the same tasks have to be ready, in the same order and at the same
/// time, before each turn, and the end has to be the same; as far as a schedule begins like the one
/// before, its run is held against that one too. When something differs the search ends with a
/// [`ScheduleMismatch`](FailureKind::ScheduleMismatch) that says what, and the report is never
/// [complete](ExploreReport::complete). So a search costs about twice the runs that it
/// [counts](ExploreReport::schedules); a difference that comes up in one run of very many, or that no turn
/// shows, can still go unseen.
///
/// # Panics
///
/// When a runtime is running on this thread already.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use popleft::sim::{ExploreOptions, Sim, explore};
///
/// async fn program() {
///     let count = Rc::new(Cell::new(0));
///     let add = || {
///         let count = count.clone();
///         popleft::spawn(async move {
///             let before = count.get();
///             popleft::yield_now().await; // Another task may count meanwhile.
///             count.set(before + 1);
///         })
///     };
///     let (first, second) = (add(), add());
///     first.await.unwrap();
///     second.await.unwrap();
///     assert_eq!(count.get(), 2, "an update was lost");
/// }
///
/// let report = explore(ExploreOptions::new(), program);
/// assert!(report.complete);
/// let [failure] = &report.failures[..] else { panic!("{report}") };
/// assert!(failure.to_string().contains("an update was lost"));
/// // The same again, as often as you like; with a listener, or in a debugger.
/// let again = Sim::new().schedule(failure.schedule.clone()).try_run(program());
/// assert!(again.is_err());
/// ```
#[track_caller]
pub fn explore<P, F>(options: ExploreOptions, program: P) -> ExploreReport
where
    P: Fn() -> F,
    F: Future,
{
    assert_that_nothing_runs_here();
    Exploration {
        options,
        program,
        at: Place::of(Location::caller()),
        quiet: Quiet::begin(),
        report: ExploreReport {
            schedules: 0,
            skipped: 0,
            complete: false,
            skipping: false,
            failures: Vec::new(),
        },
        trail: Trail::default(),
        found: Vec::new(),
    }
    .run()
}

struct Exploration<P> {
    options: ExploreOptions,
    program: P,
    /// Where the search was asked for: there every main task is spawned.
    at: Place,
    quiet: Quiet,
    report: ExploreReport,
    /// What the last run did, turn by turn.
    trail: Trail,
    /// What tells each failure of the report from the others.
    found: Vec<Distinct>,
}

/// What makes two failures the same.
#[derive(Clone, Debug, PartialEq)]
enum Distinct {
    /// The lines that panicked, in their order.
    Panic(Vec<String>),
    /// Where each task waits.
    Deadlock(Vec<(Place, Why, Place)>),
    /// Its text says it all.
    Other(String),
}

impl<P, F> Exploration<P>
where
    P: Fn() -> F,
    F: Future,
{
    fn run(mut self) -> ExploreReport {
        if let Err(differs) = self.search().and_then(|()| self.go_on_at_random()) {
            self.remember(Distinct::Other(differs.kind.to_string()), differs);
        }
        self.report
    }

    /// Tries one schedule after the other.
    ///
    /// # Errors
    ///
    /// When the program does not do the same again.
    fn search(&mut self) -> Result<(), Failure> {
        // Only a program that declares what it uses has schedules to skip; the first run shows it.
        let promised = self.options.skip_equivalent && self.options.declares_all;
        let skipping = promised.then_some(Declared::All);
        let mut search = Rc::new(RefCell::new(Search::new(skipping)));
        self.report.skipping = promised;
        let mut is_first = !promised;
        while !self.report.complete && self.runs() < self.options.max_schedules {
            let known_turns = search.borrow_mut().begin_run();
            self.trail.begin_run(known_turns);
            let ran = self.run_once(Chooser::Search(search.clone()), None)?;
            if is_first && self.options.skip_equivalent && shared::cells_were_used() {
                let skipping = Some(Declared::WithACell);
                search = Rc::new(RefCell::new(Search::new(skipping)));
                self.report.skipping = true;
            } else {
                for _ in 0..self.repeats() {
                    search.borrow_mut().begin_repeat();
                    self.repeat(&ran, Chooser::Search(search.clone()), None)?;
                }
                self.count(ran);
                self.report.complete = !search.borrow_mut().end_run();
            }
            is_first = false;
        }
        Ok(())
    }

    /// Tries some more, chosen at random, if those were not all.
    ///
    /// # Errors
    ///
    /// When the program does not do the same again.
    fn go_on_at_random(&mut self) -> Result<(), Failure> {
        if self.report.complete {
            return Ok(());
        }
        let mut seeds = Random::new(self.options.seed);
        for _ in 0..self.options.random {
            let seed = seeds.next();
            let chooser = || Chooser::Seeded(Random::new(seed));
            self.trail.begin_run(0);
            let ran = self.run_once(chooser(), Some(seed))?;
            for _ in 0..self.repeats() {
                self.repeat(&ran, chooser(), Some(seed))?;
            }
            self.count(ran);
        }
        Ok(())
    }

    fn runs(&self) -> u64 {
        self.report.schedules + self.report.skipped
    }

    /// How often the run that has just been made is to be made again.
    fn repeats(&self) -> u32 {
        if self.runs() == 0 { REPEATS_OF_THE_FIRST } else { 1 }
    }

    /// A run that has to do what the last one did.
    fn repeat(&mut self, ran: &Ran, chooser: Chooser, seed: Option<u64>) -> Result<(), Failure> {
        self.trail.begin_repeat();
        let again = self.run_once(chooser, seed)?;
        if again.outcome.is_like(&ran.outcome) {
            return Ok(());
        }
        let (before, now) = (&ran.outcome, &again.outcome);
        let what = format!("one run {before}; the next one {now}");
        Err(not_the_same(&what, again.seed, again.schedule))
    }

    /// # Errors
    ///
    /// When it departs from what is known of it.
    fn run_once(&mut self, chooser: Chooser, seed: Option<u64>) -> Result<Ran, Failure> {
        let watching = match &chooser {
            Chooser::Search(search) => search.borrow().is_skipping(),
            _ => false,
        };
        let listener: Option<Listener> = watching.then(|| Rc::new(shared::hear) as Listener);
        let simulated = Rc::new(Simulated::new(
            chooser,
            self.options.job_time,
            self.options.max_turns,
            self.options.network.clone(),
        ));
        simulated.follow(std::mem::take(&mut self.trail));
        let watch = Watch::begin(watching);
        let program = &self.program;
        let (ended, _) =
            run_in(&simulated, &|_| listener.clone(), self.at, async { drop(program().await) });
        drop(watch);
        let panics = self.quiet.take();
        let schedule = simulated.schedule().trimmed();
        self.trail = simulated.take_trail().unwrap_or_default();
        let outcome = match ended {
            RunEnd::NotTheSame(what) => return Err(not_the_same(&what, seed, schedule)),
            RunEnd::GivenUp => Outcome::GivenUp,
            RunEnd::Returned(_) => Outcome::Passed,
            RunEnd::Panicked(payload) => Outcome::of_panic(&words_of(&*payload), panics),
            RunEnd::Failed(FailureKind::Panic(text)) => Outcome::of_panic(&text, panics),
            RunEnd::Failed(FailureKind::Deadlock(deadlock)) => {
                let who = Distinct::Deadlock(deadlock.kind());
                Outcome::Failed(who, FailureKind::Deadlock(deadlock))
            }
            RunEnd::Failed(kind) => Outcome::Failed(Distinct::Other(kind.to_string()), kind),
        };
        match self.trail.end_run() {
            Ok(()) => Ok(Ran { outcome, seed, schedule }),
            Err(what) => Err(not_the_same(&what, seed, schedule)),
        }
    }

    /// Adds what has been seen in a run to the report.
    fn count(&mut self, ran: Ran) {
        let Ran { outcome, seed, schedule } = ran;
        match outcome {
            Outcome::GivenUp => self.report.skipped += 1,
            Outcome::Passed => self.report.schedules += 1,
            Outcome::Failed(distinct, kind) => {
                self.report.schedules += 1;
                self.remember(distinct, Failure { kind, seed, schedule });
            }
        }
    }

    /// Adds the failure to the report, unless it is there with a schedule as short.
    fn remember(&mut self, distinct: Distinct, failure: Failure) {
        let length = |schedule: &Schedule| schedule.choices().len();
        match self.found.iter().position(|found| *found == distinct) {
            None => {
                self.found.push(distinct);
                self.report.failures.push(failure);
            }
            Some(at) => {
                let known = &mut self.report.failures[at];
                if length(&failure.schedule) < length(&known.schedule) {
                    *known = failure;
                }
            }
        }
    }
}

/// One run.
struct Ran {
    outcome: Outcome,
    /// The seed by which tasks were chosen, if they were.
    seed: Option<u64>,
    schedule: Schedule,
}

enum Outcome {
    /// All that could come has been seen in other runs.
    GivenUp,
    Passed,
    Failed(Distinct, FailureKind),
}

impl Outcome {
    fn of_panic(text: &str, panics: Vec<Heard>) -> Outcome {
        let kind = FailureKind::Panic(said(text, &panics));
        let lines = panics.into_iter().map(|heard| heard.place).collect();
        Outcome::Failed(Distinct::Panic(lines), kind)
    }

    fn is_like(&self, other: &Outcome) -> bool {
        match (self, other) {
            (Outcome::GivenUp, Outcome::GivenUp) | (Outcome::Passed, Outcome::Passed) => true,
            (Outcome::Failed(one, _), Outcome::Failed(another, _)) => one == another,
            _ => false,
        }
    }
}

/// What is to be said of a run that did not end as another one.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::GivenUp => f.write_str("was given up"),
            Outcome::Passed => f.write_str("did not fail"),
            Outcome::Failed(_, kind) => write!(f, "failed ({kind})"),
        }
    }
}

fn not_the_same(what: &str, seed: Option<u64>, schedule: Schedule) -> Failure {
    let kind = FailureKind::ScheduleMismatch(format!(
        "the program does not do the same again under the same schedule: {what}; so nothing is \
         proved. It depends on something that is not simulated (the order of a hash map, a clock \
         of the system), or that outlives a run"
    ));
    Failure { kind, seed, schedule }
}

/// What a panic said, and the lines that panicked on the way to it.
fn said(text: &str, panics: &[Heard]) -> String {
    let mut said = text.to_string();
    for Heard { message, place } in panics {
        if *message == text {
            said += &format!("\n  at {place}");
        } else {
            said += &format!("\n  {message:?} at {place}");
        }
    }
    said
}
