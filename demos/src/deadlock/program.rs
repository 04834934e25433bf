//! The program around the demo: its options, and the whole story.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use super::table;
use super::threads::run_threads;
use crate::cli;
use crate::exploring::{self, BugOptions, Demo, Way};

/// A deadlock: by chance, found, reproduced and mended
///
/// Tasks take two locks each, in an order that makes a circle. Without options the whole story is
/// played. The exit code tells whether the demo could be played, not whether the program it shows
/// went well.
#[derive(Debug, Parser)]
#[command(name = "deadlock", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    bug: BugOptions,

    /// How many sit in the circle, with as many locks [default: 2]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(2..=6),
          requires = "way")]
    philosophers: Option<u8>,

    /// Leave out the schedules that can only repeat another: locks say who uses them
    #[arg(long, requires = "explore", conflicts_with_all = ["sim", "threads"])]
    skip: bool,
}

const STORY: &str = "\
A deadlock
  Two tasks take two locks, A first lock 1 and then lock 2, B the other way round.";

const EXAMPLES: &str = "\
Examples:
  deadlock                              the whole story
  deadlock --explore                    try every schedule, and print who waits for whose lock
  deadlock --sim --schedule 1           that one again, every time
  deadlock --sim --trace FILE           record a simulated run, with its virtual times
  deadlock --explore --philosophers 5   five of them
  deadlock --explore --mended           all schedules of the mended program
  deadlock --explore --mended --philosophers 5 --skip
                                        a proof for five, who have too many schedules to try
  deadlock --threads                    threads get stuck too, sometimes";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the demo with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    exploring::main_of("deadlock", args, |arguments: Arguments, out| {
        let bug = arguments.bug;
        let tasks = arguments.philosophers.map_or(2, usize::from);
        let demo = at_a_table(tasks, bug.fixed());
        let demo = if arguments.skip { demo.skipping() } else { demo };
        match bug.way()? {
            Way::Simulate(simulation) => bug.show_run(&demo, &simulation, out),
            Way::Explore => bug.show_search(&demo, out),
            Way::Threads => bug.show_threads(&run_threads(tasks, bug.fixed())?, out),
            Way::WholeStory => {
                writeln!(out, "{STORY}\n")?;
                let threads = run_threads(2, false)?;
                let cure = "the lock with the lower number comes first.";
                at_a_table(2, false).play(&threads, cure, out)?;
                writeln!(out, "\nFive philosophers, at a round table with five forks")?;
                let five = at_a_table(5, false).skipping();
                five.show(&five.explore(), out)?;
                writeln!(out, "\nMended: five")?;
                let fixed = five.fixed();
                Ok(fixed.show(&fixed.explore(), out)?)
            }
        }
    })
}

fn at_a_table(tasks: usize, fixed: bool) -> Demo {
    let command = match tasks {
        2 => String::from("deadlock"),
        _ => format!("deadlock --philosophers {tasks}"),
    };
    Demo::new(command, fixed, move |fixed, story| table(tasks, fixed, story))
}
