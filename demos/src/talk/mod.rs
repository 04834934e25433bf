//! The talk, played and measured: each server as a real process on a real socket, under the same
//! two loads, one act after the other.
//!
//! Read [`acts`] first: it is the list of acts, with what each is to show. `measure` runs one act,
//! `verdict` makes a sentence out of its numbers, `table` and `html` show them all.
//! `stage` has the server processes.

pub mod acts;
mod html;
mod measure;
mod stage;
mod table;
mod verdict;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::countdown::{countdown, take_turns};
use crate::fib::fib;
use crate::loads::{INTERRUPTED, send_signals};
use crate::output::{self, Stdout};
use crate::{cli, servers};
use acts::{ACTS, Act};
use measure::{CtrlC, Interrupted, Numbers};

/// How long each of an act's four measurements takes.
const WINDOW: Duration = Duration::from_millis(1150);
const QUICK_WINDOW: Duration = Duration::from_millis(330);

/// A long request has to take at least this.
const LONG_ENOUGH: Duration = Duration::from_millis(100);

/// David Beazley's talk "Python Concurrency From the Ground Up", played and measured here and now
///
/// Countdowns that take turns; then each kind of Fibonacci server, as a process on a socket, under
/// the talk's two loads: perf1 asks for one number that takes long, again and again; perf2 asks for
/// a small one as fast as it can.
#[derive(Debug, Parser)]
#[command(name = "talk", version, after_help = EXAMPLES)]
struct Options {
    /// Play only this act; may be repeated
    #[arg(long = "act", value_name = "NAME", value_parser = acts::find)]
    acts: Vec<&'static Act>,

    /// Play the acts too that are left out for the sake of time
    #[arg(long, conflicts_with = "acts")]
    all: bool,

    /// Measure for a shorter time: about a quarter of it, and the numbers are rougher
    #[arg(long)]
    quick: bool,

    /// Write a page with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the numbers
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  talk                              all of it, in at most 45 s
  talk --quick --html talk.html     a quick one, with a page to show
  talk --act gil --act processes    two acts
  talk --json -                     the numbers as JSON, on standard output after the talk

Exit codes: 0 at the end, 130 after Ctrl-C, 1 when a server fails, 2 for wrong options.";

pub fn main() -> ExitCode {
    let mut args = cli::arguments().peekable();
    if args.next_if(|arg| arg == "serve").is_some() {
        return serve(args);
    }
    let mut interrupted = false;
    let exit_code = cli::run("talk", args, |options: Options| {
        let played = play(&options, &mut output::stdout());
        interrupted = played.as_ref().is_err_and(|e| e.is::<Interrupted>());
        if interrupted { Ok(()) } else { played }
    });
    if interrupted { ExitCode::from(INTERRUPTED) } else { exit_code }
}

/// `talk serve NAME ..`: this program as one of the servers.
fn serve(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let name = args.next().unwrap_or_default();
    if let Err(error) = stage::end_with_the_talk() {
        output::complain(format_args!("talk serve: {error:#}"));
        return ExitCode::FAILURE;
    }
    match name.to_str().and_then(|name| servers::serve(name, args)) {
        Some(exit_code) => exit_code,
        None => {
            let known = servers::SERVERS.join(", ");
            output::complain(format_args!(
                "talk serve: there is no server {name:?}; there are: {known}"
            ));
            ExitCode::from(2)
        }
    }
}

fn play(options: &Options, out: &mut Stdout) -> anyhow::Result<()> {
    for path in options.html.iter().chain(&options.json).filter(|path| !is_stdout(path)) {
        output::can_be_written(path)?;
    }
    let (sender, happened) = mpsc::channel();
    send_signals(sender)?;
    let ctrl_c = CtrlC::new(happened);
    let acts: Vec<&Act> = if options.acts.is_empty() {
        ACTS.iter().filter(|act| options.all || act.usual).collect()
    } else {
        options.acts.clone()
    };
    let window = if options.quick { QUICK_WINDOW } else { WINDOW };

    if options.acts.is_empty() {
        play_countdown(&ctrl_c, out)?;
    }
    let (n, took) = calibrate(|n| {
        let start = Instant::now();
        std::hint::black_box(fib(n));
        start.elapsed()
    });
    heading("The loads", out)?;
    writeln!(
        out,
        "  perf1 asks for fib({n}), which takes {:.0} ms here without a server.",
        took.as_secs_f64() * 1e3
    )?;
    writeln!(
        out,
        "  perf2 asks for fib(1), which takes no time. So all that perf2 sees is waiting."
    )?;

    let mut played = vec![];
    for (at, act) in acts.iter().enumerate() {
        heading(act.title, out)?;
        writeln!(out, "  {}", act.idea)?;
        let progress = progress(at, acts.len());
        let numbers = measure::act(act, n, window, &ctrl_c, |what| {
            progress.set_message(format!("{}: {what}", act.name));
            progress.tick();
        });
        progress.finish_and_clear();
        let numbers = numbers.with_context(|| format!("act {:?}", act.name))?;
        let sentence = verdict::sentence(act.point, &numbers, &played_by_name(&played));
        write!(out, "{}", output::wrapped(&sentence, "  "))?;
        played.push(Played { act: act.name, title: act.title, server: act.command(), numbers });
    }

    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        processors: thread::available_parallelism().map_or(1, usize::from),
        optimised: !cfg!(debug_assertions),
        n,
        fib_seconds: took.as_secs_f64(),
        window_seconds: window.as_secs_f64(),
        acts: played,
    };
    heading("All of it", out)?;
    write!(out, "{}", table::table(&report))?;
    writeln!(out)?;
    write!(out, "{}", table::bars(&report))?;
    if let Some(path) = &options.html {
        write(path, &html::page(&report), out)?;
    }
    if let Some(path) = &options.json {
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"), out)?;
    }
    heading("Try next", out)?;
    Ok(writeln!(out, "{NEXT}")?)
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    /// How many threads can run at once here.
    processors: usize,
    optimised: bool,
    /// What perf1 asked for.
    n: u64,
    fib_seconds: f64,
    window_seconds: f64,
    acts: Vec<Played>,
}

/// One act and what came of it.
#[derive(Debug, Serialize)]
struct Played {
    act: &'static str,
    title: &'static str,
    server: String,
    #[serde(flatten)]
    numbers: Numbers,
}

fn played_by_name(played: &[Played]) -> impl Fn(&str) -> Option<Numbers> {
    |name| played.iter().find(|p| p.act == name).map(|p| p.numbers)
}

// ===== before the servers =======================================================================

fn play_countdown(ctrl_c: &CtrlC, out: &mut Stdout) -> anyhow::Result<()> {
    heading("Countdowns that take turns", out)?;
    writeln!(
        out,
        "  Three generators in a deque: take the left one, run it to its next yield, put it back."
    )?;
    let mut line = String::from(" ");
    let tasks = [10, 5, 20].into_iter().map(countdown).collect();
    take_turns(tasks, |i| line += &format!(" {i}"));
    writeln!(out, "{line}")?;
    writeln!(
        out,
        "  One thread, and still everybody gets on. That is the whole idea; now with sockets."
    )?;
    ctrl_c.wait(Duration::ZERO, || None)
}

/// The smallest n whose number takes long enough on this machine, and how long it takes.
fn calibrate(mut time: impl FnMut(u64) -> Duration) -> (u64, Duration) {
    let mut n = 20;
    loop {
        let took = time(n);
        if took >= LONG_ENOUGH || n >= crate::protocol::Rules::default().max_n {
            return (n, took);
        }
        // Each step takes 1.6 times as long as the one before: far away, several at once.
        n += if took * 20 < LONG_ENOUGH { 4 } else { 1 };
    }
}

// ===== what is printed ==========================================================================

fn heading(title: &str, out: &mut Stdout) -> io::Result<()> {
    let style = anstyle::Style::new().bold();
    writeln!(out, "\n{style}{title}{style:#}")
}

/// One line that says what is being measured.
fn progress(at: usize, of: usize) -> ProgressBar {
    output::spinner("  {spinner} [{prefix}] {msg}").with_prefix(format!("{}/{of}", at + 1))
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn write(path: &Path, text: &str, out: &mut Stdout) -> anyhow::Result<()> {
    if is_stdout(path) {
        return Ok(out.write_all(text.as_bytes())?);
    }
    output::write_file(path, text)?;
    Ok(writeln!(out, "wrote {}", path.display())?)
}

const NEXT: &str =
    "  cargo run --release --bin fib-tasks         a server; then, in other terminals:
  cargo run --release --bin perf2             watch its rate while you start perf1
  cargo run --release --bin countdown -- --threads    three threads take no turns";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_request_takes_long_enough_on_any_machine() {
        for nanos_a_call in [1.0, 3.0, 40.0] {
            let time = |n: u64| {
                let calls = 1.618f64.powi(n as i32);
                Duration::from_nanos((calls * nanos_a_call) as u64)
            };
            let (n, took) = calibrate(time);
            assert!(took >= LONG_ENOUGH && took < LONG_ENOUGH * 2, "{n}: {took:?}");
            assert!(time(n - 1) < LONG_ENOUGH);
        }
    }

    #[test]
    fn calibration_ends_at_the_largest_that_servers_accept() {
        assert!(calibrate(|_| Duration::ZERO).0 >= 45);
    }

    #[test]
    fn an_unknown_act_lists_those_that_there_are() {
        let error = Options::try_parse_from(["talk", "--act", "fibers"]).unwrap_err();
        let said = error.to_string();
        for act in ACTS {
            assert!(said.contains(act.name), "{said}");
        }
    }
}
