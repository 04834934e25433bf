//! Four loops listen on one port, a thousand clients come: which loop gets how many?
#![expect(clippy::print_stdout, reason = "an example may print")]
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use popleft::{Core, cores};

const CLIENTS: usize = 1_000;

static LISTENING: AtomicUsize = AtomicUsize::new(0);

fn main() -> io::Result<()> {
    cores(4, serve)?;
    Ok(())
}

/// Greets each client with the number of its loop.
async fn serve(core: Core) -> io::Result<()> {
    let listener = core.listen("127.0.0.1:0").await?;
    let addr = listener.local_addr();
    // Who listens last lets the clients in.
    if LISTENING.fetch_add(1, Relaxed) + 1 == core.count() {
        thread::spawn(move || count(addr));
    }
    loop {
        let (client, _) = listener.accept().await?;
        client.write_all(&[core.number() as u8]).await?;
    }
}

fn count(addr: SocketAddr) {
    let mut greeted = [0; 4];
    for _ in 0..CLIENTS {
        let mut number = [0];
        TcpStream::connect(addr).and_then(|mut client| client.read_exact(&mut number)).unwrap();
        greeted[usize::from(number[0])] += 1;
    }
    for (number, clients) in greeted.iter().enumerate() {
        println!("loop {number} got {clients} of {CLIENTS}");
    }
    std::process::exit(0);
}
