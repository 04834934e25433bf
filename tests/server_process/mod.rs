//! A server as a process of its own, and clients that speak to it over real sockets.

#![allow(dead_code)] // each test program uses a part of this

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use socket2::{Domain, SockRef, Socket, Type};

/// Nothing here takes this long; it only keeps a test from hanging.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came about: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

// ===== the kinds of server ======================================================================

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
pub(crate) const GENERATORS_INLINE: Kind =
    kind(env!("CARGO_BIN_EXE_fib-generators"), &["--compute", "inline"]);
pub(crate) const GENERATORS: Kind =
    kind(env!("CARGO_BIN_EXE_fib-generators"), &["--compute", "threads"]);
pub(crate) const TASKS_INLINE: Kind =
    kind(env!("CARGO_BIN_EXE_fib-tasks"), &["--compute", "inline"]);
pub(crate) const TASKS: Kind = kind(env!("CARGO_BIN_EXE_fib-tasks"), &["--compute", "threads"]);

pub(crate) const CORES_INLINE: Kind =
    kind(env!("CARGO_BIN_EXE_fib-cores"), &["--compute", "inline", "--cores", "3"]);
pub(crate) const CORES: Kind = kind(env!("CARGO_BIN_EXE_fib-cores"), &["--cores", "2"]);

pub(crate) const EVERY_KIND: [Kind; 10] = [
    SEQUENTIAL,
    THREADS,
    GIL,
    PROCESSES,
    GENERATORS_INLINE,
    GENERATORS,
    TASKS_INLINE,
    TASKS,
    CORES_INLINE,
    CORES,
];

impl Kind {
    /// One client after the other.
    pub(crate) fn is_sequential(self) -> bool {
        self == SEQUENTIAL
    }

    /// Its name and options, for messages.
    pub(crate) fn name(self) -> String {
        let program = self.program.rsplit('/').next().unwrap_or_default();
        [&[program], self.options].concat().join(" ")
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
        self.start_at("127.0.0.1:0", more)
    }

    pub(crate) fn start_at(self, addr: &str, more: &[&str]) -> Server {
        let mut command = self.command(&["--addr", addr]);
        command.args(more);
        Server::start(command)
    }

    /// As a shell does it: what it starts can be reached together, as a process group.
    pub(crate) fn start_in_its_own_group(self) -> Server {
        let mut command = self.command(&["--addr", "127.0.0.1:0"]);
        command.process_group(0);
        Server::start(command)
    }
}

/// Puts all these servers to a law at the same time: for laws that mostly wait.
pub(crate) fn at_once(kinds: &[Kind], law: impl Fn(Kind) + Sync) {
    thread::scope(|scope| {
        for &kind in kinds {
            let law = &law;
            // A panic is printed with the thread's name, and fails the scope.
            thread::Builder::new()
                .name(kind.name())
                .spawn_scoped(scope, move || law(kind))
                .unwrap();
        }
    });
}

// ===== a server =================================================================================

/// A running server; killed when a test fails.
pub(crate) struct Server {
    process: Child,
    stderr: BufReader<ChildStderr>,
    pub(crate) addr: String,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Server {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let stderr = process.stderr.take().unwrap();
        let mut server = Server { process, stderr: BufReader::new(stderr), addr: String::new() };
        wait_for_input(&stdout);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        match line.trim_end().strip_prefix("listening on ") {
            Some(addr) => server.addr = addr.to_string(),
            None => panic!("{command:?} said {line:?} and {:?}", server.complaint()),
        }
        server
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

    /// What a terminal does at Ctrl-C, to one that was started in its own group.
    pub(crate) fn signal_its_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).unwrap();
    }

    /// Whether there is anything on standard error at this moment.
    pub(crate) fn has_a_complaint(&self) -> bool {
        !self.stderr.buffer().is_empty() || has_input(self.stderr.get_ref(), Duration::ZERO)
    }

    /// Waits for the next line on standard error.
    pub(crate) fn complaint(&mut self) -> String {
        if self.stderr.buffer().is_empty() {
            wait_for_input(self.stderr.get_ref());
        }
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    /// Waits for the end of a server that was asked to end; returns what it wrote to stderr.
    pub(crate) fn wait_for_a_clean_end(mut self) -> String {
        let mut status = None;
        until("the server ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}: {stderr}");
        stderr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already when the test was about its end.
        #[cfg(target_os = "linux")]
        let _workers: Vec<_> = self.children().into_iter().map(KilledAtLast).collect();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that is no child of this one, and is not to compute for centuries when a test fails.
#[cfg(target_os = "linux")]
pub(crate) struct KilledAtLast(pub(crate) Pid);

#[cfg(target_os = "linux")]
impl Drop for KilledAtLast {
    fn drop(&mut self) {
        // It has ended already when all is well.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn wait_for_input(fd: &impl AsFd) {
    assert!(has_input(fd, LONG), "nothing was said for a long time");
}

/// Whether there is something to read within this time; the end of the file counts too.
pub(crate) fn has_input(fd: &impl AsFd, patience: Duration) -> bool {
    let timeout = Timespec::try_from(patience).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

/// What the kernel knows about a server.
#[cfg(target_os = "linux")]
impl Server {
    /// How much of its own memory is in use: the heap and the stacks, not the program's code.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse().unwrap()
    }

    /// The processor time that it has used, in hundredths of a second.
    pub(crate) fn ticks(&self) -> u64 {
        ticks(self.pid())
    }

    /// How many files, sockets and pipes it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// The processes that it has started and not yet buried.
    pub(crate) fn children(&self) -> Vec<Pid> {
        children(self.pid())
    }
}

/// The processes that were started by any thread of `parent`.
#[cfg(target_os = "linux")]
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let mut children = vec![];
    // A parent that is gone, and a thread that ends meanwhile, have none.
    for thread in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten()
    {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
        children.extend(pids.filter_map(Pid::from_raw));
    }
    children
}

#[cfg(target_os = "linux")]
pub(crate) fn ticks(process: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // After the name, which is in parentheses and may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let [user, system] = [fields[11], fields[12]].map(|field| field.parse::<u64>().unwrap());
    user + system
}

/// Whether a process has ended, also if nobody has asked how: then it is a zombie, and all its
/// threads but the first are gone. Its memory goes before that, and its pipes in between.
#[cfg(target_os = "linux")]
pub(crate) fn has_ended(process: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        return true;
    };
    let state = stat.rsplit(") ").next().unwrap();
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    state.starts_with('Z') && threads.map_or(0, Iterator::count) <= 1
}

// ===== a client =================================================================================

/// A client with blocking sockets.
pub(crate) struct Client {
    pub(crate) answers: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(addr: &str) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        Client::new(stream)
    }

    /// One for which the kernel keeps little: neither much that it has sent nor much that it has
    /// not read.
    pub(crate) fn connect_with_small_buffers(addr: &str) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // They have to be small before there is a connection: the first window is a promise.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let addr: SocketAddr = addr.parse().unwrap();
        socket.connect(&addr.into()).unwrap();
        Client::new(socket.into())
    }

    fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { answers: BufReader::new(stream) }
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

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> String {
        self.send([request.as_ref(), b"\n"].concat());
        self.answer()
    }

    /// Whether there is something to read at this moment.
    pub(crate) fn has_an_answer(&self) -> bool {
        if !self.answers.buffer().is_empty() {
            return true;
        }
        self.stream().set_nonblocking(true).unwrap();
        let peeked = self.stream().peek(&mut [0]);
        self.stream().set_nonblocking(false).unwrap();
        match peeked {
            Ok(length) => length > 0,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
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
        let socket = SockRef::from(self.stream());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// An address that refuses connections for as long as the socket lives: it is taken, but nobody
/// listens.
pub(crate) fn address_without_a_server() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any_port.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr.to_string())
}

// ===== programs that end by themselves ==========================================================

/// Runs a program to its end.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap()
}

/// A program that is at work; killed when a test fails.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts it with pipes to all that it reads and writes.
    pub(crate) fn start(program: &str, args: &[&str]) -> Running {
        let process = Command::new(program)
            .args(args)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(process.unwrap())
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it ends by itself, without closing its input; returns the exit code, if it has
    /// one, and what it wrote on standard error meanwhile, which is not much.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let mut status = None;
        until("the program ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let mut stderr = String::new();
        let mut pipe = self.0.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        (status.and_then(|status| status.code()), stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already when the test has passed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
