//! Many clients, and clients that behave badly.

use std::io::Write;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::sync::{Mutex, PoisonError};
#[cfg(target_os = "linux")]
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::process::Signal;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::server_process::{
    Client, GENERATORS, GENERATORS_INLINE, GIL, Kind, PROCESSES, Server, TASKS, TASKS_INLINE,
    THREADS, at_once, until,
};

laws![
    the_second_client_is_served_as_this_server_promises,
    a_thousand_clients_are_served,
    a_reset_in_mid_request_costs_only_its_own_connection,
];

/// The largest one takes centuries: it is still being computed whenever one looks.
const FOREVER: &[&str] = &["--max-n", "93"];

// ===== several clients ==========================================================================

fn the_second_client_is_served_as_this_server_promises(kind: Kind) {
    let server = kind.start();
    let mut first = server.connect();
    assert_eq!(first.ask("10"), "55");
    let mut second = server.connect();
    second.send("9\n");
    if kind.is_sequential() {
        for _ in 0..200 {
            assert_eq!(first.ask("10"), "55");
        }
        assert!(!second.has_an_answer(), "it has to wait");
        drop(first);
        assert_eq!(second.answer(), "34");
    } else {
        assert_eq!(second.answer(), "34");
        assert_eq!(first.ask("11"), "89");
        assert_eq!(second.ask("12"), "144");
    }
}

#[test]
fn short_requests_are_served_while_a_long_one_is_computed() {
    at_once(&[THREADS, GIL, PROCESSES, GENERATORS, TASKS], |kind| {
        let server = kind.start_with(FOREVER);
        let mut long = server.connect();
        long.send("5\n93\n");
        assert_eq!(long.answer(), "5");
        let mut short = server.connect();
        for _ in 0..20 {
            assert_eq!(short.ask("10"), "55");
        }
        assert!(!long.has_an_answer());
    });
}

#[test]
fn a_loop_that_computes_inline_serves_nobody_else_meanwhile() {
    for kind in [GENERATORS_INLINE, TASKS_INLINE] {
        let server = kind.start();
        let mut short = server.connect();
        assert_eq!(short.ask("1"), "1");
        let mut long = server.connect();
        // Both arrive together, and after the first answer comes nothing but the computation.
        long.send("5\n33\n");
        assert_eq!(long.answer(), "5");
        assert_eq!(short.ask("10"), "55");
        assert!(long.has_an_answer(), "{}", kind.name());
        assert_eq!(long.answer(), "3524578");
    }
}

fn a_thousand_clients_are_served(kind: Kind) {
    // One such crowd at a time is enough for a machine.
    static CROWD: Mutex<()> = Mutex::new(());
    let _crowd = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let count = 1000.min(descriptor_limit() / 2);
    let server = kind.start();
    if kind.is_sequential() {
        // It cannot serve them at the same time, only one after the other.
        for _ in 0..count {
            assert_eq!(server.connect().ask("5"), "5");
        }
        return;
    }
    let mut warm_up = server.connect();
    assert_eq!(warm_up.ask("10"), "55");
    #[cfg(target_os = "linux")]
    let (memory, descriptors) = (server.memory_kib(), server.descriptors());
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for (request, answer) in [("10\n", "55"), ("11\n", "89")] {
        for client in &clients {
            client.send(request);
        }
        for client in &mut clients {
            assert_eq!(client.answer(), answer);
        }
    }
    #[cfg(target_os = "linux")]
    {
        let each = (server.memory_kib() - memory) / count;
        assert!(each < 64, "{each} KiB for a connection");
        drop(clients);
        until("all connections are closed", || server.descriptors() == descriptors);
    }
    assert_eq!(warm_up.ask("11"), "89");
}

/// Raises the limit for this process, and so for the servers that it starts, as far as it may.
fn descriptor_limit() -> u64 {
    const ENOUGH: u64 = 10_000;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.unwrap_or(ENOUGH).min(ENOUGH));
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.current.unwrap_or(ENOUGH)
}

// ===== clients that behave badly ================================================================

fn a_reset_in_mid_request_costs_only_its_own_connection(kind: Kind) {
    let server = kind.start();
    let mut other = (!kind.is_sequential()).then(|| server.connect());
    if let Some(other) = &mut other {
        assert_eq!(other.ask("10"), "55");
    }
    #[cfg(target_os = "linux")]
    let descriptors = server.descriptors();
    for _ in 0..10 {
        let mut client = server.connect();
        // They arrive together: after the first answer the second request is in work.
        client.send("5\n28\n28\n28\n");
        assert_eq!(client.answer(), "5");
        client.reset();
    }
    if let Some(other) = &mut other {
        assert_eq!(other.ask("11"), "89");
    }
    assert_eq!(server.connect().ask("10"), "55");
    #[cfg(target_os = "linux")]
    until("all connections are closed", || server.descriptors() == descriptors);
    // It is nobody's fault, and nothing to talk about.
    server.signal(Signal::TERM);
    drop(other);
    assert_eq!(server.wait_for_a_clean_end(), "");
}

/// A request whose answer quotes it, five bytes for each of its own: so the way back is soon full.
#[cfg(target_os = "linux")]
const MUCH_ADO: [u8; 64] = {
    let mut request = [1; 64];
    request[63] = b'\n';
    request
};

/// Sends until the server has stopped reading; returns how many whole requests it took.
#[cfg(target_os = "linux")]
fn send_until_held_back(server: &Server, client: &Client) -> usize {
    let patience = Duration::from_millis(100);
    client.stream().set_write_timeout(Some(patience)).unwrap();
    let requests = MUCH_ADO.repeat(64);
    let mut sent = 0;
    let mut ticks = server.ticks();
    loop {
        match client.stream().write(&requests[sent % MUCH_ADO.len()..]) {
            Ok(length) => sent += length,
            // It is not only late: all that time it has not worked.
            Err(_) if server.ticks() == ticks => return sent / MUCH_ADO.len(),
            Err(_) => ticks = server.ticks(),
        }
        assert!(sent < 64 << 20, "nothing holds the client back");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_never_reads_is_held_back_and_nothing_is_lost() {
    at_once(&crate::server_process::EVERY_KIND, |kind| {
        let server = kind.start();
        let mut first = Client::connect_with_small_buffers(&server.addr);
        assert_eq!(first.ask("10"), "55");
        let sent = send_until_held_back(&server, &first);
        if !kind.is_sequential() {
            // The first has shown how much the server needs in any case.
            let before = server.memory_kib();
            let more: Vec<Client> =
                (0..4).map(|_| Client::connect_with_small_buffers(&server.addr)).collect();
            for client in &more {
                send_until_held_back(&server, client);
            }
            let grown = server.memory_kib().saturating_sub(before);
            assert!(grown <= 4 * 64, "{grown} KiB for 4 clients");
            assert_eq!(server.connect().ask("10"), "55");
        }
        // It reads after all, and every request that was taken is answered.
        first.say_goodbye();
        let answers = first.rest();
        let all_refused = answers.lines().all(|answer| answer.ends_with("not a number"));
        assert!(all_refused);
        assert_eq!(answers.lines().count(), sent);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn connections_that_say_nothing_cost_no_time() {
    at_once(&crate::server_process::EVERY_KIND, |kind| {
        let server = kind.start();
        let mut spoken = server.connect();
        assert_eq!(spoken.ask("5"), "5");
        let _silent = server.connect();
        let before = server.ticks();
        std::thread::sleep(Duration::from_millis(300));
        // A loop that spins would have used ten times as much.
        let used = server.ticks() - before;
        assert!(used <= 3, "{used} hundredths of a second");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_clients_wait_and_the_server_says_so_once() {
    at_once(&[THREADS, GIL, PROCESSES, GENERATORS, TASKS], |kind| {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", kind.program]);
        limited.args(kind.options).args(["--addr", "127.0.0.1:0"]);
        let mut server = Server::start(limited);
        let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
        let mut last = clients.pop().unwrap();
        let complaint = server.complaint();
        assert!(complaint.contains("Too many open files"), "{complaint}");
        // Time for some more tries: it does not complain at each of them, nor try all the time.
        let ticks = server.ticks();
        std::thread::sleep(Duration::from_millis(300));
        assert!(!server.has_a_complaint(), "{}", server.complaint());
        assert!(server.ticks() - ticks <= 3);
        // The first ones are served; the last one waits until somebody goes.
        assert_eq!(clients[0].ask("10"), "55");
        last.send("10\n");
        clients.truncate(5);
        assert_eq!(last.answer(), "55");
        drop(clients);
        server.signal(Signal::TERM);
        drop(last);
        let stderr = server.wait_for_a_clean_end();
        // Once for each time that they ran out, not at every try.
        let more = stderr.lines().count();
        assert!(more <= 4, "{stderr}");
    });
}
