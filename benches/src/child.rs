//! Every measurement is made in a process of its own, so that none inherits another's heap, caches
//! or threads. The bench runs itself again, with these words as arguments.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, process, thread};

use anyhow::{Context, bail};
use popleft_demos::output;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::allocations::{allocated, start_counting};
use crate::load::{self, Load};
use crate::measure::{cpu_time, for_at_least, stay_on_core};
use crate::rows::grown::{self, Operation};
use crate::rows::{self, Kind, lateness};
use crate::with_peer;

/// What a child process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// A small row, for at least so long; counting what it allocates, or not.
    Operation {
        /// The row's name.
        row: String,
        /// Whose cost.
        peer: String,
        /// How long at least.
        target: Duration,
        /// Whether allocations are counted, which takes time.
        count: bool,
    },
    /// A row of bytes.
    Bytes {
        /// The row's name.
        row: String,
        /// Whose.
        peer: String,
    },
    /// An operation of popleft beside others that do nothing.
    Grown {
        /// Which, as a place in [`Operation::ALL`]; `None` for all tasks yielding in turn.
        operation: Option<usize>,
        /// How many others.
        others: u64,
        /// How long at least.
        target: Duration,
    },
    /// How late timers are.
    Lateness {
        /// Whose.
        peer: String,
        /// With a busy task beside.
        busy: bool,
        /// How many are asked for.
        sleeps: u64,
    },
    /// An echo server, until its standard input ends. Each line that it reads there is a question
    /// about [`Usage`].
    Serve {
        /// Whose.
        peer: String,
        /// Where.
        addr: SocketAddr,
        /// Whether allocations are counted, which takes time.
        count: bool,
    },
    /// The load for a server.
    Load {
        /// Where it is.
        addr: SocketAddr,
        /// What to do.
        load: Load,
    },
}

/// What a server has used so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// How long it computed, in seconds.
    pub cpu: f64,
    /// How often it allocated.
    pub allocations: u64,
    /// How many bytes are in use more than at its start.
    pub bytes: i64,
}

/// The word that makes this program a child.
const CHILD: &str = "__child";

/// Does what a child has to do. `None` when this process is none.
pub fn main() -> Option<ExitCode> {
    let mut args = env::args().skip(1);
    if args.next()? != CHILD {
        return None;
    }
    let (core, task) = (args.next()?, args.next()?);
    if let Ok(core) = core.parse()
        && let Err(why) = stay_on_core(core)
    {
        output::complain(why);
    }
    let task = serde_json::from_str(&task).expect("the bench writes what its children read");
    match run(task) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            output::complain(format_args!("{error:#}"));
            Some(ExitCode::FAILURE)
        }
    }
}

/// No measurement takes so long that can be made at all. With a busy task beside, for example, a
/// runtime that polls it again and again never comes to look at its timers.
fn too_long(task: &Task) -> Option<Duration> {
    match task {
        Task::Serve { .. } | Task::Load { .. } => None,
        // Each asks for a millisecond.
        Task::Lateness { sleeps, .. } => Some(Duration::from_millis(1_000 + 5 * sleeps)),
        _ => Some(Duration::from_secs(10)),
    }
}

fn end_after(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        output::complain(format_args!("not done after {:.1} s", time.as_secs_f64()));
        process::exit(1);
    });
}

fn run(task: Task) -> anyhow::Result<()> {
    if let Some(time) = too_long(&task) {
        end_after(time);
    }
    match task {
        Task::Operation { row, peer, target, count } => {
            let Some(Kind::Operation { peer: measure, limit, first, cpu }) =
                rows::find(&row).map(|row| row.kind)
            else {
                bail!("no such row: {row}");
            };
            if count {
                start_counting();
            }
            let target = if cpu { Duration::ZERO } else { target };
            // Whether there is one has been asked before this process was started.
            let sample = for_at_least(target, first, |operations| match (&*peer, limit) {
                ("limit", Some(limit)) => limit(operations),
                _ => measure(&peer, operations).expect("this peer is in this build"),
            });
            say(&sample)
        }
        Task::Bytes { row, peer } => match rows::find(&row).map(|row| row.kind) {
            Some(Kind::Bytes { limit, .. }) if peer == "limit" => say(&limit()),
            Some(Kind::Bytes { peer: count, .. }) => say(&count(&peer)),
            _ => bail!("no such row: {row}"),
        },
        Task::Grown { operation, others, target } => {
            use crate::peers::popleft::Popleft;
            say(&for_at_least(target, 1_000, |n| match operation {
                Some(place) => {
                    let (_, operation): (_, Operation) = Operation::ALL[place];
                    grown::beside::<Popleft>(operation, others, n)
                }
                None => grown::all_in_turn::<Popleft>(others, n),
            }))
        }
        Task::Lateness { peer, busy, sleeps } => say(&match &*peer {
            "limit" => Some(lateness::limit(sleeps)),
            peer => with_peer!(peer, crate::rows::lateness::lateness, (busy, sleeps)),
        }),
        Task::Serve { peer, addr, count } => {
            if count {
                start_counting();
            }
            thread::spawn(answer_questions);
            match rows::echo::serve(&peer, addr) {
                Some(served) => served.context("the server has ended"),
                None => bail!("{peer} is not in this build"),
            }
        }
        #[cfg(target_os = "linux")]
        Task::Load { addr, load } => {
            let seen = load::run(
                addr,
                load,
                || say("begun").map_err(as_io),
                || {
                    say("ended").map_err(as_io)?;
                    // The clients stay until the parent has asked what it wants to know.
                    stdin().lock().read_line(&mut String::new())?;
                    Ok(())
                },
            )?;
            say(&seen)
        }
        #[cfg(not(target_os = "linux"))]
        Task::Load { .. } => bail!("the load needs epoll, and so Linux"),
    }
}

#[cfg(target_os = "linux")]
fn as_io(error: anyhow::Error) -> std::io::Error {
    std::io::Error::other(error)
}

fn say<T: Serialize + ?Sized>(what: &T) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// A server's questions come on a thread that sleeps otherwise.
fn answer_questions() {
    for _ in stdin().lock().lines() {
        let allocated = allocated();
        let _ = say(&Usage {
            cpu: cpu_time().as_secs_f64(),
            allocations: allocated.times,
            bytes: allocated.bytes,
        });
    }
    process::exit(0);
}

// ===== the parent's side ========================================================================

/// A child process that is spoken to in lines.
pub struct Running {
    child: Child,
    /// `None` once it is to end.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    task: Task,
}

impl Running {
    /// Starts a child on one core, or on any.
    pub fn start(task: Task, core: Option<usize>) -> anyhow::Result<Running> {
        Running::start_under(&[], task, core)
    }

    /// The same, under a program that watches it.
    pub fn start_under(
        watcher: &[&str],
        task: Task,
        core: Option<usize>,
    ) -> anyhow::Result<Running> {
        let this = env::current_exe()?;
        let mut command = match watcher {
            [] => Command::new(this),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(this);
                command
            }
        };
        let core = core.map_or("any".to_string(), |core| core.to_string());
        let mut child = command
            .args([CHILD, &core, &serde_json::to_string(&task)?])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a child process")?;
        let (Some(questions), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a child without pipes");
        };
        Ok(Running { child, questions: Some(questions), answers: BufReader::new(stdout), task })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        self.go_on()?;
        self.hear()
    }

    /// Tells it to go on.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        if let Some(questions) = &mut self.questions {
            writeln!(questions)?;
        }
        Ok(())
    }

    /// Lets it end by itself, and waits for that.
    pub fn end(mut self) -> anyhow::Result<()> {
        // A server ends with its questions.
        self.questions = None;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its next line. The error holds what it said last.
    pub fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(value) => Ok(value),
            Err(_) => {
                let mut said = String::new();
                let _ = self.child.kill();
                if let Some(stderr) = &mut self.child.stderr {
                    let _ = std::io::Read::read_to_string(stderr, &mut said);
                }
                bail!("{:?} failed: {}", self.task, said.trim());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a child do one thing, and returns what it says.
pub fn done<T: DeserializeOwned>(task: Task, core: Option<usize>) -> anyhow::Result<T> {
    Running::start(task, core)?.hear()
}
