//! The run: what is measured when.
//!
//! The peers take turns within each row, A B C A B C, so that what the machine does meanwhile
//! meets all of them; the medians of the rounds are compared.

mod grown;
mod options;
pub mod results;
mod sampling;
mod servers;
mod spin;
mod spreads;

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use popleft_demos::{cli, output};

pub(crate) use self::options::chosen;
use self::options::{Options, TABLES};
use self::results::Report;
use crate::measure::cores;
use crate::rows::{self, Row};
use crate::{peers, profile, report, share};

/// Runs the bench with the arguments of this process.
pub fn main() -> ExitCode {
    cli::run("peers", cli::arguments(), |options: Options| {
        if options.list {
            return Ok(options::list(&mut output::stdout())?);
        }
        for path in options.html.iter().chain(options.json_file()) {
            output::can_be_written(path)?;
        }
        if !options.as_built {
            profile::build_again("peers", cfg!(feature = "peers"))?;
        }
        run(&options)
    })
}

fn run(options: &Options) -> anyhow::Result<()> {
    let bench = Bench::new(options)?;
    let report = bench.measure()?;
    bench.progress.finish_and_clear();
    let json = serde_json::to_string_pretty(&report)? + "\n";
    let prints_json = options.json.is_some() && options.json_file().is_none();
    let said = if prints_json { &json } else { &report::text(&report) };
    output::stdout().write_all(said.as_bytes())?;
    if let Some(path) = options.json_file() {
        output::write_file(path, &json)?;
    }
    if let Some(path) = &options.html {
        output::write_file(path, &report::html(&report))?;
    }
    Ok(())
}

struct Bench {
    rows: Vec<&'static Row>,
    tables: Vec<&'static str>,
    peers: Vec<&'static str>,
    absent: Vec<(&'static str, String)>,
    rounds: usize,
    /// How long each measurement takes at least.
    target: Duration,
    /// How long a server is under load.
    seconds: f64,
    first_core: Option<usize>,
    second_core: Option<usize>,
    quick: bool,
    progress: ProgressBar,
}

impl Bench {
    fn new(options: &Options) -> anyhow::Result<Bench> {
        let names = rows::ALL.iter().map(|row| row.name).chain(TABLES.iter().map(|t| t.0));
        let names = chosen("row", &options.rows, names)?;
        let peers = chosen("runtime", &options.peers, peers::ALL.iter().map(|peer| peer.0))?;
        let (mut there, mut absent) = (vec![], vec![]);
        for peer in peers {
            match sampling::why_not(peer) {
                None => there.push(peer),
                Some(why) => absent.push((peer, why)),
            }
        }
        let cores = cores();
        let on_linux = cfg!(target_os = "linux");
        let bench = Bench {
            rows: rows::ALL.iter().filter(|row| names.contains(&row.name)).collect(),
            tables: TABLES.iter().map(|t| t.0).filter(|name| names.contains(name)).collect(),
            peers: there,
            absent,
            rounds: usize::from(options.rounds),
            target: Duration::from_millis(if options.quick { 10 } else { 100 }),
            seconds: if options.quick { 0.06 } else { 1.0 },
            first_core: cores.first().copied().filter(|_| on_linux),
            second_core: cores.get(1).copied().filter(|_| on_linux),
            quick: options.quick,
            progress: ProgressBar::new(0),
        };
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}")?;
        bench.progress.set_style(style);
        let each = bench.rows.len() * bench.peers.len() * bench.rounds;
        bench.progress.set_length((each + bench.tables.len()) as u64);
        Ok(bench)
    }

    fn measure(&self) -> anyhow::Result<Report> {
        let start = Instant::now();
        let mut report = Report { machine: machine(), ..Report::default() };
        for row in &self.rows {
            report.rows.push(self.measure_row(row)?);
        }
        for &table in &self.tables {
            self.progress.set_message(table);
            match table {
                "grown" => report.grown = self.grown()?,
                "lateness" => report.lateness = self.lateness()?,
                "latency" => report.latency = self.latency()?,
                "spin" => report.spin = self.spin()?,
                _ => {
                    report.share =
                        share::measure(self.quick, self.first_core.zip(self.second_core))?
                }
            }
            self.progress.inc(1);
        }
        let profile = if profile::is_measured()? {
            "fat link-time optimisation for all"
        } else {
            "as built, without link-time optimisation"
        };
        report.settings = format!(
            "medians of {} interleaved rounds, {profile}; {:.0} s in all",
            self.rounds,
            start.elapsed().as_secs_f64()
        );
        Ok(report)
    }
}

/// The processors and the system, in words.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor", |(_, name)| name);
    let system = rustix::system::uname();
    format!(
        "{model}, {} cores, {} {}",
        cores().len(),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}
