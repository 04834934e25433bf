//! The same server on the finished runtime: generators have become tasks, `yield` is `await`.
//!
//! The scheduler, the tables of those who wait and the socketpair are gone from this file: they
//! are what [`popleft`] is made of. What remains is the sequential server again, with `await`
//! wherever it would block, and `spawn` for each client.
//!
//! **The second client** is served at once. With `--compute inline` everybody waits while `fib`
//! runs, since nothing awaits in there; with `--compute threads` a pool computes, and the loop goes
//! on serving the others.
//!
//! In the talk: the last minutes, where `yield from` on a socket looks like a blocking call. In the
//! book: "Await".

mod simulated;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures_lite::future;
use popleft::net::{TcpListener, TcpStream};
use popleft::{JoinHandle, signal};

use crate::cli::{self, ComputeOptions, ServerOptions, SimOptions, TraceOption};
use crate::fib::fib;
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};
use crate::stop;

async fn fib_server(listener: TcpListener, server: Rc<Server>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let client = Rc::new(client);
        let task = popleft::spawn(fib_handler(client.clone(), server.clone()));
        server.remember(&client, task);
    }
}

pub(crate) async fn fib_handler(client: Rc<TcpStream>, server: Rc<Server>) -> io::Result<()> {
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
    hang_up(&client).await
}

// ===== what the handlers share ==================================================================

pub(crate) struct Server {
    rules: Rules,
    compute_in_pool: bool,
    /// Those that may still be served.
    clients: RefCell<Vec<Served>>,
}

/// A client and the task that serves it.
struct Served {
    client: Weak<TcpStream>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) fn new(rules: Rules, compute_in_pool: bool) -> Self {
        Server { rules, compute_in_pool, clients: RefCell::default() }
    }

    async fn fib(&self, n: u64) -> anyhow::Result<u64> {
        if self.compute_in_pool {
            popleft::spawn_blocking(move || fib(n)).await.context("no thread could compute it")
        } else {
            Ok(fib(n))
        }
    }

    /// Keeps an eye on a client and on the task that serves it, until that has ended.
    pub(crate) fn remember(&self, client: &Rc<TcpStream>, task: JoinHandle<io::Result<()>>) {
        let mut clients = self.clients.borrow_mut();
        if clients.len() == clients.capacity() {
            clients.retain(|served| !served.task.is_finished());
            // Room for as many again, so that this is seldom done.
            let open = clients.len();
            clients.reserve(open + 16);
        }
        clients.push(Served { client: Rc::downgrade(client), task });
    }

    /// Has every client read the end of file once all that it has sent is answered, and waits for
    /// the last one.
    pub(crate) async fn stop(&self) {
        let clients = self.clients.take();
        for served in &clients {
            if let Some(client) = served.client.upgrade() {
                // An error means that the connection is gone: nobody reads from it either way.
                let _ = client.shutdown(Shutdown::Read);
            }
        }
        for served in clients {
            // An error was the connection's, which is closed with it.
            let _ = served.task.await;
        }
    }
}

/// Says goodbye, and reads away what the client still sends: closing a socket with unread bytes
/// resets the connection, and the client could lose the last answer.
async fn hang_up(client: &TcpStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    let mut buffer = [0; READ_SIZE];
    for _ in 0..READS_AFTER_GOODBYE {
        let read = popleft::time::timeout(PATIENCE, client.read(&mut buffer));
        if matches!(read.await, Err(_) | Ok(Ok(0) | Err(_))) {
            break;
        }
    }
    Ok(())
}

// ===== the program ==============================================================================

/// How many reads a client gets that goes on sending after the goodbye, and how long each may take.
const READS_AFTER_GOODBYE: usize = 256;
const PATIENCE: Duration = Duration::from_millis(200);

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
    builder.build()?.block_on(serve_until_asked_to_stop(listener, server))
}

async fn serve_until_asked_to_stop(
    listener: std::net::TcpListener,
    server: Rc<Server>,
) -> anyhow::Result<()> {
    cli::announce(listener.local_addr()?)?;
    let serving = fib_server(TcpListener::from_std(listener)?, server.clone());
    let asked_to_stop = future::or(signal::ctrl_c(), signal::terminate());
    // The first to end drops the other one, and the listener with it.
    future::or(asked_to_stop, serving).await?;
    server.stop().await;
    Ok(())
}
