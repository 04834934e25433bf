//! The programs that run on the runtimes of steps 5 to 8. Not a line of them changes while the runtime beneath them does:
//! they know `ready`, `sleep`, `spawn`, `yield_now` and `compute`, and not how these are made.

use crate::{compute, ready, sleep, spawn, yield_now};
use popleft_steps::Connection;
use popleft_steps::select::Interest;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One task for each number.
pub(crate) fn spawn_each<F>(numbers: Vec<u64>, task: fn(u64) -> F)
where
    F: Future<Output: 'static> + 'static,
{
    for number in numbers {
        spawn(task(number));
    }
}

pub(crate) async fn countdown(n: u64) {
    for n in (1..=n).rev() {
        println!("{n}");
        yield_now().await;
    }
}

/// Sleeps, and returns twice the time: a result to be joined.
pub(crate) async fn nap(ms: u64) -> u64 {
    sleep(Duration::from_millis(ms)).await;
    println!("{ms}");
    2 * ms
}

/// Always ready, always polite: while another naps for `ms`, and ten times as long, it gives its turn away.
pub(crate) async fn keep_yielding(ms: u64) {
    spawn(nap(ms));
    let end = Instant::now() + Duration::from_millis(10 * ms);
    while Instant::now() < end {
        yield_now().await;
    }
    println!("over");
}

pub(crate) async fn serve(listener: Rc<TcpListener>) {
    loop {
        ready(&listener, Interest::Read).await;
        if let Ok((socket, _)) = listener.accept() {
            spawn(handle(Connection::non_blocking(socket)));
        }
    }
}

async fn handle(mut client: Connection) -> io::Result<()> {
    while client.receive()? {
        while let Some(line) = client.next_line() {
            client.reply(&compute(line).await);
            while !client.send()? {
                ready(&client.socket, Interest::Write).await;
            }
        }
        ready(&client.socket, Interest::Read).await;
    }
    Ok(())
}
