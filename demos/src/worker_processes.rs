//! A pool of worker processes, each at the other end of two pipes.
//!
//! A request crosses to another process and back as text: a write and a read on each side, and
//! two switches between processes. That is what each request costs more here. What it buys is a
//! processor for each worker and, with an interpreter, a lock for each. A worker that dies takes
//! nothing with it but the request that it had.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ChildStdin, ChildStdout, ExitCode, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::cli;
use crate::fib::fib;
use crate::output;
use crate::stop::PAUSE;

/// The argument that makes a process a worker.
pub const WORKER: &str = "worker";

/// The workers of one server.
#[derive(Debug)]
pub struct Workers {
    /// What a worker process is started with.
    arguments: Vec<OsString>,
    /// A place for each worker that has nothing to do; empty where one has died.
    idle: Mutex<Vec<Option<Worker>>>,
    one_came_back: Condvar,
}

/// One worker process, and our ends of its pipes. It ends with its owner.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    pub(crate) requests: ChildStdin,
    pub(crate) answers: BufReader<ChildStdout>,
}

impl Workers {
    /// Starts `count` workers: this program again, with `arguments`, which have to lead to [`work`].
    pub fn start(count: usize, arguments: Vec<OsString>) -> anyhow::Result<Workers> {
        let started: io::Result<Vec<_>> =
            (0..count).map(|_| Worker::start(&arguments).map(Some)).collect();
        Ok(Workers {
            arguments,
            idle: Mutex::new(started.context("cannot start a worker process")?),
            one_came_back: Condvar::new(),
        })
    }

    /// Makes a worker compute `fib(n)`; waits until one is idle, and then for its answer.
    ///
    /// # Errors
    ///
    /// When the worker dies before it has answered, or a dead one cannot be replaced.
    pub fn fib(&self, n: u64) -> anyhow::Result<u64> {
        let mut place = self.take();
        let result = self.fib_at(&mut place, n);
        if result.is_err() {
            place = None;
        }
        self.put_back(place);
        result
    }

    fn fib_at(&self, place: &mut Option<Worker>, n: u64) -> anyhow::Result<u64> {
        // One that died while it was idle had no request to lose.
        if place.as_mut().is_some_and(Worker::has_died) {
            *place = None;
        }
        let worker = match place {
            Some(worker) => worker,
            None => {
                let started = Worker::start(&self.arguments);
                place.insert(started.context("cannot start a worker process")?)
            }
        };
        match worker.fib(n) {
            Ok(result) => Ok(result),
            Err(_) => bail!("the worker process died: {}", worker.end()),
        }
    }

    fn take(&self) -> Option<Worker> {
        let mut idle = self.idle();
        loop {
            if let Some(place) = idle.pop() {
                return place;
            }
            idle = self.one_came_back.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put_back(&self, place: Option<Worker>) {
        self.idle().push(place);
        self.one_came_back.notify_one();
    }

    // Nothing that panics runs while it is locked.
    fn idle(&self) -> MutexGuard<'_, Vec<Option<Worker>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Starts this program again, with `arguments`.
    pub(crate) fn start(arguments: &[OsString]) -> io::Result<Worker> {
        let mut process = cli::this_program()?
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal's Ctrl-C goes to a whole process group. It is for the program that starts
            // the workers: a server lets them finish first.
            .process_group(0)
            .spawn()?;
        let requests = process.stdin.take().expect("stdin is a pipe");
        let answers = process.stdout.take().expect("stdout is a pipe");
        Ok(Worker { process, requests, answers: BufReader::new(answers) })
    }

    fn fib(&mut self, n: u64) -> io::Result<u64> {
        self.requests.write_all(format!("{n}\n").as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        // Empty at the end of file, which is no number either.
        answer.trim_end().parse().map_err(io::Error::other)
    }

    fn has_died(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Makes sure that it has ended, and returns how.
    pub(crate) fn end(&mut self) -> String {
        // An error means that it has ended already.
        let _ = self.process.kill();
        match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

// A child that has ended remains in the process table until its parent has asked how.
impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

// ===== in the worker process ====================================================================

/// What a worker process does: numbers come in by stdin, results go out by stdout.
pub fn work() -> ExitCode {
    if let Err(error) = end_with_the_server() {
        output::complain(format_args!("{WORKER}: {error:#}"));
        return ExitCode::FAILURE;
    }
    let mut results = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Some(n) = line.ok().and_then(|line| line.parse().ok()) else {
            return ExitCode::FAILURE;
        };
        if writeln!(results, "{}", fib(n)).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Makes this process end as soon as the server is gone, also in the middle of a long computation:
/// however the server ends, the kernel closes its end of our stdin.
///
/// # Errors
///
/// When the thread that waits for it cannot be started.
pub(crate) fn end_with_the_server() -> anyhow::Result<()> {
    let wait_for_the_end = || {
        wait_for_the_end_of_stdin();
        process::exit(0);
    };
    let thread = thread::Builder::new().name("end with the server".into()).spawn(wait_for_the_end);
    thread.context("cannot start the thread that waits for the server's end")?;
    Ok(())
}

/// Nothing is read: that the other end is closed is reported although nothing is asked for.
pub(crate) fn wait_for_the_end_of_stdin() {
    let stdin = io::stdin();
    let mut hang_up = [PollFd::new(&stdin, PollFlags::empty())];
    while let Err(error) = poll(&mut hang_up, None) {
        if error != Errno::INTR {
            thread::sleep(PAUSE);
        }
    }
}
