//! The laws of sockets: nothing is missed, nobody starves, nothing spins, and nothing is confused
//! with what had its number before.

mod child;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use futures_lite::{AsyncBufReadExt, future};
use popleft::event::Event;
use popleft::net::{Async, TcpListener, TcpStream, UnixStream};
use popleft::time::{sleep, timeout};
use popleft::{Runtime, spawn, yield_now};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::SockRef;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(10);

/// A watched connection on this side, a blocking one of the standard library on the other.
async fn pair() -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let (socket, _) = listener.accept().unwrap();
    (TcpStream::from_std(socket).unwrap(), peer)
}

/// Has closing `socket` send a reset.
fn reset_on_close(socket: &impl AsFd) {
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Polls `future` once; whether it is ready is returned.
async fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    let mut future = future;
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// A runtime that counts its waits.
fn counting_waits() -> (Runtime, Rc<Cell<usize>>) {
    let waits = Rc::new(Cell::new(0));
    let count = waits.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if let Event::Wait { .. } = event {
                count.set(count.get() + 1);
            }
        })
        .build()
        .unwrap();
    (runtime, waits)
}

/// Lets time pass in which nothing happens, and returns how often the loop looked outside.
async fn waits_while_idle(waits: &Cell<usize>) -> usize {
    let before = waits.get();
    sleep(Duration::from_millis(30)).await;
    waits.get() - before
}

// ===== reading and writing ======================================================================

#[test]
fn bytes_arrive_whole_and_in_order() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        // The peer echoes everything; both directions are full most of the time.
        let echo = thread::spawn(move || {
            let mut reading = peer.try_clone().unwrap();
            io::copy(&mut reading, &mut peer).unwrap();
        });
        let (reading, writing) = socket.into_split();
        let writer = spawn(async move { writing.write_all(&sent).await });
        let mut received = vec![0; expected.len()];
        reading.read_exact(&mut received).await.unwrap();
        writer.await.unwrap().unwrap();
        assert!(received == expected);
        // The writing half is gone: the peer reads the end and closes, and so does this side.
        assert_eq!(reading.read(&mut [0; 8]).await.unwrap(), 0);
        echo.join().unwrap();
    });
}

#[test]
fn the_end_that_comes_together_with_bytes_is_not_missed() {
    popleft::run(async {
        for _ in 0..50 {
            let (socket, mut peer) = pair().await;
            let mut buffer = [0; 64];
            // Parked once, so that the bytes and the end arrive as one report.
            let mut read = pin!(socket.read(&mut buffer));
            assert!(poll_once(read.as_mut()).await.is_none());
            peer.write_all(b"last words").unwrap();
            drop(peer);
            assert_eq!(read.await.unwrap(), 10);
            let end = timeout(LONG, socket.read(&mut [0; 64])).await;
            assert_eq!(end.unwrap().unwrap(), 0);
        }
    });
}

#[test]
fn bytes_that_come_after_a_short_read_are_reported() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let mut buffer = [0; 64];
        for round in 0..100u8 {
            peer.write_all(&[round; 3]).unwrap();
            // A short read: nothing more is expected until a report.
            assert_eq!(timeout(LONG, socket.read(&mut buffer)).await.unwrap().unwrap(), 3);
            assert_eq!(buffer[..3], [round; 3]);
        }
        // A read that fills its buffer says nothing about what is left.
        peer.write_all(b"abcdef").unwrap();
        let mut three = [0; 3];
        for expected in [b"abc", b"def"] {
            socket.read_exact(&mut three).await.unwrap();
            assert_eq!(&three, expected);
        }
    });
}

#[test]
fn bytes_behind_an_urgent_one_are_not_missed() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let mut buffer = [0; 64];
        let mut read = vec![];
        for round in 0..20 {
            let before = read.len();
            peer.write_all(b"before").unwrap();
            SockRef::from(&peer).send_out_of_band(b"!").unwrap();
            peer.write_all(b"after").unwrap();
            // A read ends at the urgent byte, which is not among what is read.
            while read.len() - before < 11 {
                let length = timeout(LONG, socket.read(&mut buffer)).await.unwrap().unwrap();
                assert_ne!(length, 0, "{round}");
                read.extend_from_slice(&buffer[..length]);
            }
            assert_eq!(&read[before..], b"beforeafter");
        }
    });
}

#[test]
fn bytes_behind_a_passed_descriptor_are_not_missed() {
    popleft::run(async {
        let (socket, peer) = UnixStream::pair().unwrap();
        let stdin = io::stdin();
        let passed = [stdin.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
        let parked = spawn(async move {
            let mut buffer = [0; 64];
            let mut read = vec![];
            while read.len() < 11 {
                let length = timeout(LONG, socket.read(&mut buffer)).await.unwrap().unwrap();
                read.extend_from_slice(&buffer[..length]);
            }
            read
        });
        yield_now().await;
        let before = [IoSlice::new(b"before")];
        sendmsg(&peer, &before, &mut ancillary, SendFlags::empty()).unwrap();
        peer.write(b"after").await.unwrap();
        // The read that gets the descriptor ends there, though more bytes are left.
        assert_eq!(parked.await.unwrap(), b"beforeafter");
    });
}

#[test]
fn a_reader_is_told_of_a_shutdown_on_its_own_side() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let socket = Rc::new(socket);
        let reader = socket.clone();
        let parked = spawn(async move { reader.read(&mut [0; 8]).await });
        yield_now().await;
        socket.shutdown(Shutdown::Read).unwrap();
        assert_eq!(timeout(LONG, parked).await.unwrap().unwrap().unwrap(), 0);

        // Also one that comes later, and whose last read was short.
        let (socket, mut other) = pair().await;
        other.write_all(b"x").unwrap();
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 1);
        socket.shutdown(Shutdown::Read).unwrap();
        assert_eq!(timeout(LONG, socket.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
        peer.write_all(b"unheard").unwrap();
    });
}

#[test]
fn a_slow_reader_holds_the_writer_back() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let socket = Rc::new(socket);
        let written = Rc::new(Cell::new(0));
        let (writing, count) = (socket.clone(), written.clone());
        let writer = spawn(async move {
            for _ in 0..1000 {
                writing.write_all(&[7; 64 * 1024]).await?;
                count.set(count.get() + 1);
            }
            writing.shutdown(Shutdown::Write)
        });
        // It stands still as soon as the system's buffers are full.
        let mut before = usize::MAX;
        while before != written.get() {
            before = written.get();
            sleep(SHORT).await;
        }
        assert!(written.get() < 1000);
        let reader = thread::spawn(move || io::copy(&mut peer, &mut io::sink()).unwrap());
        writer.await.unwrap().unwrap();
        assert_eq!(reader.join().unwrap(), 1000 * 64 * 1024);
    });
}

#[test]
fn errors_of_the_connection_reach_who_reads_and_who_writes() {
    popleft::run(async {
        let (socket, peer) = pair().await;
        reset_on_close(&peer);
        let mut buffer = [0; 8];
        let mut read = pin!(socket.read(&mut buffer));
        assert!(poll_once(read.as_mut()).await.is_none());
        drop(peer);
        let error = timeout(LONG, read).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = socket.write_all(&[0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);

        let (socket, mut peer) = pair().await;
        peer.write_all(b"abc").unwrap();
        drop(peer);
        let error = socket.read_exact(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn peeking_takes_nothing_and_vectors_fill_one_after_the_other() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        peer.write_all(b"abcdef").unwrap();
        let mut buffer = [0; 8];
        for _ in 0..2 {
            let length = socket.peek(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"abcdef");
        }
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(socket.read_vectored(&mut buffers).await.unwrap(), 6);
        assert_eq!((&first, &second[..4]), (b"ab", &b"cdef"[..]));
        let written = socket.write_vectored(&[IoSlice::new(b"gh"), IoSlice::new(b"i")]).await;
        assert_eq!(written.unwrap(), 3);
        peer.read_exact(&mut buffer[..3]).unwrap();
        assert_eq!(&buffer[..3], b"ghi");
    });
}

#[test]
fn reading_into_nothing_and_writing_nothing_is_done_at_once() {
    popleft::run(async {
        let (socket, _peer) = pair().await;
        socket.read_exact(&mut []).await.unwrap();
        socket.write_all(&[]).await.unwrap();
        assert_eq!(socket.write(&[]).await.unwrap(), 0);
    });
}

#[test]
fn libraries_that_ask_for_the_traits_are_served() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let client = thread::spawn(move || {
            peer.write_all(b"first\nsecond\n").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).unwrap();
            answer
        });
        let mut lines = futures_lite::io::BufReader::new(&socket).lines();
        let mut writer = &socket;
        while let Some(line) = futures_lite::StreamExt::next(&mut lines).await {
            let line = line.unwrap().to_uppercase() + "\n";
            AsyncWriteExt::write_all(&mut writer, line.as_bytes()).await.unwrap();
        }
        AsyncWriteExt::close(&mut writer).await.unwrap();
        assert_eq!(client.join().unwrap(), "FIRST\nSECOND\n");

        // By value, by halves, vectored, and as a place in a report.
        let (mut left, right) = UnixStream::pair().unwrap();
        AsyncWriteExt::write_all(&mut left, b"abc").await.unwrap();
        let (mut reading, _writing) = right.into_split();
        let mut three = [0; 3];
        AsyncReadExt::read_exact(&mut reading, &mut three).await.unwrap();
        assert_eq!(&three, b"abc");
    });
}

#[test]
fn a_wait_through_the_traits_says_so() {
    let places = Rc::new(RefCell::new(vec![]));
    let kept = places.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if let Event::Pending { why, at, .. } = event {
                kept.borrow_mut().push(format!("{why} at {at}"));
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let (socket, _peer) = pair().await;
        let mut by_trait = &socket;
        let _ = timeout(SHORT, AsyncReadExt::read(&mut by_trait, &mut [0; 8])).await;
        let _ = timeout(SHORT, socket.read(&mut [0; 8])).await;
    });
    let places = places.borrow();
    assert!(places.contains(&"read at via AsyncRead".to_string()), "{places:?}");
    assert!(
        places.iter().any(|place| place.starts_with("read at") && place.contains("net.rs:")),
        "{places:?}"
    );
}

// ===== several at once ==========================================================================

#[test]
fn all_who_wait_for_one_socket_are_served() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let socket = Rc::new(socket);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let socket = socket.clone();
                spawn(async move {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).await.map(|()| byte[0])
                })
            })
            .collect();
        yield_now().await;
        for byte in 0..5 {
            peer.write_all(&[byte]).unwrap();
            sleep(Duration::ZERO).await;
        }
        let mut read = vec![];
        for reader in readers {
            read.push(timeout(LONG, reader).await.unwrap().unwrap().unwrap());
        }
        read.sort();
        assert_eq!(read, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_read_that_is_given_up_takes_nothing_and_leaves_the_others_waiting() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        let socket = Rc::new(socket);
        for _ in 0..20 {
            assert!(timeout(Duration::ZERO, socket.read(&mut [0; 8])).await.is_err());
        }
        let waiting = socket.clone();
        let reader = spawn(async move { waiting.read(&mut [0; 8]).await });
        yield_now().await;
        assert!(timeout(Duration::ZERO, socket.read(&mut [0; 8])).await.is_err());
        peer.write_all(b"abc").unwrap();
        assert_eq!(timeout(LONG, reader).await.unwrap().unwrap().unwrap(), 3);
    });
}

#[test]
fn a_write_and_an_accept_that_are_given_up_do_no_harm() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        while let Ok(written) = timeout(SHORT, socket.write(&[1; 64 * 1024])).await {
            written.unwrap();
        }
        let reader = thread::spawn(move || io::copy(&mut peer, &mut io::sink()).unwrap());
        timeout(LONG, socket.write_all(&[2; 1024 * 1024])).await.unwrap().unwrap();
        drop(socket);
        assert!(reader.join().unwrap() > 1024 * 1024);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(timeout(SHORT, listener.accept()).await.is_err());
        let address = listener.local_addr().unwrap();
        let client = spawn(TcpStream::connect(address));
        let (_, from) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        assert_eq!(client.await.unwrap().unwrap().local_addr().unwrap(), from);
    });
}

#[test]
fn a_connection_that_always_has_data_starves_nobody() {
    popleft::run(async {
        let (greedy, mut peer) = pair().await;
        let flood = thread::spawn(move || while peer.write_all(&[0; 16 * 1024]).is_ok() {});
        let hog = spawn(async move {
            let mut byte = [0];
            loop {
                greedy.read(&mut byte).await.unwrap();
            }
        });
        // Other sockets, timers and plain tasks have their turns all the while.
        let (other, mut peer) = pair().await;
        for _ in 0..20 {
            peer.write_all(b"x").unwrap();
            timeout(LONG, other.read_exact(&mut [0])).await.unwrap().unwrap();
            sleep(Duration::from_micros(100)).await;
            yield_now().await;
        }
        hog.abort();
        assert!(hog.await.unwrap_err().is_cancelled());
        flood.join().unwrap();
    });
}

#[test]
fn a_task_whose_operations_are_always_ready_yields_after_128_of_them() {
    popleft::run(async {
        let (socket, mut peer) = pair().await;
        peer.write_all(&[0; 1000]).unwrap();
        while socket.peek(&mut [0; 1000]).await.unwrap() < 1000 {
            yield_now().await;
        }
        let turns = Rc::new(Cell::new(0));
        let count = turns.clone();
        let observer = spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        for _ in 0..1000 {
            socket.read_exact(&mut [0]).await.unwrap();
        }
        observer.abort();
        // One operation of the first turn was the peek's.
        assert_eq!(turns.get(), 1000 / 128);
    });
}

#[test]
fn tasks_that_are_always_ready_do_not_starve_sockets() {
    popleft::run(async {
        let busy: Vec<_> = (0..100)
            .map(|_| {
                spawn(async {
                    loop {
                        yield_now().await;
                    }
                })
            })
            .collect();
        let (socket, mut peer) = pair().await;
        for _ in 0..20 {
            let mut read = pin!(async { socket.read_exact(&mut [0]).await });
            assert!(poll_once(read.as_mut()).await.is_none());
            peer.write_all(b"x").unwrap();
            timeout(LONG, read).await.unwrap().unwrap();
        }
        drop(busy);
    });
}

// ===== what must not spin =======================================================================

#[test]
fn a_reset_while_nobody_waits_does_not_spin() {
    let (runtime, waits) = counting_waits();
    runtime.block_on(async {
        let (socket, peer) = pair().await;
        reset_on_close(&peer);
        drop(peer);
        assert!(waits_while_idle(&waits).await < 10);
        // And it is not forgotten.
        let error = timeout(LONG, socket.read(&mut [0; 8])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(waits_while_idle(&waits).await < 10);
    });
}

#[test]
fn bytes_and_an_end_that_nobody_reads_do_not_spin() {
    let (runtime, waits) = counting_waits();
    runtime.block_on(async {
        let (socket, mut peer) = pair().await;
        peer.write_all(b"abc").unwrap();
        assert!(waits_while_idle(&waits).await < 10);
        drop(peer);
        assert!(waits_while_idle(&waits).await < 10);
        let mut buffer = [0; 8];
        assert_eq!(timeout(LONG, socket.read(&mut buffer)).await.unwrap().unwrap(), 3);
        assert!(waits_while_idle(&waits).await < 10);
        assert_eq!(timeout(LONG, socket.read(&mut buffer)).await.unwrap().unwrap(), 0);
        assert!(waits_while_idle(&waits).await < 10);
    });
}

#[test]
fn an_urgent_byte_does_not_spin_while_somebody_reads() {
    let (runtime, waits) = counting_waits();
    runtime.block_on(async {
        let (socket, mut peer) = pair().await;
        let socket = Rc::new(socket);
        let reading = socket.clone();
        let reader = spawn(async move { reading.read(&mut [0; 8]).await });
        yield_now().await;
        SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        assert!(waits_while_idle(&waits).await < 10);
        peer.write_all(b"abc").unwrap();
        assert_eq!(timeout(LONG, reader).await.unwrap().unwrap().unwrap(), 3);
    });
}

#[test]
fn a_writer_that_has_gone_leaves_no_busy_loop() {
    let (runtime, waits) = counting_waits();
    runtime.block_on(async {
        let (socket, mut peer) = pair().await;
        while let Ok(written) = timeout(SHORT, socket.write(&[1; 64 * 1024])).await {
            written.unwrap();
        }
        // Now there is room, and nobody waits for it.
        peer.read_exact(&mut vec![0; 1024 * 1024]).unwrap();
        assert!(waits_while_idle(&waits).await < 10);
    });
}

#[test]
fn a_hang_up_wakes_who_waits_in_either_direction_once() {
    let (runtime, waits) = counting_waits();
    runtime.block_on(async {
        let (left, right) = UnixStream::pair().unwrap();
        let left = Rc::new(left);
        while let Ok(written) = timeout(SHORT, left.write(&[1; 64 * 1024])).await {
            written.unwrap();
        }
        let (reading, writing) = (left.clone(), left.clone());
        let reader = spawn(async move { reading.read(&mut [0; 8]).await });
        let writer = spawn(async move { writing.write_all(&[0; 8]).await });
        yield_now().await;
        drop(right);
        let _ = timeout(LONG, reader).await.unwrap().unwrap();
        assert!(timeout(LONG, writer).await.unwrap().unwrap().is_err());
        assert!(waits_while_idle(&waits).await < 10);
    });
}

#[test]
fn the_end_of_a_pipe_wakes_its_reader() {
    popleft::run(async {
        // A pipe whose writer goes is hung up and nothing else: it is not even readable.
        let (reader, writer) = io::pipe().unwrap();
        let reader = Async::new(reader).unwrap();
        let parked =
            spawn(async move { reader.read_with(|mut pipe| pipe.read(&mut [0; 8])).await });
        yield_now().await;
        drop(writer);
        assert_eq!(timeout(LONG, parked).await.unwrap().unwrap().unwrap(), 0);
    });
}

#[test]
fn a_socket_that_was_given_back_is_watched_no_more() {
    let (runtime, waits) = counting_waits();
    runtime.block_on(async {
        let (socket, mut peer) = pair().await;
        let still_open = socket.into_std();
        peer.write_all(b"for whoever has it now").unwrap();
        assert!(waits_while_idle(&waits).await < 10);
        drop(still_open);
    });
}

#[test]
fn a_wait_that_was_given_up_is_no_reason_to_go_on() {
    let runtime = Runtime::new().unwrap();
    let result = runtime.try_block_on(async {
        let (socket, _peer) = pair().await;
        assert!(timeout(SHORT, socket.read(&mut [0; 8])).await.is_err());
        std::future::pending::<()>().await;
    });
    assert_eq!(result, Err(popleft::RunError::Stalled));
}

// ===== numbers that are used again ==============================================================

#[test]
fn a_new_socket_is_not_taken_for_the_one_that_had_its_number() {
    // In a process of its own, where no other test takes the number.
    if child::stderr_of("a_new_socket_is_not_taken_for_the_one_that_had_its_number").is_some() {
        return;
    }
    popleft::run(async {
        for _ in 0..50 {
            // Reports for the old one are on their way when it goes.
            let (old, mut peer) = pair().await;
            let number = old.as_fd().as_raw_fd();
            let mut buffer = [0; 8];
            let mut read = Box::pin(old.read(&mut buffer));
            assert!(poll_once(read.as_mut()).await.is_none());
            drop(read);
            peer.write_all(b"for the old one").unwrap();
            drop(old);
            let (new, other) = UnixStream::pair().unwrap();
            assert!([&new, &other].iter().any(|s| s.as_fd().as_raw_fd() == number));
            let mut buffer = [0; 8];
            let mut read = pin!(new.read(&mut buffer));
            assert!(poll_once(read.as_mut()).await.is_none());
            sleep(Duration::ZERO).await;
            assert!(poll_once(read.as_mut()).await.is_none());
            other.write_all(b"new").await.unwrap();
            assert_eq!(read.await.unwrap(), 3);
        }
    });
}

#[test]
fn each_socket_is_registered_once_and_deregistered_once() {
    let log = Rc::new(RefCell::new(vec![]));
    let kept = log.clone();
    let runtime = Runtime::builder()
        .listener(move |event| match event {
            Event::Register { source, .. } => kept.borrow_mut().push(("register", *source)),
            Event::Deregister { source, .. } => kept.borrow_mut().push(("deregister", *source)),
            _ => {}
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let (left, right) = UnixStream::pair().unwrap();
        for _ in 0..50 {
            let mut byte = [0];
            let (_, read) = future::zip(left.write_all(b"x"), right.read(&mut byte)).await;
            assert_eq!(read.unwrap(), 1);
        }
        drop(left);
        let mut right = right.into_std();
        assert_eq!(right.read(&mut [0; 1]).unwrap(), 0);
    });
    let log = log.borrow();
    let kinds: Vec<_> = log.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["register", "register", "deregister", "deregister"]);
    assert_ne!(log[0].1, log[1].1);
    assert_eq!([log[0].1, log[1].1], [log[2].1, log[3].1]);
}

// ===== where a socket belongs ===================================================================

#[test]
fn a_socket_under_another_runtime_is_an_error() {
    let first = Runtime::new().unwrap();
    let (left, right) = first.block_on(async { UnixStream::pair().unwrap() });
    let second = Runtime::new().unwrap();
    for error in [
        second.block_on(left.read(&mut [0; 8])).unwrap_err(),
        second.block_on(left.write_all(b"x")).unwrap_err(),
        future::block_on(left.write(b"x")).unwrap_err(),
    ] {
        assert!(error.to_string().contains("belongs to another runtime"), "{error}");
    }
    // At home it works on, and after the runtime is gone it is still a socket.
    first.block_on(left.write_all(b"abc")).unwrap();
    drop(first);
    let mut right = right.into_std();
    right.set_nonblocking(false).unwrap();
    right.read_exact(&mut [0; 3]).unwrap();
    drop(left);
}

#[test]
fn a_socket_outside_is_refused() {
    let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = UnixStream::from_std(left).unwrap_err();
    assert!(error.to_string().contains("no runtime is running"), "{error}");
}

#[test]
fn a_regular_file_cannot_be_watched() {
    popleft::run(async {
        let file = std::fs::File::open(file!().replace("runtime/", "")).unwrap();
        assert!(Async::new(file).is_err());
    });
}

#[test]
fn readable_and_writable_say_what_is_true() {
    popleft::run(async {
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        let (left, right) = (Async::new(left).unwrap(), Async::new(right).unwrap());
        timeout(LONG, left.writable()).await.unwrap().unwrap();
        assert!(timeout(SHORT, left.readable()).await.is_err());
        right.write_with(|mut socket| socket.write(b"x")).await.unwrap();
        for _ in 0..2 {
            timeout(LONG, left.readable()).await.unwrap().unwrap();
        }
        assert_eq!(left.read_with(|mut socket| socket.read(&mut [0; 8])).await.unwrap(), 1);
        assert!(timeout(SHORT, left.readable()).await.is_err());
        let back: std::os::unix::net::UnixStream = left.into_inner();
        drop(back);
        timeout(LONG, right.readable()).await.unwrap().unwrap();
    });
}

// ===== listening and connecting =================================================================

#[test]
fn a_thousand_clients_are_accepted_and_served() {
    popleft::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            for _ in 0..1000 {
                let (client, _) = listener.accept().await.unwrap();
                drop(spawn(async move {
                    let mut byte = [0];
                    client.read_exact(&mut byte).await.unwrap();
                    client.write_all(&[byte[0] + 1]).await.unwrap();
                }));
            }
        });
        let mut clients = vec![];
        for _ in 0..1000 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        server.await.unwrap();
        for client in &clients {
            client.write_all(&[41]).await.unwrap();
        }
        for client in &clients {
            let mut byte = [0];
            timeout(LONG, client.read_exact(&mut byte)).await.unwrap().unwrap();
            assert_eq!(byte, [42]);
        }
    });
}

#[test]
fn connecting_tries_every_address_and_returns_the_last_error() {
    popleft::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let nobody_there = |address: SocketAddr| {
            let taken = std::net::TcpListener::bind(address).unwrap();
            taken.local_addr().unwrap()
        };
        let closed = nobody_there("127.0.0.1:0".parse().unwrap());
        let stream = TcpStream::connect(&[closed, open][..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let error = TcpStream::connect(&[closed, closed][..]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = TcpStream::connect(&[][..]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = TcpStream::connect("no.such.host.invalid:80").await.unwrap_err();
        assert!(error.to_string().contains("no.such.host.invalid"), "{error}");
        // By name; one of its addresses is this one.
        let by_name = TcpStream::connect(("localhost", open.port())).await.unwrap();
        by_name.set_nodelay(true).unwrap();
        assert!(by_name.nodelay().unwrap());
    });
}

#[test]
fn a_connection_that_is_not_answered_can_be_given_up() {
    popleft::run(async {
        // A listener whose queue is full answers nobody.
        let listener = TcpListener::options().backlog(0).bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = vec![];
        let mut given_up = false;
        for _ in 0..10 {
            match timeout(SHORT, TcpStream::connect(address)).await {
                Ok(connected) => waiting.push(connected.unwrap()),
                Err(_) => given_up = true,
            }
        }
        if cfg!(target_os = "linux") {
            assert!(given_up);
        }
    });
}

#[test]
fn several_listeners_may_share_a_port_only_if_they_say_so() {
    popleft::run(async {
        let shared = TcpListener::options().reuse_port(true);
        let first = shared.bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let _second = shared.bind(address).await.unwrap();
        let alone = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(alone.kind(), io::ErrorKind::AddrInUse);
    });
}

#[test]
fn unix_sockets_connect_by_path() {
    let folder = std::env::temp_dir().join(format!("popleft-net-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    popleft::run(async {
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"abc").unwrap();
        let mut three = [0; 3];
        client.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"abc");
        let missing = UnixStream::connect(folder.join("missing")).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn without_descriptors_a_listener_waits_says_so_once_and_goes_on() {
    let test = "without_descriptors_a_listener_waits_says_so_once_and_goes_on";
    let Some(stderr) = child::stderr_of(test) else {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let (runtime, waits) = counting_waits();
        return runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> =
                (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            let limit = getrlimit(Resource::Nofile);
            let none_left = clients.last().unwrap().as_raw_fd() as u64;
            setrlimit(Resource::Nofile, Rlimit { current: Some(none_left), ..limit }).unwrap();
            for _ in 0..3 {
                assert!(timeout(Duration::from_millis(70), listener.accept()).await.is_err());
            }
            assert!(waits.get() < 40, "{}", waits.get());
            setrlimit(Resource::Nofile, limit).unwrap();
            for _ in clients {
                timeout(LONG, listener.accept()).await.unwrap().unwrap();
            }
        });
    };
    assert_eq!(stderr.matches("cannot accept a connection").count(), 1, "{stderr}");
    assert!(stderr.contains("trying again"), "{stderr}");
}

#[test]
fn a_client_that_hangs_up_in_the_queue_does_not_end_the_listener() {
    popleft::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..10 {
            let gone = std::net::TcpStream::connect(address).unwrap();
            reset_on_close(&gone);
        }
        let _here = std::net::TcpStream::connect(address).unwrap();
        // Systems differ in whether they hand out those that are gone; the last one comes anyway.
        let mut accepted = 0;
        while timeout(Duration::from_millis(50), listener.accept())
            .await
            .is_ok_and(|accepted| accepted.is_ok())
        {
            accepted += 1;
        }
        assert!(accepted >= 1);
    });
}

#[test]
fn reunited_halves_are_the_stream_again_and_shut_nothing_down() {
    popleft::run(async {
        let (client, mut peer) = pair().await;
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let (reader, writer) = client.into_split();
        let addresses = |half: &TcpStream| (half.local_addr().unwrap(), half.peer_addr().unwrap());
        assert_eq!(addresses(reader.as_ref()), (local, remote));
        assert_eq!((writer.local_addr().unwrap(), writer.peer_addr().unwrap()), (local, remote));
        let client = writer.reunite(reader).unwrap();
        client.write_all(b"still open").await.unwrap();
        drop(client);
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "still open");
    });
}

#[test]
fn halves_of_two_streams_are_given_back_and_still_work() {
    popleft::run(async {
        let (one, mut peer) = pair().await;
        let (other, mut other_peer) = pair().await;
        let (reader, _writer) = one.into_split();
        let (_reader, writer) = other.into_split();
        let error = reader.reunite(writer).unwrap_err();
        peer.write_all(b"in").unwrap();
        let mut buffer = [0; 2];
        error.reader.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"in");
        error.writer.write_all(b"out").await.unwrap();
        drop(error);
        let mut all = String::new();
        other_peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "out", "the writing half was dropped, so the direction has ended");
    });
}

#[test]
fn halves_peek_and_use_several_buffers() {
    popleft::run(async {
        let (client, mut peer) = pair().await;
        let (reader, writer) = client.split();
        let sent = writer.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"c")]).await;
        assert_eq!(sent.unwrap(), 3);
        let mut got = [0; 3];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"abc");
        peer.write_all(b"xyz").unwrap();
        let mut first = [0; 1];
        assert_eq!(reader.peek(&mut first).await.unwrap(), 1);
        assert_eq!(&first, b"x");
        while reader.peek(&mut [0; 3]).await.unwrap() < 3 {
            yield_now().await;
        }
        let (mut left, mut right) = ([0; 2], [0; 2]);
        let mut buffers = [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)];
        assert_eq!(reader.read_vectored(&mut buffers).await.unwrap(), 3);
        assert_eq!((&left, &right), (b"xy", b"z\0"));
    });
}
