//! The run: who is measured when.
//!
//! The peers take turns within each row, A B C A B C, so that what the machine does meanwhile
//! meets all of them; the medians of the rounds are compared.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use popleft_demos::{cli, output};
use serde::Serialize;

use crate::child::{Running, Task, Usage, done};
use crate::load::{Load, Seen};
use crate::measure::{Sample, cores, median, quantile};
use crate::rows::grown::Operation;
use crate::rows::{self, Goal, Kind, Row};
use crate::{peers, report, share};

/// popleft beside other runtimes and the bare machine, measured in one interleaved run.
///
/// Each measurement is made in a process of its own, on one processor; the servers and their load
/// on two. The other runtimes take part when built with `--features peers`.
#[derive(Debug, Parser)]
#[command(
    name = "peers",
    version,
    after_help = "\
Examples:
  cargo run --release -p popleft-benches --features peers --bin peers -- --quick
  cargo run --release -p popleft-benches --features peers --bin peers -- --rows yield-1,slot --peers popleft,tokio
  cargo run --release -p popleft-benches --bin peers -- --rows lateness --json -"
)]
pub struct Options {
    /// Short measurements: the whole table in some minutes
    #[arg(long)]
    pub quick: bool,
    /// Only these rows (`--list` names them)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only these runtimes (`--list` names them)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Write what was measured as JSON (`-` for standard output, and nothing else there)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Name all rows and runtimes, and end
    #[arg(long)]
    pub list: bool,
    /// Measure this build as it is, instead of building with fat link-time optimisation first
    #[arg(long)]
    pub as_built: bool,
}

/// Tables that are not one row for all peers.
pub const TABLES: &[(&str, &str)] = &[
    ("grown", "an operation of popleft beside 10^2 to 10^6 others, and beside 10^4 connections"),
    ("lateness", "how late timers fire, with nothing else to do and beside a busy task"),
    ("latency", "how long an echo takes, with 100 connections"),
    ("spin", "what it buys and costs to spin before sleeping: one connection across two cores"),
    ("share", "what perf2 keeps of its rate beside one perf1, for each fib server"),
];

/// What one runtime came to in one row.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The runtime.
    pub peer: &'static str,
    /// The median of what the row counts.
    pub value: f64,
    /// All rounds.
    pub rounds: Vec<f64>,
    /// Time computed for each operation or request, in nanoseconds.
    pub cpu: Option<f64>,
    /// Allocations for each operation or request.
    pub allocations: Option<f64>,
    /// System calls for each request.
    pub syscalls: Option<f64>,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The row.
    pub row: &'static str,
    /// In words.
    pub title: &'static str,
    /// In what it is counted.
    pub unit: &'static str,
    /// Whether less is better.
    pub lower_is_better: bool,
    /// Everyone who took part.
    pub cells: Vec<Cell>,
    /// Who could not, and why.
    pub absent: Vec<(&'static str, String)>,
}

/// An operation with more and more of everything else.
#[derive(Clone, Debug, Serialize)]
pub struct Grown {
    /// The operation.
    pub title: String,
    /// How many others there were, and what an operation cost then.
    pub steps: Vec<(u64, f64)>,
    /// The unit of the cost.
    pub unit: &'static str,
    /// How many times what it cost with the fewest others it costs with more, at the most.
    pub grows: f64,
    /// Whether the goal holds for it.
    pub has_goal: bool,
}

impl Grown {
    /// Of rounds that each held one measurement a scale. Within a round the machine is about as
    /// fast at its end as it was at its beginning, so the growth is taken round by round.
    fn of(title: &str, scales: &[u64], rounds: &[Vec<f64>], has_goal: bool) -> Grown {
        let cost = |at: usize| median(&rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
        let growth = |at: usize| {
            median(&rounds.iter().map(|round| round[at] / round[0]).collect::<Vec<_>>())
        };
        Grown {
            title: title.to_string(),
            steps: (0..scales.len()).map(|at| (scales[at], cost(at))).collect(),
            unit: "ns",
            grows: (0..scales.len()).map(growth).fold(1.0, f64::max),
            has_goal,
        }
    }
}

/// A distribution, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// Whose.
    pub peer: &'static str,
    /// Under what.
    pub title: &'static str,
    /// Half are at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
}

/// One connection across two cores.
#[derive(Clone, Debug, Serialize)]
pub struct Spin {
    /// Whose server, and what it does when it has nothing to do.
    pub title: &'static str,
    /// Requests a second.
    pub rate: f64,
    /// Time that the server computed for each, in microseconds.
    pub cpu: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What the machine is.
    pub machine: String,
    /// How it was measured.
    pub settings: String,
    /// The table.
    pub rows: Vec<Measured>,
    /// Operations beside many others.
    pub grown: Vec<Grown>,
    /// How late timers were.
    pub lateness: Vec<Spread>,
    /// How long an echo took.
    pub latency: Vec<Spread>,
    /// What it buys and costs to spin before sleeping.
    pub spin: Vec<Spin>,
    /// What perf2 kept beside perf1.
    pub share: Vec<share::Kept>,
}

/// Runs the bench with the arguments of this process.
pub fn main() -> ExitCode {
    cli::run("peers", cli::arguments(), |options: Options| {
        if options.list {
            return Ok(list(&mut output::stdout())?);
        }
        for path in options.html.iter().chain(options.json_file()) {
            output::can_be_written(path)?;
        }
        build_again(&options)?;
        run(&options)
    })
}

fn list(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "rows")?;
    for row in rows::ALL {
        writeln!(out, "  {:18}{}", row.name, row.title)?;
    }
    writeln!(out, "tables")?;
    for (name, title) in TABLES {
        writeln!(out, "  {name:18}{title}")?;
    }
    writeln!(out, "runtimes")?;
    for (name, title) in peers::ALL {
        match peers::why_not(name) {
            None => writeln!(out, "  {name:18}{title}")?,
            Some(why) => writeln!(out, "  {name:18}{title} ({why})")?,
        }
    }
    Ok(())
}

impl Options {
    /// Where the JSON goes, unless that is standard output.
    fn json_file(&self) -> Option<&PathBuf> {
        self.json.as_ref().filter(|path| path.as_os_str() != "-")
    }
}

/// The runtimes must be compared with all of their code open to the optimiser. `--release` is
/// quick to build instead, so this program builds itself once more, in the profile `measured`, and
/// goes on as that. It returns only if it is that already, or should not.
fn build_again(options: &Options) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("this program lies nowhere")?;
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    if options.as_built || folder.ends_with("measured") {
        return Ok(());
    }
    output::complain("peers: building all with fat link-time optimisation (once; some minutes)");
    let mut build = Command::new(cargo);
    build.args(["build", "--profile", "measured", "-p", "popleft-benches", "--bin", "peers"]);
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    build.env("CARGO_TARGET_DIR", folder.parent().context("no target folder")?);
    if cfg!(feature = "peers") {
        build.args(["--features", "peers"]);
    }
    if !build.status()?.success() {
        bail!("the build failed");
    }
    let measured = folder.with_file_name("measured").join("peers");
    use std::os::unix::process::CommandExt;
    let error = Command::new(&measured).args(std::env::args_os().skip(1)).exec();
    bail!("cannot run {}: {error}", measured.display())
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

/// Of all names, those that were asked for: all when none was.
fn chosen(
    what: &str,
    asked: &[String],
    all: impl Iterator<Item = &'static str>,
) -> anyhow::Result<Vec<&'static str>> {
    let all: Vec<_> = all.collect();
    if let Some(unknown) = asked.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no {what} {unknown:?}; there are: {}", all.join(", "));
    }
    let keep = |name: &&str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    Ok(all.into_iter().filter(keep).collect())
}

impl Bench {
    fn new(options: &Options) -> anyhow::Result<Bench> {
        let names = rows::ALL.iter().map(|row| row.name).chain(TABLES.iter().map(|t| t.0));
        let names = chosen("row", &options.rows, names)?;
        let peers = chosen("runtime", &options.peers, peers::ALL.iter().map(|peer| peer.0))?;
        let (mut there, mut absent) = (vec![], vec![]);
        for peer in peers {
            match why_not(peer) {
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
        let profile = match std::env::current_exe()?.parent() {
            Some(folder) if folder.ends_with("measured") => "fat link-time optimisation for all",
            _ => "as built, without link-time optimisation",
        };
        report.settings = format!(
            "medians of {} interleaved rounds, {profile}; {:.0} s in all",
            self.rounds,
            start.elapsed().as_secs_f64()
        );
        Ok(report)
    }

    // ===== rows =================================================================================

    fn measure_row(&self, row: &'static Row) -> anyhow::Result<Measured> {
        let (unit, lower_is_better) = match row.kind {
            Kind::Operation { .. } => ("ns", true),
            Kind::Bytes { .. } | Kind::IdleConnection { .. } => ("bytes", true),
            Kind::Server { .. } => ("1000/s", false),
        };
        let mut measured = Measured {
            row: row.name,
            title: row.title,
            unit,
            lower_is_better,
            cells: vec![],
            absent: self.absent.clone(),
        };
        let mut peers = vec![];
        for &peer in &self.peers {
            match has_row(row, peer) {
                true => peers.push(peer),
                false => measured.absent.push((peer, format!("{}: nothing to measure", row.title))),
            }
        }
        let rounds = match row.kind {
            Kind::Bytes { .. } | Kind::IdleConnection { .. } => 1,
            _ => self.rounds,
        };
        let mut samples: Vec<Vec<Sample>> = vec![vec![]; peers.len()];
        let mut failed: Vec<Option<String>> = vec![None; peers.len()];
        for _ in 0..rounds {
            for (i, peer) in peers.iter().enumerate() {
                if failed[i].is_some() {
                    continue;
                }
                self.progress.set_message(format!("{}: {peer}", row.title));
                match self.sample(row, peer, false) {
                    Ok(sample) => samples[i].push(sample),
                    // What one cannot do must not keep the others from being measured.
                    Err(error) if *peer != "popleft" => failed[i] = Some(last_words(&error)),
                    Err(error) => return Err(error),
                }
                self.progress.inc(1);
            }
        }
        for (i, &peer) in peers.iter().enumerate() {
            match failed[i].take() {
                Some(why) => measured.absent.push((peer, format!("{}: {why}", row.title))),
                None => measured.cells.push(self.cell(row, peer, &samples[i])?),
            }
        }
        Ok(measured)
    }

    fn cell(&self, row: &Row, peer: &'static str, samples: &[Sample]) -> anyhow::Result<Cell> {
        let wall: Vec<_> = samples.iter().map(|sample| sample.wall).collect();
        let cpu: Vec<_> = samples.iter().map(|sample| sample.cpu).collect();
        let cpu = median(&cpu);
        let counts = matches!(row.kind, Kind::Operation { .. } | Kind::Server { .. });
        // Counting takes time, so it is done once more and apart.
        let allocations = match counts {
            true => Some(self.sample(row, peer, true)?.allocations),
            false => None,
        };
        let syscalls = match row.kind {
            Kind::Server { load, one_core } if !self.quick => self.syscalls(peer, load, one_core),
            _ => None,
        };
        let is_cpu = matches!(row.kind, Kind::Operation { cpu: true, .. });
        let rounds = match row.kind {
            Kind::Server { .. } => wall.iter().map(|ns| 1e6 / ns).collect(),
            _ if is_cpu => samples.iter().map(|sample| sample.cpu).collect(),
            _ => wall,
        };
        Ok(Cell {
            peer,
            value: median(&rounds),
            rounds,
            cpu: counts.then_some(cpu),
            allocations,
            syscalls,
        })
    }

    /// One measurement; of a server, the time between two answers.
    fn sample(&self, row: &Row, peer: &str, count: bool) -> anyhow::Result<Sample> {
        let of_bytes = |bytes| Sample { wall: bytes, cpu: 0.0, allocations: 0.0 };
        let (name, peer) = (row.name.to_string(), peer.to_string());
        match row.kind {
            Kind::Operation { .. } => {
                let target = self.target;
                done(Task::Operation { row: name, peer, target, count }, self.first_core)
            }
            Kind::Bytes { .. } => {
                done(Task::Bytes { row: name, peer }, self.first_core).map(of_bytes)
            }
            Kind::Server { load, one_core } => {
                let (seen, usage) = self.under_load(&peer, load, one_core, count)?;
                let answers = seen.answers as f64;
                Ok(Sample {
                    wall: seen.seconds * 1e9 / answers,
                    cpu: usage.cpu * 1e9 / answers,
                    allocations: usage.allocations as f64 / answers,
                })
            }
            Kind::IdleConnection { connections } => {
                self.bytes_of_a_connection(&peer, connections).map(of_bytes)
            }
        }
    }

    fn server(
        &self,
        peer: &str,
        count: bool,
        watcher: &[&str],
    ) -> anyhow::Result<(Running, SocketAddr)> {
        // The port is free until the server takes it; nobody else here asks for one.
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let task = Task::Serve { peer: peer.to_string(), addr, count };
        Ok((Running::start_under(watcher, task, self.first_core)?, addr))
    }

    fn load_core(&self, one_core: bool) -> Option<usize> {
        if one_core { self.first_core } else { self.second_core }
    }

    fn with_times(&self, load: Load) -> Load {
        Load { seconds: self.seconds, ..load }
    }

    /// A server under load: what the load saw, and what the server used meanwhile.
    fn under_load(
        &self,
        peer: &str,
        load: Load,
        one_core: bool,
        count: bool,
    ) -> anyhow::Result<(Seen, Usage)> {
        let (mut server, addr) = self.server(peer, count, &[])?;
        let load = Task::Load { addr, load: self.with_times(load) };
        let mut load = Running::start(load, self.load_core(one_core))?;
        let served = |error: anyhow::Error| error.context(format!("the echo server of {peer}"));
        load.hear::<String>().map_err(served)?;
        let before: Usage = server.ask()?;
        load.hear::<String>().map_err(served)?;
        let after: Usage = server.ask()?;
        let seen = load.ask()?;
        let usage = Usage {
            cpu: after.cpu - before.cpu,
            allocations: after.allocations - before.allocations,
            bytes: after.bytes - before.bytes,
        };
        Ok((seen, usage))
    }

    /// System calls for each request, if strace is there to count them.
    fn syscalls(&self, peer: &str, load: Load, one_core: bool) -> Option<f64> {
        let summary = std::env::temp_dir().join(format!("popleft-strace-{}", std::process::id()));
        let path = summary.to_str()?;
        let watcher = ["strace", "-f", "-c", "-S", "calls", "-U", "calls,name", "-o", path];
        let counted = || -> anyhow::Result<f64> {
            let (server, addr) = self.server(peer, false, &watcher)?;
            let load_asked = self.with_times(load);
            let task = Task::Load { addr, load: load_asked };
            let mut load = Running::start(task, self.load_core(one_core))?;
            load.hear::<String>()?;
            load.hear::<String>()?;
            let seen: Seen = load.ask()?;
            drop(load);
            server.end()?;
            let text = fs::read_to_string(&summary)?;
            let total = text.lines().rev().find(|line| line.trim_end().ends_with("total"));
            let calls = total.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            let calls = calls.context("strace has said nothing")?;
            // The warm-up is counted as well: about as many a second.
            let share = 1.0 + load_asked.warm_up / load_asked.seconds;
            Ok(calls / (seen.answers as f64 * share))
        };
        let calls = counted();
        let _ = fs::remove_file(&summary);
        calls.ok()
    }

    fn bytes_of_a_connection(&self, peer: &str, connections: usize) -> anyhow::Result<f64> {
        let (mut server, addr) = self.server(peer, true, &[])?;
        let bytes = |server: &mut Running, idle| -> anyhow::Result<i64> {
            let load = Load { clients: 1, idle, reconnect: false, warm_up: 0.0, seconds: 0.01 };
            let mut load = Running::start(Task::Load { addr, load }, self.second_core)?;
            load.hear::<String>()?;
            load.hear::<String>()?;
            let usage: Usage = server.ask()?;
            load.ask::<Seen>()?;
            Ok(usage.bytes)
        };
        // The first round fills what is kept for later.
        bytes(&mut server, connections)?;
        let few = bytes(&mut server, 0)?;
        let many = bytes(&mut server, connections)?;
        Ok((many - few) as f64 / connections as f64)
    }

    // ===== tables of our own ====================================================================

    fn grown(&self) -> anyhow::Result<Vec<Grown>> {
        let mut tables = vec![];
        let scales: &[u64] = match self.quick {
            true => &[100, 1_000_000],
            false => &[100, 1_000, 10_000, 100_000, 1_000_000],
        };
        let operations = Operation::ALL.iter().enumerate().map(|(i, (title, _))| (Some(i), *title));
        for (operation, title) in operations.chain([(None, "yield, all tasks in turn")]) {
            let cost = |&others: &u64| {
                let task = Task::Grown { operation, others, target: self.target };
                Ok(done::<Sample>(task, self.first_core)?.wall)
            };
            let round = |_| scales.iter().map(cost).collect();
            let times = if self.quick { self.rounds.min(2) } else { self.rounds };
            let rounds = (0..times).map(round).collect::<anyhow::Result<Vec<_>>>()?;
            tables.push(Grown::of(title, scales, &rounds, operation.is_some()));
        }
        if self.first_core.is_some() {
            tables.push(self.grown_echo()?);
        }
        Ok(tables)
    }

    fn grown_echo(&self) -> anyhow::Result<Grown> {
        let title = "echo, 100 connections ask, the others are idle (server CPU)";
        let scales = [200, 1_000, 9_900];
        let cost = |&connections: &u64| {
            let load = self.load_of(100, connections as usize - 100);
            let (seen, usage) = self.under_load("popleft", load, false, false)?;
            Ok(usage.cpu * 1e9 / seen.answers as f64)
        };
        let round = |_| scales.iter().map(cost).collect();
        let rounds = (0..self.rounds).map(round).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Grown::of(title, &scales, &rounds, true))
    }

    fn lateness(&self) -> anyhow::Result<Vec<Spread>> {
        let sleeps = if self.quick { 200 } else { 2_000 };
        let mut tables = vec![];
        for (busy, title) in [(false, "idle"), (true, "beside a busy task")] {
            for &peer in self.peers.iter().filter(|&&peer| !(busy && peer == "limit")) {
                let task = Task::Lateness { peer: peer.to_string(), busy, sleeps };
                let late: Vec<f64> = match done(task, self.first_core) {
                    Ok(late) => late,
                    Err(error) if peer == "popleft" => return Err(error),
                    Err(_) => vec![f64::INFINITY],
                };
                tables.push(Spread {
                    peer,
                    title,
                    p50: quantile(&late, 0.5),
                    p99: quantile(&late, 0.99),
                    p999: quantile(&late, 0.999),
                });
            }
        }
        Ok(tables)
    }

    fn spin(&self) -> anyhow::Result<Vec<Spin>> {
        let kinds = [
            ("popleft, sleeps at once", "popleft"),
            ("popleft, spins for 50 us first", rows::echo::SPINNING),
            ("limit, sleeps at once", "limit"),
        ];
        if self.second_core.is_none() {
            return Ok(vec![]);
        }
        let load = self.load_of(1, 0);
        let mut rounds: Vec<Vec<(f64, f64)>> = vec![vec![]; kinds.len()];
        for _ in 0..self.rounds {
            for ((_, peer), rounds) in kinds.iter().zip(&mut rounds) {
                let (seen, usage) = self.under_load(peer, load, false, false)?;
                let answers = seen.answers as f64;
                rounds.push((answers / seen.seconds, usage.cpu * 1e6 / answers));
            }
        }
        let of = |rounds: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
            median(&rounds.iter().map(pick).collect::<Vec<_>>())
        };
        let spin = |((title, _), rounds): (&(&'static str, &str), &Vec<(f64, f64)>)| Spin {
            title,
            rate: of(rounds, |round| round.0),
            cpu: of(rounds, |round| round.1),
        };
        Ok(kinds.iter().zip(&rounds).map(spin).collect())
    }

    /// Clients that ask all the time, and others that are idle.
    fn load_of(&self, clients: usize, idle: usize) -> Load {
        Load { clients, idle, reconnect: false, warm_up: 0.05, seconds: self.seconds }
    }

    fn latency(&self) -> anyhow::Result<Vec<Spread>> {
        if self.first_core.is_none() {
            return Ok(vec![]);
        }
        let load = self.load_of(100, 0);
        let mut rounds: Vec<Vec<Seen>> = vec![vec![]; self.peers.len()];
        // A round is a distribution by itself.
        for _ in 0..if self.quick { 1 } else { self.rounds } {
            for (peer, rounds) in self.peers.iter().zip(&mut rounds) {
                rounds.push(self.under_load(peer, load, false, false)?.0);
            }
        }
        let of = |rounds: &[Seen], pick: fn(&Seen) -> f64| {
            median(&rounds.iter().map(pick).collect::<Vec<_>>())
        };
        let spread = |(&peer, rounds): (&&'static str, &Vec<Seen>)| Spread {
            peer,
            title: "100 connections",
            p50: of(rounds, |seen| seen.p50),
            p99: of(rounds, |seen| seen.p99),
            p999: of(rounds, |seen| seen.p999),
        };
        Ok(self.peers.iter().zip(&rounds).map(spread).collect())
    }
}

/// Why a runtime cannot take part: not in this build, or not on this machine.
fn why_not(peer: &'static str) -> Option<String> {
    if let Some(why) = peers::why_not(peer) {
        return Some(why.to_string());
    }
    if peer == "limit" {
        return None;
    }
    // Whoever cannot do this, for want of a system call perhaps, can do nothing here.
    let task = Task::Operation {
        row: "yield-1".to_string(),
        peer: peer.to_string(),
        target: Duration::ZERO,
        count: false,
    };
    let error = done::<Sample>(task, None).err()?;
    Some(format!("does not run here: {}", last_words(&error)))
}

/// What is said of an error in a table: the panic's message, or the last line there is.
fn last_words(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut after_panic = text.lines().skip_while(|line| !line.contains("panicked at"));
    let message = after_panic.nth(1).or(text.lines().last());
    message.unwrap_or_default().trim().to_string()
}

fn has_row(row: &Row, peer: &str) -> bool {
    match row.kind {
        Kind::Operation { limit, .. } => peer != "limit" || limit.is_some(),
        Kind::Bytes { .. } => true,
        Kind::Server { .. } | Kind::IdleConnection { .. } => cfg!(target_os = "linux"),
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

/// Whether a goal is reached; `None` when what it compares with was not measured.
pub fn is_reached(goal: Goal, measured: &Measured) -> Option<bool> {
    let ours = measured.of("popleft")?;
    Some(match goal {
        Goal::OfBestAtMost(times) => ours <= times * measured.best_peer(|_| true)?,
        Goal::OfLimitAtMost(times) => ours <= times * measured.of("limit")?,
        Goal::OfLimitAtLeast(share) => ours >= share * measured.of("limit")?,
        Goal::AheadOnEpoll => ours >= measured.best_peer(peers::is_on_epoll)?,
        Goal::AtMost(number) => ours <= number,
    })
}

impl Measured {
    /// What a runtime came to.
    pub fn of(&self, peer: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.peer == peer).map(|cell| cell.value)
    }

    /// The best among those peers that are meant.
    pub fn best_peer(&self, meant: impl Fn(&str) -> bool) -> Option<f64> {
        let peers = self.cells.iter().filter(|cell| !matches!(cell.peer, "popleft" | "limit"));
        let values = peers.filter(|cell| meant(cell.peer)).map(|cell| cell.value);
        match self.lower_is_better {
            true => values.reduce(f64::min),
            false => values.reduce(f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(lower_is_better: bool, values: &[(&'static str, f64)]) -> Measured {
        let cell = |&(peer, value)| Cell {
            peer,
            value,
            rounds: vec![value],
            cpu: None,
            allocations: None,
            syscalls: None,
        };
        Measured {
            row: "row",
            title: "a row",
            unit: "ns",
            lower_is_better,
            cells: values.iter().map(cell).collect(),
            absent: vec![],
        }
    }

    #[test]
    fn goals_compare_with_the_best_peer_and_with_the_limit() {
        let cost =
            measured(true, &[("popleft", 10.0), ("limit", 2.0), ("tokio", 50.0), ("compio", 20.0)]);
        assert_eq!(is_reached(Goal::OfBestAtMost(0.5), &cost), Some(true));
        assert_eq!(is_reached(Goal::OfBestAtMost(0.45), &cost), Some(false));
        assert_eq!(is_reached(Goal::OfLimitAtMost(1.05), &cost), Some(false));
        assert_eq!(is_reached(Goal::AtMost(10.0), &cost), Some(true));
        let rate = measured(
            false,
            &[("popleft", 99.0), ("limit", 100.0), ("tokio", 90.0), ("compio", 120.0)],
        );
        assert_eq!(is_reached(Goal::OfLimitAtLeast(0.98), &rate), Some(true));
        assert_eq!(is_reached(Goal::AheadOnEpoll, &rate), Some(true));
        let alone = measured(false, &[("popleft", 99.0)]);
        assert_eq!(is_reached(Goal::AheadOnEpoll, &alone), None);
    }

    #[test]
    fn unknown_names_are_refused_with_those_that_there_are() {
        let error = chosen("row", &["yeld".to_string()], ["yield", "spawn"].into_iter());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("yeld") && text.contains("yield, spawn"), "{text}");
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
