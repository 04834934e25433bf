//! What [`race`](crate::race), [`deadlock`](crate::deadlock) and [`rude`](crate::rude) have in
//! common: a program of tasks is run once, in random orders, or under every schedule, and what
//! happened is told as a story.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use clap::error::ErrorKind;
use popleft::sim::{Deadlock, Failure, FailureKind, Options, Report, Schedule, Sim, explore};
use popleft::{Runtime, task};
use serde::Serialize;

use crate::cli::{self, SimOptions, TraceOption};
use crate::output::{self, Stdout};

/// What happened in a run, line by line. The tasks share it, and nothing depends on it.
#[derive(Clone, Debug, Default)]
pub struct Story(Rc<RefCell<Vec<String>>>);

impl Story {
    pub fn tell(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    /// Adds a line that begins with the name of the running task.
    pub fn tell_of_this_task(&self, does: impl fmt::Display) {
        let task = task::current();
        let name = task.as_ref().and_then(|task| task.name()).expect("the tasks have names");
        self.tell(format!("{name} {does}"));
    }
}

/// How a program ends: `Ok`, or a sentence that says what went wrong.
pub type End = Result<(), String>;

/// A program of tasks, broken or fixed, that tells what it does.
pub struct Demo {
    /// The part of its command line that has to be repeated for the same program.
    command: String,
    fixed: bool,
    options: Options,
    program: Program,
}

/// Makes the main task of a run: that of the fixed program if the first argument is true.
type Program = Box<dyn Fn(bool, Story) -> MainTask>;
type MainTask = Pin<Box<dyn Future<Output = End>>>;

/// One run in the simulated world.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub story: Vec<String>,
    /// What went wrong, if something did.
    pub wrong: Option<String>,
    /// Which task waits for which, if nothing can happen any more.
    pub circle: Vec<String>,
}

/// What a search of all schedules, or of as many as it was allowed, has found: each failure with
/// its story.
pub struct Found {
    pub report: Report,
    pub failures: Vec<(Schedule, Run)>,
}

impl Demo {
    pub fn new<F>(
        command: impl Into<String>,
        fixed: bool,
        program: impl Fn(bool, Story) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = End> + 'static,
    {
        Demo {
            command: command.into(),
            fixed,
            options: Options::new().max_schedules(10_000).random(1_000).skip_equivalent(false),
            program: Box::new(move |fixed, story| Box::pin(program(fixed, story))),
        }
    }

    /// Leaves out the schedules that can only repeat another, so that the search gets further. For
    /// programs whose tasks share nothing but locks, and the story.
    pub fn skipping(self) -> Self {
        let options = self.options.max_schedules(50_000).skip_equivalent(true).declares_all(true);
        Demo { options, ..self }
    }

    fn program(&self, story: &Story) -> MainTask {
        (self.program)(self.fixed, story.clone())
    }

    /// The fixed program.
    pub fn fixed(self) -> Self {
        Demo { fixed: true, ..self }
    }

    // ===== once, often, and under every schedule ================================================

    /// One run in this simulation.
    ///
    /// # Errors
    ///
    /// When the schedule does not fit the program.
    pub fn run_in(&self, simulation: &Sim) -> Result<Run, Failure> {
        let story = Story::default();
        let ended = simulation.try_run(self.program(&story));
        let (wrong, circle) = match ended {
            Ok(end) => (end.err(), vec![]),
            Err(Failure { kind: FailureKind::Deadlock(deadlock), .. }) => {
                (Some("nothing can ever happen again".to_string()), waits_of_the_circle(&deadlock))
            }
            Err(failure) => return Err(failure),
        };
        Ok(Run { story: story.0.take(), wrong, circle })
    }

    /// How many of `runs` runs on the real loop go wrong.
    ///
    /// # Errors
    ///
    /// When the loop cannot be made.
    pub fn wrong_on_the_real_loop(&self, runs: u64) -> io::Result<u64> {
        let runtime = Runtime::new()?;
        let goes_wrong = |_: &u64| {
            let ended = runtime.try_block_on(self.program(&Story::default()));
            !matches!(ended, Ok(Ok(())))
        };
        Ok((0..runs).filter(goes_wrong).count() as u64)
    }

    /// How many runs go wrong when the next task is chosen at random.
    pub fn wrong_by_chance(&self, seeds: u64) -> u64 {
        let goes_wrong = |seed: &u64| {
            let run = self.run_in(&Sim::new().seed(*seed)).expect("a seed fits every program");
            run.wrong.is_some()
        };
        (0..seeds).filter(goes_wrong).count() as u64
    }

    /// Tries every schedule, and repeats each failure for its story.
    pub fn explore(&self) -> Found {
        let report = explore(self.options.clone(), || async {
            if let Err(wrong) = self.program(&Story::default()).await {
                panic!("{wrong}");
            }
        });
        let again = |failure: &Failure| {
            let simulation = Sim::new().schedule(failure.schedule.clone());
            let run = self.run_in(&simulation).expect("its own schedule fits");
            (failure.schedule.clone(), run)
        };
        let failures = report.failures.iter().map(again).collect();
        Found { report, failures }
    }
}

fn waits_of_the_circle(deadlock: &Deadlock) -> Vec<String> {
    let name = |id| {
        let task = deadlock.tasks.iter().find(|waiting| waiting.task == id);
        task.and_then(|task| task.name.clone()).unwrap_or_else(|| format!("task {id}"))
    };
    let and_again = deadlock.circle.iter().cycle().skip(1);
    let each = deadlock.circle.iter().zip(and_again);
    each.map(|(&waiter, &holder)| {
        format!("{} waits for a lock that {} holds", name(waiter), name(holder))
    })
    .collect()
}

// ===== what is printed ==========================================================================

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "    {line}")?;
        }
        match &self.wrong {
            Some(wrong) => writeln!(f, "  Wrong: {wrong}.")?,
            None => writeln!(f, "  Nothing went wrong.")?,
        }
        for line in &self.circle {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

/// What was searched, and whether that is a proof.
fn how_many(report: &Report) -> String {
    let Report { schedules, skipped, .. } = report;
    match (report.complete, report.skipping) {
        (true, false) => format!("All {schedules} schedules ran"),
        (true, true) => format!(
            "All schedules are covered: {schedules} ran, {skipped} were given up on the way, and \
             the others\n  can only repeat one that ran"
        ),
        (false, _) => format!("{schedules} schedules ran, which is not all"),
    }
}

impl Demo {
    /// Writes what a search has found.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn show(&self, found: &Found, out: &mut impl Write) -> io::Result<()> {
        let one_failed = if found.failures.is_empty() { "; none failed" } else { "" };
        writeln!(out, "  {}{one_failed}.", how_many(&found.report))?;
        for (schedule, run) in &found.failures {
            write!(out, "  Found: schedule {schedule}.\n{run}")?;
            writeln!(out, "  The same again: {}", self.command_with(schedule))?;
        }
        Ok(())
    }

    fn command_with(&self, schedule: &Schedule) -> String {
        let fixed = if self.fixed { " --mended" } else { "" };
        format!("{}{fixed} --sim --schedule {schedule}", self.command)
    }

    /// Plays the whole story, from a bug that shows by chance to a proof that it is gone. `threads`
    /// is what threads did.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or the loop cannot be made.
    pub fn play(
        self,
        threads: &impl fmt::Display,
        cure: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let wrong = self.wrong_on_the_real_loop(RUNS)?;
        writeln!(out, "By chance")?;
        writeln!(
            out,
            "  The real loop goes first in, first out: wrong in {wrong} of {RUNS} runs."
        )?;
        let wrong = self.wrong_by_chance(RUNS);
        writeln!(out, "  Chance picks the next task: wrong in {wrong} of {RUNS} runs.")?;
        writeln!(out, "{threads}")?;
        writeln!(out, "\nFound, by trying every schedule")?;
        let found = self.explore();
        self.show(&found, out)?;
        if let Some((schedule, run)) = found.failures.first() {
            let simulation = Sim::new().schedule(schedule.clone());
            let same = (0..RUNS).filter(|_| self.run_in(&simulation).as_ref() == Ok(run)).count();
            writeln!(out, "  Done {RUNS} times, it was the same story {same} times.")?;
        }
        writeln!(out, "\nMended: {cure}")?;
        let fixed = self.fixed();
        fixed.show(&fixed.explore(), out)
    }
}

/// How often a program is run to see how often it goes wrong.
pub const RUNS: u64 = 1000;

// ===== the command line =========================================================================

/// The options of a demo of a bug.
#[derive(Clone, Debug, clap::Args)]
pub struct BugOptions {
    #[command(flatten)]
    simulation: SimOptions,

    /// Try every schedule, and show one that goes wrong
    #[arg(long, group = "way")]
    explore: bool,

    /// As threads of the system, many times
    #[arg(long, group = "way")]
    threads: bool,

    /// The mended program
    #[arg(long = "mended", requires = "way")]
    fixed: bool,

    /// Print one JSON object, for another program to read
    #[arg(long, requires = "way")]
    json: bool,

    #[command(flatten)]
    trace: TraceOption,
}

/// What a demo has been asked for.
#[derive(Clone, Debug)]
pub enum Way {
    WholeStory,
    Simulate(Box<Sim>),
    Explore,
    Threads,
}

/// What the JSON of a search says.
#[derive(Serialize)]
struct FoundJson<'a> {
    #[serde(rename = "mended")]
    fixed: bool,
    schedules: u64,
    skipped: u64,
    skipping: bool,
    complete: bool,
    failures: Vec<FailureJson<'a>>,
}

#[derive(Serialize)]
struct FailureJson<'a> {
    schedule: String,
    #[serde(flatten)]
    run: &'a Run,
}

impl BugOptions {
    /// # Errors
    ///
    /// When the recording that is wanted cannot be made.
    pub fn way(&self) -> anyhow::Result<Way> {
        let simulation = self.simulation.simulation();
        if self.trace.is_wanted() && simulation.is_none() {
            return Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "--trace records one run, which is that of --sim; add --sim\n",
            )
            .into());
        }
        self.trace.begin()?;
        Ok(match simulation {
            Some(simulation) => Way::Simulate(Box::new(simulation)),
            None if self.explore => Way::Explore,
            None if self.threads => Way::Threads,
            None => Way::WholeStory,
        })
    }

    pub fn fixed(&self) -> bool {
        self.fixed
    }

    /// Shows one simulated run.
    ///
    /// # Errors
    ///
    /// When the schedule does not fit, or it cannot be written.
    pub fn show_run(&self, demo: &Demo, sim: &Sim, out: &mut impl Write) -> anyhow::Result<()> {
        let run = demo.run_in(sim).map_err(|failure| match failure.kind {
            FailureKind::Misfit(why) => anyhow::Error::msg(why),
            _ => failure.into(),
        })?;
        if self.json { show_json(&run, out) } else { Ok(write!(out, "{run}")?) }
    }

    /// Shows a search.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn show_search(&self, demo: &Demo, out: &mut impl Write) -> anyhow::Result<()> {
        let found = demo.explore();
        if !self.json {
            return Ok(demo.show(&found, out)?);
        }
        let text = |(schedule, _): &(Schedule, Run)| schedule.to_string();
        let schedules: Vec<String> = found.failures.iter().map(text).collect();
        let failures = schedules.into_iter().zip(&found.failures);
        let json = FoundJson {
            fixed: demo.fixed,
            schedules: found.report.schedules,
            skipped: found.report.skipped,
            skipping: found.report.skipping,
            complete: found.report.complete,
            failures: failures.map(|(schedule, (_, run))| FailureJson { schedule, run }).collect(),
        };
        show_json(&json, out)
    }

    /// Shows what threads did.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn show_threads(
        &self,
        seen: &(impl fmt::Display + Serialize),
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        if self.json { show_json(seen, out) } else { Ok(writeln!(out, "{seen}")?) }
    }
}

fn show_json(value: &impl Serialize, out: &mut impl Write) -> anyhow::Result<()> {
    let line = serde_json::to_string(value)?;
    Ok(writeln!(out, "{line}")?)
}

/// Runs a demo that writes to standard output.
pub fn main_of<O: Parser>(
    name: &str,
    args: impl Iterator<Item = OsString>,
    program: impl FnOnce(O, &mut Stdout) -> anyhow::Result<()>,
) -> ExitCode {
    cli::run(name, args, |options| program(options, &mut output::stdout()))
}
