//! The real and the simulated world, compared corner by corner.
//!
//! Each corner is a small program. It is run by the system's sockets, clock and threads, and once
//! more in a simulation, and must come to the same answer. Programs wait for conditions, never for
//! time to pass, so that a busy machine changes no answer. The errors of sockets are those of Linux.
#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::{Future, pending, poll_fn};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::{poll_once, zip};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use popleft::net::{TcpListener, TcpStream, lookup_host};
use popleft::sim::Sim;
use popleft::time::{self, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout};
use popleft::{Handle, spawn, spawn_blocking, yield_now};

const BRIEFLY: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

// ===== running a program in both worlds =========================================================

/// What a program says besides its answer, also while it is dropped.
type Log = Rc<RefCell<Vec<String>>>;

fn say(log: &Log, what: impl Into<String>) {
    log.borrow_mut().push(what.into());
}

/// The corners in which the two worlds differ.
#[derive(Default)]
struct Worlds {
    differences: Vec<String>,
}

impl Worlds {
    fn compare<F>(&mut self, corner: &str, program: impl Fn(Log) -> F)
    where
        F: Future<Output = String>,
    {
        let said = |run: &dyn Fn(F) -> String| {
            let log = Log::default();
            let program = program(log.clone());
            let ended = catch_unwind(AssertUnwindSafe(|| run(program)));
            let answer = ended.unwrap_or_else(|panic| format!("panics: {}", text_of(&*panic)));
            format!("{answer} {:?}", log.take())
        };
        let real = said(&|program| popleft::run(program));
        let simulated = said(&|program| Sim::new().run(program));
        if real != simulated {
            let difference = format!("{corner}\n  real:      {real}\n  simulated: {simulated}");
            self.differences.push(difference);
        }
    }
}

impl Drop for Worlds {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let all = &self.differences;
            assert!(all.is_empty(), "{} corners differ:\n{}", all.len(), all.join("\n"));
        }
    }
}

/// The first line: a simulation says below it how it can be had again.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or_default().to_string()
}

/// What a call came to, without the words of the error.
fn came_to<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Whether the condition holds soon.
async fn until(holds: impl Fn() -> bool) -> bool {
    let given_up = time::now() + LONG;
    while !holds() && time::now() < given_up {
        sleep(Duration::from_millis(1)).await;
    }
    holds()
}

/// The two ends of a connection: who connected, and who accepted.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// An end whose peer has reset the connection, which it has not been told yet.
async fn reset() -> TcpStream {
    let (client, server) = pair().await;
    client.write_all(b"never read").await.unwrap();
    server.peek(&mut [0]).await.unwrap();
    drop(server);
    assert!(until(|| client.peer_addr().is_err()).await);
    client
}

/// An end whose peer has closed, and has been told so.
async fn closed_by_peer() -> TcpStream {
    let (client, server) = pair().await;
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client
}

/// Both have ended their direction, and know of each other.
async fn both_ended() -> (TcpStream, TcpStream) {
    let (client, server) = pair().await;
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(until(|| client.peer_addr().is_err() && server.peer_addr().is_err()).await);
    (client, server)
}

async fn read(stream: &TcpStream, room: usize) -> String {
    let mut buffer = vec![0; room];
    match timeout(LONG, stream.read(&mut buffer)).await {
        Ok(Ok(length)) => format!("{:?}", String::from_utf8_lossy(&buffer[..length])),
        Ok(Err(error)) => format!("{:?}", error.kind()),
        Err(_) => String::from("waits"),
    }
}

async fn peek(stream: &TcpStream, room: usize) -> String {
    let mut buffer = vec![0; room];
    match timeout(LONG, stream.peek(&mut buffer)).await {
        Ok(Ok(length)) => format!("{:?}", String::from_utf8_lossy(&buffer[..length])),
        Ok(Err(error)) => format!("{:?}", error.kind()),
        Err(_) => String::from("waits"),
    }
}

async fn write(stream: &TcpStream, bytes: &[u8]) -> String {
    match timeout(LONG, stream.write(bytes)).await {
        Ok(result) => came_to(result),
        Err(_) => String::from("waits"),
    }
}

/// Whether a future is still waiting after a while.
async fn waits<F: Future>(future: F) -> bool {
    timeout(BRIEFLY, future).await.is_err()
}

/// What can be asked of an end without waiting.
fn settings(stream: &TcpStream) -> String {
    let loopback = |address: SocketAddr| address.ip().is_loopback() && address.port() != 0;
    let local = came_to(stream.local_addr().map(loopback));
    let peer = came_to(stream.peer_addr().map(loopback));
    let error = came_to(stream.nodelay());
    format!("local {local}, peer {peer}, nodelay {error}")
}

/// What is left of an end: what reading, writing and shutting down come to, each twice.
async fn what_is_left_of(stream: &TcpStream) -> String {
    let mut left = vec![settings(stream)];
    for _ in 0..2 {
        left.push(format!("peek {}", peek(stream, 10).await));
        left.push(format!("read {}", read(stream, 10).await));
        left.push(format!("write {}", write(stream, b"more").await));
        left.push(format!("write nothing {}", write(stream, b"").await));
        for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
            left.push(format!("{how:?} {}", came_to(stream.shutdown(how))));
        }
        left.push(settings(stream));
    }
    left.join("; ")
}

// ===== reading and writing ======================================================================

#[test]
fn reads_are_the_same() {
    let mut worlds = Worlds::default();
    worlds.compare("empty buffers on a silent connection", |_| async {
        let (client, _server) = pair().await;
        let mut answers = vec![
            read(&client, 0).await,
            peek(&client, 0).await,
            write(&client, b"").await,
            came_to(client.read_vectored(&mut []).await),
            came_to(client.read_vectored(&mut [IoSliceMut::new(&mut [])]).await),
            came_to(client.read_exact(&mut []).await),
            came_to(client.write_all(b"").await),
            came_to(AsyncReadExt::read(&mut &client, &mut []).await),
            came_to(AsyncReadExt::read_vectored(&mut &client, &mut []).await),
        ];
        // Also when it is known that nothing is there.
        assert!(waits(client.read(&mut [0])).await);
        answers.push(read(&client, 0).await);
        answers.push(peek(&client, 0).await);
        answers.join(" ")
    });
    worlds.compare("empty buffers when something, or the end, is there", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"ab").await.unwrap();
        client.peek(&mut [0]).await.unwrap();
        let full = [peek(&client, 0).await, read(&client, 0).await, read(&client, 9).await];
        drop(server);
        format!("{full:?} {} {}", read(&client, 0).await, read(&client, 1).await)
    });
    worlds.compare("empty buffers on a connection that was reset", |_| async {
        let client = reset().await;
        format!("{} {}", read(&client, 0).await, peek(&client, 0).await)
    });
    worlds.compare("peeking takes nothing", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"hello").await.unwrap();
        let mut seen = vec![];
        for room in [1, 3, 100] {
            seen.push(peek(&client, room).await);
        }
        seen.push(read(&client, 2).await);
        seen.push(peek(&client, 100).await);
        seen.push(read(&client, 100).await);
        format!("{seen:?} {}", waits(client.peek(&mut [0])).await)
    });
    worlds.compare("small and huge buffers", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"abcdef").await.unwrap();
        let mut seen = vec![read(&client, 1).await, read(&client, 2).await];
        seen.push(read(&client, 1 << 20).await);
        server.write_all(b"gh").await.unwrap();
        seen.push(read(&client, 1 << 20).await);
        format!("{seen:?}")
    });
    worlds.compare("vectored calls take buffers one after the other", |_| async {
        let (client, server) = pair().await;
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdef")];
        let sent = server.write_vectored(&parts).await;
        let nothing = server.write_vectored(&[]).await;
        let (mut one, mut two, mut three) = ([0; 1], [0; 3], [0; 9]);
        client.peek(&mut [0; 6]).await.unwrap();
        let mut rooms =
            [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two), IoSliceMut::new(&mut three)];
        let got = client.read_vectored(&mut rooms).await;
        let (sent, nothing, got) = (came_to(sent), came_to(nothing), came_to(got));
        format!("{sent} {nothing} {got} {one:?} {two:?} {three:?}")
    });
    worlds.compare("vectored calls after the end", |_| async {
        let client = closed_by_peer().await;
        let mut room = [0; 4];
        let end = client.read_vectored(&mut [IoSliceMut::new(&mut room)]).await;
        let first = client.write_vectored(&[IoSlice::new(b"x")]).await;
        assert!(until(|| client.peer_addr().is_err()).await);
        let second = client.write_vectored(&[IoSlice::new(b"x")]).await;
        format!("{} {} {}", came_to(end), came_to(first), came_to(second))
    });
    worlds.compare("read_exact at the end", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"abc").await.unwrap();
        drop(server);
        let mut buffer = [0; 4];
        let cut = client.read_exact(&mut buffer).await;
        format!("{} {buffer:?} {}", came_to(cut), came_to(client.read_exact(&mut []).await))
    });
    worlds.compare("bytes that were sent before the end are read before it", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"last").await.unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        let mut seen = vec![];
        for room in [3, 3, 3, 3] {
            seen.push(read(&client, room).await);
        }
        format!("{seen:?}")
    });
    worlds.compare("two readers of one stream", |_| async {
        let (client, server) = pair().await;
        let client = Rc::new(client);
        let readers = [1, 2].map(|_| {
            let client = client.clone();
            spawn(async move { read(&client, 1).await })
        });
        yield_now().await;
        server.write_all(b"ab").await.unwrap();
        let mut seen = vec![];
        for reader in readers {
            seen.push(reader.await.unwrap());
        }
        seen.sort();
        format!("{seen:?}")
    });
    worlds.compare("one reads while the other writes", |_| async {
        let (client, server) = pair().await;
        let (mut one, mut two) = ([0; 3], [0; 3]);
        let there = zip(client.write_all(b"abc"), server.read_exact(&mut one));
        let back = zip(server.write_all(b"def"), client.read_exact(&mut two));
        let ((a, b), (c, d)) = zip(there, back).await;
        format!("{:?} {one:?} {two:?}", [a, b, c, d].map(came_to))
    });
    worlds.compare("timeouts around reads lose nothing", |_| async {
        let (client, server) = pair().await;
        let mut seen = vec![];
        for word in ["one", "two"] {
            seen.push(waits(client.read(&mut [0; 9])).await.to_string());
            seen.push(waits(client.peek(&mut [0; 9])).await.to_string());
            server.write_all(word.as_bytes()).await.unwrap();
            seen.push(read(&client, 9).await);
        }
        format!("{seen:?}")
    });
}

#[test]
fn writes_are_the_same() {
    let mut worlds = Worlds::default();
    worlds.compare("more than all buffers hold, and a reader who comes late", |log| async move {
        let (client, server) = pair().await;
        let size = 8 << 20;
        let writer = spawn(async move {
            let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
            let written = client.write_all(&bytes).await;
            came_to(written.and_then(|()| client.shutdown(Shutdown::Write)))
        });
        let waits = !poll_once(until(|| writer.is_finished())).await.unwrap_or(false);
        say(&log, format!("writer waits: {waits}"));
        let (mut all, mut buffer) = (0, vec![0; 100_000]);
        let mut in_order = true;
        loop {
            let length = server.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            let expected = (all..).map(|n: usize| (n % 251) as u8);
            in_order &= buffer[..length].iter().copied().eq(expected.take(length));
            all += length;
        }
        format!("{all} {in_order} {}", writer.await.unwrap())
    });
    worlds.compare("a writer who has no room hears of a reset", |_| async {
        let (client, server) = pair().await;
        let writer = spawn(async move {
            let result = client.write_all(&vec![0; 32 << 20]).await;
            (came_to(result), write(&client, b"x").await, read(&client, 1).await)
        });
        server.peek(&mut [0]).await.unwrap();
        drop(server);
        format!("{:?}", writer.await.unwrap())
    });
    worlds.compare("writing to who reads no more", |_| async {
        let (client, server) = pair().await;
        server.shutdown(Shutdown::Read).unwrap();
        let written = write(&client, b"hello").await;
        let here = read(&client, 0).await;
        format!("{written} {here} {}", settings(&client))
    });
}

// ===== how connections end ======================================================================

#[test]
fn ends_are_the_same() {
    let mut worlds = Worlds::default();
    for how in [Shutdown::Write, Shutdown::Read, Shutdown::Both] {
        worlds.compare(&format!("after one's own shutdown of {how:?}"), |_| async move {
            let (client, server) = pair().await;
            let first = came_to(client.shutdown(how));
            let again = came_to(client.shutdown(how));
            let write = write(&client, b"x").await;
            let read = match how {
                Shutdown::Write => waits(client.read(&mut [0])).await.to_string(),
                _ => read(&client, 1).await,
            };
            let settings = settings(&client);
            drop(server);
            format!("{first} {again} {write} {read} {settings}")
        });
    }
    worlds.compare("what the peer of a half closed end sees", |_| async {
        let (client, server) = pair().await;
        client.write_all(b"last").await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut seen = vec![read(&server, 9).await, read(&server, 9).await, peek(&server, 9).await];
        // The other direction goes on.
        seen.push(write(&server, b"answer").await);
        seen.push(read(&client, 9).await);
        seen.push(settings(&server));
        seen.push(settings(&client));
        format!("{seen:?}")
    });
    worlds.compare("a reader hears of its own shutdown", |_| async {
        let (client, _server) = pair().await;
        let client = Rc::new(client);
        let reading = client.clone();
        let reader = spawn(async move { read(&reading, 1).await });
        yield_now().await;
        let shut = came_to(client.shutdown(Shutdown::Read));
        format!("{shut} {}", reader.await.unwrap())
    });
    worlds.compare("what was received before one's own shutdown can be read", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"abc").await.unwrap();
        client.peek(&mut [0; 3]).await.unwrap();
        client.shutdown(Shutdown::Read).unwrap();
        let seen = [read(&client, 2).await, read(&client, 2).await, read(&client, 2).await];
        format!("{seen:?}")
    });
    worlds.compare("what comes after one's own shutdown of reading", |_| async {
        let (client, server) = pair().await;
        client.shutdown(Shutdown::Read).unwrap();
        let written = write(&server, b"abc").await;
        while client.peek(&mut [0; 3]).await.unwrap() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        format!("{written} {} {}", read(&client, 9).await, read(&client, 9).await)
    });
    worlds.compare("after both ended, who ended first", |_| async {
        let (client, _server) = both_ended().await;
        what_is_left_of(&client).await
    });
    worlds.compare("after both ended, who ended last", |_| async {
        let (_client, server) = both_ended().await;
        what_is_left_of(&server).await
    });
    worlds.compare("both end at the same time", |_| async {
        let (client, server) = pair().await;
        client.shutdown(Shutdown::Write).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        let over = until(|| client.peer_addr().is_err() && server.peer_addr().is_err()).await;
        format!("{over} {} | {}", what_is_left_of(&client).await, what_is_left_of(&server).await)
    });
    worlds.compare("both shut down everything", |_| async {
        let (client, server) = pair().await;
        client.shutdown(Shutdown::Both).unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        let shut = came_to(server.shutdown(Shutdown::Both));
        let over = until(|| client.peer_addr().is_err() && server.peer_addr().is_err()).await;
        let left = what_is_left_of(&client).await;
        format!("{shut} {over} {left} | {}", what_is_left_of(&server).await)
    });
    worlds.compare("bytes that wait unread when both have ended", |_| async {
        let (client, server) = pair().await;
        client.write_all(b"abc").await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.peek(&mut [0; 3]).await.unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert!(until(|| server.peer_addr().is_err()).await);
        what_is_left_of(&server).await
    });
    worlds.compare("after the peer has closed", |_| async {
        let client = closed_by_peer().await;
        let before = settings(&client);
        let first = write(&client, b"x").await;
        // The answer to that is a reset.
        let over = until(|| client.peer_addr().is_err()).await;
        format!("{before} {first} {over} {}", what_is_left_of(&client).await)
    });
    worlds.compare("after a reset", |_| async { what_is_left_of(&reset().await).await });
    worlds.compare("after a reset, writing first", |_| async {
        let client = reset().await;
        let seen = [write(&client, b"x").await, write(&client, b"x").await, read(&client, 1).await];
        format!("{seen:?}")
    });
    worlds.compare("after a reset, writing nothing first", |_| async {
        let client = reset().await;
        let seen = [write(&client, b"").await, write(&client, b"").await, read(&client, 1).await];
        format!("{seen:?}")
    });
    worlds.compare("a reset with bytes that were received before", |_| async {
        let (client, server) = pair().await;
        server.write_all(b"before").await.unwrap();
        client.peek(&mut [0; 6]).await.unwrap();
        client.write_all(b"never read").await.unwrap();
        server.peek(&mut [0]).await.unwrap();
        drop(server);
        assert!(until(|| client.peer_addr().is_err()).await);
        let seen = [read(&client, 9).await, read(&client, 9).await, read(&client, 9).await];
        format!("{seen:?}")
    });
    worlds.compare("a reader that waits hears of a reset", |_| async {
        let (client, server) = pair().await;
        client.write_all(b"never read").await.unwrap();
        server.peek(&mut [0]).await.unwrap();
        let reader = spawn(async move { (read(&client, 1).await, read(&client, 1).await) });
        yield_now().await;
        drop(server);
        format!("{:?}", reader.await.unwrap())
    });
    worlds.compare("closing with something unread after the peer has ended", |_| async {
        let (client, server) = pair().await;
        client.write_all(b"never read").await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.peek(&mut [0; 10]).await.unwrap();
        drop(server);
        let seen = [read(&client, 1).await, read(&client, 1).await];
        format!("{seen:?} {}", settings(&client))
    });
}

// ===== listening and connecting =================================================================

#[test]
fn listeners_are_the_same() {
    let mut worlds = Worlds::default();
    worlds.compare("a port where nobody listens", |_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        came_to(TcpStream::connect(address).await.map(drop))
    });
    worlds.compare("the same address twice", |_| async {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let taken = came_to(TcpListener::bind(address).await.map(drop));
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        let everywhere = came_to(TcpListener::bind(everywhere).await.map(drop));
        drop(first);
        format!("{taken} {everywhere} {}", came_to(TcpListener::bind(address).await.map(drop)))
    });
    worlds.compare("an address again while its connections live", |_| async {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = first.accept().await.unwrap();
        drop(first);
        let again = TcpListener::bind(address).await;
        let again = came_to(again.map(|listener| listener.local_addr().unwrap() == address));
        server.write_all(b"alive").await.unwrap();
        format!("{again} {}", read(&client, 9).await)
    });
    worlds.compare("an address at which a connection began", |_| async {
        let (client, _server) = pair().await;
        came_to(TcpListener::bind(client.local_addr().unwrap()).await.map(drop))
    });
    worlds.compare("port 0 twice", |_| async {
        let one = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (two, three) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        format!("{} {} {}", one.port() > 0, two.port() > 0, two != three)
    });
    worlds.compare("several addresses, of which the first is taken", |_| async {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let second = TcpListener::bind(&[address, free][..]).await;
        let none = TcpListener::bind(&[][..]).await;
        let second = second.map(|second| second.local_addr().unwrap() != address);
        format!("{} {}", came_to(second), came_to(none.map(drop)))
    });
    worlds.compare("one address for several, if all of them say so", |_| async {
        let one = TcpListener::options().reuse_port(true).bind("127.0.0.1:0").await.unwrap();
        let address = one.local_addr().unwrap();
        let two = TcpListener::options().reuse_port(true).bind(address).await;
        let three = TcpListener::options().reuse_port(false).bind(address).await;
        let at = |listener: TcpListener| listener.local_addr().unwrap() == address;
        format!("{} {}", came_to(two.map(at)), came_to(three.map(drop)))
    });
    worlds.compare("a timeout that gives up a write", |_| async {
        let (client, server) = pair().await;
        let written = Rc::new(RefCell::new(0));
        let sent = written.clone();
        let gave_up = timeout(BRIEFLY, async move {
            loop {
                *sent.borrow_mut() += client.write(&[7; 5000]).await.unwrap();
            }
        });
        let given_up = gave_up.await.is_err();
        let mut rest = vec![];
        let mut reading = &server;
        AsyncReadExt::read_to_end(&mut reading, &mut rest).await.unwrap();
        format!("{given_up} {} {}", rest.len() == *written.borrow(), rest.iter().all(|&b| b == 7))
    });
    worlds.compare("listening everywhere", |_| async {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        format!(
            "{} {} {} {}",
            address.ip(),
            server.local_addr().unwrap() == client.peer_addr().unwrap(),
            client.peer_addr().unwrap().ip(),
            peer == client.local_addr().unwrap()
        )
    });
    worlds.compare("connecting to 0.0.0.0", |_| async {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = client.peer_addr().unwrap();
        format!("{} {}", peer.ip(), peer.port() == listener.local_addr().unwrap().port())
    });
    worlds.compare("connections are accepted in their order", |_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut clients = vec![];
        for _ in 0..5 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        }
        let mut order = vec![];
        for _ in 0..5 {
            let (_, peer) = listener.accept().await.unwrap();
            order.push(clients.iter().position(|client| client.local_addr().unwrap() == peer));
        }
        format!("{order:?} {}", waits(listener.accept()).await)
    });
    worlds.compare("bytes that were sent before anybody accepted", |_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"early").await.unwrap();
        drop(client);
        let (server, _) = listener.accept().await.unwrap();
        format!("{} {}", read(&server, 9).await, read(&server, 9).await)
    });
    worlds.compare("a connection that was given up before anybody accepted", |_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        drop(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (server, _) = listener.accept().await.unwrap();
        format!("{} {}", read(&server, 9).await, settings(&server))
    });
    worlds.compare("a listener that goes takes who waits with it", |_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clients = [
            TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(),
            TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(),
        ];
        clients[1].write_all(b"x").await.unwrap();
        drop(listener);
        format!("{} {}", read(&clients[0], 1).await, read(&clients[1], 1).await)
    });
    worlds.compare("tasks that are aborted in accept, connect and read", |_| async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let accepting = listener.clone();
        let accept = spawn(async move { accepting.accept().await.map(drop) });
        let connect = spawn(async move { TcpStream::connect(address).await.map(drop) });
        connect.abort();
        accept.abort();
        let mut ended = vec![
            accept.await.unwrap_err().is_cancelled(),
            connect.await.unwrap_err().is_cancelled(),
        ];
        // The listener goes on.
        let client = Rc::new(TcpStream::connect(address).await.unwrap());
        let (server, _) = listener.accept().await.unwrap();
        let reading = client.clone();
        let read_one = spawn(async move { reading.read(&mut [0]).await });
        yield_now().await;
        read_one.abort();
        ended.push(read_one.await.unwrap_err().is_cancelled());
        server.write_all(b"x").await.unwrap();
        format!("{ended:?} {}", read(&client, 9).await)
    });
    worlds.compare("nodelay", |_| async {
        let (client, server) = pair().await;
        let mut seen = vec![client.nodelay().unwrap(), server.nodelay().unwrap()];
        client.set_nodelay(true).unwrap();
        seen.extend([client.nodelay().unwrap(), server.nodelay().unwrap()]);
        client.set_nodelay(false).unwrap();
        seen.push(client.nodelay().unwrap());
        format!("{seen:?}")
    });
    worlds.compare("nodelay after the end", |_| async {
        let (client, _server) = both_ended().await;
        let set = came_to(client.set_nodelay(true));
        let broken = reset().await;
        format!("{set} {} {}", came_to(client.nodelay()), came_to(broken.set_nodelay(true)))
    });
}

// ===== halves and traits ========================================================================

#[test]
fn halves_and_traits_are_the_same() {
    let mut worlds = Worlds::default();
    worlds.compare("borrowed halves", |_| async {
        let (client, server) = pair().await;
        let (reading, writing) = client.split();
        writing.write_all(b"ab").await.unwrap();
        let shut = came_to(writing.shutdown());
        let seen = [read(&server, 9).await, read(&server, 9).await];
        server.write_all(b"c").await.unwrap();
        let mut buffer = [0; 1];
        format!("{shut} {seen:?} {}", came_to(reading.read(&mut buffer).await))
    });
    worlds.compare("the owned writing half ends its direction when it goes", |_| async {
        let (client, server) = pair().await;
        let (reading, writing) = client.into_split();
        writing.write_all(b"ab").await.unwrap();
        drop(writing);
        let seen = [read(&server, 9).await, read(&server, 9).await];
        server.write_all(b"c").await.unwrap();
        let mut buffer = [0; 1];
        format!("{seen:?} {}", came_to(reading.read(&mut buffer).await))
    });
    worlds.compare("the owned reading half ends nothing when it goes", |_| async {
        let (client, server) = pair().await;
        let (reading, writing) = client.into_split();
        drop(reading);
        let written = came_to(writing.write(b"ab").await);
        let seen = read(&server, 9).await;
        let back = write(&server, b"x").await;
        drop(writing);
        format!("{written} {seen} {back} {}", read(&server, 9).await)
    });
    worlds.compare("through the traits", |_| async {
        let (client, server) = pair().await;
        let (mut client, mut server) = (&client, &server);
        let mut said = vec![];
        said.push(came_to(AsyncWriteExt::write_all(&mut client, b"hello").await));
        said.push(came_to(AsyncWriteExt::flush(&mut client).await));
        let mut buffer = [0; 5];
        said.push(came_to(AsyncReadExt::read_exact(&mut server, &mut buffer).await));
        said.push(came_to(AsyncWriteExt::close(&mut client).await));
        said.push(came_to(AsyncWriteExt::close(&mut client).await));
        said.push(came_to(AsyncWriteExt::write(&mut client, b"more").await));
        let mut rest = vec![];
        said.push(came_to(AsyncReadExt::read_to_end(&mut server, &mut rest).await));
        said.push(came_to(AsyncWriteExt::write_all(&mut server, b"back").await));
        said.push(came_to(AsyncWriteExt::close(&mut server).await));
        said.push(came_to(AsyncReadExt::read_to_end(&mut client, &mut rest).await));
        format!("{said:?} {buffer:?} {rest:?}")
    });
    worlds.compare("vectored, through the traits", |_| async {
        let (client, server) = pair().await;
        let (mut client, mut server) = (&client, &server);
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        let sent = AsyncWriteExt::write_vectored(&mut client, &parts).await;
        let (mut one, mut two) = ([0; 3], [0; 3]);
        let mut rooms = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        let got = AsyncReadExt::read_vectored(&mut server, &mut rooms).await;
        format!("{} {} {one:?} {two:?}", came_to(sent), came_to(got))
    });
    worlds.compare("closing through the traits after the peer has ended too", |_| async {
        let (client, _server) = both_ended().await;
        let (mut once, mut twice) = (&client, &client);
        let first = came_to(AsyncWriteExt::close(&mut once).await);
        format!("{first} {}", came_to(AsyncWriteExt::close(&mut twice).await))
    });
    worlds.compare("closing through the traits after a reset", |_| async {
        let client = reset().await;
        let mut closing = &client;
        came_to(AsyncWriteExt::close(&mut closing).await)
    });
    worlds.compare("a read through the traits that waits", |_| async {
        let (client, server) = pair().await;
        let reader = spawn(async move {
            let mut buffer = [0; 9];
            came_to(AsyncReadExt::read(&mut &client, &mut buffer).await)
        });
        yield_now().await;
        server.write_all(b"abc").await.unwrap();
        reader.await.unwrap()
    });
}

// ===== names ====================================================================================

#[test]
fn names_are_the_same() {
    let mut worlds = Worlds::default();
    for name in [
        "localhost:80",
        "LocalHost:80",
        "LOCALHOST:80",
        "localhost:080",
        "127.0.0.1:80",
        "[::1]:80",
        "::1:80",
        "localhost",
        "localhost:",
        "localhost:port",
        "localhost:65536",
        "localhost:-1",
        "localhost: 80",
        "127.0.0.1",
        "127.0.0.1:65536",
        "",
        ":",
        ":80",
    ] {
        worlds.compare(&format!("the name {name:?}"), |_| async move {
            let found = lookup_host(name).await;
            // Which of its loopback addresses a name has is the system's to say.
            let are_local = found.map(|found| {
                !found.is_empty() && found.iter().all(|it| it.ip().is_loopback() && it.port() == 80)
            });
            let names_it = |error: &io::Error| error.to_string().contains(&format!("{name:?}"));
            let words = are_local.as_ref().err().is_none_or(names_it);
            format!("{} {words}", came_to(are_local))
        });
    }
    worlds.compare("a name and a port", |_| async {
        let one = came_to(lookup_host(("LOCALHOST", 7)).await.map(|found| found[0].port()));
        let two = came_to(lookup_host(("127.0.0.1", 7)).await);
        let three = came_to(lookup_host(("::1", 7)).await);
        format!("{one} {two} {three}")
    });
    worlds.compare("listening and connecting by a name", |_| async {
        let listener = TcpListener::bind("LocalHost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("localHOST", port)).await;
        let bad = TcpListener::bind("localhost:x").await.map(drop);
        let worse = TcpStream::connect("localhost").await.map(drop);
        format!("{} {} {}", client.is_ok(), came_to(bad), came_to(worse))
    });
}

// ===== time =====================================================================================

#[test]
fn time_is_the_same() {
    let mut worlds = Worlds::default();
    worlds.compare("a sleep of zero", |log| async move {
        let first = poll_once(sleep(Duration::ZERO)).await.is_some();
        let other = log.clone();
        let task = spawn(async move {
            for n in 0..3 {
                say(&other, format!("yields {n}"));
                yield_now().await;
            }
        });
        for n in 0..3 {
            say(&log, format!("sleeps {n}"));
            sleep(Duration::ZERO).await;
        }
        task.await.unwrap();
        first.to_string()
    });
    worlds.compare("a deadline that has passed", |_| async {
        let past = time::now();
        sleep(Duration::from_millis(2)).await;
        let late = poll_once(sleep_until(past)).await.is_some();
        let now = poll_once(sleep_until(time::now())).await.is_some();
        format!("{late} {now}")
    });
    worlds.compare("sleeps of different lengths end in their order", |log| async move {
        let tasks = [30, 10, 20, 0].map(|millis| {
            let log = log.clone();
            let start = time::now();
            spawn(async move {
                sleep_until(start + Duration::from_millis(millis)).await;
                say(&log, millis.to_string());
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        String::new()
    });
    worlds.compare("timeouts of zero and of what is ready", |_| async {
        let ready = timeout(Duration::ZERO, async { 1 }).await.is_ok();
        let never = timeout(Duration::ZERO, pending::<()>()).await.is_err();
        let longest = timeout(Duration::MAX, async { 1 }).await.is_ok();
        let yields = timeout(Duration::ZERO, yield_now()).await.is_ok();
        format!("{ready} {never} {longest} {yields}")
    });
    worlds.compare("a timeout around what never ends", |_| async {
        let start = time::now();
        let error = timeout(BRIEFLY, pending::<()>()).await.unwrap_err();
        format!("{error} {}", time::now() - start >= BRIEFLY)
    });
    worlds.compare("intervals", |_| async {
        let period = Duration::from_millis(4);
        let mut said = vec![];
        for behaviour in
            [MissedTickBehavior::Burst, MissedTickBehavior::Skip, MissedTickBehavior::Delay]
        {
            let start = time::now();
            let mut ticks = interval_at(start, period);
            ticks.set_missed_tick_behavior(behaviour);
            said.push((ticks.tick().await == start).to_string());
            sleep_until(start + period * 5 / 2).await;
            let (second, third) = (ticks.tick().await, ticks.tick().await);
            let on_the_beat = |tick: std::time::Instant| {
                (tick - start).as_nanos().is_multiple_of(period.as_nanos())
            };
            said.push(match behaviour {
                MissedTickBehavior::Burst => {
                    format!("{} {}", second == start + period, third == start + period * 2)
                }
                MissedTickBehavior::Skip => {
                    format!("{} {}", on_the_beat(third), third >= start + period * 3)
                }
                MissedTickBehavior::Delay => format!("{}", third - second >= period),
            });
        }
        format!("{said:?}")
    });
    worlds.compare("the first tick is at once", |_| async {
        let mut ticks = interval(LONG);
        let first = poll_once(ticks.tick()).await.is_some();
        format!("{first} {}", poll_once(ticks.tick()).await.is_some())
    });
    worlds.compare("an interval of zero", |_| async {
        let made = catch_unwind(|| drop(interval(Duration::ZERO)));
        made.err().map_or("made".to_string(), |panic| text_of(&*panic))
    });
    worlds.compare("time in a job goes on from the time of the loop", |_| async {
        sleep(Duration::from_millis(5)).await;
        let before = time::now();
        let inside = spawn_blocking(time::now).await.unwrap();
        let after = time::now();
        format!("{} {}", before <= inside, inside <= after)
    });
}

// ===== tasks and jobs ===========================================================================

/// Says so when it is dropped.
struct Says {
    log: Log,
    what: &'static str,
}

impl Drop for Says {
    fn drop(&mut self) {
        say(&self.log, self.what);
    }
}

#[test]
fn tasks_and_jobs_are_the_same() {
    let mut worlds = Worlds::default();
    worlds.compare("results of jobs", |_| async {
        let result = spawn_blocking(|| 6 * 7).await.unwrap();
        let panics = spawn_blocking(|| resume_unwind(Box::new("broken"))).await.unwrap_err();
        let text = panics.to_string();
        let payload = text_of(&*panics.into_panic());
        format!("{result} {payload} {}", text.contains("broken"))
    });
    worlds.compare("a job that is aborted", |_| async {
        let job = spawn_blocking(|| ());
        job.abort();
        let error = job.await.unwrap_err();
        format!("{} {}", error.is_cancelled(), error.is_panic())
    });
    worlds.compare("a job finds no loop", |_| async {
        let job = spawn_blocking(|| {
            let task = popleft::task::current().is_none();
            let refused = catch_unwind(|| drop(spawn(async {}))).unwrap_err();
            (task, Handle::current().is_none(), text_of(&*refused))
        });
        format!("{:?}", job.await.map_err(|error| error.to_string()))
    });
    worlds.compare("a job that asks the loop for something", |_| async {
        let handle = Handle::current().unwrap();
        let asked = spawn_blocking(move || handle.spawn(async { 6 * 7 })).await.unwrap();
        format!("{}", asked.await.unwrap())
    });
    worlds.compare("a runtime in a job", |_| async {
        let job = spawn_blocking(|| {
            popleft::run(async {
                let start = time::now();
                let task = spawn(async {
                    sleep(Duration::from_millis(2)).await;
                    spawn_blocking(time::now).await.unwrap()
                });
                let inside = task.await.unwrap();
                let (client, server) = pair().await;
                client.write_all(b"ab").await.unwrap();
                (inside >= start + Duration::from_millis(2), read(&server, 9).await)
            })
        });
        format!("{:?}", job.await.map_err(|error| error.to_string()))
    });
    worlds.compare("a runtime in a job that can never go on", |_| async {
        let job = spawn_blocking(|| {
            let runtime = popleft::Runtime::new().unwrap();
            let first = runtime.try_block_on(pending::<()>());
            (first, runtime.try_block_on(async { 1 }))
        });
        format!("{:?}", job.await.map_err(|error| error.to_string()))
    });
    worlds.compare("a runtime in a task", |_| async {
        let nested = catch_unwind(|| popleft::run(async { 1 }));
        nested.map_or_else(|panic| text_of(&*panic), |answer| answer.to_string())
    });
    worlds.compare("a task that panics, is aborted, or ends", |_| async {
        let panics = spawn(async { resume_unwind(Box::new("broken")) });
        let aborted = spawn(pending::<()>());
        aborted.abort();
        let ends = spawn(async { 1 });
        let (one, two, three) = (panics.await, aborted.await, ends.await);
        let one: Result<(), _> = one;
        format!("{} {} {three:?}", one.unwrap_err(), two.unwrap_err())
    });
    worlds.compare("what is left is dropped in the same order", |log| async move {
        let names = ["first", "second", "third"];
        for what in names {
            let says = Says { log: log.clone(), what };
            drop(spawn(async move {
                let _says = says;
                pending::<()>().await;
            }));
        }
        let never_polled = Says { log: log.clone(), what: "never polled" };
        let main = Says { log: log.clone(), what: "main" };
        yield_now().await;
        drop(spawn(async move {
            let _says = never_polled;
        }));
        drop(main);
        "done".to_string()
    });
    worlds.compare("an aborted task is dropped at its turn", |log| async move {
        let says = Says { log: log.clone(), what: "dropped" };
        let task = spawn(async move {
            let _says = says;
            pending::<()>().await;
        });
        yield_now().await;
        say(&log, "before");
        task.abort();
        say(&log, "aborted");
        yield_now().await;
        say(&log, "after");
        task.is_finished().to_string()
    });
    worlds.compare("whose turn it is", |log| async move {
        let tasks = ["a", "b", "c"].map(|name| {
            let log = log.clone();
            spawn(async move {
                for _ in 0..3 {
                    say(&log, name);
                    yield_now().await;
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        String::new()
    });
    worlds.compare("operations that are always ready let others go first", |log| async move {
        let (client, server) = pair().await;
        client.write_all(&[0; 1000]).await.unwrap();
        server.peek(&mut [0; 1000]).await.unwrap();
        let others = log.clone();
        let other = spawn(async move {
            for _ in 0..3 {
                say(&others, "other");
                yield_now().await;
            }
        });
        for n in 0..400 {
            if n % 100 == 0 {
                say(&log, n.to_string());
            }
            server.read_exact(&mut [0]).await.unwrap();
        }
        for n in 0..400 {
            if n % 100 == 0 {
                say(&log, n.to_string());
            }
            assert_eq!(server.read(&mut []).await.unwrap(), 0);
        }
        other.await.unwrap();
        String::new()
    });
    worlds.compare("a stopped loop", |_| async {
        Handle::current().unwrap().stop();
        pending::<String>().await
    });
    worlds.compare("a waker that is woken while its task runs", |_| async {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        polls.to_string()
    });
}

// ===== what is not simulated ====================================================================

#[test]
fn sockets_of_another_kind_of_world_are_refused_and_not_mixed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Sim::new().run(async { TcpListener::from_std(listener).unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let program = async { popleft::cores(2, |core| async move { io::Result::Ok(core.number()) }) };
    let refused = Sim::new().run(program).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("a simulation has one loop"), "{refused}");
    let in_a_job = Sim::new().run(async {
        let cores = || popleft::cores(2, |core| async move { io::Result::Ok(core.number()) });
        spawn_blocking(cores).await.unwrap()
    });
    assert_eq!(in_a_job.unwrap_err().kind(), ErrorKind::Unsupported);
}

// ===== signals ==================================================================================

#[cfg(feature = "signal")]
#[test]
fn signals_are_the_same() {
    use popleft::signal;

    let mut worlds = Worlds::default();
    // Those that a test process can do without.
    let harmless = [10, 12, 28, 34, 50, 64];
    let none = [i32::MIN, -1, 0, 32, 33, 65, 127, 1000, i32::MAX];
    for number in harmless.into_iter().chain(none).chain([9, 19]) {
        worlds.compare(&format!("signal {number}"), |_| async move {
            came_to(signal::listen(number).map(drop))
        });
    }
}
