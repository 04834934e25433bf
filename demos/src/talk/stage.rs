//! The server processes: this program again, as `talk serve NAME`.
//!
//! A server must never outlive the talk, even when the talk is killed. So it holds the other
//! end of a pipe as its standard input: however the talk ends, the pipe ends with it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Signal, getpid, kill_process};

use super::acts::Act;
use crate::cli;
use crate::worker_processes::wait_for_the_end_of_stdin;

/// How many of a server's last lines on standard error are kept.
const LAST_LINES: usize = 10;

/// How long a server may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Called in the server: ends this process when the talk is gone.
pub(super) fn end_with_the_talk() -> anyhow::Result<()> {
    let wait_for_the_end = || {
        // Nothing is read, since a worker process of a server gets its requests there.
        wait_for_the_end_of_stdin();
        // As Ctrl-C would: what is in flight is finished. It cannot fail for this process itself.
        let _ = kill_process(getpid(), Signal::TERM);
    };
    thread::Builder::new()
        .name("end with the talk".into())
        .spawn(wait_for_the_end)
        .context("cannot start a thread")?;
    Ok(())
}

/// A server on the stage; dropping it ends it.
pub(super) struct Server {
    process: Child,
    addr: String,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// Starts the act's server, and waits until it listens.
    pub(super) fn start(act: &Act) -> anyhow::Result<Server> {
        let mut process = cli::this_program()
            .context("cannot find this program")?
            .arg("serve")
            .args(act.server)
            .args(["--addr", "127.0.0.1:0", "--framing", "line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", act.command()))?;
        let mut first_line = String::new();
        let stdout = process.stdout.take().expect("it was asked for");
        let stderr = process.stderr.take().expect("it was asked for");
        let mut server =
            Server { process, addr: String::new(), last_lines: keep_last_lines(stderr)? };
        BufReader::new(stdout).read_line(&mut first_line)?;
        match first_line.trim_end().strip_prefix("listening on ") {
            Some(addr) => server.addr = addr.to_string(),
            None => bail!(server.how_it_ended(act)),
        }
        Ok(server)
    }

    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    /// Why a server no longer runs: how it ended, and its last lines on standard error.
    pub(super) fn how_it_ended(&mut self, act: &Act) -> String {
        let ended = match self.wait(PATIENCE) {
            Some(status) => format!("the server ended with {status}"),
            None => String::from("the server no longer serves"),
        };
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("{ended}: {}", act.command());
        if lines.is_empty() {
            text += "\n  it said nothing on standard error";
        }
        for line in lines.iter() {
            text += &format!("\n  it said: {line}");
        }
        text
    }

    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if self.wait(PATIENCE).is_none() {
            // Both fail only if it has ended in this moment.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Reads a server's standard error to its end on a thread of its own, and keeps the last lines.
fn keep_last_lines(stderr: ChildStderr) -> anyhow::Result<Arc<Mutex<VecDeque<String>>>> {
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let kept = lines.clone();
    let listen = move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(line);
            if kept.len() > LAST_LINES {
                kept.pop_front();
            }
        }
    };
    thread::Builder::new()
        .name("last lines".into())
        .spawn(listen)
        .context("cannot start a thread")?;
    Ok(lines)
}
