//! Which one do *I* need? Your workload, in six styles, on your machine.
//!
//! The usual advice is: threads for I/O, processes for computing, asyncio for many connections.
//! Here you state how long an item waits, how much it computes, on how many bytes, and how many
//! items there are; and that workload is run one after another, as threads, as threads under a toy
//! GIL, as processes, as tasks, and as tasks with offload.
//!
//! Read [`styles`] first: six short functions side by side. `item` is what an item does, and
//! [`workload`] how long all of them take at the least. `timeline` and `verdict` evaluate
//! what was measured, and `report`, `terminal` and `html` show it. The plumbing is
//! `share_out` (items to threads and tasks), `worker` (processes) and `amount` (times and sizes).
//!
//! In the book: "Which should I choose?".

mod amount;
mod html;
mod item;
mod report;
mod share_out;
pub mod styles;
mod terminal;
mod timeline;
mod verdict;
mod worker;
pub mod workload;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use indicatif::ProgressBar;

use crate::loads::INTERRUPTED;
use crate::worker_processes::WORKER;
use crate::{cli, output, stop};
pub use item::Item;
use report::{Raw, Report};
use workload::{Style, THREADS_AT_MOST, Workload};

/// How many columns the page's time axis has.
const PAGE_COLUMNS: usize = 240;

/// How often all of it is run by default, and the time that this may always take.
const ROUNDS: usize = 3;
const ROUNDS_SECONDS: f64 = 10.0;

/// Runs your workload in six styles, and says which one wins here
///
/// An item waits (--io), and computes (--cpu, in processor time) on its bytes (--bytes). To wait is
/// to sleep: in threads and processes by a call that blocks, in tasks by the runtime's timer.
/// Threads and tasks share the bytes of an item; to and from a process they are copied through a
/// pipe.
#[derive(Debug, Parser)]
#[command(name = "choose", version, after_help = EXAMPLES)]
struct Options {
    /// How long each item waits
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = amount::read_time,
          allow_hyphen_values = true)]
    io: Duration,

    /// How much processor time each item uses
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = amount::read_time,
          allow_hyphen_values = true)]
    cpu: Duration,

    /// How many bytes each item computes on
    #[arg(long, value_name = "SIZE", default_value = "64k", value_parser = amount::read_size,
          allow_hyphen_values = true)]
    bytes: usize,

    /// How many items there are
    #[arg(long, value_name = "COUNT", default_value = "40", value_parser = read_items,
          allow_hyphen_values = true)]
    items: usize,

    /// How many processes, and how many threads for offload [default: one a processor]
    #[arg(long, value_name = "COUNT", value_parser = cli::parse_count)]
    workers: Option<NonZeroUsize>,

    /// How often all of it is run; of each style the shortest run counts [default: 3 times, or
    /// fewer if that would take longer than 10s]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: Option<u8>,

    /// Run only these styles
    #[arg(long, value_name = "STYLE", value_delimiter = ',')]
    only: Vec<Style>,

    /// Refuse what would take longer than this in one style
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = amount::read_time,
          allow_hyphen_values = true)]
    limit: Duration,

    /// Write a page to pass on
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the result as JSON; without FILE, print that and nothing else
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,

    /// Print only the verdict
    #[arg(long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  choose --io 50ms --cpu 0                  requests to other servers
  choose --io 0 --cpu 20ms                  pictures to scale
  choose --io 50ms --cpu 5ms --bytes 1M --items 100 --html choose.html
  choose --only gil,processes,tasks         as Python has it
  choose --items 100000 --cpu 0 --only threads,tasks
                                            1000 threads take 100,000 items in turns

A time is written as 500us, 50ms, 1.5s, 10m, 1h or 0, a size as 100, 64k, 1M or 0.

Exit codes: 0 at the end, 130 after Ctrl-C, 1 when a run fails, 2 for wrong options.";

pub fn main() -> ExitCode {
    let mut args = cli::arguments().peekable();
    if args.next_if(|arg| arg == WORKER).is_some() {
        return worker::work(args);
    }
    run_from(args)
}

/// Runs the workload that these arguments say, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("choose", args, play)
}

fn read_items(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(items) if (1..=1_000_000).contains(&items) => Ok(items),
        _ => Err("must be a number from 1 to 1000000".into()),
    }
}

fn play(options: Options) -> anyhow::Result<()> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let work = Workload {
        io: options.io,
        cpu: options.cpu,
        bytes: options.bytes,
        items: options.items,
        workers: options.workers.map_or(processors, usize::from),
        processors,
    };
    let chosen = |style: &Style| options.only.is_empty() || options.only.contains(style);
    let styles: Vec<Style> = Style::ALL.into_iter().filter(chosen).collect();
    refuse_what_takes_too_long(&work, &styles, options.limit)?;
    for path in options.html.iter().chain(options.json_file()) {
        output::can_be_written(path)?;
    }

    let progress = progress(options.quiet || options.prints_json());
    end_at_a_signal(&progress)?;
    let rounds = options.rounds.map_or_else(|| rounds(&work, &styles), usize::from);
    let shortest = run_all(&work, &styles, rounds, &progress)?;
    progress.finish_and_clear();

    let command = options.to_repeat(&work, rounds);
    let report = Report::new(&work, rounds, &shortest, command.clone(), terminal::COLUMNS);
    let json = serde_json::to_string_pretty(&report)? + "\n";
    if options.prints_json() {
        print(&json)?;
    } else {
        print(&options.said(&report))?;
    }
    if let Some(path) = options.json_file() {
        options.write(path, &json)?;
    }
    if let Some(path) = &options.html {
        let report = Report::new(&work, rounds, &shortest, command, PAGE_COLUMNS);
        options.write(path, &html::page(&report))?;
    }
    Ok(())
}

/// Runs all styles, and all of them again, and keeps the shortest run of each. In turns, so that a
/// bad moment of the machine is not one style's alone.
fn run_all(
    work: &Workload,
    styles: &[Style],
    rounds: usize,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<Raw>> {
    let mut shortest: Vec<Raw> = vec![];
    for round in 1..=rounds {
        for (at, style) in styles.iter().enumerate() {
            progress.set_message(format!("round {round} of {rounds}: {}", style.title()));
            let (start, begin) = (item::now(), Instant::now());
            let done = style.run(work).with_context(|| style.title())?;
            let seconds = begin.elapsed().as_secs_f64();
            let raw = Raw { style: *style, seconds, start, done };
            match shortest.get_mut(at) {
                None => shortest.push(raw),
                Some(before) if seconds < before.seconds => *before = raw,
                Some(_) => {}
            }
        }
    }
    Ok(shortest)
}

// ===== before anything runs =====================================================================

fn refuse_what_takes_too_long(
    work: &Workload,
    styles: &[Style],
    limit: Duration,
) -> Result<(), clap::Error> {
    let too_long: Vec<_> =
        styles.iter().filter(|style| style.at_least(work) > limit.as_secs_f64()).collect();
    let longest = too_long.iter().max_by(|a, b| a.at_least(work).total_cmp(&b.at_least(work)));
    let Some(longest) = longest else {
        return Ok(());
    };
    let names: Vec<_> = too_long.iter().map(|style| style.title()).collect();
    Err(clap::Error::raw(
        ErrorKind::ValueValidation,
        format!(
            "{} would take at least {} for {}, and the limit for one style is {}.\n\
             Too long: {}. Ask for less, choose others with --only, or raise --limit.\n",
            longest.title(),
            amount::time(longest.at_least(work)),
            described_work(work.items, work.io, work.cpu, work.bytes),
            amount::time(limit.as_secs_f64()),
            names.join(", "),
        ),
    ))
}

/// As many rounds as there is time for.
fn rounds(work: &Workload, styles: &[Style]) -> usize {
    let one: f64 = styles.iter().map(|style| style.at_least(work)).sum();
    ((ROUNDS_SECONDS / one) as usize).clamp(1, ROUNDS)
}

/// At Ctrl-C and SIGTERM the program ends, whatever it is doing: a computation cannot be
/// interrupted. Its worker processes end with it.
fn end_at_a_signal(progress: &ProgressBar) -> anyhow::Result<()> {
    let mut asked = stop::signals().context("cannot catch Ctrl-C")?;
    let progress = progress.clone();
    let wait_for_it = move || {
        if asked.read_exact(&mut [0]).is_ok() {
            progress.finish_and_clear();
            output::complain("choose: interrupted");
            process::exit(INTERRUPTED.into());
        }
    };
    let thread = thread::Builder::new().name("stop".into());
    thread.spawn(wait_for_it).context("cannot start a thread")?;
    Ok(())
}

/// One line that says what is being run.
fn progress(quiet: bool) -> ProgressBar {
    if quiet { ProgressBar::hidden() } else { output::spinner("{spinner} {msg}") }
}

// ===== what is printed ==========================================================================

impl Options {
    /// Whether JSON is all that is printed.
    fn prints_json(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    fn json_file(&self) -> Option<&PathBuf> {
        self.json.as_ref().filter(|_| !self.prints_json())
    }

    fn write(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        output::write_file(path, text)?;
        if !self.quiet && !self.prints_json() {
            print(&format!("wrote {}\n", path.display()))?;
        }
        Ok(())
    }

    fn said(&self, report: &Report) -> String {
        let mut text = String::new();
        if !self.quiet {
            text += &output::wrapped(&format!("{}.", heading(report)), "");
            text += &terminal::picture(report);
            text.push('\n');
        }
        for sentence in report.sentences() {
            text += &output::wrapped(sentence, "");
        }
        text
    }

    /// The command line that does the same again.
    fn to_repeat(&self, work: &Workload, rounds: usize) -> String {
        let mut command = format!(
            "cargo run --release --bin choose -- --io {}ns --cpu {}ns --bytes {} --items {} --workers {} --rounds {rounds}",
            work.io.as_nanos(),
            work.cpu.as_nanos(),
            work.bytes,
            work.items,
            work.workers,
        );
        for (unit, nanos) in [("s", "000000000ns"), ("ms", "000000ns"), ("us", "000ns")] {
            command = command.replace(nanos, unit);
        }
        command = command.replace(" 0ns", " 0");
        if !self.only.is_empty() {
            let names: Vec<_> = self.only.iter().map(|style| name(*style)).collect();
            command += &format!(" --only {}", names.join(","));
        }
        command
    }
}

/// What `--only` calls it.
fn name(style: Style) -> String {
    let value = clap::ValueEnum::to_possible_value(&style);
    value.expect("no style is hidden").get_name().to_string()
}

/// The workload and the machine.
fn heading(report: &Report) -> String {
    let work = &report.work;
    let build = if report.optimised { "" } else { ", not optimised" };
    let mut text = format!(
        "{}; {} here{build}, {} in a pool",
        described(report),
        terminal::processors(work.processors),
        if work.workers == 1 { "1 worker".into() } else { format!("{} workers", work.workers) },
    );
    if work.rounds > 1 {
        text += &format!("; of each the shortest of {} runs", work.rounds);
    }
    let has_threads =
        report.runs.iter().any(|run| matches!(run.style, Style::Threads | Style::Gil));
    if has_threads && work.items > THREADS_AT_MOST {
        text += &format!("; {} threads take the items in turns", amount::count(THREADS_AT_MOST));
    }
    text
}

/// The workload in words.
fn described(report: &Report) -> String {
    let work = &report.work;
    let time = Duration::from_secs_f64;
    described_work(work.items, time(work.io_seconds), time(work.cpu_seconds), work.bytes)
}

fn described_work(items: usize, io: Duration, cpu: Duration, bytes: usize) -> String {
    let io = (!io.is_zero()).then(|| format!("waits {}", amount::time(io.as_secs_f64())));
    let cpu = (!cpu.is_zero()).then(|| format!("computes {}", amount::time(cpu.as_secs_f64())));
    let does: Vec<_> = io.into_iter().chain(cpu).collect();
    let does = if does.is_empty() { "does nothing".into() } else { does.join(" and ") };
    let bytes = if bytes == 0 { String::new() } else { format!(", with {}", amount::size(bytes)) };
    match items {
        1 => format!("one item, which {does}{bytes}"),
        items => format!("{} items, each of which {does}{bytes}", amount::count(items)),
    }
}

fn print(text: &str) -> io::Result<()> {
    output::stdout().write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["choose"], args].concat())
    }

    #[test]
    fn the_command_to_repeat_says_the_same_workload() {
        let given =
            options(&["--io", "1.5s", "--cpu", "0", "--bytes", "1k", "--only", "gil,tasks"]);
        let given = given.unwrap();
        let (io, cpu, bytes, items) = (given.io, given.cpu, given.bytes, given.items);
        let work = Workload { io, cpu, bytes, items, workers: 3, processors: 2 };
        let command = given.to_repeat(&work, 2);
        let args: Vec<_> = command.split(" -- ").nth(1).unwrap().split(' ').collect();
        let again = options(&args).unwrap();
        assert_eq!((again.io, again.cpu, again.bytes, again.items), (io, cpu, bytes, items));
        assert_eq!((again.workers.unwrap().get(), again.rounds), (3, Some(2)));
        assert_eq!(again.only, given.only);
        assert!(command.contains("--io 1500ms --cpu 0 "), "{command}");
    }

    #[test]
    fn what_takes_too_long_is_refused_with_the_estimate() {
        let (io, cpu) = (Duration::from_secs(1), Duration::ZERO);
        let work = Workload { io, cpu, items: 100, ..Workload::of_nothing() };
        let limit = Duration::from_secs(60);
        let said = refuse_what_takes_too_long(&work, &Style::ALL, limit).unwrap_err().to_string();
        assert!(said.contains("one after another would take at least 1.7 min"), "{said}");
        assert!(said.contains("--limit") && said.contains("limit for one style is 60 s"), "{said}");
        assert!(!said.contains("processes"), "{said}");
        assert!(refuse_what_takes_too_long(&work, &[Style::Tasks], limit).is_ok());
        assert!(refuse_what_takes_too_long(&work, &Style::ALL, limit * 2).is_ok());
    }

    #[test]
    fn there_are_as_many_rounds_as_there_is_time_for() {
        let work = |seconds| {
            let cpu = Duration::from_secs_f64(seconds);
            Workload { cpu, items: 1, ..Workload::of_nothing() }
        };
        let all = [0.0, 0.1, 4.0, 30.0].map(|seconds| rounds(&work(seconds), &[Style::Tasks]));
        assert_eq!(all, [3, 3, 2, 1]);
    }

    #[test]
    fn a_workload_is_described_by_what_it_has() {
        let ms = Duration::from_millis;
        for (items, io, cpu, bytes, said) in [
            (
                40,
                ms(50),
                ms(5),
                65536,
                "40 items, each of which waits 50 ms and computes 5 ms, with 64 KiB",
            ),
            (1, ms(0), ms(5), 0, "one item, which computes 5 ms"),
            (2, ms(0), ms(0), 0, "2 items, each of which does nothing"),
        ] {
            assert_eq!(described_work(items, io, cpu, bytes), said);
        }
    }
}
