//! Every server against every rule, over real sockets.

mod server_process;

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use server_process::{
    Client, GENERATORS, GENERATORS_INLINE, GIL, Kind, PROCESSES, SEQUENTIAL, TASKS, TASKS_INLINE,
    THREADS, run, text,
};

/// Each law as a test for each server.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        laws!(@server sequential SEQUENTIAL $($law)*);
        laws!(@server threads THREADS $($law)*);
        laws!(@server gil GIL $($law)*);
        laws!(@server processes PROCESSES $($law)*);
        laws!(@server generators_inline GENERATORS_INLINE $($law)*);
        laws!(@server generators GENERATORS $($law)*);
        laws!(@server tasks_inline TASKS_INLINE $($law)*);
        laws!(@server tasks TASKS $($law)*);
    };
    (@server $name:ident $kind:ident $($law:ident)*) => {
        mod $name {
            $(#[test] fn $law() { super::$law(super::$kind); })*
        }
    };
}

laws![
    requests_are_answered_with_the_number,
    what_is_no_request_is_answered_with_an_error_and_the_connection_lives,
    a_line_without_end_is_refused_and_closed,
    the_end_in_mid_line_is_no_request,
    the_talks_framing_is_understood,
    pipelined_requests_are_answered_in_order,
    a_client_that_never_reads_is_held_back,
    a_reset_in_mid_request_costs_only_its_own_connection,
    the_second_client,
    a_thousand_connections,
    options_are_heeded,
    idle_connections_cost_no_time,
    it_ends_in_order_at_a_signal,
    it_ends_soon_although_somebody_computes,
    a_port_that_is_taken_is_an_error,
];

fn fibs(count: usize) -> Vec<u64> {
    let mut fibs = vec![1, 1];
    while fibs.len() < count {
        fibs.push(fibs[fibs.len() - 1] + fibs[fibs.len() - 2]);
    }
    fibs
}

// ===== what is asked and answered ===============================================================

fn requests_are_answered_with_the_number(kind: Kind) {
    let server = kind.start();
    let mut client = server.connect();
    for (request, answer) in [
        ("1", "1"),
        ("2", "1"),
        ("10", "55"),
        ("20\r", "6765"),
        ("  7 ", "13"),
        ("\t7", "13"),
        ("007", "13"),
        ("+5", "5"),
    ] {
        assert_eq!(client.ask(request), answer, "{request:?}");
    }
}

fn what_is_no_request_is_answered_with_an_error_and_the_connection_lives(kind: Kind) {
    let server = kind.start_with(&["--framing", "line"]);
    let mut client = server.connect();
    let spaces = " ".repeat(64) + "1";
    let digits = "9".repeat(1000);
    for wrong in [
        "",
        " ",
        "x",
        "1x",
        "-5",
        "1.5",
        "1e3",
        "0",
        "00",
        "46",
        "99999999999999999999",
        "1 2",
        "٣",
        &spaces,
        &digits,
    ] {
        let answer = client.ask(wrong);
        assert!(answer.starts_with("error: "), "{wrong:?}: {answer:?}");
        assert!(answer.len() < 200, "{answer:?}");
    }
    client.send(b"\xff\xfe\n");
    assert!(client.answer().starts_with("error: "));
    // The rest of a line that is too long is no request of its own, however it is cut.
    client.send("1".repeat(100));
    client.send("1".repeat(100));
    client.send("\n10\n");
    assert!(client.answer().starts_with("error: "));
    assert_eq!(client.answer(), "55");
    // 64 bytes are not too long.
    assert_eq!(client.ask(&(" ".repeat(62) + "10")), "55");
}

fn a_line_without_end_is_refused_and_closed(kind: Kind) {
    let server = kind.start_with(&["--framing", "line"]);
    let mut client = server.connect();
    assert_eq!(client.ask("5"), "5");
    // The server may close before it has read all of it.
    let _ = client.stream().write_all(&[b'1'; 70_000]);
    let answer = client.answer();
    assert!(answer.starts_with("error: "), "{answer:?}");
    assert_eq!(client.rest(), "");
    assert_eq!(server.connect().ask("10"), "55");
}

fn the_end_in_mid_line_is_no_request(kind: Kind) {
    let server = kind.start();
    let client = server.connect();
    client.send("3\n4");
    client.say_goodbye();
    assert_eq!(client.rest(), "2\n");
    // Nor is a client that says nothing at all.
    let client = server.connect();
    client.say_goodbye();
    assert_eq!(client.rest(), "");
}

fn the_talks_framing_is_understood(kind: Kind) {
    let server = kind.start();
    let client = server.connect();
    let mut answer = [0; 100];
    for (request, expected) in [
        ("20", "6765\n"),
        ("1", "1\n"),
        ("x", "error: "),
        ("10", "55\n"),
    ] {
        client.send(request);
        let length = client.stream().read(&mut answer).unwrap();
        let answer = text(&answer[..length]);
        assert!(answer.starts_with(expected), "{request:?}: {answer:?}");
    }
}

fn pipelined_requests_are_answered_in_order(kind: Kind) {
    const REQUESTS: usize = 10_000;
    let server = kind.start();
    let mut client = server.connect();
    let fibs = fibs(20);
    let requests: String = (0..REQUESTS).map(|i| format!("{}\n", i % 20 + 1)).collect();
    let mut sending = client.stream().try_clone().unwrap();
    let sender = thread::spawn(move || sending.write_all(requests.as_bytes()).unwrap());
    for i in 0..REQUESTS {
        assert_eq!(client.answer(), fibs[i % 20].to_string(), "request {i}");
    }
    sender.join().unwrap();
}

// ===== clients that behave badly ================================================================

fn a_client_that_never_reads_is_held_back(kind: Kind) {
    let server = kind.start();
    #[cfg(target_os = "linux")]
    let before = server.resident_kib();
    let client = server.connect();
    let timeout = Duration::from_millis(if kind == PROCESSES { 1000 } else { 400 });
    client.stream().set_write_timeout(Some(timeout)).unwrap();
    let requests = "1\n".repeat(4096);
    let mut sent = 0;
    // It may send until the buffers between the two are full; then the server stops reading.
    while let Ok(length) = client.stream().write(requests.as_bytes()) {
        sent += length;
        assert!(sent < 64 << 20, "nothing holds the client back");
    }
    #[cfg(target_os = "linux")]
    {
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < 2048, "{grown} KiB for one client");
    }
    if !kind.is_sequential() {
        assert_eq!(server.connect().ask("10"), "55");
    }
}

fn a_reset_in_mid_request_costs_only_its_own_connection(kind: Kind) {
    let server = kind.start();
    for _ in 0..10 {
        let client = server.connect();
        client.send("18\n18\n18\n");
        client.reset();
    }
    assert_eq!(server.connect().ask("10"), "55");
}

fn the_second_client(kind: Kind) {
    let server = kind.start();
    let mut first = server.connect();
    assert_eq!(first.ask("10"), "55");
    let mut second = server.connect();
    second.send("9\n");
    if kind.is_sequential() {
        let wait = Some(Duration::from_millis(100));
        second.stream().set_read_timeout(wait).unwrap();
        assert!(second.stream().peek(&mut [0]).is_err(), "it has to wait");
        second
            .stream()
            .set_read_timeout(Some(server_process::LONG))
            .unwrap();
        assert_eq!(first.ask("10"), "55");
        drop(first);
        assert_eq!(second.answer(), "34");
    } else {
        assert_eq!(second.answer(), "34");
        assert_eq!(first.ask("11"), "89");
    }
}

fn a_thousand_connections(kind: Kind) {
    if kind.is_sequential() {
        // They would have to come one after the other; that they may is enough.
        let server = kind.start();
        for _ in 0..1000 {
            assert_eq!(server.connect().ask("5"), "5");
        }
        return;
    }
    let server = kind.start();
    let mut clients: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
    for round in ["10", "11"] {
        for client in &clients {
            client.send(format!("{round}\n"));
        }
        for client in &mut clients {
            assert_eq!(client.answer(), if round == "10" { "55" } else { "89" });
        }
    }
}

// ===== how it is run ============================================================================

fn options_are_heeded(kind: Kind) {
    let server = kind.start_with(&["--max-n", "20"]);
    let mut client = server.connect();
    assert_eq!(client.ask("20"), "6765");
    assert!(client.ask("21").starts_with("error: "));
    drop(client);
    let server = kind.start_with(&["--framing", "talk"]);
    let mut client = server.connect();
    client.send("10\n");
    assert_eq!(client.answer(), "55");

    for (args, code, expected) in [
        (&["--help"][..], 0, "Examples:"),
        (&["--version"], 0, env!("CARGO_PKG_VERSION")),
        (&["--framing", "cards"], 2, "auto, line, talk"),
        (&["--max-n", "1000"], 2, "1000"),
        (&["--what"], 2, "--help"),
        (&["--addr", "nowhere.invalid:1"], 1, "nowhere.invalid:1"),
    ] {
        let output = run(kind.program, args);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

fn idle_connections_cost_no_time(kind: Kind) {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        let server = kind.start();
        let mut client = server.connect();
        assert_eq!(client.ask("5"), "5");
        let before = server.ticks();
        thread::sleep(Duration::from_millis(200));
        // A spinning loop would have used 20 of them.
        assert!(server.ticks() - before <= 5);
    }
}

fn it_ends_in_order_at_a_signal(kind: Kind) {
    for signal in [Signal::TERM, Signal::INT] {
        let server = kind.start();
        let mut client = server.connect();
        let mut idle = (!kind.is_sequential()).then(|| server.connect());
        if let Some(idle) = &mut idle {
            assert_eq!(idle.ask("5"), "5");
        }
        // The first answer tells that the others have arrived with it and are in flight.
        client.send("5\n24\n6\n");
        assert_eq!(client.answer(), "5");
        server.signal(signal);
        assert_eq!(client.rest(), "46368\n8\n");
        if let Some(idle) = idle {
            assert_eq!(idle.rest(), "");
        }
        let stderr = server.wait_for_a_clean_end();
        assert_eq!(stderr, "");
    }
}

fn it_ends_soon_although_somebody_computes(kind: Kind) {
    let server = kind.start();
    let mut client = server.connect();
    // In a debug build this takes many seconds: longer than the server has.
    client.send("5\n45\n");
    assert_eq!(client.answer(), "5");
    server.signal(Signal::TERM);
    server.wait_for_a_clean_end();
}

fn a_port_that_is_taken_is_an_error(kind: Kind) {
    let server = kind.start();
    let output = run(kind.program, &["--addr", &server.addr]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(&server.addr) && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(server.connect().ask("10"), "55");
}

// ===== what only some do ========================================================================

#[cfg(target_os = "linux")]
#[test]
fn a_killed_worker_costs_its_own_request_and_is_replaced() {
    fn children(pid: rustix::process::Pid) -> Vec<i32> {
        let mut children = vec![];
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let list = thread.unwrap().path().join("children");
            let list = std::fs::read_to_string(list).unwrap_or_default();
            children.extend(
                list.split_whitespace()
                    .map(|pid| pid.parse::<i32>().unwrap()),
            );
        }
        children
    }
    let server = PROCESSES.start();
    let mut busy = server.connect();
    busy.send("45\n");
    let mut other = server.connect();
    assert_eq!(other.ask("10"), "55");
    // Whichever of the two is at work: kill it. The idle one is killed first, perhaps; then the
    // next request finds it dead.
    let before = children(server.pid());
    assert_eq!(before.len(), 2);
    for pid in before {
        let worker = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(worker, Signal::KILL).unwrap();
    }
    let answer = busy.answer();
    assert!(answer.starts_with("error: "), "{answer}");
    // The connection lives, and workers are there again.
    for client in [&mut busy, &mut other] {
        for _ in 0..3 {
            let answer = client.ask("11");
            assert!(answer == "89" || answer.starts_with("error: "), "{answer}");
        }
        assert_eq!(client.ask("11"), "89");
    }
}

#[test]
fn short_requests_are_served_while_a_thread_computes() {
    for kind in [THREADS, PROCESSES, GENERATORS, TASKS] {
        let server = kind.start();
        let long = server.connect();
        long.send("45\n");
        let mut short = server.connect();
        for _ in 0..100 {
            assert_eq!(short.ask("10"), "55", "{kind:?}");
        }
        long.stream()
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        assert!(
            long.stream().peek(&mut [0]).is_err(),
            "{kind:?} has computed fib(45) already"
        );
    }
}

#[test]
fn without_descriptors_clients_wait_and_the_server_says_so() {
    for kind in [THREADS, GIL, PROCESSES, GENERATORS, TASKS] {
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", kind.program]);
        limited.args(kind.options).args(["--addr", "127.0.0.1:0"]);
        let mut server = server_process::Server::start(limited);
        let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
        let mut last = clients.pop().unwrap();
        let complaint = server.complaint();
        assert!(complaint.contains("Too many open files"), "{complaint}");
        // The first ones are served; the last one waits until somebody goes.
        assert_eq!(clients[0].ask("10"), "55", "{kind:?}");
        last.send("10\n");
        clients.truncate(5);
        assert_eq!(last.answer(), "55", "{kind:?}");
        drop(clients);
        server.signal(Signal::TERM);
        drop(last);
        let stderr = server.wait_for_a_clean_end();
        // Once for each time that they ran out, not at every try.
        let more = stderr.lines().count();
        assert!(more <= 4, "{kind:?}: {stderr}");
    }
}

#[test]
fn a_python_client_works_against_every_server() {
    let client = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/python/talk_client.py"
    );
    for kind in [SEQUENTIAL, THREADS, GIL, PROCESSES, GENERATORS, TASKS] {
        let server = kind.start();
        let (host, port) = server.addr.rsplit_once(':').unwrap();
        let output = std::process::Command::new("python3")
            .args([client, host, port])
            .output();
        match output {
            Ok(output) => {
                let said = text(&output.stdout) + &text(&output.stderr);
                assert!(output.status.success(), "{kind:?}: {said}");
                assert_eq!(said, "832040 832040 832040\n", "{kind:?}");
            }
            Err(_) if std::env::var_os("POPLEFT_REQUIRE_TOOLS").is_none() => {
                return println!("skipped: no python3");
            }
            Err(error) => panic!("python3 cannot be run: {error}"),
        }
    }
}
