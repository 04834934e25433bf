//! Errors of the system, injected: each server is run under `strace`, which makes one call of its
//! fail, or several in a row, and it must outlive that.
//!
//! The table below has calls and errors, and for how many moments each is tried: the first call after
//! the server has said where it listens, the second, and so on. How many calls come before that is
//! found out by a run in which none fails. What is put to the test:
//!
//! - An error at the start: the server works all the same, or it says in one line what it could not
//!   do, and ends with 1. It never says "listening on" first.
//! - An error later: the server goes on. Each error costs at most one client its connection; the
//!   others get their answers, and nobody waits in vain. Later clients are served. When all have
//!   gone nothing is done any more, and at SIGTERM the server ends with 0. Nothing panics.
//!
//! strace counts the calls of each thread, and a call that fails for it is not made. So only errors
//! are in the table that leave the system as it was: with `EAGAIN` for a socket that has bytes, for
//! example, strace would tell a lie that no system tells.
//!
//! By default a selection runs, in about a minute on two processors. `POPLEFT_FAULTS=all` tries all
//! errors at all moments of the table, which takes many times as long, and
//! `POPLEFT_FAULTS=accept4` all that are in rows of this name. `POPLEFT_REQUIRE_TOOLS=1` demands
//! that strace is there.

#![cfg(target_os = "linux")]

mod server_process;

use std::collections::{HashMap, VecDeque};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use server_process::{
    CORES, GENERATORS, GENERATORS_INLINE, GIL, KilledAtLast, Kind, LONG, PROCESSES, SEQUENTIAL,
    TASKS, THREADS, children, has_input, text, ticks,
};

// ===== the table ================================================================================

/// Calls that fail in the same ways, and how many of them after the start are tried, one by one.
struct Row {
    /// By their names, with commas between.
    calls: &'static str,
    errors: &'static [&'static str],
    moments: usize,
    when: When,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Also before the server listens, and then the server may refuse to start.
    Always,
    /// Only later: before that the system's loader makes them too, or they announce the server.
    Later,
}

const fn row(calls: &'static str, errors: &'static [&'static str], moments: usize) -> Row {
    Row { calls, errors, moments, when: When::Always }
}

const fn later(calls: &'static str, errors: &'static [&'static str], moments: usize) -> Row {
    Row { calls, errors, moments, when: When::Later }
}

/// What `accept` can meet, by its manual page: errors of the connection, of the network, of the
/// system's memory.
const ACCEPTING: &[&str] = &[
    "EPROTO",
    "ECONNABORTED",
    "EMFILE",
    "ENFILE",
    "ENOBUFS",
    "ENOMEM",
    "EPERM",
    "EINTR",
    "ENETDOWN",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENONET",
    "ENOPROTOOPT",
    "EOPNOTSUPP",
    "ETIMEDOUT",
];

/// For the servers that are loops.
const OF_LOOPS: &[Row] = &[
    row("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"], 0),
    row("eventfd2", &["EMFILE", "ENFILE", "ENOMEM"], 0),
    row("timerfd_create", &["EMFILE", "ENFILE", "ENOMEM"], 0),
    row("socketpair", &["EMFILE", "ENFILE", "ENOMEM"], 0),
    row("socket", &["EMFILE", "ENOBUFS", "EACCES"], 0),
    row("bind", &["EADDRINUSE", "EACCES", "ENOMEM"], 0),
    row("listen", &["EADDRINUSE", "ENOMEM"], 0),
    row("getsockname", &["ENOBUFS"], 0),
    row("setsockopt", &["ENOMEM", "EINVAL"], 2),
    row("ioctl", &["ENOMEM"], 2),
    row("fcntl", &["EMFILE", "ENOMEM"], 1),
    row("clone3,clone", &["EAGAIN", "ENOMEM", "EPERM"], 1),
    row("timerfd_settime", &["ENOMEM", "ECANCELED"], 2),
    row("epoll_ctl", &["ENOSPC", "ENOMEM", "EPERM"], 5),
    row("epoll_wait,epoll_pwait,epoll_pwait2", &["ENOMEM", "EINTR"], 3),
    row("accept4", ACCEPTING, 1),
    row("recvfrom", &["ENOMEM", "ECONNRESET", "EINTR", "ETIMEDOUT"], 5),
    row("sendto", &["ENOMEM", "EPIPE", "ENOBUFS", "EINTR", "ECONNRESET"], 4),
    later("shutdown", &["ENOTCONN", "ENOBUFS"], 1),
];

/// For those with a thread for each client, or with one for all.
const OF_THREADS: &[Row] = &[
    row("socketpair", &["EMFILE", "ENOMEM"], 0),
    row("socket", &["EMFILE", "ENOBUFS"], 0),
    row("bind", &["EACCES"], 0),
    row("setsockopt", &["ENOMEM", "EINVAL"], 1),
    row("clone3,clone", &["EAGAIN", "ENOMEM"], 1),
    later("poll,ppoll", &["ENOMEM", "EINTR"], 2),
    row("accept4", ACCEPTING, 1),
    row("recvfrom", &["ENOMEM", "ECONNRESET", "EINTR"], 2),
    row("sendto", &["ENOMEM", "EPIPE", "EINTR"], 2),
];

const OF_PROCESSES: &[Row] = &[
    row("socketpair,pipe2", &["EMFILE", "ENFILE"], 0),
    row("clone3,clone,vfork", &["EAGAIN", "ENOMEM"], 1),
    later("poll,ppoll", &["ENOMEM"], 2),
    row("accept4", ACCEPTING, 1),
    later("write", &["ENOMEM", "EPIPE"], 2),
];

/// Shortages do not pass at once: so many calls in a row fail.
const SHORTAGES: &[&str] = &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN"];
const IN_A_ROW: usize = 5;

const SERVERS: &[(Kind, &[Row])] = &[
    (TASKS, OF_LOOPS),
    (GENERATORS, OF_LOOPS),
    (CORES, OF_LOOPS),
    (GENERATORS_INLINE, OF_LOOPS),
    (THREADS, OF_THREADS),
    (SEQUENTIAL, OF_THREADS),
    (GIL, OF_THREADS),
    (PROCESSES, OF_PROCESSES),
];

/// How much of the table is tried.
#[derive(Clone, PartialEq, Eq)]
enum Extent {
    Selection,
    All,
    RowsOf(String),
}

impl Extent {
    fn wanted() -> Extent {
        match env::var("POPLEFT_FAULTS") {
            Ok(wanted) if wanted == "all" => Extent::All,
            Ok(wanted) => Extent::RowsOf(wanted),
            Err(_) => Extent::Selection,
        }
    }

    fn includes(&self, row: &Row) -> bool {
        match self {
            Extent::RowsOf(name) => row.calls.split(',').any(|call| call == name),
            _ => true,
        }
    }
}

/// One call of one server that fails, or several in a row.
#[derive(Clone)]
struct Fault {
    kind: Kind,
    calls: &'static str,
    error: &'static str,
    /// As strace takes it.
    when: String,
}

impl Fault {
    fn name(&self) -> String {
        format!("{} {}:{}:when={}", self.kind.name(), self.calls, self.error, self.when)
    }
}

/// What of a server's rows is tried.
fn faults_of(kind: Kind, rows: &'static [Row], calm: &Calls, extent: &Extent) -> Vec<Fault> {
    let mut faults = vec![];
    for row in rows.iter().filter(|row| extent.includes(row)) {
        let (before, all) = calm.of(row.calls);
        for (number, &error) in row.errors.iter().enumerate() {
            let mut fails = |when: String| {
                faults.push(Fault { kind, calls: row.calls, error, when });
            };
            // What fails at the start is told in the same way, whatever the error is.
            let at_start =
                row.when == When::Always && (number == 0 || *extent != Extent::Selection);
            let tried: Vec<usize> = (1..=before).filter(|_| at_start).collect();
            let few = [Some(1), tried.get(tried.len() / 2).copied(), Some(before)];
            for when in tried {
                if *extent != Extent::Selection || few.contains(&Some(when)) {
                    fails(when.to_string());
                }
            }
            // The first error at each moment, the others at two.
            let most = match extent {
                Extent::Selection if number > 0 => row.moments.min(2),
                Extent::Selection => row.moments,
                _ => 3 * row.moments,
            };
            for when in (before + 1..=all).take(most) {
                fails(when.to_string());
            }
            let in_a_row = all > before && SHORTAGES.contains(&error);
            if in_a_row && row.moments > 0 && (number < 3 || *extent != Extent::Selection) {
                fails(format!("{}..{}", before + 1, before + IN_A_ROW));
            }
        }
    }
    faults
}

// ===== one server under strace ==================================================================

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn strace_is_here() -> bool {
    let version = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return true;
    }
    let required = env::var_os("POPLEFT_REQUIRE_TOOLS").is_some_and(|set| set == "1");
    assert!(!required, "strace cannot be run");
    println!("skipped: no strace");
    false
}

/// How often each call was made, by each thread: until the server listened, and in all.
#[derive(Default)]
struct Calls {
    before: HashMap<(String, String), usize>,
    all: HashMap<(String, String), usize>,
}

impl Calls {
    /// Reads strace's log, of which each line begins with the thread and the call.
    fn read(log: &str) -> Calls {
        let mut calls = Calls::default();
        for line in log.lines() {
            let mut words = line.split_whitespace();
            let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
            // Signals, ends of threads, and calls that are told of for the second time.
            let Some((call, _)) = call.split_once('(') else { continue };
            *calls.all.entry((thread.into(), call.into())).or_default() += 1;
            if line.contains("\"listening on ") {
                calls.before = calls.all.clone();
            }
        }
        calls
    }

    /// How many of these calls the thread that makes the most of them makes.
    fn of(&self, names: &str) -> (usize, usize) {
        let most = |counts: &HashMap<(String, String), usize>| {
            let mut by_thread = HashMap::<&str, usize>::new();
            for ((thread, call), count) in counts {
                if names.split(',').any(|name| name == call) {
                    *by_thread.entry(thread).or_default() += count;
                }
            }
            by_thread.into_values().max().unwrap_or(0)
        };
        (most(&self.before), most(&self.all))
    }
}

/// A server that strace has started; killed when a test fails.
struct Traced {
    strace: Child,
    stderr: BufReader<ChildStderr>,
    log: PathBuf,
    /// `None` when it has ended instead of listening.
    addr: Option<SocketAddr>,
}

impl Traced {
    fn start(kind: Kind, number: usize, what: &[&str]) -> Result<Traced, String> {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("faults-{}-{number}.strace", std::process::id()));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(&log).args(what);
        command.arg(kind.program).args(kind.options).args(["--addr", "127.0.0.1:0"]);
        let mut strace = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let stdout = strace.stdout.take().unwrap();
        let stderr = BufReader::new(strace.stderr.take().unwrap());
        let mut traced = Traced { strace, stderr, log, addr: None };
        if !has_input(&stdout, LONG) {
            return Err("it neither listens nor ends".into());
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        traced.addr = line.trim_end().strip_prefix("listening on ").and_then(|a| a.parse().ok());
        Ok(traced)
    }

    /// The server, which is strace's child.
    fn server(&self) -> Option<Pid> {
        children(Pid::from_child(&self.strace)).first().copied()
    }

    /// Waits until neither the server nor strace has used any time for a while. One that spins never
    /// comes to that.
    fn comes_to_rest(&self, server: Pid) -> bool {
        let strace = Pid::from_child(&self.strace);
        within_long(|| {
            let before = ticks(server) + ticks(strace);
            thread::sleep(Duration::from_millis(60));
            before == ticks(server) + ticks(strace)
        })
    }

    /// Sends SIGTERM until the server ends. If sending a byte has failed in the signal's handler, and
    /// at all the places that it is sent to, there was no signal.
    fn ask_to_stop(&mut self, server: Pid) -> Result<(), String> {
        let mut asked = None::<Instant>;
        let ends = within_long(|| {
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(3)) {
                asked = Some(Instant::now());
                let _ = kill_process(server, Signal::TERM);
            }
            self.strace.try_wait().unwrap().is_some()
        });
        if ends { Ok(()) } else { Err("it does not end at SIGTERM".into()) }
    }

    /// The exit code, once it has ended, and what was written to standard error.
    fn end(&mut self) -> Result<(Option<i32>, String), String> {
        let mut status = None;
        within_long(|| {
            status = self.strace.try_wait().unwrap();
            status.is_some()
        });
        let status = status.ok_or("it does not end")?;
        let mut stderr = vec![];
        self.stderr.read_to_end(&mut stderr).map_err(|error| error.to_string())?;
        Ok((status.code(), text(&stderr)))
    }

    fn log(&self) -> String {
        text(&fs::read(&self.log).unwrap_or_default())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // The server lives on if only strace is killed; and its workers do as long as it lives.
        let server = self.server();
        let workers = server.map(children).unwrap_or_default();
        drop(server.into_iter().chain(workers).map(KilledAtLast).collect::<Vec<_>>());
        let _ = self.strace.kill();
        let _ = self.strace.wait();
        let _ = fs::remove_file(&self.log);
    }
}

fn within_long(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LONG;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(3));
    }
    true
}

// ===== the clients ==============================================================================

/// What each sends, one after the other, and the answers.
const CLIENTS: [&[(&str, &str)]; 4] = [
    &[("10\n", "55"), ("20\n", "6765"), ("10\n", "55")],
    &[("15\n", "610"), ("17\n", "1597")],
    &[("x\n", "error: \"x\" is not a number"), ("10\n", "55")],
    // The talk's framing.
    &[("20", "6765")],
];

/// What became of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Served,
    /// Its connection broke, or it was told that its number could not be computed.
    Lost(String),
    /// It waited in vain.
    Forgotten,
}

fn ask(addr: SocketAddr, requests: &[(&str, &str)]) -> Fate {
    let ask_all = || -> io::Result<Fate> {
        let stream = TcpStream::connect_timeout(&addr, LONG)?;
        stream.set_read_timeout(Some(LONG))?;
        let mut answers = BufReader::new(&stream);
        for (request, expected) in requests {
            (&stream).write_all(request.as_bytes())?;
            let mut answer = String::new();
            answers.read_line(&mut answer)?;
            if answer.trim_end() != *expected {
                return Ok(Fate::Lost(format!("{request:?} was answered {answer:?}")));
            }
        }
        Ok(Fate::Served)
    };
    match ask_all() {
        Ok(fate) => fate,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Fate::Forgotten
        }
        Err(error) => Fate::Lost(error.to_string()),
    }
}

fn all_clients(addr: SocketAddr) -> Vec<Fate> {
    thread::scope(|scope| {
        let clients = CLIENTS.map(|requests| scope.spawn(move || ask(addr, requests)));
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

// ===== the law ==================================================================================

/// Runs a server with clients while a call fails. How many calls failed in fact, or what is wrong.
fn outlives(fault: &Fault, number: usize) -> Result<usize, String> {
    let trace = format!("trace={}", fault.calls);
    let inject = format!("inject={}:error={}:when={}", fault.calls, fault.error, fault.when);
    let mut traced = Traced::start(fault.kind, number, &["-e", &trace, "-e", &inject])?;
    let Some(addr) = traced.addr else {
        let (code, stderr) = traced.end()?;
        if !refuses_clearly(fault.kind, code, &stderr) {
            return Err(format!("it does not start, code {code:?}: {stderr:?}"));
        }
        return Ok(injected(&traced));
    };
    let server = traced.server().ok_or("it listens and has ended")?;
    let fates = all_clients(addr);
    let lost = fates.iter().filter(|fate| **fate != Fate::Served).count();
    if fates.contains(&Fate::Forgotten) || lost > injected(&traced) {
        let said = said_when_killed(&mut traced, server);
        return Err(format!("what became of its clients: {fates:?}; it said {said:?}"));
    }
    let later = later_client(&traced, addr);
    if later != Fate::Served {
        let said = said_when_killed(&mut traced, server);
        return Err(format!("a later client: {later:?}; it said {said:?}"));
    }
    if !traced.comes_to_rest(server) {
        return Err("it is never at rest".into());
    }
    traced.ask_to_stop(server)?;
    let (code, stderr) = traced.end()?;
    if code != Some(0) || stderr.contains("panicked") {
        return Err(format!("its end, code {code:?}: {stderr:?}"));
    }
    Ok(injected(&traced))
}

/// Asks once more; and again where the error hit just this client, since several may fail in a row.
/// In a server with a thread for each client it hits them all, for strace counts by threads: then
/// it is enough that nothing else does.
fn later_client(traced: &Traced, addr: SocketAddr) -> Fate {
    for _ in 0..=2 * IN_A_ROW {
        let before = injected(traced);
        let fate = ask(addr, CLIENTS[0]);
        if !matches!(fate, Fate::Lost(_)) || injected(traced) == before {
            return fate;
        }
    }
    Fate::Served
}

fn injected(traced: &Traced) -> usize {
    traced.log().matches("(INJECTED)").count()
}

fn said_when_killed(traced: &mut Traced, server: Pid) -> String {
    let _ = kill_process(server, Signal::KILL);
    traced.end().map_or_else(|error| error, |(_, stderr)| stderr)
}

/// One line: the program, what it could not do, and why. As in "fib-tasks: cannot listen on
/// 127.0.0.1:25000: Address already in use (os error 98)".
fn refuses_clearly(kind: Kind, code: Option<i32>, stderr: &str) -> bool {
    let program = kind.program.rsplit('/').next().unwrap();
    let said = stderr.strip_prefix(&format!("{program}: "));
    let what = said.and_then(|said| said.split_once(": ")).map(|(what, _why)| what);
    code == Some(1)
        && stderr.lines().count() == 1
        && stderr.contains("os error")
        && what.is_some_and(|what| what.starts_with("cannot ") || what.starts_with("no "))
}

/// The half of the library for other systems runs on Linux for the tests' sake alone, by way of
/// `polling`, which makes calls of epoll of its own and gives up what it has found when one of them
/// fails; and there one loop of `fib-cores` accepts for all, so the others end with it. Whoever has
/// that half has kqueue, and no such calls.
fn is_left_out(kind: Kind) -> bool {
    cfg!(popleft_portable) && kind.program.ends_with("fib-cores")
}

#[test]
fn every_server_outlives_every_error_of_every_call() {
    if !strace_is_here() {
        return;
    }
    let extent = Extent::wanted();
    let mut faults = VecDeque::new();
    for (number, &(kind, rows)) in SERVERS.iter().enumerate() {
        if is_left_out(kind) {
            continue;
        }
        faults.extend(faults_of(kind, rows, &calm_run(kind, rows, number), &extent));
    }
    let count = faults.len();
    let faults = Mutex::new(faults.into_iter().enumerate());
    let (wrong, fired) = (Mutex::new(vec![]), Mutex::new(0));
    let work = || {
        loop {
            let next = faults.lock().unwrap().next();
            let Some((number, fault)) = next else { return };
            let started = Instant::now();
            let outcome = outlives(&fault, 1000 + number);
            println!("{:>5} ms  {}  {outcome:?}", started.elapsed().as_millis(), fault.name());
            match outcome {
                Ok(0) => {}
                Ok(_) => *fired.lock().unwrap() += 1,
                Err(error) => wrong.lock().unwrap().push(format!("{}: {error}", fault.name())),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    // Which call comes when is not the same in every run, but mostly it is.
    let fired = fired.into_inner().unwrap();
    assert!(fired * 4 >= count * 3, "only {fired} of {count} were put to the test");
}

/// A run in which nothing fails, to count the calls.
fn calm_run(kind: Kind, rows: &[Row], number: usize) -> Calls {
    let calls: Vec<&str> = rows.iter().map(|row| row.calls).collect();
    let trace = format!("trace=write,{}", calls.join(","));
    let mut traced = Traced::start(kind, number, &["-e", &trace]).unwrap();
    let addr = traced.addr.expect("it listens");
    assert_eq!(all_clients(addr), vec![Fate::Served; CLIENTS.len()], "{}", kind.name());
    let server = traced.server().unwrap();
    kill_process(server, Signal::TERM).unwrap();
    let (code, stderr) = traced.end().unwrap();
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{}", kind.name());
    Calls::read(&traced.log())
}
