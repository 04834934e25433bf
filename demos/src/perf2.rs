//! The second load of the talk: short requests, and how many of them are served each second.
//!
//! Run it alone, then start [`perf1`](crate::perf1) beside it and watch the numbers.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::loads::{self, Client, Ended, LoadOptions, Progress, json, median};
use crate::output;

/// What each client does once it is connected: send, receive, and count.
fn ask(client: &mut Client, n: u64, served: &AtomicU64) -> anyhow::Result<()> {
    while !client.is_stopped() {
        client.send(n)?;
        client.receive()?;
        served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The monitor: each second it prints how many requests were served since the last one.
fn measure(options: &Options) -> anyhow::Result<Ended> {
    let n = options.n;
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let mut seconds = vec![];
    loads::measure(
        &options.load,
        move |client, _| ask(client, n, &count),
        |progress| {
            let total = served.load(Ordering::Relaxed);
            let line = match progress {
                Progress::Second => {
                    seconds.push(total - seconds.iter().sum::<u64>());
                    options.describe(&seconds)
                }
                Progress::Over(after) => options.summary(total, after, &seconds),
                Progress::Answered(_) => unreachable!("the answers are counted, and not sent"),
            };
            writeln!(output::stdout(), "{line}")
        },
    )
}

// ===== the program ==============================================================================

/// Short requests, as fast as the server answers, counted each second
#[derive(Debug, Parser)]
#[command(name = "perf2", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    load: LoadOptions,

    /// Which Fibonacci number to ask for: one that takes no time
    #[arg(long, value_name = "N", default_value_t = 1)]
    n: u64,
}

const EXAMPLES: &str = "\
Examples:
  perf2                        ask the server at 127.0.0.1:25000 until Ctrl-C
  perf2 --clients 100          a hundred clients at once
  perf2 --seconds 3 --json     {\"second\":1,\"requests\":30211}, and at last a summary

Exit codes: 0 when the time is up, 130 after Ctrl-C, 1 when the server is lost, 2 for wrong options.";

pub fn main() -> ExitCode {
    loads::main_of("perf2", measure)
}

#[derive(Serialize)]
struct JsonSecond {
    second: usize,
    requests: u64,
}

#[derive(Serialize)]
struct JsonSummary {
    n: u64,
    clients: u16,
    requests: u64,
    seconds: f64,
    requests_per_second: f64,
    /// Of the whole seconds; none when there was not one.
    median_second: Option<u64>,
}

impl Options {
    /// The line for the last of `seconds`.
    fn describe(&self, seconds: &[u64]) -> String {
        let (second, requests) = (seconds.len(), seconds[seconds.len() - 1]);
        if self.load.json {
            return json(&JsonSecond { second, requests });
        }
        format!("{requests} requests/s")
    }

    fn summary(&self, requests: u64, elapsed: Duration, whole_seconds: &[u64]) -> String {
        let seconds = elapsed.as_secs_f64();
        let requests_per_second = requests as f64 / seconds;
        if self.load.json {
            return json(&JsonSummary {
                n: self.n,
                clients: self.load.clients,
                requests,
                seconds,
                requests_per_second,
                median_second: (!whole_seconds.is_empty()).then(|| median(whole_seconds)),
            });
        }
        format!("{requests} requests in {seconds:.1} s: {requests_per_second:.0} requests/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        Options::try_parse_from([&["perf2"], args].concat()).unwrap()
    }

    #[test]
    fn each_second_is_a_line() {
        assert_eq!(options(&[]).describe(&[10, 25]), "25 requests/s");
        let json = options(&["--json"]);
        assert_eq!(json.describe(&[10, 25]), r#"{"second":2,"requests":25}"#);
    }

    #[test]
    fn the_summary_is_over_the_whole_time() {
        let elapsed = Duration::from_millis(2500);
        assert_eq!(
            options(&[]).summary(500, elapsed, &[190, 210]),
            "500 requests in 2.5 s: 200 requests/s"
        );
        let json: serde_json::Value =
            serde_json::from_str(&options(&["--json"]).summary(500, elapsed, &[190, 210])).unwrap();
        assert_eq!(json["requests"], 500);
        assert_eq!(json["requests_per_second"], 200.0);
        assert_eq!(json["median_second"], 190);
    }
}
