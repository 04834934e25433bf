//! The same server once for each core: several loops that share nothing but the port.
//!
//! Nothing changes inside a loop: each has a thread, tasks, a deque and a poller of its own. What is
//! new is which loop gets a client: the system decides. In the book: "One loop a core".

mod program;
mod starting;

use std::io;
use std::rc::Rc;

use anyhow::Context;
use futures_lite::future;
use popleft::{Builder, Core, CoreListener};

pub use self::program::{main, run_from};
use self::starting::{Failed, Starting};
use crate::cli::{self, ServerOptions};
use crate::fib_tasks::{Server, asked_to_stop, fib_handler};

/// Runs so many loops, each on a thread of its own, until they are asked to stop.
fn run_loops(
    builder: Builder,
    cores: usize,
    options: &ServerOptions,
    compute_in_pool: bool,
) -> anyhow::Result<()> {
    let starting = Starting::default();
    let served: Result<_, Failed> = builder.cores(cores, |core| async {
        let server = Rc::new(Server::new(options.rules(), compute_in_pool));
        serve_on_core(core, &options.addr, &starting, server).await.map_err(Failed)
    });
    served.map(drop).map_err(|Failed(error)| error)
}

async fn serve_on_core(
    core: Core,
    addr: &str,
    starting: &Starting,
    server: Rc<Server>,
) -> anyhow::Result<()> {
    let listener = core.listen(addr).await.map_err(|error| cli::cannot_listen(addr, error))?;
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

async fn fib_server(listener: CoreListener, server: Rc<Server>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        drop(popleft::spawn(fib_handler(server.welcome(client), server.clone())));
    }
}
