//! The program around the server: its options, and what is made before the first task runs.

use std::ffi::OsString;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context;
use clap::Parser;
use futures_lite::future;
use popleft::net::TcpListener;

use super::{Server, asked_to_stop, fib_server, simulated};
use crate::cli::{self, ComputeOptions, ServerOptions, SimOptions, TraceOption};
use crate::stop;

/// The Fibonacci server on tasks of the finished runtime
///
/// One thread serves all clients; wherever it would wait, it awaits.
#[derive(Debug, Parser)]
#[command(name = "fib-tasks", version, after_help = EXAMPLES)]
#[command(mut_group("SimOptions", |group| group.conflicts_with_all(["addr", "workers"])))]
struct Options {
    #[command(flatten)]
    server: ServerOptions,

    #[command(flatten)]
    compute: ComputeOptions,

    #[command(flatten)]
    trace: TraceOption,

    #[command(flatten)]
    simulation: SimOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-tasks                             listen on 127.0.0.1:25000, compute in 4 threads
  fib-tasks --compute inline            compute in the loop, and see who pays
  fib-tasks --workers 2                 compute two requests at once
  fib-tasks --trace run.jsonl           record what the loop does
  fib-tasks --sim --seed 7              simulate it, clients and network included";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-tasks", args, serve)
}

fn serve(options: Options) -> anyhow::Result<()> {
    let threads = options.compute.threads()?;
    options.trace.begin()?;
    if let Some(sim) = options.simulation.simulation() {
        let server = Server::new(options.server.rules(), threads.is_some());
        return simulated::run(server, sim, options.simulation.seed().unwrap_or(0));
    }
    let listener = options.server.listen()?;
    // The loop waits for the same signals below, but cannot while it computes.
    stop::at_signal(|| {})?;
    let mut builder = popleft::Runtime::builder().name("fib-tasks");
    if let Some(threads) = threads {
        builder = builder.pool_size(threads);
    }
    let server = Rc::new(Server::new(options.server.rules(), threads.is_some()));
    let runtime = builder.build().context("cannot make the loop")?;
    runtime.block_on(serve_until_asked_to_stop(listener, server))
}

async fn serve_until_asked_to_stop(
    listener: std::net::TcpListener,
    server: Rc<Server>,
) -> anyhow::Result<()> {
    let addr = listener.local_addr().context("cannot learn the listener's address")?;
    let listener = TcpListener::from_std(listener).context("cannot watch the listener")?;
    let asked_to_stop = asked_to_stop()?;
    cli::announce(addr)?;
    // The first to end drops the other one, and the listener with it.
    let serving = fib_server(listener, server.clone());
    future::or(asked_to_stop, serving).await.context("cannot accept clients")?;
    server.stop().await;
    Ok(())
}
