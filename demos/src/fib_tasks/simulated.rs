//! The same server in a simulated run, with clients that follow a script: `fib-tasks --sim`.
//!
//! No socket, no thread and no clock of the system takes part. The server's code is the same to the
//! last line; only the world is another one, in which time jumps from one thing that happens to the
//! next. So twenty seconds take none, and the same seed prints the same lines every time. Another
//! seed chooses other tasks when several are ready, and gives packets other travel times. Without a
//! seed the ready tasks go in their order, or as a schedule says.

use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::io::{AsyncBufReadExt, BufReader};
use popleft::net::{TcpListener, TcpStream};
use popleft::sim::{self, Link, Network, Sim, on_host};
use popleft::time::{sleep, timeout};

use super::{Server, fib_server};
use crate::output;

/// Where the server is, under the name `fib`; and its clients.
const SERVER: [u8; 4] = [10, 0, 0, 1];
const NEAR: [u8; 4] = [10, 0, 0, 2];
const FAR: [u8; 4] = [10, 0, 0, 3];
const RESET: [u8; 4] = [10, 0, 0, 4];
const LOST: [u8; 4] = [10, 0, 0, 5];

/// How long the pool takes for each number.
const COMPUTING: Duration = Duration::from_millis(100);

fn network(seed: u64) -> Network {
    let milliseconds = Duration::from_millis;
    let cable = Link::new().latency(milliseconds(1)).jitter(milliseconds(2));
    let satellite =
        Link::new().latency(milliseconds(250)).jitter(milliseconds(50)).bandwidth(1_000);
    Network::new().name("fib", SERVER).other_links(cable).links(FAR, SERVER, satellite).seed(seed)
}

/// `seed` determines the travel times of the packets; `sim` chooses the next task.
pub(super) fn run(server: Server, sim: Sim, seed: u64) -> anyhow::Result<()> {
    let sim = sim.network(network(seed)).job_time(COMPUTING);
    let served = async {
        let server = Rc::new(server);
        let listener = TcpListener::bind("fib:25000").await?;
        let serving = popleft::spawn(fib_server(listener, server.clone()));
        let clients = [
            popleft::spawn(on_host(NEAR, tell("near", asks("near", &["10", "20", "ten"])))),
            popleft::spawn(on_host(FAR, tell("far", asks("far", &["10", "20"])))),
            popleft::spawn(on_host(RESET, tell("reset", asks("reset", &["10", "20"])))),
            popleft::spawn(on_host(LOST, tell("lost", asks("lost", &["10", "20", "30"])))),
        ];
        sleep(Duration::from_millis(150)).await;
        sim::network().reset(RESET, SERVER);
        sim::network().cut(LOST, SERVER);
        for client in clients {
            client.await??;
        }
        serving.abort();
        server.stop().await;
        say("server", "has stopped")?;
        Ok(())
    };
    sim.try_run(served)?
}

/// A client: one request after the other; it waits at most 20 seconds for each answer.
async fn asks(name: &str, requests: &[&str]) -> io::Result<()> {
    let server = TcpStream::connect("fib:25000").await?;
    say(name, "is connected")?;
    let mut answers = BufReader::new(&server).lines();
    for request in requests {
        server.write_all(format!("{request}\n").as_bytes()).await?;
        say(name, &format!("asks for fib({request})"))?;
        let answer = timeout(Duration::from_secs(20), answers.next()).await?;
        let answer = answer.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))?;
        say(name, &format!("gets {answer}"))?;
    }
    Ok(())
}

async fn tell(name: &str, client: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match client.await {
        Ok(()) => say(name, "goes"),
        Err(error) => say(name, &format!("gives up: {error}")),
    }
}

/// One line, with the virtual time.
fn say(name: &str, what: &str) -> io::Result<()> {
    writeln!(output::stdout(), "{:9.6} s  {name:6} {what}", sim::elapsed().as_secs_f64())
}
