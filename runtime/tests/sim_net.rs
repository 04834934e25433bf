//! The laws of the simulated network, seen through the sockets that every program uses.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::zip;
use popleft::event::Why;
use popleft::net::{Async, TcpListener, TcpStream, UnixStream, lookup_host};
use popleft::sim::{self, ExploreOptions, FailureKind, Link, Network, Sim, explore, on_host};
use popleft::time::{sleep, timeout};
use popleft::{spawn, yield_now};

const HERE: [u8; 4] = [127, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn far(latency: Duration) -> Network {
    Network::new().name("server", SERVER).other_links(Link::new().latency(latency))
}

/// Serves everyone who comes, whatever they send.
async fn echo_server() {
    let listener = TcpListener::bind("server:80").await.unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let echo = async move {
            let mut buffer = [0; 4096];
            loop {
                let length = client.read(&mut buffer).await?;
                if length == 0 {
                    return io::Result::Ok(());
                }
                client.write_all(&buffer[..length]).await?;
            }
        };
        drop(spawn(echo));
    }
}

/// A client's whole life, with an echo server in the same run.
fn with_echo_server<F: Future>(network: Network, client: impl FnOnce() -> F) -> F::Output {
    Sim::new().network(network).run(async {
        drop(spawn(echo_server()));
        yield_now().await;
        client().await
    })
}

#[test]
fn latency_is_virtual_time() {
    with_echo_server(far(ms(20)), || async {
        let stream = TcpStream::connect("server:80").await.unwrap();
        assert_eq!(sim::elapsed(), ms(40));
        assert_eq!(stream.peer_addr().unwrap(), SocketAddr::from((SERVER, 80)));
        for round in 1..=10 {
            stream.write_all(b"there and back").await.unwrap();
            let mut answer = [0; 14];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"there and back");
            assert_eq!(sim::elapsed(), ms(40 + 40 * round));
        }
    });
}

#[test]
fn a_link_can_be_given_other_settings_while_the_program_runs() {
    with_echo_server(far(ms(20)), || async {
        let stream = TcpStream::connect("server:80").await.unwrap();
        let there_and_back = async || {
            // No packet overtakes one that is under way: until none is.
            sleep(ms(1000)).await;
            let start = sim::elapsed();
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            sim::elapsed() - start
        };
        assert_eq!(there_and_back().await, ms(40));
        // One direction only.
        sim::network().link(HERE, SERVER, Link::new().latency(ms(5)));
        assert_eq!(there_and_back().await, ms(25));
        sim::network().link(SERVER, HERE, Link::new());
        assert_eq!(there_and_back().await, ms(5));
        // Never is not too long to be counted.
        sim::network().link(HERE, SERVER, Link::new().latency(Duration::MAX));
        assert!(timeout(ms(1_000_000), there_and_back()).await.is_err());
    });
}

#[test]
fn a_slow_link_holds_the_writer_back() {
    let slow = Link::new().bandwidth(100_000).window(10_000);
    let network = Network::new().name("server", SERVER).link(HERE, SERVER, slow);
    with_echo_server(network, || async {
        let (reading, writing) = TcpStream::connect("server:80").await.unwrap().into_split();
        let sent: Vec<u8> = (0..1_000_000).map(|n: u32| (n * 7 % 251) as u8).collect();
        let writer = {
            let sent = sent.clone();
            spawn(async move { writing.write_all(&sent).await })
        };
        let mut received = vec![0; sent.len()];
        reading.read_exact(&mut received).await.unwrap();
        assert_eq!(sent, received);
        writer.await.unwrap().unwrap();
        let elapsed = sim::elapsed().as_millis();
        assert!((9_990..10_200).contains(&elapsed), "{elapsed}");
    });
}

#[test]
fn a_program_can_break_its_own_connections() {
    with_echo_server(far(ms(5)), || async {
        let stream = TcpStream::connect("server:80").await.unwrap();
        let waiting = spawn(async move { stream.read(&mut [0; 10]).await });
        sleep(ms(100)).await;
        assert_eq!(sim::network().reset(HERE, SERVER), 1);
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(sim::elapsed(), ms(110));
        // The server lives on.
        TcpStream::connect("server:80").await.unwrap();
    });
}

#[test]
fn a_peer_that_is_gone_without_a_word_is_noticed_by_a_timeout_alone() {
    with_echo_server(far(ms(5)), || async {
        let stream = TcpStream::connect("server:80").await.unwrap();
        sim::network().cut(HERE, SERVER);
        stream.write_all(b"anybody?").await.unwrap();
        let answer = timeout(ms(3000), stream.read(&mut [0; 10])).await;
        assert!(answer.is_err());
        assert_eq!(sim::elapsed(), ms(3010));
        let much = vec![0; 100_000];
        assert!(timeout(ms(1000), stream.write_all(&much)).await.is_err());
        let late = TcpStream::connect("server:80").await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert_eq!(sim::elapsed(), ms(4010 + 127_000));

        sim::network().mend(HERE, SERVER);
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"anybody?");
    });
}

#[test]
fn without_a_timeout_that_is_a_deadlock() {
    let network = far(ms(5)).links(HERE, SERVER, Link::new().cut_after(ms(50)));
    let failure = Sim::new().network(network).try_run(async {
        let server = spawn(echo_server());
        yield_now().await;
        let stream = TcpStream::connect("server:80").await.unwrap();
        sleep(ms(50)).await;
        server.abort();
        stream.read(&mut [0; 10]).await
    });
    let FailureKind::Deadlock(deadlock) = failure.unwrap_err().kind else { panic!() };
    assert_eq!(deadlock.tasks[0].why, Why::Read);
    assert!(deadlock.tasks[0].at.to_string().contains("tests/sim_net.rs:"));
}

#[test]
fn two_who_only_write_are_stuck() {
    let failure = Sim::new().try_run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let much = vec![0; 1_000_000];
        let both = zip(client.write_all(&much), server.write_all(&much));
        both.await
    });
    let FailureKind::Deadlock(deadlock) = failure.unwrap_err().kind else { panic!() };
    assert_eq!(deadlock.tasks[0].why, Why::Write);
}

#[test]
fn names_come_from_the_table() {
    let network = Network::new().name("db", [10, 0, 0, 8]).name("db", [10, 0, 0, 9]);
    Sim::new().network(network).run(async {
        let found = lookup_host("db:5432").await.unwrap();
        let expected = ["10.0.0.8:5432", "10.0.0.9:5432"].map(|text| text.parse().unwrap());
        assert_eq!(found, expected);
        let error = lookup_host(("no-such-host", 80)).await.unwrap_err();
        let text = "cannot look up \"no-such-host:80\": the simulated network knows only db";
        assert_eq!(error.to_string(), text);

        // The first address at which somebody listens is taken.
        let listener = TcpListener::bind("10.0.0.9:5432").await.unwrap();
        let client = TcpStream::connect("db:5432").await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), expected[1]);
        drop(listener);
        sim::network().name("db", [10, 0, 0, 7]);
        assert_eq!(lookup_host("db:1").await.unwrap(), ["10.0.0.7:1".parse().unwrap()]);
    });
}

#[test]
fn a_task_can_be_on_a_host_of_its_own() {
    let near = Link::new().latency(ms(1));
    let network = far(ms(100)).links([10, 0, 0, 3], SERVER, near);
    Sim::new().network(network).run(async {
        let listener = on_host(SERVER, TcpListener::bind("0.0.0.0:80")).await.unwrap();
        let connect = || async {
            let stream = TcpStream::connect("server:80").await.unwrap();
            (stream.local_addr().unwrap().ip(), sim::elapsed())
        };
        let near = spawn(on_host([10, 0, 0, 3], connect()));
        let far = spawn(connect());
        assert_eq!(near.await.unwrap(), ([10, 0, 0, 3].into(), ms(2)));
        assert_eq!(far.await.unwrap(), (HERE.into(), ms(200)));
        drop(listener);
    });
}

#[test]
fn what_a_task_spawns_is_on_its_host() {
    async fn address() -> IpAddr {
        let stream = TcpStream::connect("server:80").await.unwrap();
        stream.local_addr().unwrap().ip()
    }
    async fn address_of_a_child() -> IpAddr {
        yield_now().await;
        spawn(async { spawn(address()).await.unwrap() }).await.unwrap()
    }
    let one: IpAddr = [10, 0, 0, 3].into();
    let two: IpAddr = [10, 0, 0, 4].into();
    let here: IpAddr = HERE.into();
    Sim::new().network(far(ms(1))).run(async {
        // Were it on another host, nobody would find it under the server's name.
        let listens = async { spawn(TcpListener::bind("0.0.0.0:80")).await.unwrap().unwrap() };
        let _listener = on_host(SERVER, listens).await;
        // Two hosts in one task, which take turns.
        let child_of = |host| on_host(host, address_of_a_child());
        let both = zip(child_of(one), child_of(two)).await;
        assert_eq!(both, (one, two));
        // The innermost host counts, and after it the one around it again.
        let inner = on_host(one, async {
            (on_host(two, address_of_a_child()).await, address_of_a_child().await)
        });
        assert_eq!(inner.await, (two, one));
        // A child that says where it is.
        let moved = on_host(one, async { spawn(on_host(two, address_of_a_child())).await });
        assert_eq!(moved.await.unwrap(), two);
        // Hosts leave nothing to tasks that get the same row of the table.
        for _ in 0..4 {
            assert_eq!(on_host(one, async { spawn(address()).await }).await.unwrap(), one);
            assert_eq!(spawn(address()).await.unwrap(), here);
        }
    });
}

#[test]
fn what_is_the_systems_is_refused() {
    Sim::new().run(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = TcpListener::from_std(listener).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("cannot be watched in a simulation"), "{error}");
        let (pipe, _) = io::pipe().unwrap();
        assert_eq!(Async::new(pipe).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(UnixStream::pair().unwrap_err().kind(), ErrorKind::Unsupported);
        let path = "/no/such/socket";
        assert_eq!(UnixStream::connect(path).await.unwrap_err().kind(), ErrorKind::Unsupported);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let says = |panic: Box<dyn std::any::Any + Send>| *panic.downcast_ref::<&str>().unwrap();
        let no_fd = catch_unwind(AssertUnwindSafe(|| client.as_fd().as_raw_fd())).unwrap_err();
        assert_eq!(says(no_fd), "a simulated socket has no file descriptor");
        let not_std = catch_unwind(AssertUnwindSafe(|| drop(listener.into_std()))).unwrap_err();
        assert_eq!(
            says(not_std),
            "a simulated socket cannot be made into one of the standard library"
        );
    });
    let outside = catch_unwind(|| drop(sim::network())).unwrap_err();
    let text = "there is no network to break: no simulation is running on this thread";
    assert_eq!(*outside.downcast_ref::<&str>().unwrap(), text);
}

// ===== the same as the system's =================================================================

/// What a program sees of a call: how many bytes, or which error.
fn seen<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Two connected streams.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    (client, server)
}

/// What happens in the corners of TCP, one line each.
async fn corners() -> Vec<(&'static str, String)> {
    let mut all = vec![];
    let mut see = |what, result| all.push((what, result));
    let mut buffer = [0; 100];

    let (client, server) = pair().await;
    see("nodelay, unless asked for", seen(client.nodelay()));
    see("set nodelay", seen(client.set_nodelay(true)));
    see("nodelay", seen(client.nodelay()));
    client.write_all(b"peeked at").await.unwrap();
    see("peek", seen(server.peek(&mut buffer).await));
    see("read what was peeked at", seen(server.read(&mut buffer).await));
    see("end one direction", seen(client.shutdown(Shutdown::Write)));
    see("end it again", seen(client.shutdown(Shutdown::Write)));
    see("write after that", seen(client.write(b"x").await));
    see("read the end", seen(server.read(&mut buffer).await));
    see("read the end again", seen(server.read(&mut buffer).await));
    server.write_all(b"an answer").await.unwrap();
    drop(server);
    see("read the answer", seen(client.read(&mut buffer).await));
    see("read its end", seen(client.read_exact(&mut buffer).await));

    let (client, server) = pair().await;
    client.write_all(b"unread").await.unwrap();
    server.write_all(b"data").await.unwrap();
    server.peek(&mut buffer).await.unwrap();
    drop(server);
    see("read before the reset", seen(client.read(&mut buffer).await));
    see("read the reset", seen(client.read(&mut buffer).await));
    see("read after the reset", seen(client.read(&mut buffer).await));
    see("write after the reset", seen(client.write(b"x").await));
    see("shut down after the reset", seen(client.shutdown(Shutdown::Both)));
    see("the peer after the reset", seen(client.peer_addr().map(|_| ())));

    let (client, server) = pair().await;
    drop(server);
    see("read the end of one that is gone", seen(client.read(&mut buffer).await));
    see("write to it", seen(client.write(b"anybody?").await));
    let refused = loop {
        sleep(ms(1)).await;
        if let Err(error) = client.write(b"hello?").await {
            break error;
        }
    };
    see("write to it until it answers", seen(io::Result::<()>::Err(refused)));
    see("read from it", seen(client.read(&mut buffer).await));

    let (client, server) = pair().await;
    client.write_all(b"before").await.unwrap();
    server.peek(&mut buffer).await.unwrap();
    see("read no more", seen(server.shutdown(Shutdown::Read)));
    see("read what had come", seen(server.read(&mut buffer).await));
    see("read the end that one made", seen(server.read(&mut buffer).await));
    see("write the other way", seen(server.write(b"after").await));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    see("listen where somebody does", seen(TcpListener::bind(address).await.map(|_| ())));
    let by_name = TcpStream::connect(("localhost", address.port())).await;
    see("connect by name", seen(by_name.map(|_| ())));
    drop(listener);
    see("connect where nobody listens", seen(TcpStream::connect(address).await.map(|_| ())));
    all
}

#[test]
fn in_the_corners_of_tcp_it_is_as_the_systems() {
    let simulated = Sim::new().run(corners());
    let real = popleft::run(corners());
    for (simulated, real) in simulated.iter().zip(&real) {
        assert_eq!(simulated, real);
    }
    assert_eq!(simulated.len(), real.len());
    // Neither time nor distance changes what is seen.
    let far = Network::new().other_links(Link::new().latency(ms(3)).bandwidth(10_000));
    assert_eq!(Sim::new().network(far).run(corners()), real);
}

// ===== determinism ==============================================================================

fn fib(n: u64) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

/// A Fibonacci server with clients that ask for several numbers at once, one of whom is cut off.
async fn fib_server_with_clients() {
    let listener = TcpListener::bind("server:80").await.unwrap();
    let serve = async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let answer = async move {
                let mut number = [0];
                while client.read_exact(&mut number).await.is_ok() {
                    let n = number[0].into();
                    let result = popleft::spawn_blocking(move || fib(n)).await.unwrap();
                    client.write_all(&result.to_be_bytes()).await?;
                }
                io::Result::Ok(())
            };
            drop(spawn(answer));
        }
    };
    drop(spawn(serve));
    yield_now().await;
    let clients = (0..4).map(|number: u8| {
        let ask = async move {
            let server = TcpStream::connect("server:80").await?;
            for n in [number + 1, 10, 5] {
                server.write_all(&[n]).await?;
                let mut result = [0; 8];
                server.read_exact(&mut result).await?;
                assert_eq!(u64::from_be_bytes(result), fib(n.into()));
            }
            io::Result::Ok(())
        };
        spawn(on_host([10, 0, 1, number], ask))
    });
    let clients: Vec<_> = clients.collect();
    sleep(ms(12)).await;
    sim::network().reset([10, 0, 1, 3], SERVER);
    for client in clients {
        // The last one may have been reset.
        let _ = client.await.unwrap();
    }
}

/// Everything that happens, with its time.
fn events(seed: u64) -> Vec<String> {
    let events = Rc::new(RefCell::new(vec![]));
    let heard = events.clone();
    let link = Link::new().latency(ms(1)).jitter(ms(4)).bandwidth(5_000);
    let network = Network::new().name("server", SERVER).other_links(link).seed(seed);
    Sim::new()
        .seed(seed)
        .network(network)
        .listener(move |event| {
            heard.borrow_mut().push(format!("{:?} {event:?}", sim::elapsed()));
        })
        .run(fib_server_with_clients());
    events.take()
}

#[test]
fn a_seed_makes_the_same_run_again() {
    let mut different = 0;
    let mut before = vec![];
    for seed in 0..1_000 {
        let first = events(seed);
        assert!(first == events(seed), "seed {seed} makes two different runs");
        different += usize::from(first != before);
        before = first;
    }
    assert!(different > 900, "{different}");
}

#[test]
fn all_schedules_can_be_tried_over_a_network() {
    let network = Network::new().other_links(Link::new().latency(ms(1)));
    let report = explore(ExploreOptions::new().network(network), || async {
        let listener = TcpListener::bind("127.0.0.1:80").await.unwrap();
        let clients = [1, 2].map(|number: u8| {
            spawn(async move {
                let server = TcpStream::connect("127.0.0.1:80").await.unwrap();
                server.write_all(&[number]).await.unwrap();
            })
        });
        let mut sum = 0;
        for _ in 0..2 {
            let (client, _) = listener.accept().await.unwrap();
            let mut number = [0];
            client.read_exact(&mut number).await.unwrap();
            sum += number[0];
        }
        assert_eq!(sum, 3);
        for client in clients {
            client.await.unwrap();
        }
    });
    report.assert_ok();
    assert!(report.complete && report.schedules > 1, "{report}");
}
