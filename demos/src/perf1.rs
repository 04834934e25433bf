//! The first load of the talk: long requests, and how long each takes.
//!
//! Run it beside another `perf1`, and beside [`perf2`](crate::perf2).

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;

use crate::loads::{self, Answered, Client, Ended, LoadOptions, Progress, json, median};
use crate::output;

/// What each client does once it is connected: send, receive, and look at the clock.
pub(crate) fn ask(client: &mut Client, n: u64, answered: impl Fn(Answered)) -> anyhow::Result<()> {
    while !client.is_stopped() {
        let start = Instant::now();
        client.send(n)?;
        client.receive()?;
        answered(Answered { client: client.number, took: start.elapsed() });
    }
    Ok(())
}

fn measure(options: &Options) -> anyhow::Result<Ended> {
    let n = options.n;
    let mut times = vec![];
    let clients = move |client: &mut Client, tell: &dyn Fn(Answered)| ask(client, n, tell);
    loads::measure(&options.load, clients, |progress| match progress {
        Progress::Answered(answer) => {
            times.push(answer.took.as_secs_f64());
            writeln!(output::stdout(), "{}", options.describe(answer))
        }
        Progress::Second => Ok(()),
        Progress::Over(after) => writeln!(output::stdout(), "{}", options.summary(&times, after)),
    })
}

// ===== the program ==============================================================================

/// Long requests, one after the other, and how long each takes
#[derive(Debug, Parser)]
#[command(name = "perf1", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    load: LoadOptions,

    /// Which Fibonacci number to ask for: one that takes a while
    #[arg(long, value_name = "N", default_value_t = 38)]
    n: u64,
}

const EXAMPLES: &str = "\
Examples:
  perf1                        ask the server at 127.0.0.1:25000 until Ctrl-C
  perf1 --n 42                 longer computations
  perf1 --clients 2            two at once: do they take turns, or run in parallel?
  perf1 --seconds 3 --json     {\"client\":1,\"seconds\":0.041}, and at last a summary

Exit codes: 0 when the time is up, 130 after Ctrl-C, 1 when the server is lost, 2 for wrong options.";

pub fn main() -> ExitCode {
    loads::main_of("perf1", measure)
}

#[derive(Serialize)]
struct JsonAnswer {
    client: usize,
    seconds: f64,
}

#[derive(Serialize)]
struct JsonSummary {
    n: u64,
    clients: u16,
    requests: usize,
    seconds: f64,
    median_seconds: Option<f64>,
}

impl Options {
    fn describe(&self, answer: Answered) -> String {
        let seconds = answer.took.as_secs_f64();
        let client = answer.client;
        if self.load.json {
            return json(&JsonAnswer { client, seconds });
        }
        match self.load.clients {
            1 => format!("fib({}) took {seconds:.3} s", self.n),
            _ => format!("client {client}: fib({}) took {seconds:.3} s", self.n),
        }
    }

    fn summary(&self, times: &[f64], elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let median_seconds = (!times.is_empty()).then(|| median(times));
        if self.load.json {
            return json(&JsonSummary {
                n: self.n,
                clients: self.load.clients,
                requests: times.len(),
                seconds,
                median_seconds,
            });
        }
        match median_seconds {
            Some(median) => format!(
                "{} requests in {seconds:.1} s; the middle one took {median:.3} s",
                times.len()
            ),
            None => format!("no answer in {seconds:.1} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        Options::try_parse_from([&["perf1"], args].concat()).unwrap()
    }

    #[test]
    fn each_answer_is_a_line() {
        let answer = Answered { client: 2, took: Duration::from_millis(1500) };
        assert_eq!(options(&[]).describe(answer), "fib(38) took 1.500 s");
        let two = options(&["--clients", "2", "--n", "30"]);
        assert_eq!(two.describe(answer), "client 2: fib(30) took 1.500 s");
        let json = options(&["--json"]);
        assert_eq!(json.describe(answer), r#"{"client":2,"seconds":1.5}"#);
    }

    #[test]
    fn the_summary_counts_and_has_the_median() {
        let elapsed = Duration::from_secs(2);
        let times = [0.5, 0.25, 1.0];
        assert_eq!(
            options(&[]).summary(&times, elapsed),
            "3 requests in 2.0 s; the middle one took 0.500 s"
        );
        assert_eq!(options(&[]).summary(&[], elapsed), "no answer in 2.0 s");
        let json = options(&["--json"]).summary(&[], elapsed);
        assert_eq!(
            json,
            r#"{"n":38,"clients":1,"requests":0,"seconds":2.0,"median_seconds":null}"#
        );
    }
}
