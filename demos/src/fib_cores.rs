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
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use futures_lite::future;
use popleft::{Core, CoreListener};

use crate::cli::{self, ComputeOptions, ServerOptions, TraceOption};
use crate::fib_tasks::{Server, asked_to_stop, fib_handler};
use crate::stop;

async fn fib_server(listener: CoreListener, server: Rc<Server>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        drop(popleft::spawn(fib_handler(server.welcome(client), server.clone())));
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
    let starting = Starting::default();
    let served: Result<_, Failed> = builder.cores(cores, |core| async {
        let server = Rc::new(Server::new(options.server.rules(), threads.is_some()));
        serve_until_asked_to_stop(core, &options.server, &starting, server).await.map_err(Failed)
    });
    served.map(drop).map_err(|Failed(error)| error)
}

async fn serve_until_asked_to_stop(
    core: Core,
    options: &ServerOptions,
    starting: &Starting,
    server: Rc<Server>,
) -> anyhow::Result<()> {
    let addr = &options.addr;
    let listener = core.listen(addr.as_str()).await;
    let listener = listener.map_err(|error| cli::cannot_listen(addr, error))?;
    let asked_to_stop = asked_to_stop()?;
    if starting.is_complete_with_this_one(core.count()) {
        cli::announce(listener.local_addr())?;
        starting.begin();
    }
    let serving = async {
        starting.begun().await;
        fib_server(listener, server.clone()).await
    };
    // The first to end drops the other one, and the listener with it.
    future::or(asked_to_stop, serving).await.context("cannot accept clients")?;
    server.stop().await;
    Ok(())
}

// ===== starting together ========================================================================

/// The loops that have all they need. None serves before the last one has: its clients would use up
/// what the others still have to get.
#[derive(Default)]
struct Starting {
    state: Mutex<StartingState>,
}

#[derive(Default)]
struct StartingState {
    here: usize,
    has_begun: bool,
    waiting: Vec<Waker>,
}

impl Starting {
    /// Whether the calling loop is the last of `count`.
    fn is_complete_with_this_one(&self, count: usize) -> bool {
        let mut state = self.state();
        state.here += 1;
        state.here == count
    }

    fn begin(&self) {
        let mut state = self.state();
        state.has_begun = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until [`begin`](Starting::begin) was called.
    async fn begun(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.has_begun {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    // Nothing that panics runs while it is locked.
    fn state(&self) -> MutexGuard<'_, StartingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a loop ended before it was asked to.
struct Failed(anyhow::Error);

/// What the runtime itself could not get; everything else comes with a context of its own.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed(anyhow::Error::from(error).context("cannot start a loop"))
    }
}
