//! The worker processes of `fib-processes`: who pays when one is killed, and what becomes of them.

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
