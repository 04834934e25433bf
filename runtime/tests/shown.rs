//! What the library's types and errors say of themselves: what `{:?}` prints begins with the type's
//! name and can be had in every state, and an error's text says what happened.

#![allow(clippy::async_yields_async)]

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use popleft::event::{Event, Place, Why};
use popleft::generator::Generator;
use popleft::net::{Async, TcpListener, TcpStream, UnixStream};
use popleft::sim::{self, Schedule, Sim};
use popleft::time::{sleep, timeout};
use popleft::{Handle, JoinError, RunError, Runtime, spawn, yield_now};

#[track_caller]
fn assert_shows(value: &dyn Debug, expected: &str) {
    let shown = format!("{value:?}");
    assert!(shown.starts_with(expected), "{shown:?} does not begin with {expected:?}");
}

#[track_caller]
fn assert_says(value: &dyn Display, expected: &str) {
    assert_eq!(value.to_string(), expected);
}

#[test]
fn a_runtime_and_its_handles_show_themselves() {
    assert_shows(&Runtime::builder().name("shown"), "Builder { settings: ");
    let runtime = Runtime::builder().name("shown").build().unwrap();
    assert_shows(&runtime, "Runtime { name: \"shown\", .. }");
    assert_shows(&runtime.handle(), "Handle { .. }");
    let remote = runtime.handle().spawn(async {});
    assert_shows(&remote, "RemoteHandle { finished: false }");
    assert!(!remote.is_finished());
    runtime.block_on(yield_now());
    assert_shows(&remote, "RemoteHandle { finished: true }");
    assert!(remote.is_finished());
    runtime.block_on(async {
        let task = spawn(async {});
        assert_shows(&task, &format!("JoinHandle {{ id: {:?} }}", task.id()));
        let nap = sleep(Duration::ZERO);
        assert_shows(&nap, "Sleep { deadline: ");
    });
}

#[test]
fn a_generator_shows_itself_in_each_state() {
    let mut generator = Generator::new(async |yielder| {
        assert_shows(&yielder, "Yielder");
        let yielding = yielder.yield_(1);
        assert_shows(&yielding, "Yield");
        yielding.await;
    });
    assert_shows(&generator, "Generator { finished: false }");
    generator.resume(());
    assert_shows(&generator, "Generator { finished: false }");
    generator.resume(());
    assert_shows(&generator, "Generator { finished: true }");
}

#[test]
fn sockets_show_themselves() {
    popleft::run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_shows(&listener, "TcpListener { addr: 127.0.0.1:");
        assert_shows(&listener.accept(), "Accept");
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert_shows(&stream, "TcpStream { addr: 127.0.0.1:");
        let mut buffer = [0; 4];
        assert_shows(&stream.read_exact(&mut buffer), "ReadExact");
        assert_shows(&stream.write_all(b"word"), "WriteAll");
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_shows(&ours, "UnixStream");
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        assert_shows(&ours, "Async(UnixStream");
    });
}

#[test]
fn the_simulated_world_shows_itself() {
    assert_shows(&Sim::new(), "Sim { choice: ");
    Sim::new().run(async {
        assert_shows(&sim::network(), "NetworkControl");
        let listener = TcpListener::bind("127.0.0.1:80").await.unwrap();
        assert_shows(&listener, "TcpListener { addr: 127.0.0.1:80, simulated: ");
        let stream = TcpStream::connect("127.0.0.1:80").await.unwrap();
        assert_shows(&stream, "TcpStream { addr: 127.0.0.1:");
    });
    let error = "1,two,3".parse::<Schedule>().unwrap_err();
    assert_says(&error, "\"two\" is no choice: a schedule is a list of numbers like 2,0,1");
}

#[cfg(feature = "signal")]
#[test]
fn signals_show_themselves() {
    popleft::run(async {
        let signals = popleft::signal::listen(popleft::signal::SIGTERM).unwrap();
        assert_shows(&signals, "Signals");
    });
}

#[test]
fn the_loops_of_the_cores_show_themselves() {
    let shown: Result<Vec<()>, io::Error> = popleft::cores(1, async |core| {
        assert_shows(&core, "Core");
        assert_shows(
            &core.listen("127.0.0.1:0").await?,
            "CoreListener { core: 0, address: 127.0.0.1:",
        );
        Ok(())
    });
    shown.unwrap();
}

#[test]
fn every_reason_to_wait_has_a_word() {
    let words = [
        (Why::Unknown, "something of its own"),
        (Why::Read, "read"),
        (Why::Write, "write"),
        (Why::Timer, "timer"),
        (Why::Join, "join"),
        (Why::Offload, "offload"),
        (Why::Yield, "yield"),
        (Why::Lock, "lock"),
    ];
    for (why, word) in words {
        assert_says(&why, word);
    }
    assert_says(&Place::UNKNOWN, "an unknown place");
    assert_says(&Place::VIA_ASYNC_READ, "via AsyncRead");
    assert_says(&Place::VIA_ASYNC_WRITE, "via AsyncWrite");
}

#[test]
fn why_a_run_has_no_output_is_said() {
    assert_says(&RunError::Stopped, "the loop was stopped before its main task had ended");
    assert_says(&RunError::Cancelled, "the main task was cancelled");
    assert_says(&RunError::Stalled, "every task is parked and nothing is left that could wake one");
    popleft::run(async {
        let elapsed = timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
        assert_says(&elapsed, "the deadline has elapsed");
    });
}

#[test]
fn a_join_error_says_which_task_and_why() {
    popleft::run(async {
        let task = spawn(pending::<()>());
        let id = task.id();
        task.abort();
        let cancelled = task.await.unwrap_err();
        assert_eq!(cancelled.id(), id);
        assert_says(&cancelled, &format!("task {id} was cancelled"));
        assert_shows(&cancelled, &format!("JoinError(task {id} was cancelled)"));
        assert!(cancelled.not_started_because().is_none() && cancelled.source().is_none());

        let task = spawn(async { std::panic::panic_any(5) });
        let id = task.id();
        let panicked: JoinError = task.await.unwrap_err();
        // The payload is no text.
        assert_says(&panicked, &format!("task {id} panicked"));
        assert!(panicked.not_started_because().is_none() && panicked.source().is_none());
        assert_eq!(*panicked.into_panic().downcast::<i32>().unwrap(), 5);
    });
}

#[test]
#[should_panic(expected = "`into_panic` on a task that did not panic")]
fn a_cancelled_task_has_no_payload() {
    popleft::run(async {
        let task = spawn(pending::<()>());
        task.abort();
        drop(task.await.unwrap_err().into_panic());
    });
}

#[test]
#[should_panic(expected = "nothing is left that could wake one")]
fn a_loop_that_runs_until_stopped_says_when_it_cannot_go_on() {
    Runtime::new().unwrap().run_until_stopped();
}

#[test]
fn try_run_gives_the_output_or_says_why_there_is_none() {
    assert_eq!(popleft::try_run(async { 5 }).unwrap(), 5);
    let error = popleft::try_run(async {
        Handle::current().unwrap().stop();
        pending::<()>().await;
    });
    assert!(error.unwrap_err().to_string().contains("stopped"));
}

#[test]
fn a_task_parked_in_a_foreign_trait_says_which_one() {
    use futures_lite::AsyncWriteExt;

    let places = Rc::new(RefCell::new(vec![]));
    let kept = places.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if let Event::Pending { why: Why::Write, at, .. } = event {
                kept.borrow_mut().push(at.to_string());
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut near, _far) = UnixStream::pair().unwrap();
        let full =
            spawn(async move { AsyncWriteExt::write_all(&mut near, &[0; 10_000_000]).await });
        while places.borrow().is_empty() {
            yield_now().await;
        }
        full.abort();
    });
    assert_eq!(*places.borrow(), ["via AsyncWrite"]);
}

#[test]
fn operations_and_halves_show_what_they_are_of() {
    popleft::run(async {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = Async::new(near).unwrap();
        assert_shows(&near.read_with(|_| Ok(())), "Operation { .. }");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = futures_lite::future::zip(
            async { TcpStream::connect(address).await.unwrap() },
            async { listener.accept().await.unwrap() },
        )
        .await;
        let (server, client_address) = accepted;
        let (reader, writer) = client.into_split();
        assert_eq!((reader.peer_addr().unwrap(), writer.peer_addr().unwrap()), (address, address));
        assert_eq!(reader.local_addr().unwrap(), client_address);
        let (other_reader, other_writer) = server.into_split();
        let error = reader.reunite(other_writer).unwrap_err();
        assert_says(&error, "the two halves are not of the same stream");
        drop((other_reader, writer));
    });
}

#[cfg(feature = "record")]
#[test]
fn a_recording_that_was_never_begun_says_so() {
    let error = popleft::record::Memory::all().write_to(Vec::new()).unwrap_err();
    assert_says(&error, "nothing has been recorded: there is no header");
    let missing = popleft::record::read("/nonexistent/recording").err().unwrap();
    assert!(missing.source().unwrap().is::<io::Error>());
}

#[test]
#[should_panic(expected = "a remote handle was polled after it was ready")]
fn a_remote_handle_is_ready_once() {
    popleft::run(async {
        let mut remote = Handle::current().unwrap().spawn(async { 1 });
        assert_eq!((&mut remote).await.unwrap(), 1);
        let _ = remote.await;
    });
}
