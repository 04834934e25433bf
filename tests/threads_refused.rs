//! The system may refuse to start a thread or a process at any moment. Whichever it is, a program
//! says so in one line and ends; it neither hangs nor panics.
//!
//! strace refuses them here: from the n-th on, in each thread of the program.

mod server_process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use server_process::until;

const COUNTDOWN: &str = env!("CARGO_BIN_EXE_countdown");
const RACE: &str = env!("CARGO_BIN_EXE_race");
const DEADLOCK: &str = env!("CARGO_BIN_EXE_deadlock");
const RUDE: &str = env!("CARGO_BIN_EXE_rude");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const PERF1: &str = env!("CARGO_BIN_EXE_perf1");
const PERF2: &str = env!("CARGO_BIN_EXE_perf2");
const CHOOSE: &str = env!("CARGO_BIN_EXE_choose");
const TALK: &str = env!("CARGO_BIN_EXE_talk");

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn strace_is_there() -> bool {
    let version = Command::new("strace").arg("--version").stdout(Stdio::null()).status();
    if version.is_err() {
        let required = std::env::var_os("POPLEFT_REQUIRE_TOOLS").is_some_and(|set| set == "1");
        assert!(!required, "strace is missing");
        println!("skipped: no strace");
    }
    version.is_ok()
}

/// A program under strace, in a group of its own; killed with the program when a test fails.
struct Traced(Child);

impl Drop for Traced {
    fn drop(&mut self) {
        // All have ended already when the test has passed.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// How a program ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a program that is refused the `nth` thread or process, and all after it.
fn refused(nth: u32, program: &str, args: &[&str]) -> Ended {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=clone3,clone", "-e"])
        .arg(format!("inject=clone3,clone:error=EAGAIN:when={nth}+"))
        .arg(program)
        .args(args)
        .env("NO_COLOR", "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut traced = Traced(strace.spawn().unwrap());
    // Neither is more than a pipe can hold.
    let mut pipes = (traced.0.stdout.take().unwrap(), traced.0.stderr.take().unwrap());
    let mut status = None;
    until(&format!("{program} {args:?} without thread {nth} ends"), || {
        status = traced.0.try_wait().unwrap();
        status.is_some()
    });
    let (mut stdout, mut stderr) = (String::new(), String::new());
    pipes.0.read_to_string(&mut stdout).unwrap();
    pipes.1.read_to_string(&mut stderr).unwrap();
    Ended { code: status.unwrap().code(), stdout, stderr }
}

/// One line says what could not be started and why, and the exit code says that it failed.
fn is_told(ended: &Ended, program: &str) {
    assert_eq!(ended.code, Some(1), "{program}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{program}: {ended:?}");
    // A worker process says that it is one: `choose worker: cannot ..`.
    let name = program.rsplit('/').next().unwrap();
    let (who, _) = ended.stderr.split_once(": ").unwrap();
    assert!(who == name || who == format!("{name} worker"), "{program}: {ended:?}");
    let what = ["cannot start a ", "cannot start the ", "never began"];
    assert!(what.iter().any(|what| ended.stderr.contains(what)), "{program}: {ended:?}");
    // And why, once.
    let why = ended.stderr.matches("temporarily unavailable").count();
    assert_eq!(why, 1, "{program}: {ended:?}");
}

/// As long as a thread is missing that is needed, this is told; then all goes well.
fn is_told_until(needed: u32, program: &str, args: &[&str]) {
    for nth in 1..=needed {
        is_told(&refused(nth, program, args), program);
    }
    let ended = refused(needed + 1, program, args);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{program} {args:?}: {ended:?}");
}

/// A server that answers everything, for as long as the test runs.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut answers = client.unwrap();
            thread::spawn(move || {
                let requests = BufReader::new(answers.try_clone().unwrap()).lines();
                for _ in requests.map_while(Result::ok) {
                    if answers.write_all(b"1\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

#[test]
fn countdowns_of_which_one_cannot_start_do_not_begin() {
    if !strace_is_there() {
        return;
    }
    for nth in 1..=3 {
        let ended = refused(nth, COUNTDOWN, &["--threads", "1", "2", "3"]);
        is_told(&ended, COUNTDOWN);
        assert_eq!(ended.stdout, "");
    }
    is_told_until(3, COUNTDOWN, &["--threads", "1", "2", "3"]);
    is_told_until(0, COUNTDOWN, &["--tasks", "1", "2", "3"]);
}

#[test]
fn the_demos_of_bugs_say_which_thread_they_miss() {
    if !strace_is_there() {
        return;
    }
    is_told_until(1, RACE, &["--threads"]);
    is_told(&refused(1, RACE, &[]), RACE);
    is_told_until(1, RUDE, &["--threads"]);
    is_told_until(2, RUDE, &["--threads", "--mended"]);
    is_told(&refused(1, RUDE, &[]), RUDE);
    // Two threads a try, and very many tries.
    for nth in [1, 2, 3, 8] {
        is_told(&refused(nth, DEADLOCK, &["--threads", "--mended"]), DEADLOCK);
    }
    is_told(&refused(4, DEADLOCK, &["--threads", "--philosophers", "5"]), DEADLOCK);
    is_told(&refused(2, DEADLOCK, &[]), DEADLOCK);
}

#[test]
fn clients_of_which_one_cannot_start_measure_nothing() {
    if !strace_is_there() {
        return;
    }
    let addr = server();
    let args = ["--addr", &addr, "--seconds", "0.1", "--clients", "2"];
    for program in [PERF1, PERF2] {
        for nth in 1..=3 {
            let ended = refused(nth, program, &args);
            is_told(&ended, program);
            assert_eq!(ended.stdout, "");
        }
        is_told_until(3, program, &args);
    }
    is_told(&refused(1, CLIENT, &[&addr]), CLIENT);
}

#[test]
fn a_workload_is_done_with_fewer_threads_or_not_at_all() {
    if !strace_is_there() {
        return;
    }
    let workload = ["--io", "1ms", "--cpu", "0", "--items", "3", "--rounds", "1", "--workers", "2"];
    for style in ["threads", "gil", "offload", "processes"] {
        let args = [&workload[..], &["--only", style]].concat();
        is_told(&refused(1, CHOOSE, &args), CHOOSE);
        is_told_or_done(style, &refused(2, CHOOSE, &args));
        for nth in 3..=6 {
            is_told_or_done(style, &refused(nth, CHOOSE, &args));
        }
    }
    let ended = refused(1, CHOOSE, &["worker", "0", "0"]);
    is_told(&ended, CHOOSE);
}

/// With some of its threads a style does all the same, and says so.
fn is_told_or_done(style: &str, ended: &Ended) {
    match ended.code {
        Some(0) => {
            assert!(ended.stdout.contains("3 items"), "{style}: {ended:?}");
            assert!(ended.stderr.lines().count() <= 1, "{style}: {ended:?}");
            let told = ended.stderr.is_empty() || ended.stderr.contains("threads were started");
            assert!(told, "{style}: {ended:?}");
        }
        _ => is_told(ended, CHOOSE),
    }
}

#[test]
fn an_act_that_cannot_be_played_is_named() {
    if !strace_is_there() {
        return;
    }
    let args = ["--quick", "--act", "sequential"];
    for nth in 1..=4 {
        let ended = refused(nth, TALK, &args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        assert!(ended.stderr.starts_with("talk: "), "{ended:?}");
        assert!(ended.stderr.contains("cannot start"), "{ended:?}");
    }
}
