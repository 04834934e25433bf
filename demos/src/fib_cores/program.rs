//! The program around the server: its options, and what is made before the first loop runs.
//!
//! **The second client** is served at once. With `--compute inline` a computation stops the clients
//! of its own loop, and no others; with `--compute threads` it stops none.
//!
//! In the talk: the question that it leaves open, since one interpreter has one lock.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use super::run_loops;
use crate::cli::{self, ComputeOptions, ServerOptions, TraceOption};
use crate::stop;

/// The Fibonacci server with one loop a core
///
/// Each loop serves the clients that the system deals to it.
#[derive(Debug, Parser)]
#[command(name = "fib-cores", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,

    /// How many loops [default: one for each processor]
    #[arg(long, value_name = "COUNT", value_parser = cli::parse_count)]
    cores: Option<NonZeroUsize>,

    #[command(flatten)]
    compute: ComputeOptions,

    #[command(flatten)]
    trace: TraceOption,

    /// Not here: a simulated run has one loop, on one thread
    #[arg(long, hide = true)]
    sim: bool,
}

/// The loops do only one thing together, which is to share a port, and that is the system's work:
/// several loops in one simulated world would show a simulation of the kernel.
const NO_SIMULATION: &str = "\
--sim is not available here: a simulated run is one loop on one thread, and this server has one for
each core, among which the system distributes the clients. Each of the loops does what fib-tasks
does; use `fib-tasks --sim` for that, or leave out --sim
";

const EXAMPLES: &str = "\
Examples:
  fib-cores                             listen on 127.0.0.1:25000 with a loop for each processor
  fib-cores --cores 2                   two loops, whatever the number of processors
  fib-cores --trace run.jsonl           record the loops: run.jsonl, run.jsonl.2 ...
  fib-cores --compute inline            compute in the loops: half of the clients wait, or none";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-cores", args, serve)
}

fn serve(options: Options) -> anyhow::Result<()> {
    if options.sim {
        return Err(clap::Error::raw(ErrorKind::ArgumentConflict, NO_SIMULATION).into());
    }
    let threads = options.compute.threads()?;
    let one_for_each = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let cores = options.cores.unwrap_or_else(one_for_each).get();
    // The loops wait for the same signals below, but cannot while they compute.
    stop::at_signal(|| {})?;
    options.trace.begin()?;
    let mut builder = popleft::Runtime::builder().name("fib-cores");
    if let Some(threads) = threads {
        builder = builder.pool_size(threads);
    }
    run_loops(builder, cores, &options.server, threads.is_some())
}
