//! What perf2 keeps of its rate beside one perf1, for each fib server of the talk.
//!
//! Everything runs where the kernel puts it; and once more, for the finished runtime, the server and
//! perf2 share one processor and the thread that computes for perf1 has another, so that no
//! difference is left but what that costs the loop.

use std::env;
use std::ffi::OsString;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use popleft_demos::fib::fib;
use popleft_demos::loads::Load;
use popleft_demos::servers;
use serde::Serialize;

use crate::measure::{median, stay_on_core};

/// The word that makes this program a server.
const SERVE: &str = "__serve";

/// The long request: more than a tenth of a second almost everywhere.
const LONG: u64 = 38;

/// A request that outlasts the measurement: the next one might be computed by another thread.
const VERY_LONG: u64 = 44;

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

/// The result of one server.
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
    let window = Duration::from_millis(if quick { 200 } else { 1_000 });
    let rounds = if quick { 1 } else { 3 };
    let mut table = vec![];
    for &(title, command) in SERVERS {
        table.push(kept(title, command, rounds, window, None, Beside::Perf1)?);
    }
    if apart.is_some() {
        let command = ["fib-tasks", "--compute", "threads"];
        for (title, beside) in [
            ("fib-tasks, threads, cores apart", Beside::Perf1),
            ("fib-tasks, the other core busy", Beside::Stranger),
        ] {
            table.push(kept(title, &command, rounds.max(5), window, apart, beside)?);
        }
    }
    Ok(table)
}

/// Who computes while perf2 asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// The server, for a perf1.
    Perf1,
    /// A program that has nothing to do with it, on the core where the server would compute.
    Stranger,
}

fn kept(
    title: &str,
    command: &[&str],
    rounds: usize,
    window: Duration,
    apart: Option<(usize, usize)>,
    beside: Beside,
) -> anyhow::Result<Kept> {
    let mut rates = vec![];
    for _ in 0..rounds {
        let server = Server::start(command)?;
        // perf2's threads are made by a thread that stays on the loop's core.
        let (sender, receiver) = mpsc::channel();
        let server = &server;
        thread::scope(|scope| {
            scope.spawn(move || {
                let _ = sender.send(server.alone_and_beside(window, apart, beside));
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

    /// perf2's rate by itself, and beside perf1 or a stranger. With two cores, perf2 and the server
    /// share the first, and only what computes for long has the second.
    fn alone_and_beside(
        &self,
        window: Duration,
        apart: Option<(usize, usize)>,
        beside: Beside,
    ) -> anyhow::Result<(f64, f64)> {
        if let Some((ours, _)) = apart {
            self.pin(ours)?;
            stay_on_core(ours).map_err(anyhow::Error::msg)?;
        }
        let perf2 = Counted::start(&self.addr, 1)?;
        thread::sleep(window / 4);
        let alone = perf2.rate(window);
        perf2.load.stop();
        let beside = match (beside, apart) {
            (Beside::Stranger, Some((_, theirs))) => self.beside_a_stranger(window, theirs)?,
            _ => self.beside_perf1(window, apart.map(|cores| cores.1))?,
        };
        Ok((alone, beside))
    }

    fn beside_perf1(&self, window: Duration, theirs: Option<usize>) -> anyhow::Result<f64> {
        let perf1 = match theirs {
            None => Counted::start(&self.addr, LONG)?,
            Some(_) => Counted::start(&self.addr, VERY_LONG)?,
        };
        thread::sleep(window / 4);
        if let Some(core) = theirs {
            self.pin_the_busiest(core)?;
        }
        let perf2 = Counted::start(&self.addr, 1)?;
        let rate = perf2.rate(window);
        // Whoever holds the server leaves first.
        perf1.load.stop();
        perf2.load.stop();
        Ok(rate)
    }

    fn beside_a_stranger(&self, window: Duration, theirs: usize) -> anyhow::Result<f64> {
        let over = AtomicBool::new(false);
        let compute = || {
            // Where it cannot stay it disturbs more, which the number shows.
            let _ = stay_on_core(theirs);
            while !over.load(Relaxed) {
                black_box(fib(black_box(20)));
            }
        };
        thread::scope(|scope| {
            scope.spawn(compute);
            thread::sleep(window / 4);
            let rate = Counted::start(&self.addr, 1).map(|perf2| {
                let rate = perf2.rate(window);
                perf2.load.stop();
                rate
            });
            over.store(true, Relaxed);
            rate
        })
    }

    /// All threads that the server has, and will have, to one core.
    #[cfg(target_os = "linux")]
    fn pin(&self, core: usize) -> anyhow::Result<()> {
        for thread in self.threads()? {
            pin_thread(thread, core)?;
        }
        Ok(())
    }

    /// The thread that has computed most to another core.
    #[cfg(target_os = "linux")]
    fn pin_the_busiest(&self, core: usize) -> anyhow::Result<()> {
        let busy = |thread: &i32| {
            let path = format!("/proc/{}/task/{thread}/schedstat", self.process.id());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok())
        };
        let busiest = self.threads()?.into_iter().max_by_key(busy);
        pin_thread(busiest.context("a server without threads")?, core)
    }

    #[cfg(target_os = "linux")]
    fn threads(&self) -> anyhow::Result<Vec<i32>> {
        let entries = std::fs::read_dir(format!("/proc/{}/task", self.process.id()))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?)).collect()
    }

    #[cfg(not(target_os = "linux"))]
    fn pin(&self, _: usize) -> anyhow::Result<()> {
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn pin_the_busiest(&self, _: usize) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn pin_thread(thread: i32, core: usize) -> anyhow::Result<()> {
    use rustix::process::Pid;
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(Pid::from_raw(thread), &set)?)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
