//! The same server on the finished runtime: generators have become tasks, `yield` is `await`.
//!
//! The scheduler, the tables of waiting tasks and the socketpair are gone from this file: they
//! are what [`popleft`] is made of. What remains is the sequential server again, with `await`
//! wherever it would block, and `spawn` for each client.
//!
//! **The second client** is served at once. With `--compute inline` all clients wait while `fib`
//! runs, since nothing awaits in there; with `--compute threads` a pool computes, and the loop goes
//! on serving the others.
//!
//! In the talk: the last minutes, where `yield from` on a socket looks like a blocking call. In the
//! book: "Await".

mod simulated;

use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, anyhow};
use clap::Parser;
use futures_lite::future;
use popleft::net::{TcpListener, TcpStream};
use popleft::signal::{self, Signals};
use popleft::time::{sleep, timeout};

use crate::cli::{self, ComputeOptions, ServerOptions, SimOptions, TraceOption};
use crate::fib::fib;
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};
use crate::stop::{
    self, CANNOT_CATCH, Connection, Connections, PATIENCE, PAUSE, READS_AFTER_GOODBYE,
};

async fn fib_server(listener: TcpListener, server: Rc<Server>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        drop(popleft::spawn(fib_handler(server.welcome(client), server.clone())));
    }
}

pub(crate) async fn fib_handler(client: Client, server: Rc<Server>) -> io::Result<()> {
    client.set_nodelay(true)?; // an answer must not wait until the one before is acknowledged
    let mut conversation = Conversation::new(server.rules);
    let mut buffer = [0; READ_SIZE];
    while conversation.is_open() {
        let length = client.read(&mut buffer).await?;
        for request in conversation.received(&buffer[..length]) {
            let result = match request {
                Ok(n) => server.fib(n).await,
                Err(refusal) => Err(refusal.into()),
            };
            client.write_all(answer(result).as_bytes()).await?;
        }
    }
    hang_up(&client, &mut buffer).await
}

// ===== what the handlers share ==================================================================

pub(crate) struct Server {
    rules: Rules,
    compute_in_pool: bool,
    clients: Connections<TcpStream>,
}

/// A connection, known to the server until its handler has ended.
pub(crate) type Client = Connection<TcpStream>;

impl Server {
    pub(crate) fn new(rules: Rules, compute_in_pool: bool) -> Self {
        Server { rules, compute_in_pool, clients: Connections::default() }
    }

    async fn fib(&self, n: u64) -> anyhow::Result<u64> {
        if self.compute_in_pool {
            let computed = popleft::spawn_blocking(move || fib(n)).await;
            computed.map_err(|reason| anyhow!("no thread could compute it: {reason}"))
        } else {
            Ok(fib(n))
        }
    }

    /// Keeps track of a client for as long as it is served.
    pub(crate) fn welcome(&self, client: TcpStream) -> Client {
        self.clients.add(Rc::new(client))
    }

    /// Makes every client read the end of file once all that it has sent is answered, and waits
    /// for the last one.
    pub(crate) async fn stop(&self) {
        for client in self.clients.all() {
            // An error means that the connection is gone: no task reads from it either way.
            let _ = client.shutdown(Shutdown::Read);
        }
        self.clients.all_closed().await;
    }
}

/// Says goodbye, and discards what the client still sends: closing a socket with unread bytes
/// resets the connection, and the client could lose the last answer.
async fn hang_up(client: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    for _ in 0..READS_AFTER_GOODBYE {
        let read = timeout(PATIENCE, client.read(buffer));
        if matches!(read.await, Err(_) | Ok(Ok(0) | Err(_))) {
            break;
        }
    }
    Ok(())
}

// ===== the program ==============================================================================

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

/// Waits for Ctrl-C or SIGTERM. A signal counts from this call on, also before the first poll.
pub(crate) fn asked_to_stop() -> anyhow::Result<impl Future<Output = io::Result<()>>> {
    let interrupt = signal::listen(signal::SIGINT).context(CANNOT_CATCH)?;
    let terminate = signal::listen(signal::SIGTERM).context(CANNOT_CATCH)?;
    Ok(future::or(received(interrupt), received(terminate)))
}

/// Waits for the signal. A server must be able to stop whatever else fails, so this never fails.
async fn received(signal: Signals) -> io::Result<()> {
    while signal.recv().await.is_err() {
        sleep(PAUSE).await;
    }
    Ok(())
}
