//! The program around the demo: its options, and the whole story.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use super::threads::run_threads;
use super::{broken, fixed};
use crate::cli;
use crate::exploring::{self, BugOptions, Demo, Way};

/// A lost update: by chance, found, reproduced and mended
///
/// Two tasks read a shared counter, await, and write it back. Without options the whole story is
/// played. The exit code tells whether the demo could be played, not whether the program it shows
/// went well.
#[derive(Debug, Parser)]
#[command(name = "race", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    bug: BugOptions,
}

const STORY: &str = "\
A lost update
  Two tasks read a counter, await, and write back what they read plus one.";

const EXAMPLES: &str = "\
Examples:
  race                         the whole story
  race --explore               try every schedule, and print one that loses an update
  race --sim --schedule 1      that one again, every time
  race --sim --trace FILE      record a simulated run, with its virtual times
  race --sim --seed 7          chance picks the next task, the same one every time
  race --explore --mended      all schedules of the mended program
  race --threads               threads lose updates too, sometimes";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the demo with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    exploring::main_of("race", args, |arguments: Arguments, out| {
        let bug = arguments.bug;
        let demo = Demo::new("race", bug.fixed(), |is_fixed, story| async move {
            if is_fixed { fixed(story).await } else { broken(story).await }
        });
        match bug.way()? {
            Way::Simulate(simulation) => bug.show_run(&demo, &simulation, out),
            Way::Explore => bug.show_search(&demo, out),
            Way::Threads => bug.show_threads(&run_threads(bug.fixed())?, out),
            Way::WholeStory => {
                writeln!(out, "{STORY}\n")?;
                let threads = run_threads(false)?;
                let cure = "a lock is held from the read to the write.";
                Ok(demo.play(&threads, cure, out)?)
            }
        }
    })
}
