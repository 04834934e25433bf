//! Several loops: what they return, how they end, and who gets a connection.

mod child;

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use popleft::{Core, cores};

#[test]
fn each_has_a_thread_and_a_runtime_of_its_own() {
    let threads = cores(4, |core| async move {
        let name = thread::current().name().map(str::to_string);
        assert_eq!(name, Some(format!("core-{}", core.number())));
        assert_eq!(core.count(), 4);
        let task = popleft::spawn(async { popleft::task::current().is_some() });
        assert!(task.await.unwrap());
        Ok::<_, io::Error>(thread::current().id())
    });
    let threads: HashSet<_> = threads.unwrap().into_iter().collect();
    assert_eq!(threads.len(), 4);
}

#[test]
fn none_counts_as_one() {
    let numbers = cores(0, |core| async move { Ok::<_, io::Error>(core.number()) });
    assert_eq!(numbers.unwrap(), [0]);
}

#[test]
fn settings_are_those_of_the_builder() {
    let builder = popleft::Runtime::builder().name("server").pool_size(1);
    let names = builder.cores(2, |core| async move {
        let main = popleft::task::current().unwrap();
        assert_eq!(main.name(), Some(&*format!("server-{}", core.number())));
        let name = || thread::current().name().map(str::to_string);
        Ok::<_, io::Error>(popleft::spawn_blocking(name).await.unwrap())
    });
    let expected = ["server-0-pool-0", "server-1-pool-0"].map(|name| Some(name.to_string()));
    assert_eq!(names.unwrap(), expected);
}

/// Counts how many of them are alive. A loop that is stopped before its first turn makes none.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(alive: &'a AtomicUsize) -> Self {
        alive.fetch_add(1, Relaxed);
        Counted(alive)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[test]
fn the_first_error_ends_the_others_and_is_returned() {
    let alive = AtomicUsize::new(0);
    let ended = cores(3, |core| {
        let counted = Counted::new(&alive);
        async move {
            let _counted = counted;
            if core.number() == 1 {
                return Err::<(), _>(io::Error::other("enough"));
            }
            popleft::time::sleep(Duration::MAX).await;
            Ok(())
        }
    });
    assert_eq!(ended.unwrap_err().to_string(), "enough");
    assert_eq!(alive.load(Relaxed), 0);
}

#[test]
fn the_first_panic_ends_the_others_and_goes_on_when_they_have_ended() {
    let alive = AtomicUsize::new(0);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        cores(3, |core| {
            let counted = Counted::new(&alive);
            async move {
                let _counted = counted;
                assert_ne!(core.number(), 2, "not this one");
                popleft::time::sleep(Duration::MAX).await;
                Ok::<_, io::Error>(())
            }
        })
    }));
    let payload = ended.unwrap_err();
    assert!(payload.downcast_ref::<String>().unwrap().contains("not this one"));
    assert_eq!(alive.load(Relaxed), 0);
}

#[test]
fn a_loop_that_is_stopped_by_somebody_else_is_an_error() {
    let ended = cores(2, |core| async move {
        if core.number() == 0 {
            popleft::Handle::current().unwrap().stop();
        }
        std::future::pending::<()>().await;
        Ok::<_, io::Error>(())
    });
    assert!(ended.unwrap_err().to_string().contains("stopped"));
}

/// Listens, says where, and answers each client with its own number until it is told to end.
async fn answer(core: Core, listening: mpsc::Sender<SocketAddr>) -> io::Result<usize> {
    let listener = core.listen("127.0.0.1:0").await?;
    listening.send(listener.local_addr()).unwrap();
    let mut served = 0;
    loop {
        let (client, _) = listener.accept().await?;
        let mut word = [0];
        client.read_exact(&mut word).await?;
        served += 1;
        client.write_all(&[core.number() as u8]).await?;
        if &word == b"q" {
            return Ok(served);
        }
    }
}

fn ask(addr: SocketAddr, word: &[u8; 1]) -> io::Result<u8> {
    let mut client = TcpStream::connect(addr)?;
    client.write_all(word)?;
    let mut answer = [0];
    client.read_exact(&mut answer)?;
    Ok(answer[0])
}

#[test]
fn all_listen_on_one_port_and_each_connection_is_answered_by_one() {
    let (sender, receiver) = mpsc::channel();
    let client = thread::spawn(move || {
        let addrs: Vec<SocketAddr> = receiver.iter().take(3).collect();
        assert!(addrs.iter().all(|addr| *addr == addrs[0]), "{addrs:?}");
        let mut answers = [0; 3];
        for _ in 0..300 {
            answers[usize::from(ask(addrs[0], b"x").unwrap())] += 1;
        }
        // The kernel deals by a hash, so none is certain of its share, but of some.
        assert!(answers.iter().all(|&served| served > 0), "{answers:?}");
        // Each that has ended gets no more; what was on its way to it may be lost.
        let mut left: HashSet<u8> = [0, 1, 2].into();
        while !left.is_empty() {
            if let Ok(number) = ask(addrs[0], b"q") {
                left.remove(&number);
            } else if TcpStream::connect(addrs[0]).is_err() {
                break;
            }
        }
    });
    let sender = Mutex::new(sender);
    let served = cores(3, |core| answer(core, sender.lock().unwrap().clone()));
    drop(sender);
    client.join().unwrap();
    // Where one accepts for all, the others end with an error when it does.
    if let Ok(served) = served {
        assert!(served.iter().sum::<usize>() >= 303, "{served:?}");
    }
}

#[test]
fn an_address_that_somebody_has_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let ended = cores(2, |core| async move { core.listen(addr).await.map(drop) });
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::AddrInUse);

    // Also when it would share with others of its own kind.
    let inside = cores(1, |core| async move {
        let listener = core.listen("127.0.0.1:0").await?;
        let addr = listener.local_addr();
        let other = popleft::spawn_blocking(move || {
            cores(1, |core| async move { core.listen(addr).await.map(drop) })
        });
        Ok::<_, io::Error>(other.await.unwrap())
    });
    let refused = inside.unwrap().remove(0);
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn several_addresses_can_be_listened_on() {
    let addrs = cores(2, |core| async move {
        let one = core.listen("127.0.0.1:0").await?;
        let two = core.listen("127.0.0.1:0").await?;
        Ok::<_, io::Error>([one.local_addr(), two.local_addr()])
    });
    let addrs = addrs.unwrap();
    assert_eq!(addrs[0], addrs[1]);
    assert_ne!(addrs[0][0], addrs[0][1]);
}

#[test]
fn all_who_accept_in_one_loop_get_a_connection_and_who_gives_up_gets_none() {
    let (sender, receiver) = mpsc::channel::<SocketAddr>();
    let client = thread::spawn(move || {
        let addr = receiver.recv().unwrap();
        let clients: Vec<_> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for mut client in clients {
            let mut answer = [0];
            client.read_exact(&mut answer).unwrap();
        }
    });
    let sender = Mutex::new(sender);
    let served = cores(1, |core| {
        let sender = sender.lock().unwrap().clone();
        async move {
            let listener = Rc::new(core.listen("127.0.0.1:0").await?);
            let given_up = popleft::time::timeout(Duration::from_millis(10), listener.accept());
            assert!(given_up.await.is_err());
            let accepting: Vec<_> = (0..4)
                .map(|_| {
                    let listener = listener.clone();
                    popleft::spawn(async move {
                        let (client, _) = listener.accept().await?;
                        client.write_all(b"x").await
                    })
                })
                .collect();
            popleft::yield_now().await;
            sender.send(listener.local_addr()).unwrap();
            for task in accepting {
                let limit = Duration::from_secs(20);
                popleft::time::timeout(limit, task).await.unwrap().unwrap()?;
            }
            Ok::<_, io::Error>(())
        }
    });
    served.unwrap();
    drop(sender);
    client.join().unwrap();
}

#[test]
#[cfg(feature = "record")]
fn where_a_core_waits_is_the_line_of_its_await() {
    // Recording is for the whole process.
    if child::stderr_of("where_a_core_waits_is_the_line_of_its_await").is_some() {
        return;
    }
    let path = std::env::temp_dir().join(format!("popleft-cores-{}", std::process::id()));
    popleft::record::record_all(&path).unwrap();
    let result = cores(1, |core| async move {
        let listener = core.listen("localhost:0").await?;
        let wait = popleft::time::timeout(Duration::from_millis(10), listener.accept());
        Ok::<_, io::Error>(wait.await.is_err())
    });
    assert_eq!(result.unwrap(), [true]);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut lines = text.lines();
    assert!(lines.any(|line| line.contains("spawn") && line.contains("tests/cores.rs:")), "{text}");
    assert!(lines.any(|line| line.contains("read") && line.contains("tests/cores.rs:")), "{text}");
    // Where one loop accepts for all, the task that does is the library's own.
    let is_own = |line: &str| line.contains("src/cores.rs:") && !cfg!(popleft_portable);
    assert!(!text.lines().any(is_own), "{text}");
}
