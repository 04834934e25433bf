//! The corners of sockets: errors that a service outlives, waits that are given up, descriptors
//! that others share, names of all kinds, and what has to hold outside a runtime.

mod child;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future;
use futures_lite::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use popleft::event::Event;
use popleft::net::{Async, TcpListener, TcpStream, UnixStream, lookup_host};
use popleft::time::{sleep, timeout};
use popleft::{RunError, Runtime, spawn, yield_now};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(10);

fn is_nonblocking(fd: impl AsFd) -> bool {
    fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

/// A connection whose other end has been reset, as this side has heard.
async fn reset_connection() -> TcpStream {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().unwrap();
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let error = timeout(LONG, client.read(&mut [0; 8])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    client
}

// ===== listeners ================================================================================

#[test]
fn a_listener_that_no_longer_listens_says_so() {
    popleft::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
        if cfg!(target_os = "linux") {
            let error = timeout(LONG, listener.accept()).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    });
}

#[test]
fn every_socket_is_non_blocking_and_closed_on_exec() {
    popleft::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, from) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert_eq!(server.peer_addr().unwrap(), from);
        let (left, right) = UnixStream::pair().unwrap();
        for fd in [listener.as_fd(), client.as_fd(), server.as_fd(), left.as_fd(), right.as_fd()] {
            assert!(is_nonblocking(fd));
            assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
        }
        // And stays so, as its docs say.
        assert!(is_nonblocking(server.into_std()));
        assert!(is_nonblocking(left.into_std()));
        assert!(is_nonblocking(listener.into_std()));

        let socket = std::net::TcpListener::bind("[::1]:0");
        // Where there is IPv6.
        if let Ok(socket) = socket {
            let address = socket.local_addr().unwrap();
            let listener = TcpListener::from_std(socket).unwrap();
            let client = TcpStream::connect(address).await.unwrap();
            let (_, from) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
            assert_eq!(from, client.local_addr().unwrap());
        }
    });
}

// ===== outside a runtime ========================================================================

#[test]
fn a_name_outside_a_runtime_is_an_error_and_no_panic() {
    for name in ["localhost:80", "127.0.0.1:0"] {
        let errors = [
            future::block_on(TcpStream::connect(name)).map(drop),
            future::block_on(TcpListener::bind(name)).map(drop),
            future::block_on(TcpListener::options().bind(name)).map(drop),
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert!(error.to_string().contains("no runtime is running"), "{error}");
        }
    }
    let error = future::block_on(lookup_host("localhost:80")).unwrap_err();
    assert!(error.to_string().contains("no runtime is running"), "{error}");
    assert!(future::block_on(lookup_host("127.0.0.1:80")).is_ok());
    let error = future::block_on(UnixStream::connect("/nowhere")).unwrap_err();
    assert!(error.to_string().contains("no runtime is running"), "{error}");
}

#[test]
fn a_runtime_that_cannot_be_made_says_what_was_being_done() {
    let test = "a_runtime_that_cannot_be_made_says_what_was_being_done";
    if child::stderr_of(test).is_some() {
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    let mut texts = vec![];
    for left in 0..8 {
        let current = Some(next + left);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
        let error = popleft::try_run(async {});
        setrlimit(Resource::Nofile, limit).unwrap();
        match error {
            Ok(()) => break,
            Err(error) => texts.push(error.to_string()),
        }
    }
    assert!(!texts.is_empty());
    for text in &texts {
        assert!(text.starts_with("cannot make the "), "{texts:?}");
        assert!(text.contains("(os error 24)"), "{texts:?}");
    }
}

// ===== where a task waits =======================================================================

/// The places of all that `program` parks at and spawns, as they are told.
fn places(program: impl Future<Output = ()>) -> Vec<String> {
    let places = Rc::new(RefCell::new(vec![]));
    let kept = places.clone();
    let runtime = Runtime::builder()
        .listener(move |event| match event {
            Event::Pending { at, on: None, .. } => kept.borrow_mut().push(at.to_string()),
            Event::Spawn { at, .. } => kept.borrow_mut().push(at.to_string()),
            _ => {}
        })
        .build()
        .unwrap();
    runtime.block_on(program);
    places.take()
}

#[test]
fn a_task_that_waits_in_net_is_shown_at_its_own_line() {
    let places = places(async {
        lookup_host("localhost:80").await.unwrap();
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let _other = TcpListener::options().bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(timeout(SHORT, listener.accept()).await.is_err());
        TcpStream::connect(("localhost", port)).await.unwrap();
    });
    let own = places.iter().filter(|place| place.contains("net_corners.rs:"));
    // The main task, four lookups, and the accept at least.
    assert!(own.count() >= 6, "{places:?}");
    assert!(!places.iter().any(|place| place.contains("src/")), "{places:?}");
}

// ===== waits through the traits =================================================================

#[test]
fn a_read_through_the_trait_that_was_given_up_is_no_reason_to_go_on() {
    let test = "a_read_through_the_trait_that_was_given_up_is_no_reason_to_go_on";
    if child::stderr_of(test).is_some() {
        return;
    }
    let stalls = |program: fn(UnixStream) -> future::BoxedLocal<()>| {
        let result = Runtime::new().unwrap().try_block_on(async {
            let (socket, _peer) = UnixStream::pair().unwrap();
            program(socket).await;
        });
        assert_eq!(result, Err(RunError::Stalled));
    };
    stalls(|mut socket| {
        Box::pin(async move {
            let mut buffer = [0; 8];
            let read = AsyncReadExt::read(&mut socket, &mut buffer);
            assert!(timeout(SHORT, read).await.is_err());
            pending::<()>().await
        })
    });
    stalls(|mut socket| {
        Box::pin(async move {
            // Against a future that is ready, and more than once.
            for _ in 0..3 {
                let read = async { AsyncReadExt::read(&mut socket, &mut [0; 8]).await.map(drop) };
                let other = async {
                    yield_now().await;
                    Ok(())
                };
                future::or(read, other).await.unwrap();
            }
            pending::<()>().await
        })
    });
    stalls(|mut socket| {
        Box::pin(async move {
            let full =
                async { while AsyncWriteExt::write(&mut socket, &[0; 64 * 1024]).await.is_ok() {} };
            assert!(timeout(SHORT, full).await.is_err());
            pending::<()>().await
        })
    });
    stalls(|socket| {
        Box::pin(async move {
            // In a task that has ended; its waker was somebody else's.
            let socket = Rc::new(socket);
            let reader = socket.clone();
            let ended = spawn(async move {
                let waker = Waker::from(Arc::new(Counter::default()));
                let mut cx = Context::from_waker(&waker);
                let mut by_trait = &*reader;
                let read = std::pin::Pin::new(&mut by_trait).poll_read(&mut cx, &mut [0; 8]);
                assert!(read.is_pending());
            });
            ended.await.unwrap();
            pending::<()>().await
        })
    });
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_read_through_the_trait_that_goes_on_is_waited_for() {
    // The loop has nothing else; the other end is in another thread's hands.
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
    let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let (go_on, told) = std::sync::mpsc::channel();
    let writer = thread::spawn(move || {
        for _ in 0..3 {
            told.recv().unwrap();
            // Longer than the loop waits before it asks again.
            thread::sleep(Duration::from_millis(1100));
            peer.write_all(b"x").unwrap();
        }
    });
    let result = runtime.try_block_on(async {
        let mut socket = UnixStream::from_std(socket).unwrap();
        for _ in 0..3 {
            go_on.send(()).unwrap();
            let before = waits.get();
            // Beside a future that is ready sooner, which the read outlives.
            let read = async {
                let mut byte = [0];
                AsyncReadExt::read_exact(&mut socket, &mut byte).await.unwrap();
            };
            future::zip(read, async { yield_now().await }).await;
            assert!(waits.get() - before < 10, "{}", waits.get());
        }
    });
    assert_eq!(result, Ok(()));
    writer.join().unwrap();
}

#[test]
fn each_task_that_reads_through_the_trait_is_woken() {
    popleft::run(async {
        let (reading, writing) = UnixStream::pair().unwrap();
        let reading = Rc::new(reading);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let reading = reading.clone();
                spawn(async move {
                    let mut byte = [0];
                    AsyncReadExt::read_exact(&mut &*reading, &mut byte).await.map(|()| byte[0])
                })
            })
            .collect();
        yield_now().await;
        writing.write_all(&[0, 1, 2, 3, 4]).await.unwrap();
        let mut read = vec![];
        for reader in readers {
            read.push(timeout(LONG, reader).await.unwrap().unwrap().unwrap());
        }
        read.sort();
        assert_eq!(read, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn each_task_that_writes_through_the_trait_is_woken() {
    popleft::run(async {
        let (writing, reading) = UnixStream::pair().unwrap();
        let writing = Rc::new(writing);
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let writing = writing.clone();
                spawn(async move {
                    AsyncWriteExt::write_all(&mut &*writing, &vec![7; 2 * 1024 * 1024]).await
                })
            })
            .collect();
        let mut buffer = vec![0; 64 * 1024];
        let mut left = 3 * 2 * 1024 * 1024;
        while left > 0 {
            left -= timeout(LONG, reading.read(&mut buffer)).await.unwrap().unwrap();
        }
        for writer in writers {
            timeout(LONG, writer).await.unwrap().unwrap().unwrap();
        }
    });
}

#[test]
fn waits_that_were_given_up_do_not_pile_up_for_ever() {
    popleft::run(async {
        let (reading, _peer) = UnixStream::pair().unwrap();
        let wakers = Rc::new(RefCell::new(vec![]));
        // Each time with a new waker, as when each poll is that of another executor.
        for _ in 0..3000 {
            let own = Arc::new(Counter::default());
            let waker = Waker::from(own.clone());
            let mut cx = Context::from_waker(&waker);
            let mut by_trait = &reading;
            let read = std::pin::Pin::new(&mut by_trait).poll_read(&mut cx, &mut [0; 8]);
            if read.is_pending() {
                wakers.borrow_mut().push(own);
            }
            yield_now().await;
        }
        // Once the loop has slept, those that do not answer are let go of.
        sleep(SHORT).await;
        let held = wakers.borrow().iter().filter(|own| Arc::strong_count(own) > 1).count();
        assert!(held <= 1024, "{held}");
    });
}

#[test]
fn closing_after_a_reset_is_fine() {
    popleft::run(async {
        let mut client = reset_connection().await;
        AsyncWriteExt::close(&mut client).await.unwrap();
        AsyncWriteExt::close(&mut &client).await.unwrap();
        // By the system's name it still says what it found.
        let error = client.shutdown(Shutdown::Write).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        {
            let (_, mut writing) = client.split();
            AsyncWriteExt::close(&mut writing).await.unwrap();
        }
        let (_, mut writing) = client.into_split();
        AsyncWriteExt::close(&mut writing).await.unwrap();
    });
}

#[test]
fn owned_halves_write_vectored_and_through_the_traits() {
    popleft::run(async {
        let (left, right) = UnixStream::pair().unwrap();
        let (left_reading, mut left_writing) = left.into_split();
        let (mut right_reading, right_writing) = right.into_split();
        assert_eq!(left_writing.write(b"a").await.unwrap(), 1);
        left_writing.write_all(b"b").await.unwrap();
        AsyncWriteExt::write_all(&mut left_writing, b"c").await.unwrap();
        let parts = [IoSlice::new(b"d"), IoSlice::new(b"ef")];
        let mut written = 0;
        while written < 1 {
            written += AsyncWriteExt::write_vectored(&mut left_writing, &parts).await.unwrap();
        }
        AsyncWriteExt::flush(&mut left_writing).await.unwrap();
        let mut read = vec![0; 3 + written];
        AsyncReadExt::read_exact(&mut right_reading, &mut read).await.unwrap();
        assert_eq!(read[..4], *b"abcd");
        right_writing.shutdown().unwrap();
        assert_eq!(left_reading.read(&mut [0; 8]).await.unwrap(), 0);
        AsyncWriteExt::close(&mut left_writing).await.unwrap();
        assert_eq!(AsyncReadExt::read(&mut right_reading, &mut [0; 8]).await.unwrap(), 0);

        // Whole streams, by value and by reference, vectored through the traits.
        let (mut left, mut right) = UnixStream::pair().unwrap();
        assert_eq!(AsyncWriteExt::write_vectored(&mut left, &parts).await.unwrap(), 3);
        assert_eq!(AsyncWriteExt::write_vectored(&mut &left, &parts).await.unwrap(), 3);
        let (mut first, mut second) = ([0; 2], [0; 1]);
        for _ in 0..2 {
            let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let length = AsyncReadExt::read_vectored(&mut right, &mut buffers).await.unwrap();
            assert_eq!((length, &first, &second), (3, b"de", b"f"));
        }
        AsyncWriteExt::flush(&mut &left).await.unwrap();
        let (reading, mut writing) = left.split();
        AsyncWriteExt::write_all(&mut writing, b"x").await.unwrap();
        AsyncWriteExt::flush(&mut writing).await.unwrap();
        writing.shutdown().unwrap();
        right.write_all(b"y").await.unwrap();
        reading.read_exact(&mut [0; 1]).await.unwrap();
        let mut rest = vec![];
        AsyncReadExt::read_to_end(&mut &right, &mut rest).await.unwrap();
        assert_eq!(rest, b"x");
    });
}

// ===== descriptors that others share ============================================================

#[test]
fn a_descriptor_is_given_back_as_it_came() {
    popleft::run(async {
        let (reader, mut writer) = io::pipe().unwrap();
        let shared = reader.try_clone().unwrap();
        let watched = Async::new(reader).unwrap();
        assert!(is_nonblocking(&shared));
        let reader = watched.into_inner();
        assert!(!is_nonblocking(&reader));
        drop(Async::new(reader).unwrap());
        assert!(!is_nonblocking(&shared));
        writer.write_all(b"x").unwrap();

        // What was non-blocking stays so.
        let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
        left.set_nonblocking(true).unwrap();
        assert!(is_nonblocking(Async::new(left).unwrap().into_inner()));

        // As long as anybody watches the same file it is not put back: a read would block the loop.
        let other = shared.try_clone().unwrap();
        let (first, second) = (Async::new(shared).unwrap(), Async::new(other).unwrap());
        drop(first);
        assert!(is_nonblocking(&second));
        assert!(!is_nonblocking(second.into_inner()));
    });
}

#[test]
fn what_cannot_be_watched_is_left_as_it_was() {
    let path = std::env::temp_dir().join(format!("popleft-corner-{}", std::process::id()));
    popleft::run(async {
        let file = std::fs::File::create(&path).unwrap();
        let shared = file.try_clone().unwrap();
        let error = Async::new(file).unwrap_err();
        assert!(error.to_string().contains("cannot watch the descriptor"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(!is_nonblocking(&shared));
    });
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_terminal_is_left_as_it_was() {
    // The end of a terminal that an emulator holds; where there are such.
    let Ok(terminal) = std::fs::File::options().read(true).write(true).open("/dev/ptmx") else {
        return;
    };
    popleft::run(async {
        let input = terminal.try_clone().unwrap();
        let output = terminal.try_clone().unwrap();
        let input = Async::new(input).unwrap();
        let output = Async::new(output).unwrap();
        timeout(LONG, output.writable()).await.unwrap().unwrap();
        drop(input);
        // The other one still has to be able to wait.
        assert!(is_nonblocking(&terminal));
        drop(output);
        assert!(!is_nonblocking(&terminal));
    });
    // Also with a runtime that goes first.
    let runtime = Runtime::new().unwrap();
    let input = runtime.block_on(async { Async::new(terminal.try_clone().unwrap()).unwrap() });
    drop(runtime);
    assert!(is_nonblocking(&terminal));
    drop(input);
    assert!(!is_nonblocking(&terminal));
}

/// An owner that counts how often it is asked, and can be made to name another descriptor.
struct Counting {
    own: std::os::unix::net::UnixStream,
    other: std::os::unix::net::UnixStream,
    asked: Rc<Cell<usize>>,
    lies: Rc<Cell<bool>>,
}

impl AsFd for Counting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.set(self.asked.get() + 1);
        if self.lies.get() { self.other.as_fd() } else { self.own.as_fd() }
    }
}

#[test]
fn who_names_another_descriptor_later_does_not_end_the_watch_of_that() {
    popleft::run(async {
        let (own, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (other, mut its_peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (asked, lies) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let watched = Async::new(other.try_clone().unwrap()).unwrap();
        let liar = Counting { own, other, asked: asked.clone(), lies: lies.clone() };
        let liar = Async::new(liar).unwrap();
        assert_eq!(asked.get(), 1, "asked once when the watch begins");
        lies.set(true);
        let full = liar.write_with(|_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        assert_eq!(full.await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        drop(liar);
        its_peer.write_all(b"x").unwrap();
        let read = watched.read_with(|mut socket| socket.read(&mut [0; 8]));
        assert_eq!(timeout(LONG, read).await.unwrap().unwrap(), 1);
    });
}

/// An owner whose `as_fd` uses the loop, and panics when it is told to.
struct Meddling {
    own: std::os::unix::net::UnixStream,
    panics: Rc<Cell<bool>>,
}

impl AsFd for Meddling {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let (left, right) = UnixStream::pair().unwrap();
        drop((left, right));
        assert!(!self.panics.get(), "not now");
        self.own.as_fd()
    }
}

#[test]
fn code_that_is_asked_for_a_descriptor_may_use_the_loop() {
    popleft::run(async {
        let (own, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let panics = Rc::new(Cell::new(false));
        let io = Async::new(Meddling { own, panics: panics.clone() }).unwrap();
        let other = UnixStream::pair().unwrap();
        assert!(timeout(SHORT, io.readable()).await.is_err());
        // A panic in it at the end of the watch ends there: this is a destructor.
        panics.set(true);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(io))).is_ok());
        other.0.write_all(b"x").await.unwrap();
        timeout(LONG, other.1.read_exact(&mut [0])).await.unwrap().unwrap();
    });
}

/// A waker whose last drop panics.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Rude {
    fn drop(&mut self) {
        panic!("rude");
    }
}

#[test]
fn a_foreign_waker_that_panics_when_it_is_dropped_ends_nothing() {
    popleft::run(async {
        let (socket, peer) = UnixStream::pair().unwrap();
        let socket = Rc::new(socket);
        let poll = |read: &mut std::pin::Pin<Box<dyn Future<Output = io::Result<usize>> + '_>>| {
            let rude = Waker::from(Arc::new(Rude));
            let polled = read.as_mut().poll(&mut Context::from_waker(&rude));
            assert!(polled.is_pending());
            // The waiter's clone is the last.
            assert!(catch_unwind(AssertUnwindSafe(|| drop(rude))).is_ok());
        };
        // A read that is given up lets go of it, and so does a source that goes.
        let mut buffer = [0; 8];
        let mut read: std::pin::Pin<Box<dyn Future<Output = _>>> =
            Box::pin(socket.read(&mut buffer));
        poll(&mut read);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(read))).is_ok());
        let mut by_trait = &*socket;
        let rude = Waker::from(Arc::new(Rude));
        let mut cx = Context::from_waker(&rude);
        let read = std::pin::Pin::new(&mut by_trait).poll_read(&mut cx, &mut [0; 8]);
        assert!(read.is_pending());
        drop(rude);
        let socket = Rc::into_inner(socket).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(socket))).is_ok());
        assert!(peer.write(b"x").await.is_err());
    });
}

// ===== names ====================================================================================

#[test]
fn a_name_with_a_zero_byte_inside_is_refused_and_not_cut_short() {
    let folder = std::env::temp_dir().join(format!("popleft-zero-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("private");
    let _private = std::os::unix::net::UnixListener::bind(&path).unwrap();
    popleft::run(async {
        for longer in [format!("{}\0/public", path.display()), format!("{}\0", path.display())] {
            let error = UnixStream::connect(longer).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
        for name in ["localhost\0.example.org:80", "127.0.0.1\0:80", "\0:80"] {
            assert!(lookup_host(name).await.is_err());
            assert!(TcpStream::connect(name).await.is_err());
            assert!(TcpListener::bind(name).await.is_err());
        }
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn unix_sockets_have_paths_of_every_length_and_abstract_names() {
    let folder = std::env::temp_dir().join(format!("popleft-names-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let connect = |path: std::path::PathBuf| popleft::run(UnixStream::connect(path)).map(drop);
    if cfg!(target_os = "linux") {
        let longest = folder.join("y".repeat(107 - folder.as_os_str().len() - 1));
        let listener = std::os::unix::net::UnixListener::bind(&longest).unwrap();
        connect(longest).unwrap();
        drop(listener);
    }
    let kind = |path| connect(path).unwrap_err().kind();
    assert_eq!(kind(folder.join("z".repeat(200))), io::ErrorKind::InvalidInput);
    assert_eq!(kind("".into()), io::ErrorKind::InvalidInput);
    assert_eq!(kind(folder.join("none")), io::ErrorKind::NotFound);
    std::fs::remove_dir_all(&folder).unwrap();

    #[cfg(target_os = "linux")]
    for name in [format!("popleft-{}", std::process::id()), format!("pop\0{}", std::process::id())]
    {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
        connect(format!("\0{name}").into()).unwrap();
    }
}

#[test]
fn whoever_finds_a_unix_listener_full_gets_through_later() {
    let path = std::env::temp_dir().join(format!("popleft-queue-{}", std::process::id()));
    popleft::run(async {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(1).unwrap();
        let listener = Async::new(std::os::unix::net::UnixListener::from(socket)).unwrap();
        let clients: Vec<_> = (0..20).map(|_| spawn(UnixStream::connect(path.clone()))).collect();
        for _ in 0..20 {
            let accepted = listener.read_with(|listener| listener.accept());
            timeout(LONG, accepted).await.unwrap().unwrap();
        }
        for client in clients {
            timeout(LONG, client).await.unwrap().unwrap().unwrap();
        }
    });
    std::fs::remove_file(path).unwrap();
}

// ===== other corners ============================================================================

#[test]
fn a_datagram_reader_hears_that_its_peer_has_gone() {
    popleft::run(async {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(closed).unwrap();
        let socket = Async::new(socket).unwrap();
        let mut buffer = [0; 16];
        let receive = timeout(LONG, socket.read_with(|socket| socket.recv(&mut buffer)));
        let send = async {
            yield_now().await;
            socket.write_with(|socket| socket.send(b"x")).await
        };
        let (received, sent) = future::zip(receive, send).await;
        assert_eq!(received.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(sent.unwrap(), 1);
    });
}

#[test]
fn one_descriptor_is_watched_once_and_its_copy_beside_it() {
    popleft::run(async {
        let listener = Rc::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let address: SocketAddr = listener.local_addr().unwrap();
        let first = Async::new(listener.clone()).unwrap();
        let twice = Async::new(listener.clone()).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        let copy = Async::new(listener.try_clone().unwrap()).unwrap();
        let both = timeout(LONG, future::zip(first.readable(), copy.readable()));
        let (both, client) = future::zip(both, TcpStream::connect(address)).await;
        let (client, (one, other)) = (client.unwrap(), both.unwrap());
        one.and(other).unwrap();
        drop(first);
        timeout(LONG, copy.read_with(|listener| listener.accept())).await.unwrap().unwrap();
        let _again = Async::new(listener.clone()).unwrap();
        let next = thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
        timeout(LONG, copy.readable()).await.unwrap().unwrap();
        next.join().unwrap();
        drop(client);
    });
}

#[test]
fn more_sources_than_one_wait_reports_are_all_heard() {
    let test = "more_sources_than_one_wait_reports_are_all_heard";
    if child::stderr_of(test).is_some() {
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    let enough = Some(6100);
    if limit.maximum.is_some_and(|maximum| maximum < 6100) {
        println!("skipped: no descriptors");
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: enough, ..limit }).unwrap();
    popleft::run(async {
        let pairs: Vec<_> = (0..3000).map(|_| UnixStream::pair().unwrap()).collect();
        let (readers, writers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let tasks: Vec<_> = readers
            .into_iter()
            .map(|reader| spawn(async move { reader.read_exact(&mut [0]).await }))
            .collect();
        yield_now().await;
        for writer in &writers {
            writer.write_all(&[1]).await.unwrap();
        }
        for task in tasks {
            timeout(LONG, task).await.unwrap().unwrap().unwrap();
        }
    });
}
