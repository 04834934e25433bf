//! `perf1`, `perf2` and `client` against real servers.

mod server_process;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server_process::{TASKS, THREADS, run, text};

const PERF1: &str = env!("CARGO_BIN_EXE_perf1");
const PERF2: &str = env!("CARGO_BIN_EXE_perf2");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn json_lines(stdout: &[u8]) -> Vec<Value> {
    text(stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn perf2_counts_what_was_served_each_second() {
    let server = TASKS.start();
    let args = [
        "--addr",
        &server.addr,
        "--seconds",
        "1.2",
        "--clients",
        "3",
        "--json",
    ];
    let output = run(PERF2, &args);
    assert!(output.status.success(), "{output:?}");
    let lines = json_lines(&output.stdout);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["second"], 1);
    let first = lines[0]["requests"].as_u64().unwrap();
    let total = lines[1]["requests"].as_u64().unwrap();
    assert!(first > 0 && total >= first);
    assert_eq!(lines[1]["clients"], 3);
    assert_eq!(lines[1]["median_second"].as_u64(), Some(first));
    let seconds = lines[1]["seconds"].as_f64().unwrap();
    let rate = lines[1]["requests_per_second"].as_f64().unwrap();
    assert!((rate * seconds - total as f64).abs() < 1.0);
}

#[test]
fn perf1_tells_the_time_of_each_request() {
    let server = THREADS.start();
    let args = [
        "--addr",
        &server.addr,
        "--seconds",
        "0.3",
        "--n",
        "15",
        "--json",
    ];
    let output = run(PERF1, &args);
    assert!(output.status.success(), "{output:?}");
    let lines = json_lines(&output.stdout);
    let (summary, answers) = lines.split_last().unwrap();
    assert_eq!(
        summary["requests"].as_u64().unwrap() as usize,
        answers.len()
    );
    assert!(!answers.is_empty());
    for answer in answers {
        assert_eq!(answer["client"], 1);
        assert!(answer["seconds"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn without_json_people_can_read_it() {
    let server = TASKS.start();
    let output = run(
        PERF1,
        &[
            "--addr",
            &server.addr,
            "--seconds",
            "0.2",
            "--n",
            "15",
            "--clients",
            "2",
        ],
    );
    let said = text(&output.stdout);
    assert!(
        said.contains("client 1: fib(15) took 0.") && said.contains("the middle one"),
        "{said}"
    );
    let output = run(PERF2, &["--addr", &server.addr, "--seconds", "0.2"]);
    let said = text(&output.stdout);
    assert!(said.contains("requests in 0.2 s"), "{said}");
}

#[test]
fn at_ctrl_c_what_was_measured_is_printed() {
    let server = TASKS.start();
    for program in [PERF1, PERF2] {
        let mut load = Command::new(program)
            .args(["--addr", &server.addr, "--n", "5"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(load.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        kill_process(Pid::from_child(&load), Signal::INT).unwrap();
        let last = lines.map(Result::unwrap).last().unwrap();
        assert!(last.contains("requests in"), "{last}");
        assert_eq!(load.wait().unwrap().code(), Some(130));
    }
}

#[test]
fn a_server_that_is_not_there_or_goes_is_an_error() {
    let gone = TASKS.start().addr.clone();
    for program in [PERF1, PERF2, CLIENT] {
        let addr: &[&str] = if program == CLIENT {
            &[&gone]
        } else {
            &["--addr", &gone]
        };
        let output = run(program, addr);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(
            said.contains(&gone) && said.contains("is a server running?"),
            "{said}"
        );
    }
    let server = THREADS.start();
    let load = Command::new(PERF1)
        .args(["--addr", &server.addr, "--n", "5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut load = load;
    let mut line = String::new();
    let mut stdout = BufReader::new(load.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    drop(server);
    let drained = std::thread::spawn(move || stdout.lines().count());
    let output = load.wait_with_output().unwrap();
    drained.join().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[test]
fn a_request_that_is_refused_is_an_error_that_tells_why() {
    let server = TASKS.start();
    let output = run(
        PERF1,
        &["--addr", &server.addr, "--n", "90", "--seconds", "1"],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("refused \"90\""), "{said}");
}

#[test]
fn wrong_options_are_explained() {
    for (program, args, expected) in [
        (PERF1, ["--seconds", "0"], "above 0"),
        (PERF2, ["--clients", "0"], "1..=1000"),
        (PERF2, ["--n", "many"], "many"),
    ] {
        let output = run(program, &args);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    for program in [PERF1, PERF2, CLIENT] {
        assert!(text(&run(program, &["--help"]).stdout).contains("Examples:"));
    }
}

#[test]
fn client_sends_lines_and_shows_answers_to_the_last() {
    let server = TASKS.start();
    let mut client = Command::new(CLIENT)
        .arg(&server.addr)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"10\n20\nx\n").unwrap();
    drop(stdin);
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = text(&output.stdout);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["55", "6765"]);
    assert!(lines[2].starts_with("error: "));
}

#[test]
fn client_ends_when_the_server_does() {
    let server = THREADS.start();
    let client = Command::new(CLIENT)
        .arg(&server.addr)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.signal(Signal::TERM);
    server.wait_for_a_clean_end();
    // Its input is still open.
    let mut client = client;
    let _open = client.stdin.take();
    assert!(client.wait().unwrap().code().is_some());
}
