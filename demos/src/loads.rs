//! What `perf1`, `perf2` and the talk put on a server: clients that ask the same thing again and
//! again, each with a connection and a thread of its own.
//!
//! A client sends a number, waits for the answer, and only then sends the next. So a server that
//! does not answer is asked nothing more, and what is counted is what was served.

use std::fmt::{self, Write as _};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use serde::Serialize;

use crate::{cli, output, perf1};

/// How long [`Load::stop`] waits for answers that are on their way.
const PATIENCE: Duration = Duration::from_millis(700);

/// An answer that reaches this length without an end counts as none.
const LONGEST_LINE: u64 = 64 * 1024;

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Which client got it, counted from 1.
    pub client: usize,
    /// How long it took.
    pub took: Duration,
}

/// A client that is connected.
pub struct Client {
    /// Counted from 1.
    pub number: usize,
    answers: BufReader<TcpStream>,
    request: String,
    line: Vec<u8>,
    stopped: Arc<AtomicBool>,
}

impl Client {
    fn connect(addr: &str, number: usize, stopped: Arc<AtomicBool>) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(addr).with_context(|| {
            format!(
                "cannot connect to {addr} (is a server running? start one with: \
                 cargo run --release --bin fib-tasks)"
            )
        })?;
        // A request must not wait until the one before is acknowledged.
        stream.set_nodelay(true)?;
        Ok(Client {
            number,
            answers: BufReader::new(stream),
            request: String::new(),
            line: vec![],
            stopped,
        })
    }

    /// Whether no more requests are to be sent.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Asks for `fib(n)`.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub fn send(&mut self, n: u64) -> anyhow::Result<()> {
        self.request.clear();
        writeln!(self.request, "{n}")?;
        Ok(self.answers.get_mut().write_all(self.request.as_bytes())?)
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// When the connection is lost, the server refuses the request, or its answer has no end.
    pub fn receive(&mut self) -> anyhow::Result<()> {
        self.line.clear();
        self.answers.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        if let Some(refusal) = self.line.strip_prefix(b"error: ") {
            let refusal = output::shortened(String::from_utf8_lossy(refusal).trim_end());
            bail!("the server refused {:?}: {refusal}", self.request.trim_end());
        }
        match self.line.last() {
            Some(b'\n') => Ok(()),
            _ if self.line.len() as u64 == LONGEST_LINE => {
                bail!("the server answered with more than {LONGEST_LINE} bytes in one line")
            }
            _ => bail!("the server closed the connection"),
        }
    }
}

/// The system refuses to start a thread: the fault is not the server's.
#[derive(Clone, Copy, Debug)]
pub struct NoThread;

impl fmt::Display for NoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot start a thread")
    }
}

/// Clients at work.
pub struct Load {
    stopped: Arc<AtomicBool>,
    connections: Vec<TcpStream>,
    /// Closed once all clients have ended; has the error of the first that could not go on.
    ended: mpsc::Receiver<anyhow::Error>,
}

impl Load {
    /// Connects `clients` clients, which ask for `fib(n)` until they are stopped. `answered` is
    /// called on their threads, at each answer.
    ///
    /// # Errors
    ///
    /// When a client cannot be connected, or its thread cannot be started.
    pub fn start(
        addr: &str,
        clients: usize,
        n: u64,
        answered: impl Fn(Answered) + Clone + Send + 'static,
    ) -> anyhow::Result<Load> {
        Load::of(addr, clients, move |client| perf1::ask(client, n, &answered))
    }

    /// Connects `clients` clients, each of which runs `work` on a thread of its own.
    fn of(
        addr: &str,
        clients: usize,
        work: impl Fn(&mut Client) -> anyhow::Result<()> + Clone + Send + 'static,
    ) -> anyhow::Result<Load> {
        let (failed, ended) = mpsc::channel();
        let mut load = Load { stopped: Arc::default(), connections: vec![], ended };
        for number in 1..=clients {
            if let Err(error) = load.add(addr, number, work.clone(), failed.clone()) {
                drop(failed);
                load.stop();
                return Err(error);
            }
        }
        Ok(load)
    }

    fn add(
        &mut self,
        addr: &str,
        number: usize,
        work: impl Fn(&mut Client) -> anyhow::Result<()> + Send + 'static,
        failed: mpsc::Sender<anyhow::Error>,
    ) -> anyhow::Result<()> {
        let mut client = Client::connect(addr, number, self.stopped.clone())?;
        self.connections.push(client.answers.get_ref().try_clone()?);
        let work = move || {
            if let Err(error) = work(&mut client) {
                // Once stopped, nothing receives it: the connection was cut for that.
                let _ = failed.send(error);
            }
        };
        let thread = thread::Builder::new().name(format!("client-{number}"));
        thread.spawn(work).context(NoThread)?;
        Ok(())
    }

    /// Why a client could not go on, if one could not.
    pub fn failure(&self) -> Option<anyhow::Error> {
        self.ended.try_recv().ok()
    }

    /// Sends no more requests, waits a moment for answers that are on their way, and disconnects.
    pub fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        // An error of a client no longer matters; the last one closes the channel.
        while self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        for connection in self.connections {
            // It fails only if the connection is gone already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

// ===== what perf1 and perf2 have in common ======================================================

/// The options of the loads.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// The server's address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    pub addr: String,

    /// How long to go on [default: until Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub seconds: Option<f64>,

    /// How many clients ask at once
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: u16,

    /// One JSON object a line, for other programs
    #[arg(long)]
    pub json: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("must be a number above 0 and at most 86400".into()),
    }
}

/// What a load's main thread waits for.
pub enum Happened {
    Answered(Answered),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

/// Sends [`Happened::Interrupted`] at Ctrl-C or SIGTERM.
///
/// # Errors
///
/// When the signals cannot be caught, or no thread can be started.
pub fn send_signals(happened: mpsc::Sender<Happened>) -> anyhow::Result<()> {
    let mut asked = crate::stop::signals().context("cannot catch Ctrl-C")?;
    let wait_for_it = move || {
        if asked.read_exact(&mut [0]).is_ok() {
            // If nothing receives it, the program is ending anyway.
            let _ = happened.send(Happened::Interrupted);
        }
    };
    thread::Builder::new().name("stop".into()).spawn(wait_for_it).context(NoThread)?;
    Ok(())
}

/// What [`measure`] reports to a load.
pub enum Progress {
    Answered(Answered),
    /// One more second has passed.
    Second,
    /// The last of them: the load has ended, after this time.
    Over(Duration),
}

/// How a load ended: by itself, or by Ctrl-C after what it had measured so far was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    TimeIsUp,
    Interrupted,
}

/// Runs clients until their time is up or Ctrl-C. Each runs `work`, on a thread of its own;
/// `report` is called on this thread, also with the answers that `work` passes on.
///
/// # Errors
///
/// When a client cannot go on, or `report` fails.
pub fn measure(
    options: &LoadOptions,
    work: impl Fn(&mut Client, &dyn Fn(Answered)) -> anyhow::Result<()> + Clone + Send + 'static,
    mut report: impl FnMut(Progress) -> io::Result<()>,
) -> anyhow::Result<Ended> {
    let (sender, happened) = mpsc::channel();
    send_signals(sender.clone())?;
    let answers = sender.clone();
    let load = Load::of(&options.addr, options.clients.into(), move |client| {
        let pass_on = |answer| {
            // Nothing receives it any more once the time is up.
            let _ = answers.send(Happened::Answered(answer));
        };
        work(client, &pass_on)
    })?;

    let start = Instant::now();
    let deadline = options.seconds.map(|s| start + Duration::from_secs_f64(s));
    let mut seconds = 0;
    let ended = loop {
        let next_second = start + Duration::from_secs(seconds + 1);
        let wake = deadline.map_or(next_second, |deadline| deadline.min(next_second));
        let left = wake.saturating_duration_since(Instant::now());
        match happened.recv_timeout(left.min(BETWEEN_LOOKS)) {
            Ok(Happened::Answered(answer)) => report(Progress::Answered(answer))?,
            Ok(Happened::Interrupted) => break Ended::Interrupted,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("`sender` is still here"),
        }
        if let Some(error) = load.failure() {
            return Err(error);
        }
        if Instant::now() < wake {
            continue;
        }
        if wake == next_second {
            seconds += 1;
            report(Progress::Second)?;
        }
        if Some(wake) == deadline {
            break Ended::TimeIsUp;
        }
    };
    report(Progress::Over(start.elapsed()))?;
    load.stop();
    Ok(ended)
}

/// How long to wait for an answer before the clients are looked at again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Runs a load with the arguments of this process.
pub fn main_of<Options: Parser>(
    name: &str,
    measure: impl FnOnce(&Options) -> anyhow::Result<Ended>,
) -> ExitCode {
    let mut ended = Ended::TimeIsUp;
    let exit_code = cli::run(name, cli::arguments(), |options: Options| {
        ended = measure(&options)?;
        Ok(())
    });
    match ended {
        Ended::TimeIsUp => exit_code,
        Ended::Interrupted => ExitCode::from(INTERRUPTED),
    }
}

/// One line of `--json`.
pub(crate) fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("numbers have a JSON form")
}

/// The exit code by which shells know that a program was interrupted.
pub const INTERRUPTED: u8 = 130;

/// The median; the lower one of two in the middle, and zero of nothing.
pub fn median<T: Copy + Default + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("times and counts can be compared"));
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn connect(addr: &str) -> anyhow::Result<Client> {
        Client::connect(addr, 1, Arc::default())
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[3, 1, 2]), 2);
        assert_eq!(median(&[4, 1, 3, 2]), 2);
        assert_eq!(median::<u32>(&[]), 0);
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "inf", "NaN", "soon", "86401"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named_with_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap().to_string();
        drop(taken);
        let said = format!("{:#}", connect(&addr).err().unwrap());
        assert!(said.contains(&addr) && said.contains("is a server running?"), "{said}");
    }

    #[test]
    fn a_refusal_and_a_goodbye_are_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(client.try_clone().unwrap()).lines();
            for answer in ["1\n", "error: too large\n"] {
                requests.next().unwrap().unwrap();
                client.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut client = connect(&addr).unwrap();
        client.send(1).unwrap();
        client.receive().unwrap();
        client.send(99).unwrap();
        let refused = client.receive().unwrap_err().to_string();
        assert_eq!(refused, "the server refused \"99\": too large");
        server.join().unwrap();
        assert!(client.send(1).and_then(|()| client.receive()).is_err());
    }

    #[test]
    fn a_load_asks_one_thing_after_the_other_until_it_is_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let clients: Vec<_> = (0..2).map(|_| listener.accept().unwrap().0).collect();
            for client in clients {
                thread::spawn(move || {
                    let mut answers = client.try_clone().unwrap();
                    for request in BufReader::new(client).lines() {
                        assert_eq!(request.unwrap(), "7");
                        answers.write_all(b"13\n").unwrap();
                    }
                });
            }
        });
        let (sender, answers) = mpsc::channel();
        let load = Load::start(&addr, 2, 7, move |answer| {
            let _ = sender.send(answer);
        })
        .unwrap();
        let mut seen = [0; 3];
        while seen[1] < 5 || seen[2] < 5 {
            seen[answers.recv().unwrap().client] += 1;
        }
        assert!(load.failure().is_none());
        load.stop();
        server.join().unwrap();
        // All threads have gone: nothing is sent any more.
        while answers.recv().is_ok() {}
    }
}
