//! The same server on the finished runtime: generators have become tasks, `yield` is `await`.
//!
//! What remains is the sequential server, with `await` wherever it would block, and `spawn` for each
//! client; the scheduler and its tables are what [`popleft`] is made of. **The second client** is
//! served at once. With `--compute inline` all clients wait while `fib` runs, since nothing awaits
//! in there; with `--compute threads` a pool computes, and the loop goes on serving the others.
//!
//! In the talk: the last minutes, where `yield from` on a socket looks like a blocking call. In the
//! book: "Await".

mod program;
mod simulated;
mod stopping;

use std::io;
use std::rc::Rc;

use anyhow::anyhow;
use popleft::net::{TcpListener, TcpStream};

pub use self::program::{main, run_from};
pub(crate) use self::stopping::asked_to_stop;
use self::stopping::{Client, hang_up};
use crate::fib::fib;
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};
use crate::stop::Connections;

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

/// What the handlers share.
pub(crate) struct Server {
    rules: Rules,
    compute_in_pool: bool,
    clients: Connections<TcpStream>,
}

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
}
