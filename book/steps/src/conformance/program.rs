//! The program under test: started with a scenario, listened to, and ended in any case.

use super::client::explain;
use super::{Stop, broken};
use crate::arguments::NOT_CLAIMED;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long anything may take before the program counts as hanging. Only a broken program is waited for that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// For how long a program that should rest is watched.
const REST: Duration = Duration::from_millis(400);

/// So much is read of a line; what has no end until then is no line of any law.
pub(super) const LONGEST_LINE: u64 = 64 * 1024;

/// How to start the program: its path and the words that come before the scenario.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    words: Vec<String>,
    pub(super) patience: Duration,
}

/// A line of output, and when it came.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) at: Instant,
}

/// What a scenario printed from its start to its end.
pub(super) struct Printed {
    pub(super) started: Instant,
    pub(super) lines: Vec<Line>,
}

impl Printed {
    pub(super) fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.text.as_str()).collect()
    }
}

impl Program {
    pub fn new(path: impl Into<PathBuf>, words: &[&str]) -> Program {
        let words = words.iter().map(|word| word.to_string()).collect();
        Program { patience: PATIENCE, path: path.into(), words }
    }

    /// The same program, waited for as long as this. Ten seconds when nobody says.
    pub fn with_patience(self, patience: Duration) -> Program {
        Program { patience, ..self }
    }

    /// Starts the program and sees to it that it can be started at all.
    ///
    /// # Errors
    ///
    /// What the system says: mostly that there is no such file.
    pub fn can_start(&self) -> io::Result<()> {
        let mut child = self.command("conformance", &[]).spawn()?;
        let _ = child.kill();
        child.wait().map(drop)
    }

    /// Starts a scenario.
    pub(super) fn start(&self, scenario: &str, numbers: &[u64]) -> Result<Running, Stop> {
        let started = Instant::now();
        let mut child = match self.command(scenario, numbers).spawn() {
            Ok(child) => child,
            Err(error) => return broken(format!("cannot be started: {error}")),
        };
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = channel();
        let mut running =
            Running { child, patience: self.patience, started, lines, last_words: None };
        let listening = thread::Builder::new().spawn(move || pass_on_lines(stdout, &sender));
        explain("cannot start a thread", listening)?;
        let last_words = thread::Builder::new().spawn(move || last_line(stderr));
        running.last_words = Some(explain("cannot start a thread", last_words)?);
        Ok(running)
    }

    /// Runs a scenario to its end.
    pub(super) fn run(&self, scenario: &str, numbers: &[u64]) -> Result<Printed, Stop> {
        let mut running = self.start(scenario, numbers)?;
        let mut lines = Vec::new();
        while let Some(line) = running.next_line()? {
            lines.push(line);
        }
        running.end_well()?;
        Ok(Printed { started: running.started, lines })
    }

    fn command(&self, scenario: &str, numbers: &[u64]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.words).arg(scenario);
        command.args(numbers.iter().map(u64::to_string));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A scenario under way. Dropping it ends the program.
pub(super) struct Running {
    child: Child,
    patience: Duration,
    started: Instant,
    lines: Receiver<Line>,
    last_words: Option<JoinHandle<String>>,
}

impl Running {
    /// The next line of output; none when the program has closed it.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, Stop> {
        match self.lines.recv_timeout(self.patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                broken(format!("nothing happened for {} s: it hangs", self.patience.as_secs()))
            }
        }
    }

    /// Waits for the end, which must be a good one.
    pub(super) fn end_well(&mut self) -> Result<(), Stop> {
        let status = self.wait()?;
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(NOT_CLAIMED) {
            return Err(Stop::NotClaimed);
        }
        let words = self.last_words.take().map(|thread| thread.join().unwrap_or_default());
        match words.unwrap_or_default().as_str() {
            "" => broken(format!("the program ended with {status}")),
            words => broken(format!("the program ended with {status}; its last words: {words}")),
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, Stop> {
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Err(error) => return broken(format!("cannot be waited for: {error}")),
            }
        }
        broken("the program closed its output and did not end")
    }

    /// The share of one processor that the program wants, watched for a short time: 0 at rest, 1 for one busy thread.
    pub(super) fn restlessness(&self) -> Result<f64, Stop> {
        let before = Instant::now();
        let wanted_before = self.wanted_time()?;
        thread::sleep(REST);
        let wanted = self.wanted_time()?.saturating_sub(wanted_before);
        Ok(wanted.as_secs_f64() / before.elapsed().as_secs_f64())
    }

    /// For how long the threads of the program have run or have waited for a processor. The wait counts, because on a
    /// loaded machine a busy thread may get but a small share of what it wants.
    fn wanted_time(&self) -> Result<Duration, Stop> {
        let threads = format!("/proc/{}/task", self.child.id());
        let Ok(threads) = fs::read_dir(threads) else {
            return Err(Stop::NotMeasured("there is no /proc that tells of threads".to_string()));
        };
        let mut nanoseconds = 0;
        for thread in threads.flatten() {
            // A thread that has ended since is of no interest.
            let times = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let running_and_waiting = times.split_whitespace().take(2);
            nanoseconds += running_and_waiting.flat_map(str::parse::<u64>).sum::<u64>();
        }
        match nanoseconds {
            0 => Err(Stop::NotMeasured("the kernel keeps no schedstat".to_string())),
            _ => Ok(Duration::from_nanos(nanoseconds)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_on_lines(stdout: impl Read, lines: &Sender<Line>) {
    for text in lines_of(stdout) {
        let line = Line { text, at: Instant::now() };
        if lines.send(line).is_err() {
            return; // Nobody listens any more.
        }
    }
}

fn last_line(stderr: impl Read) -> String {
    lines_of(stderr).filter(|line| !line.trim().is_empty()).last().unwrap_or_default()
}

/// The lines, without their ends; one that is too long is cut into several.
fn lines_of(output: impl Read) -> impl Iterator<Item = String> {
    let mut output = BufReader::new(output);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match read {
            Ok(0) | Err(_) => None,
            Ok(_) => String::from_utf8(line.to_vec()).ok(),
        }
    })
}
