//! The program around the demo: its options, and the whole story.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use super::clock::measure;
use super::work::{Manners, program};
use crate::cli;
use crate::exploring::{self, BugOptions, Demo, RUNS, Way};

/// A task that never yields, and what others pay: by chance, found, reproduced and mended
///
/// Without options the whole story is played. The exit code tells whether the demo could be played,
/// not whether the program it shows went well.
#[derive(Debug, Parser)]
#[command(name = "rude", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    bug: BugOptions,

    /// A task that yields between two pieces of work: half a cure
    #[arg(long, requires = "way", conflicts_with = "fixed")]
    polite: bool,
}

const STORY: &str = "\
A rude task
  A client comes and wants to be served at its next turn; another task computes.";

const EXAMPLES: &str = "\
Examples:
  rude                         the whole story
  rude --explore               try every schedule, and print one in which the client pays
  rude --sim --schedule 1      that one again, every time
  rude --sim --trace FILE      record a simulated run, with its virtual times
  rude --explore --polite      a task that yields helps, if the loop is fair
  rude --explore --mended      a thread helps under every schedule
  rude --threads               the loop beside threads, by the clock";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the demo with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    exploring::main_of("rude", args, |arguments: Arguments, out| {
        let bug = arguments.bug;
        let broken = if arguments.polite { Manners::Polite } else { Manners::Rude };
        let manners = if bug.fixed() { Manners::Helped } else { broken };
        let demo = demo_of(broken, bug.fixed());
        match bug.way()? {
            Way::Simulate(simulation) => bug.show_run(&demo, &simulation, out),
            Way::Explore => bug.show_search(&demo, out),
            Way::Threads => bug.show_threads(&measure(manners)?, out),
            Way::WholeStory => {
                writeln!(out, "{STORY}\n")?;
                let cure = "a thread computes, and the task waits for it.";
                demo.play(&measure(Manners::Rude)?, cure, out)?;
                writeln!(out, "\nHalf mended: a task that yields between two pieces of work.")?;
                let polite = demo_of(Manners::Polite, false);
                let wrong = polite.wrong_on_the_real_loop(RUNS)?;
                writeln!(out, "  The real loop is fair: wrong in {wrong} of {RUNS} runs.")?;
                Ok(polite.show(&polite.explore(), out)?)
            }
        }
    })
}

fn demo_of(broken: Manners, fixed: bool) -> Demo {
    let command = match broken {
        Manners::Polite => "rude --polite",
        _ => "rude",
    };
    Demo::new(command, fixed, move |fixed, story| {
        program(if fixed { Manners::Helped } else { broken }, story)
    })
}
