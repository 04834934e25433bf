//! A server as a process of its own, and clients that speak to it over real sockets.

#![allow(dead_code)] // each test program uses a part of this

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes this long; it only keeps a test from hanging.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A kind of server, with the options that make it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) program: &'static str,
    pub(crate) options: &'static [&'static str],
}

const fn kind(program: &'static str, options: &'static [&'static str]) -> Kind {
    Kind { program, options }
}

pub(crate) const SEQUENTIAL: Kind = kind(env!("CARGO_BIN_EXE_fib-sequential"), &[]);
pub(crate) const THREADS: Kind = kind(env!("CARGO_BIN_EXE_fib-threads"), &[]);
pub(crate) const GIL: Kind = kind(env!("CARGO_BIN_EXE_fib-gil"), &[]);
pub(crate) const PROCESSES: Kind = kind(env!("CARGO_BIN_EXE_fib-processes"), &["--workers", "2"]);
pub(crate) const GENERATORS_INLINE: Kind = kind(
    env!("CARGO_BIN_EXE_fib-generators"),
    &["--compute", "inline"],
);
pub(crate) const GENERATORS: Kind = kind(env!("CARGO_BIN_EXE_fib-generators"), &[]);
pub(crate) const TASKS_INLINE: Kind =
    kind(env!("CARGO_BIN_EXE_fib-tasks"), &["--compute", "inline"]);
pub(crate) const TASKS: Kind = kind(env!("CARGO_BIN_EXE_fib-tasks"), &[]);

impl Kind {
    /// One client after the other.
    pub(crate) fn is_sequential(self) -> bool {
        self == SEQUENTIAL
    }

    pub(crate) fn command(self, more: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(self.options).args(more).env("NO_COLOR", "1");
        command
    }

    pub(crate) fn start(self) -> Server {
        self.start_with(&[])
    }

    pub(crate) fn start_with(self, more: &[&str]) -> Server {
        let mut command = self.command(&["--addr", "127.0.0.1:0"]);
        command.args(more);
        Server::start(command)
    }
}

/// A running server; killed when a test fails.
pub(crate) struct Server {
    process: Child,
    stderr: BufReader<ChildStderr>,
    pub(crate) addr: String,
}

impl Server {
    pub(crate) fn start(mut command: Command) -> Server {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let Some(addr) = line.trim_end().strip_prefix("listening on ") else {
            let output = process.wait_with_output().unwrap();
            panic!("{command:?} said {line:?} first, and {output:?}");
        };
        Server {
            addr: addr.to_string(),
            stderr: BufReader::new(process.stderr.take().unwrap()),
            process,
        }
    }

    /// Waits for the next line on standard error.
    pub(crate) fn complaint(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.addr)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of a server that was asked to end; returns what it wrote to stderr.
    pub(crate) fn wait_for_a_clean_end(mut self) -> String {
        let deadline = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            thread::sleep(Duration::from_millis(2));
        };
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        assert_eq!(status.code(), Some(0), "{stderr}");
        stderr
    }

    /// A line of `/proc/PID/status`, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The processor time that it has used, in clock ticks.
    #[cfg(target_os = "linux")]
    pub(crate) fn ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already when the test has passed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client with blocking sockets.
pub(crate) struct Client {
    pub(crate) answers: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(addr: &str) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            answers: BufReader::new(stream),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.answers.get_ref()
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer, without its line's end; empty at the end.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n"));
        self.answer()
    }

    pub(crate) fn say_goodbye(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// All that still comes, to the end.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = String::new();
        self.answers.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(self.stream());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
