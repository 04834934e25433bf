//! The same server once for each core: several loops that share nothing but the port.
//!
//! Nothing changes inside a loop. Each has a thread, tasks, a deque and a poller of its own, and
//! its tasks still take turns on one processor. What is new is who gets a client: the system deals
//! them out.
//!
//! **The second client** is served at once. With `--compute inline` a computation stops the clients
//! of its own loop, and no others; with `--compute threads` it stops nobody.
//!
//! In the talk: the question that it leaves open, since one interpreter has one lock. In the book:
//! "One loop a core".

use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use clap::error::ErrorKind;
use futures_lite::future;
use popleft::{Core, CoreListener, signal};

use crate::cli::{self, ComputeOptions, ServerOptions, TraceOption};
use crate::fib_tasks::{Server, fib_handler};
use crate::stop;

async fn fib_server(listener: CoreListener, server: Rc<Server>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let client = Rc::new(client);
        let task = popleft::spawn(fib_handler(client.clone(), server.clone()));
        server.remember(&client, task);
    }
}

// ===== the program ==============================================================================

/// The Fibonacci server with one loop a core
///
/// Each loop serves the clients that the system deals to it.
#[derive(Debug, Parser)]
#[command(name = "fib-cores", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,

    /// How many loops [default: one for each processor]
    #[arg(long, value_name = "COUNT", value_parser = parse_cores)]
    cores: Option<NonZeroUsize>,

    #[command(flatten)]
    compute: ComputeOptions,

    #[command(flatten)]
    trace: TraceOption,

    /// Not here: a simulated run has one loop, on one thread
    #[arg(long, hide = true)]
    sim: bool,
}

/// What a loop does that it does not do alone is only to share a port with others, and that is the
/// system's doing: several loops in one simulated world would show a simulation of the kernel.
const NO_SIMULATION: &str = "\
--sim is not to be had here: a simulated run is one loop on one thread, and this server has one for
each core, to which the system deals the clients. Each of the loops does what fib-tasks does; use
`fib-tasks --sim` for that, or leave out --sim
";

const EXAMPLES: &str = "\
Examples:
  fib-cores                             listen on 127.0.0.1:25000 with a loop for each processor
  fib-cores --cores 2                   two loops, whatever the number of processors
  fib-cores --trace run.jsonl           record the loops: run.jsonl, run.jsonl.2 ...
  fib-cores --compute inline            compute in the loops: half of the clients wait, or none";

fn parse_cores(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(count) if (1..=256).contains(&count) => Ok(NonZeroUsize::new(count).expect("not zero")),
        _ => Err("must be a number from 1 to 256".into()),
    }
}

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
    let listening = AtomicUsize::new(0);
    let served = builder.cores(cores, |core| {
        let server = Rc::new(Server::new(options.server.rules(), threads.is_some()));
        serve_until_asked_to_stop(core, &options.server, &listening, server)
    });
    served.map(drop)
}

async fn serve_until_asked_to_stop(
    core: Core,
    options: &ServerOptions,
    listening: &AtomicUsize,
    server: Rc<Server>,
) -> anyhow::Result<()> {
    let addr = &options.addr;
    let listener = core.listen(addr.as_str()).await;
    let listener = listener.map_err(|error| cli::cannot_listen(addr, error))?;
    // Whoever hears of it may connect: by then all loops have to be there.
    if listening.fetch_add(1, Ordering::Relaxed) + 1 == core.count() {
        cli::announce(listener.local_addr())?;
    }
    let serving = fib_server(listener, server.clone());
    let asked_to_stop = future::or(signal::ctrl_c(), signal::terminate());
    // The first to end drops the other one, and the listener with it.
    future::or(asked_to_stop, serving).await?;
    server.stop().await;
    Ok(())
}
