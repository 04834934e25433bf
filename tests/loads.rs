//! `perf1`, `perf2` and `client` against real servers.

mod server_process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
#[cfg(target_os = "linux")]
use server_process::until;
use server_process::{Running, SEQUENTIAL, TASKS, THREADS, address_without_a_server, run, text};

const PERF1: &str = env!("CARGO_BIN_EXE_perf1");
const PERF2: &str = env!("CARGO_BIN_EXE_perf2");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// What it printed: a JSON object a line, and a summary at last.
fn measured(program: &str, args: &[&str]) -> (Vec<Value>, Value) {
    let output = run(program, args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let stdout = text(&output.stdout);
    let mut lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    (lines, summary)
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

// ===== the two loads ============================================================================

#[test]
fn perf2_counts_what_was_served_each_second() {
    let server = TASKS.start();
    let options = ["--seconds", "1.2", "--clients", "3", "--json"];
    let (seconds, summary) = measured(PERF2, &[&["--addr", &server.addr], &options[..]].concat());
    assert_eq!(seconds.len(), 1);
    assert_eq!(keys(&seconds[0]), ["requests", "second"]);
    assert_eq!(seconds[0]["second"], 1);
    let first = seconds[0]["requests"].as_u64().unwrap();
    let total = summary["requests"].as_u64().unwrap();
    assert!(first > 0 && total >= first);
    assert_eq!(summary["n"], 1);
    assert_eq!(summary["clients"], 3);
    assert_eq!(summary["median_second"].as_u64(), Some(first));
    let elapsed = summary["seconds"].as_f64().unwrap();
    let rate = summary["requests_per_second"].as_f64().unwrap();
    assert!(elapsed >= 1.2);
    assert!((rate * elapsed - total as f64).abs() < 1.0);
}

#[test]
fn perf1_tells_the_time_of_each_request() {
    let server = THREADS.start();
    let options = ["--seconds", "0.3", "--n", "15", "--clients", "2", "--json"];
    let (answers, summary) = measured(PERF1, &[&["--addr", &server.addr], &options[..]].concat());
    assert_eq!(summary["n"], 15);
    assert_eq!(summary["clients"], 2);
    assert_eq!(summary["requests"].as_u64(), Some(answers.len() as u64));
    assert!(summary["seconds"].as_f64().unwrap() >= 0.3);
    for answer in &answers {
        assert_eq!(keys(answer), ["client", "seconds"]);
        assert!(answer["seconds"].as_f64().unwrap() > 0.0);
    }
    let middle = summary["median_seconds"].as_f64().unwrap();
    let faster = |answer: &&Value| answer["seconds"].as_f64().unwrap() < middle;
    assert!(answers.iter().filter(faster).count() <= answers.len() / 2);
    for client in [1, 2] {
        assert!(answers.iter().any(|answer| answer["client"] == client));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn as_many_clients_connect_as_were_asked_for() {
    let server = TASKS.start();
    let mut other = server.connect();
    assert_eq!(other.ask("10"), "55");
    let before = server.descriptors();
    let _load = Running::start(PERF2, &["--addr", &server.addr, "--clients", "50"]);
    until("all have connected", || server.descriptors() == before + 50);
    assert_eq!(other.ask("11"), "89");
}

#[test]
fn whoever_gets_no_answer_counts_none() {
    let server = SEQUENTIAL.start();
    let mut first = server.connect();
    assert_eq!(first.ask("10"), "55");
    let options = ["--addr", &server.addr, "--seconds", "0.2", "--json"];
    let (answers, summary) = measured(PERF1, &options);
    assert!(answers.is_empty());
    assert_eq!(summary["requests"], 0);
    assert_eq!(summary["median_seconds"], Value::Null);
    let (_, summary) = measured(PERF2, &options);
    assert_eq!(summary["requests"], 0);
    assert_eq!(summary["requests_per_second"], 0.0);
}

#[test]
fn without_json_people_can_read_it() {
    let server = TASKS.start();
    let addr = ["--addr", &server.addr, "--seconds", "0.2"];
    let more = ["--n", "15", "--clients", "2"];
    let said = text(&run(PERF1, &[&addr[..], &more].concat()).stdout);
    assert!(said.contains("client 1: fib(15) took 0."), "{said}");
    assert!(said.contains("the middle one took"), "{said}");
    let said = text(&run(PERF2, &addr).stdout);
    assert!(said.contains("requests in 0.2 s"), "{said}");
}

#[test]
fn at_ctrl_c_what_was_measured_is_printed() {
    let server = TASKS.start();
    for program in [PERF1, PERF2] {
        let mut load = Running::start(program, &["--addr", &server.addr, "--n", "5"]);
        let mut lines = BufReader::new(load.0.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        load.signal(Signal::INT);
        let last = lines.map(Result::unwrap).last().unwrap();
        assert!(last.contains("requests in"), "{last}");
        assert_eq!(load.wait(), (Some(130), String::new()));
    }
}

#[test]
fn a_load_whose_reader_has_seen_enough_ends_quietly() {
    let server = TASKS.start();
    for program in [PERF1, PERF2] {
        let mut load = Running::start(program, &["--addr", &server.addr, "--n", "5"]);
        let mut stdout = BufReader::new(load.0.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        assert_eq!(load.wait(), (Some(0), String::new()));
    }
}

// ===== what can go wrong ========================================================================

#[test]
fn a_server_that_is_not_there_is_named_with_a_way_out() {
    let (_taken, addr) = address_without_a_server();
    for (program, args) in
        [(PERF1, &["--addr", &addr][..]), (PERF2, &["--addr", &addr]), (CLIENT, &[&addr])]
    {
        let output = run(program, args);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        assert!(said.contains(&addr), "{said}");
        assert!(said.contains("is a server running?"), "{said}");
        assert!(said.contains("refused"), "{said}");
    }
}

#[test]
fn a_server_that_goes_is_an_error() {
    for program in [PERF1, PERF2] {
        let server = THREADS.start();
        let mut load = Running::start(program, &["--addr", &server.addr, "--n", "5"]);
        let mut stdout = BufReader::new(load.0.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop(server);
        // It may be in the middle of a line.
        stdout.read_to_end(&mut vec![]).unwrap();
        let (code, said) = load.wait();
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_request_that_is_refused_is_an_error_that_tells_why() {
    let server = TASKS.start();
    for program in [PERF1, PERF2] {
        let output = run(program, &["--addr", &server.addr, "--n", "90"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("refused \"90\""), "{said}");
        assert!(said.contains("above 45"), "{said}");
    }
}

/// A server that reads a request and answers with these bytes, over and over or once.
fn server_that_answers(bytes: &'static [u8], over_and_over: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                assert!(client.read(&mut [0; 64]).unwrap() > 0);
                while client.write_all(bytes).is_ok() && over_and_over {}
                if !over_and_over {
                    // The client says goodbye first.
                    let _ = client.read_to_end(&mut vec![]);
                }
            });
        }
    });
    addr
}

#[test]
fn a_line_without_an_end_is_an_error_before_it_fills_the_memory() {
    for bytes in [&[b'5'; 4096][..], b"error: \x1b[31m"] {
        let addr = server_that_answers(bytes, true);
        for program in [PERF1, PERF2] {
            let load = Running::start(program, &["--addr", &addr]);
            let (code, said) = load.wait();
            assert_eq!(code, Some(1), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.len() < 500, "{said}");
        }
    }
}

#[test]
fn what_a_server_says_is_shown_and_not_obeyed() {
    let addr =
        server_that_answers(b"error: \x1b]0;title\x07\x1b[2J\xc2\x9b31m\xff\rall is well\n", false);
    let shown = r"\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m";
    let shown = format!("{shown}\u{fffd}\\rall is well\n");
    for program in [PERF1, PERF2] {
        let output = run(program, &["--addr", &addr, "--n", "5"]);
        assert_eq!(output.status.code(), Some(1));
        let program = program.rsplit('/').next().unwrap();
        let expected = format!("{program}: the server refused \"5\": {shown}");
        assert_eq!(text(&output.stderr), expected);
    }
    let mut client = Running::start(CLIENT, &[&addr]);
    client.0.stdin.take().unwrap().write_all(b"5\n").unwrap();
    let mut said = String::new();
    client.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, format!("error: {shown}"));
    assert_eq!(client.wait(), (Some(0), String::new()));
}

#[test]
fn half_an_answer_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        assert!(client.read(&mut [0; 64]).unwrap() > 0);
        client.write_all(b"5").unwrap();
    });
    let output = run(PERF1, &["--addr", &addr]);
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("closed the connection"), "{output:?}");
}

#[test]
fn wrong_options_are_explained() {
    for (program, args, expected) in [
        (PERF1, ["--seconds", "0"], "above 0"),
        (PERF2, ["--seconds", "soon"], "above 0"),
        (PERF2, ["--clients", "0"], "1..=1000"),
        (PERF2, ["--n", "many"], "many"),
        (CLIENT, ["one", "two"], "two"),
    ] {
        let output = run(program, &args);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    for program in [PERF1, PERF2, CLIENT] {
        let help = run(program, &["--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).contains("Examples:"));
        let version = run(program, &["--version"]);
        assert!(text(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
}

// ===== the client ===============================================================================

#[test]
fn client_sends_lines_and_shows_answers_to_the_last() {
    let server = TASKS.start();
    let mut client = Running::start(CLIENT, &[&server.addr]);
    let mut stdin = client.0.stdin.take().unwrap();
    stdin.write_all(b"10\n20\nx\n34\n").unwrap();
    // The last answer is not there yet when the input ends.
    drop(stdin);
    let mut said = String::new();
    let mut stdout = client.0.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, "55\n6765\nerror: \"x\" is not a number\n5702887\n");
    assert_eq!(client.wait(), (Some(0), String::new()));
}

#[test]
fn client_shows_each_answer_at_once_and_ends_when_the_server_does() {
    let server = THREADS.start();
    let mut client = Running::start(CLIENT, &[&server.addr]);
    let mut stdin = client.0.stdin.take().unwrap();
    let mut answers = BufReader::new(client.0.stdout.take().unwrap());
    for (request, answer) in [("10\n", "55\n"), ("11\n", "89\n")] {
        stdin.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        assert_eq!(line, answer);
    }
    server.signal(Signal::TERM);
    server.wait_for_a_clean_end();
    // Its input is still open: it ends although nothing was typed.
    assert_eq!(client.wait(), (Some(0), String::new()));
    drop(stdin);
}
