//! How every server is started, and how it ends.
//!
//! A program of its own, so that nothing else takes the processors in the second that a server has
//! to finish its work.

#[macro_use]
#[path = "server_process/laws.rs"]
mod laws;
mod server_process;

#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader};
use std::io::{Read, Write};
#[cfg(target_os = "linux")]
use std::net::TcpListener;
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};
use std::thread;
#[cfg(target_os = "linux")]
use std::time::Instant;

use rustix::process::Signal;

#[cfg(target_os = "linux")]
use server_process::{CORES, LONG, Running, Server};
use server_process::{Client, EVERY_KIND, Kind, at_once, run, text};

laws![
    what_is_in_flight_is_answered_before_it_ends,
    ctrl_c_in_a_terminal_lets_it_finish_as_well,
    it_explains_itself_and_what_is_wrong,
    a_port_that_is_taken_is_an_error_that_names_it,
];

/// Many requests in one piece: a short one, whose answer tells that all have arrived; one that is
/// in work then; and the others, of which some are still in the kernel, since a server reads 4096
/// bytes at once.
fn in_flight() -> (String, String) {
    let padded = " ".repeat(50) + "6\n";
    ("5\n27\n".to_string() + &padded.repeat(100), "196418\n".to_string() + &"8\n".repeat(100))
}

fn what_is_in_flight_is_answered_before_it_ends(kind: Kind) {
    let (requests, answers) = in_flight();
    for signal in [Signal::TERM, Signal::INT] {
        let server = kind.start();
        let mut idle = (!kind.is_sequential()).then(|| server.connect());
        if let Some(idle) = &mut idle {
            assert_eq!(idle.ask("5"), "5");
        }
        let mut client = server.connect();
        client.send(&requests);
        assert_eq!(client.answer(), "5");
        server.signal(signal);
        assert_eq!(client.rest(), answers);
        if let Some(idle) = idle {
            assert_eq!(idle.rest(), "");
        }
        assert_eq!(server.wait_for_a_clean_end(), "");
    }
}

fn ctrl_c_in_a_terminal_lets_it_finish_as_well(kind: Kind) {
    let (requests, answers) = in_flight();
    let server = kind.start_in_its_own_group();
    let mut client = server.connect();
    client.send(&requests);
    assert_eq!(client.answer(), "5");
    // It goes to all processes that the shell has started for the command.
    server.signal_its_group(Signal::INT);
    assert_eq!(client.rest(), answers);
    assert_eq!(server.wait_for_a_clean_end(), "");
}

#[test]
fn it_ends_soon_although_somebody_computes() {
    at_once(&EVERY_KIND, |kind| {
        let server = kind.start_with(&["--max-n", "93"]);
        let mut client = server.connect();
        // The second would take centuries.
        client.send("5\n93\n");
        assert_eq!(client.answer(), "5");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_a_clean_end(), "");
        assert!(!client.has_an_answer());
    });
}

#[test]
fn it_ends_soon_although_somebody_never_reads() {
    at_once(&EVERY_KIND, |kind| {
        let server = kind.start();
        let mut client = Client::connect_with_small_buffers(&server.addr);
        assert_eq!(client.ask("5"), "5");
        let sending = client.stream().try_clone().unwrap();
        // More than fits on the way there and back; it fails when the server is gone.
        let sender = thread::spawn(move || {
            let everything = vec![b'\n'; 16 << 20];
            (&sending).write_all(&everything)
        });
        client.stream().peek(&mut [0]).unwrap();
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_a_clean_end(), "");
        assert!(sender.join().unwrap().is_err());
    });
}

/// On an address of its own: when the server is gone, no other test's server gets its port.
#[cfg(target_os = "linux")]
#[test]
fn nobody_is_let_in_once_it_ends() {
    at_once(&EVERY_KIND, |kind| {
        let server = kind.start_at("127.0.0.2:0", &[]);
        let mut idle = server.connect();
        assert_eq!(idle.ask("5"), "5");
        let addr = server.addr.clone();
        assert!(addr.starts_with("127.0.0.2:"), "{addr}");
        server.signal(Signal::TERM);
        // The end of the file tells that the server has begun to end.
        assert_eq!(idle.rest(), "");
        // Until the listener is closed the kernel may still connect; the server lets nobody in.
        if let Ok(mut late) = TcpStream::connect(&addr) {
            let mut answer = vec![];
            // It fails when the connection is reset.
            let _ = late.write_all(b"5\n");
            let _ = late.read_to_end(&mut answer);
            assert_eq!(text(&answer), "");
        }
        server.wait_for_a_clean_end();
    });
}

fn it_explains_itself_and_what_is_wrong(kind: Kind) {
    for (args, code, expected) in [
        (&["--help"][..], 0, "Examples:"),
        (&["--version"], 0, env!("CARGO_PKG_VERSION")),
        (&["--framing", "cards"], 2, "auto, line, talk"),
        (&["--max-n", "1000"], 2, "1000"),
        (&["--max-n", "0"], 2, "1..=93"),
        (&["--what"], 2, "--help"),
        (&["25000"], 2, "25000"),
        (&["--addr", "nowhere.invalid:1"], 1, "nowhere.invalid:1"),
        (&["--addr", "127.0.0.1"], 1, "127.0.0.1"),
    ] {
        let output = run(kind.program, args);
        let (said, silent) = match code {
            0 => (output.stdout, output.stderr),
            _ => (output.stderr, output.stdout),
        };
        let said = text(&said);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
        assert_eq!(text(&silent), "", "{args:?}");
    }
}

#[test]
fn workers_are_counted_where_there_are_some() {
    use server_process::{GENERATORS_INLINE, PROCESSES, TASKS_INLINE};
    for (kind, args) in [
        (PROCESSES, ["--workers", "0"]),
        (PROCESSES, ["--workers", "many"]),
        (GENERATORS_INLINE, ["--workers", "2"]),
        (TASKS_INLINE, ["--workers", "2"]),
    ] {
        let output = kind.command(&args).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {said}", kind.name());
        assert!(said.contains("--workers"), "{said}");
    }
}

fn a_port_that_is_taken_is_an_error_that_names_it(kind: Kind) {
    let server = kind.start();
    let output = run(kind.program, &["--addr", &server.addr]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.contains(&server.addr), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(server.connect().ask("10"), "55");
}

/// Where the kernel does not share out connections, one loop accepts for all from the moment in which
/// it listens. That half of the library runs on Linux for the tests' sake.
fn accepts_before_all_loops_are_there(kind: Kind) -> bool {
    cfg!(popleft_portable) && kind.program.ends_with("fib-cores")
}

/// Without enough descriptors it either does not start, and says what it could not do, or it works.
#[cfg(target_os = "linux")]
#[test]
fn with_any_number_of_descriptors_it_works_or_says_at_once_what_it_lacks() {
    at_once(&EVERY_KIND, |kind| {
        if accepts_before_all_loops_are_there(kind) {
            return;
        }
        let (mut refused, mut served) = (0, 0);
        for limit in 5..=40 {
            let mut limited = with_descriptors(limit, kind.program);
            let mut running = Running(
                limited.args(kind.options).args(["--addr", "127.0.0.1:0"]).spawn().unwrap(),
            );
            let mut line = String::new();
            BufReader::new(running.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            match line.trim_end().strip_prefix("listening on ") {
                Some(addr) => {
                    served += 1;
                    assert_eq!(Client::connect(addr).ask("10"), "55", "{limit}");
                    running.signal(Signal::TERM);
                    let (code, said) = running.wait();
                    assert_eq!(code, Some(0), "{limit}: {said}");
                }
                None => {
                    refused += 1;
                    let (code, said) = running.wait();
                    assert_eq!(code, Some(1), "{limit}: {said}");
                    assert_eq!(said.lines().count(), 1, "{limit}: {said}");
                    let act = said.split(": ").nth(1).unwrap();
                    assert!(act.starts_with("cannot ") || act.starts_with("no "), "{said}");
                    assert!(said.ends_with(": Too many open files (os error 24)\n"), "{said}");
                }
            }
        }
        assert!(refused > 0 && served > 0, "{refused} and {served}");
    });
}

/// A program, with a limit of open files.
#[cfg(target_os = "linux")]
fn with_descriptors(limit: u32, program: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {limit} && exec \"$@\"");
    command.args(["-c", &script, "sh", program]).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Clients that come while its loops are being made, and use up all descriptors if they are let in.
#[cfg(target_os = "linux")]
#[test]
fn clients_cannot_keep_a_server_of_many_loops_from_starting() {
    if accepts_before_all_loops_are_there(CORES) {
        return;
    }
    for _ in 0..10 {
        // On an address of its own nobody else gets the port meanwhile.
        let addr = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
        let (server, clients) = thread::scope(|scope| {
            let crowd = scope.spawn(|| {
                let mut clients = vec![];
                let deadline = Instant::now() + LONG;
                while clients.len() < 100 && Instant::now() < deadline {
                    // Refused until there is a listener.
                    clients.extend(TcpStream::connect(addr));
                }
                clients
            });
            let mut command = with_descriptors(64, CORES.program);
            command.args(["--cores", "4", "--addr", &addr.to_string()]);
            (Server::start(command), crowd.join().unwrap())
        });
        drop(clients);
        assert_eq!(server.connect().ask("10"), "55");
        server.signal(Signal::TERM);
        server.wait_for_a_clean_end();
    }
}

#[test]
fn an_address_that_is_open_to_the_network_is_warned_of_in_one_line() {
    at_once(&EVERY_KIND, |kind| {
        for addr in ["0.0.0.0:0", "[::]:0"] {
            let mut server = kind.start_at(addr, &[]);
            let warning = server.complaint();
            assert!(warning.contains("open to the network"), "{warning}");
            assert!(warning.contains("127.0.0.1"), "{warning}");
            assert!(!server.has_a_complaint());
        }
        let server = kind.start_at("127.0.0.1:0", &[]);
        assert_eq!(server.connect().ask("10"), "55");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_a_clean_end(), "");
    });
}
