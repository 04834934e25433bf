//! A program with deadlines, a job, a connection and a signal, once in the real world and once simulated.
//!
//! Under strace one sees what each asks of the system:
//!
//! ```text
//! strace -f target/debug/examples/simulated real
//! strace -f target/debug/examples/simulated simulated
//! ```
#![expect(clippy::print_stderr, reason = "an example may print")]
use std::time::Duration;

use popleft::net::{TcpListener, TcpStream};
use popleft::sim::{self, ExploreOptions, Sim, explore};
use popleft::time::{sleep, timeout};
use popleft::{spawn, spawn_blocking};

async fn program() {
    let job = spawn_blocking(|| 6 * 7);
    let nap = spawn(sleep(Duration::from_millis(2)));
    assert_eq!(job.await.unwrap(), 42);
    nap.await.unwrap();
    let pressed = timeout(Duration::from_millis(1), popleft::signal::ctrl_c()).await;
    assert!(pressed.is_err(), "nobody pressed it");

    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
}

async fn program_with_signal() {
    program().await;
    let pressed = spawn(popleft::signal::ctrl_c());
    sim::raise(popleft::signal::SIGINT);
    pressed.await.unwrap().unwrap();
}

/// Leaves a mark in the trace: a file of that name is looked for, and is not there.
fn mark(name: &str) {
    assert!(std::fs::File::open(name).is_err());
}

fn main() {
    let how = std::env::args().nth(1);
    mark("the-run-begins-here");
    match how.as_deref() {
        Some("real") => popleft::run(program()),
        Some("simulated") => {
            Sim::new().seed(7).run(program_with_signal());
            explore(ExploreOptions::new().max_schedules(100), program_with_signal).assert_ok();
        }
        _ => {
            eprintln!("how shall it run? say `real` or `simulated`");
            std::process::exit(2);
        }
    }
    mark("the-run-ends-here");
}
