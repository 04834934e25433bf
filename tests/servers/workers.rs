//! The worker processes of `fib-processes`: who pays when one is killed, and what becomes of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::server_process::{KilledAtLast, PROCESSES, Server, has_ended, ticks, until};

fn start() -> Server {
    // The largest number takes centuries.
    let server = PROCESSES.start_with(&["--max-n", "93"]);
    assert_eq!(server.children().len(), 2, "as many as were asked for");
    server
}

fn kill(worker: Pid) {
    kill_process(worker, Signal::KILL).unwrap();
    until("the worker has ended", || has_ended(worker));
}

/// The worker that computes, as soon as one has computed for a while.
fn the_busy_one(server: &Server) -> Pid {
    let before: Vec<(Pid, u64)> =
        server.children().into_iter().map(|pid| (pid, ticks(pid))).collect();
    let mut busy = None;
    until("a worker computes", || {
        let works = |&&(pid, since): &&(Pid, u64)| ticks(pid) >= since + 3;
        busy = before.iter().find(works).map(|&(pid, _)| pid);
        busy.is_some()
    });
    busy.unwrap()
}

#[test]
fn a_worker_that_is_killed_costs_its_own_request_and_is_replaced() {
    let server = start();
    let mut unlucky = server.connect();
    let mut other = server.connect();
    assert_eq!(other.ask("10"), "55");
    unlucky.send("93\n11\n");
    let worker = the_busy_one(&server);
    kill(worker);
    let answer = unlucky.answer();
    assert!(answer.starts_with("error: "), "{answer}");
    assert!(answer.contains("signal: 9"), "it tells how: {answer}");
    // That was all: the connection lives, its next request is computed, and so is anybody else's.
    assert_eq!(unlucky.answer(), "89");
    for _ in 0..10 {
        assert_eq!(other.ask("10"), "55");
        assert_eq!(unlucky.ask("11"), "89");
    }
    // Two at once need two workers.
    other.send("93\n");
    the_busy_one(&server);
    assert_eq!(unlucky.ask("12"), "144");
    let workers = server.children();
    assert!(workers.len() == 2 && !workers.contains(&worker), "{workers:?}");
}

#[test]
fn a_worker_that_is_killed_while_idle_costs_nobody_anything() {
    let server = start();
    let mut client = server.connect();
    let before = server.children();
    for &worker in &before {
        kill(worker);
    }
    for _ in 0..10 {
        assert_eq!(client.ask("10"), "55");
    }
    // Both have been found out once two are needed at the same time.
    server.connect().send("93\n");
    the_busy_one(&server);
    assert_eq!(client.ask("10"), "55");
    let after = server.children();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|worker| !before.contains(worker)));
}

#[test]
fn no_worker_outlives_its_server_however_that_ends() {
    for signal in [Signal::TERM, Signal::KILL] {
        let server = start();
        let client = server.connect();
        client.send("93\n");
        the_busy_one(&server);
        let workers = server.children().into_iter().map(KilledAtLast);
        let workers: Vec<_> = workers.collect();
        server.signal(signal);
        for worker in &workers {
            until("the worker ends", || has_ended(worker.0));
        }
    }
}

/// As after `cargo build`, while the server runs.
#[test]
fn a_worker_is_replaced_though_the_server_s_own_file_was_replaced() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(format!("fib-processes-{}", std::process::id()));
    fs::copy(PROCESSES.program, &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["--workers", "2", "--addr", "127.0.0.1:0"]);
    let server = Server::start(command);
    fs::remove_file(&program).unwrap();
    for another_program_took_its_place in [false, true] {
        if another_program_took_its_place {
            fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
            fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        }
        for worker in server.children() {
            kill(worker);
        }
        let mut client = server.connect();
        for _ in 0..4 {
            assert_eq!(client.ask("10"), "55");
        }
    }
    fs::remove_file(&program).unwrap();
}

#[test]
fn why_a_worker_cannot_be_replaced_is_told() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", PROCESSES.program]);
    limited.args(PROCESSES.options).args(["--addr", "127.0.0.1:0"]);
    let mut server = Server::start(limited);
    let mut asking = server.connect();
    assert_eq!(asking.ask("10"), "55");
    for worker in server.children() {
        kill(worker);
    }
    // All descriptors are in use when the dead workers are found.
    let crowd: Vec<_> = (0..60).map(|_| server.connect()).collect();
    let complaint = server.complaint();
    assert!(complaint.contains("Too many open files"), "{complaint}");
    let answer = asking.ask("10");
    assert!(answer.starts_with("error: cannot start a worker process: Too many open"), "{answer}");
    drop(crowd);
    until("it has recovered", || asking.ask("10") == "55");
}
