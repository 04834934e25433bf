//! What perf2 keeps of its rate beside one perf1, for each fib server of the talk.
//!
//! Everything runs where the kernel puts it; and once more, for the finished runtime, the loop and
//! perf2 share one processor and the computing thread has another, so that no difference is left
//! but what offloading costs the loop.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use popleft_demos::loads::Load;
use popleft_demos::servers;
use serde::Serialize;

use crate::measure::median;

/// The word that makes this program a server.
const SERVE: &str = "__serve";

/// The long request: more than a tenth of a second almost everywhere.
const LONG: u64 = 38;

/// The servers, with what the table calls them.
const SERVERS: &[(&str, &[&str])] = &[
    ("fib-sequential", &["fib-sequential"]),
    ("fib-threads", &["fib-threads"]),
    ("fib-gil", &["fib-gil"]),
    ("fib-processes", &["fib-processes"]),
    ("fib-generators, inline", &["fib-generators", "--compute", "inline"]),
    ("fib-generators, threads", &["fib-generators", "--compute", "threads"]),
    ("fib-tasks, inline", &["fib-tasks", "--compute", "inline"]),
    ("fib-tasks, threads", &["fib-tasks", "--compute", "threads"]),
];

/// What one server came to.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// The server.
    pub server: String,
    /// perf2 by itself: requests a second.
    pub alone: f64,
    /// perf2 beside one perf1.
    pub beside: f64,
    /// The median of what it kept, from 0 to 1 and above.
    pub kept: f64,
}

/// Is a server if the arguments of this process say so.
pub fn main() -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next()? != SERVE {
        return None;
    }
    let name = args.next()?.into_string().ok()?;
    servers::serve(&name, args)
}

/// Measures all servers; with two cores, the finished runtime with its computing thread apart.
pub fn measure(quick: bool, apart: Option<(usize, usize)>) -> anyhow::Result<Vec<Kept>> {
    let window = Duration::from_millis(if quick { 300 } else { 1_000 });
    let rounds = if quick { 1 } else { 3 };
    let mut table = vec![];
    for &(title, command) in SERVERS {
        table.push(kept(title, command, rounds, window, None)?);
    }
    if apart.is_some() {
        let command = ["fib-tasks", "--compute", "threads"];
        table.push(kept(
            "fib-tasks, threads, cores apart",
            &command,
            rounds.max(5),
            window,
            apart,
        )?);
    }
    Ok(table)
}

fn kept(
    title: &str,
    command: &[&str],
    rounds: usize,
    window: Duration,
    apart: Option<(usize, usize)>,
) -> anyhow::Result<Kept> {
    let mut rates = vec![];
    for _ in 0..rounds {
        let server = Server::start(command)?;
        // perf2's threads are made by a thread that stays on the loop's core.
        let (sender, receiver) = mpsc::channel();
        let addr = server.addr.clone();
        thread::scope(|scope| {
            scope.spawn(|| {
                let measured = server.pin(apart).and_then(|()| alone_and_beside(&addr, window));
                let _ = sender.send(measured);
            });
        });
        rates.push(receiver.recv()?.with_context(|| format!("measuring {title}"))?);
    }
    let of = |pick: fn(&(f64, f64)) -> f64| median(&rates.iter().map(pick).collect::<Vec<_>>());
    Ok(Kept {
        server: title.to_string(),
        alone: of(|rate| rate.0),
        beside: of(|rate| rate.1),
        kept: of(|rate| rate.1 / rate.0),
    })
}

fn alone_and_beside(addr: &str, window: Duration) -> anyhow::Result<(f64, f64)> {
    let perf2 = Counted::start(addr, 1)?;
    thread::sleep(window / 4);
    let alone = perf2.rate(window);
    perf2.load.stop();

    let perf1 = Counted::start(addr, LONG)?;
    thread::sleep(window / 4);
    let perf2 = Counted::start(addr, 1)?;
    let beside = perf2.rate(window);
    // Whoever holds the server leaves first.
    perf1.load.stop();
    perf2.load.stop();
    Ok((alone, beside))
}

struct Counted {
    load: Load,
    answers: Arc<AtomicU64>,
}

impl Counted {
    fn start(addr: &str, n: u64) -> anyhow::Result<Counted> {
        let answers = Arc::new(AtomicU64::new(0));
        let count = answers.clone();
        let answered = move |_| {
            count.fetch_add(1, Relaxed);
        };
        let load = Load::start(addr, 1, n, answered)?;
        Ok(Counted { load, answers })
    }

    fn rate(&self, window: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.answers.load(Relaxed));
        thread::sleep(window);
        (self.answers.load(Relaxed) - before) as f64 / start.elapsed().as_secs_f64()
    }
}

struct Server {
    process: Child,
    addr: String,
}

impl Server {
    fn start(command: &[&str]) -> anyhow::Result<Server> {
        let args = command.iter().map(OsString::from);
        let mut process = Command::new(env::current_exe()?)
            .arg(SERVE)
            .args(args)
            .args(["--addr", "127.0.0.1:0", "--framing", "line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let stdout = process.stdout.take().context("a server without an output")?;
        let mut server = Server { process, addr: String::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim_end().strip_prefix("listening on ") {
            Some(addr) => server.addr = addr.to_string(),
            None => bail!("{} does not listen: {line:?}", command[0]),
        }
        Ok(server)
    }

    /// The loop and this thread to one core, the server's other threads to the other.
    #[cfg(target_os = "linux")]
    fn pin(&self, apart: Option<(usize, usize)>) -> anyhow::Result<()> {
        use popleft_demos::loads::Client;
        use rustix::process::Pid;
        use rustix::thread::{CpuSet, sched_setaffinity};

        let Some((ours, theirs)) = apart else {
            return Ok(());
        };
        // A request that computes, so that the threads which do that are there.
        Client::connect(&self.addr)?.ask("30\n")?;
        let only = |core| {
            let mut set = CpuSet::new();
            set.set(core);
            set
        };
        let server = self.process.id();
        for entry in std::fs::read_dir(format!("/proc/{server}/task"))? {
            let name = entry?.file_name();
            let number: i32 = name.to_string_lossy().parse()?;
            let core = if number == server as i32 { ours } else { theirs };
            sched_setaffinity(Pid::from_raw(number), &only(core))?;
        }
        sched_setaffinity(None, &only(ours))?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn pin(&self, _: Option<(usize, usize)>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
