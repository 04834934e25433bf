//! Instructions an operation: they do not depend on what else the machine does.
//!
//! Each of the small rows runs under callgrind in a process of its own, once with few operations
//! and once with many. The difference holds neither the beginning nor the end of the process, nor
//! what a row sets up; divided by the difference in operations it is what one operation takes, in
//! user space. The numbers of popleft are kept in `counts.toml`.

mod callgrind;
mod inlined;
mod kept;
mod print;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use popleft_demos::{cli, output};
use serde::Serialize;

use self::callgrind::{Place, Profile};
use self::kept::{Kept, compiler, complaints, is_worse};
use crate::bench::chosen;
use crate::child::last_words;
use crate::rows::{self, Kind};
use crate::{peers, profile};

/// Instructions an operation of popleft, counted by callgrind
///
/// Counts each of the small rows for popleft and its limit, says in which functions popleft's
/// instructions are, and compares with the numbers kept in `benches/counts.toml`. valgrind must be
/// installed.
#[derive(Debug, Parser)]
#[command(
    name = "counts",
    version,
    after_help = "\
Examples:
  cargo run --release -p popleft-benches --bin counts                           # popleft and its limits
  cargo run --release -p popleft-benches --bin counts -- --peers                # all runtimes; builds them first
  cargo run --release -p popleft-benches --bin counts -- --rows spawn,slot --json -
  cargo run --release -p popleft-benches --bin counts -- --check                # fails when a row got worse
  cargo run --release -p popleft-benches --bin counts -- --record               # keeps the numbers of now

The exit code is 1 when a row got worse by more than 3 % under --check, and when counting fails."
)]
struct Options {
    /// Count the other runtimes as well
    #[arg(long, conflicts_with = "record")]
    peers: bool,
    /// Only these rows (`--list` names them)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rows: Vec<String>,
    /// Write what was counted as JSON (`-` for standard output, and nothing else there)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Count popleft alone, and fail when a row takes 3 % more than the number kept
    #[arg(long, conflicts_with_all = ["record", "peers"])]
    check: bool,
    /// Count popleft alone, and keep its numbers in `benches/counts.toml`
    #[arg(long)]
    record: bool,
    /// Name all rows, and end
    #[arg(long)]
    list: bool,
    /// Count this build as it is, instead of building with fat link-time optimisation first
    #[arg(long, conflicts_with_all = ["check", "record"])]
    as_built: bool,
}

/// A row of the bench, and with how many operations it is counted.
struct Lengths {
    name: &'static str,
    few: u64,
    many: u64,
}

const fn lengths(name: &'static str, few: u64, many: u64) -> Lengths {
    Lengths { name, few, many }
}

/// The rows that are counted. Where many operations make a row's heap or table larger, they are as
/// few as they can be while the difference is still far above what varies.
const ROWS: &[Lengths] = &[
    lengths("yield-1", 10_000, 110_000),
    lengths("yield-1000", 10_000, 110_000),
    lengths("spawn", 2_000, 42_000),
    lengths("spawn-detached", 2_000, 42_000),
    lengths("spawn-4k", 2_000, 42_000),
    lengths("slot", 2_000, 42_000),
    lengths("timer-drop", 10_000, 210_000),
    lengths("timer-fire", 5_000, 40_000),
    lengths("offload-100", 2_000, 62_000),
];

/// How often a row is counted of which the least counts: where threads or the clock take part, the
/// number varies a little, and only upwards.
const TIMES: usize = 3;

/// How many functions are named for a row.
const FUNCTIONS: usize = 10;

/// What one runtime takes for an operation of a row.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    peer: &'static str,
    instructions: f64,
}

/// A function of popleft or of what it calls, and its own instructions for an operation.
#[derive(Clone, Debug, Serialize)]
struct Function {
    name: String,
    instructions: f64,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
struct Counted {
    row: &'static str,
    title: &'static str,
    cells: Vec<Cell>,
    /// The functions in which popleft's instructions are, those with the most first.
    functions: Vec<Function>,
    /// The number in `counts.toml`.
    kept: Option<f64>,
    /// By how many hundredths popleft takes more than that.
    change: Option<f64>,
}

impl Counted {
    fn of(&self, peer: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.peer == peer).map(|cell| cell.instructions)
    }

    fn popleft(&self) -> f64 {
        self.of("popleft").unwrap_or(f64::NAN)
    }
}

/// Everything that was counted.
#[derive(Clone, Debug, Serialize)]
struct Report {
    settings: String,
    rows: Vec<Counted>,
    /// The runtimes that could not be counted, and why.
    absent: Vec<(&'static str, String)>,
}

/// Runs with the arguments of this process.
pub fn main() -> ExitCode {
    cli::run("counts", cli::arguments(), |options: Options| {
        if options.list {
            return list();
        }
        if let Some(path) = options.json_file() {
            output::can_be_written(path)?;
        }
        let rows = chosen("row", &options.rows, ROWS.iter().map(|row| row.name))?;
        callgrind::is_there()?;
        if !options.as_built {
            profile::build_again("counts", options.peers)?;
        }
        run(&options, &rows)
    })
}

impl Options {
    /// Where the JSON goes, unless that is standard output.
    fn json_file(&self) -> Option<&PathBuf> {
        self.json.as_ref().filter(|path| path.as_os_str() != "-")
    }

    /// The runtimes that are counted.
    fn peers(&self) -> Vec<&'static str> {
        let all = peers::ALL.iter().map(|peer| peer.0);
        if self.peers {
            all.collect()
        } else if self.check || self.record {
            vec!["popleft"]
        } else {
            vec!["popleft", "limit"]
        }
    }
}

fn list() -> anyhow::Result<()> {
    let mut out = output::stdout();
    for row in ROWS {
        writeln!(out, "{:18}{}", row.name, title_of(row.name))?;
    }
    Ok(())
}

fn title_of(row: &str) -> &'static str {
    rows::find(row).map_or("", |row| row.title)
}

fn run(options: &Options, names: &[&str]) -> anyhow::Result<()> {
    let is_comparable = profile::is_measured()?;
    if (options.check || options.record) && !is_comparable {
        bail!("the numbers kept are those of the profile `measured`: run this with cargo");
    }
    // The first record has nothing before it.
    let kept = if options.record { Kept::read().unwrap_or_default() } else { Kept::read()? };
    let settings = settings(&kept, is_comparable);
    let mut report = Report { settings, rows: vec![], absent: vec![] };
    for row in ROWS.iter().filter(|row| names.contains(&row.name)) {
        let counted = count_row(row, options, &kept, &mut report.absent)?;
        report.rows.push(counted);
    }
    report.absent.sort();
    report.absent.dedup();
    print(&report, options)?;
    let numbers: Vec<_> = report.rows.iter().map(|row| (row.row, row.popleft())).collect();
    if options.record {
        kept.with(&numbers).write()?;
    }
    if options.check {
        let complaints = complaints(&kept, &numbers);
        if !complaints.is_empty() {
            bail!("{}", complaints.join("; "));
        }
    }
    Ok(())
}

/// With what is counted, and with what the numbers kept were.
fn settings(kept: &Kept, is_comparable: bool) -> String {
    let compiler = compiler();
    let mut settings = compiler.clone();
    if !is_comparable {
        settings += ", as built, without link-time optimisation: not to be compared";
    } else if kept.compiler != compiler && !kept.compiler.is_empty() {
        settings += &format!("; the numbers kept are those of {}", kept.compiler);
    }
    settings
}

fn print(report: &Report, options: &Options) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    let prints_json = options.json.is_some() && options.json_file().is_none();
    let said = if prints_json { &json } else { &print::text(report) };
    output::stdout().write_all(said.as_bytes())?;
    if let Some(path) = options.json_file() {
        output::write_file(path, &json)?;
    }
    Ok(())
}

// ===== counting =================================================================================

fn count_row(
    row: &Lengths,
    options: &Options,
    kept: &Kept,
    absent: &mut Vec<(&'static str, String)>,
) -> anyhow::Result<Counted> {
    let mut counted = Counted {
        row: row.name,
        title: title_of(row.name),
        cells: vec![],
        functions: vec![],
        kept: kept.instructions.get(row.name).copied(),
        change: None,
    };
    for peer in options.peers().into_iter().filter(|peer| has_row(row.name, peer)) {
        if let Some(why) = peers::why_not(peer) {
            absent.push((peer, why.to_string()));
            continue;
        }
        let cost =
            if peer == "popleft" { count_popleft(row, options, kept) } else { Cost::of(row, peer) };
        match cost {
            Ok(cost) => {
                counted.cells.push(Cell { peer, instructions: cost.instructions });
                if peer == "popleft" {
                    counted.change = kept.change(row.name, cost.instructions);
                    counted.functions = cost.functions();
                }
            }
            // What one cannot do must not keep the others from being counted.
            Err(error) if peer != "popleft" => {
                absent.push((peer, format!("{}: {}", counted.title, last_words(&error))));
            }
            Err(error) => return Err(error.context(format!("counting {}", row.name))),
        }
    }
    Ok(counted)
}

fn has_row(row: &str, peer: &str) -> bool {
    match rows::find(row).map(|row| row.kind) {
        Some(Kind::Operation { limit, .. }) => peer != "limit" || limit.is_some(),
        _ => false,
    }
}

/// The least of some counts where the number is to be kept, or would be complained of.
fn count_popleft(row: &Lengths, options: &Options, kept: &Kept) -> anyhow::Result<Cost> {
    let mut least = Cost::of(row, "popleft")?;
    for _ in 1..TIMES {
        let seems_worse = kept.change(row.name, least.instructions).is_some_and(is_worse);
        if !(options.record || options.check && seems_worse) {
            break;
        }
        let again = Cost::of(row, "popleft")?;
        if again.instructions < least.instructions {
            least = again;
        }
    }
    Ok(least)
}

/// What an operation takes, and where.
struct Cost {
    instructions: f64,
    places: Vec<(Place, f64)>,
}

impl Cost {
    /// Counted with few operations and with many.
    fn of(row: &Lengths, peer: &str) -> anyhow::Result<Cost> {
        let few = callgrind::profile(row.name, peer, row.few)?;
        let many = callgrind::profile(row.name, peer, row.many)?;
        Ok(Cost::between(&few, &many, row.many - row.few))
    }

    fn between(few: &Profile, many: &Profile, operations: u64) -> Cost {
        let each = |few: u64, many: u64| (many as f64 - few as f64) / operations as f64;
        let before = |place: &Place| few.counts.get(place).copied().unwrap_or(0);
        let counts = many.counts.iter();
        let places = counts.map(|(place, &count)| (place.clone(), each(before(place), count)));
        Cost { instructions: each(few.total(), many.total()), places: places.collect() }
    }

    /// The functions that take most. They are those of the sources where `addr2line` knows what
    /// was inlined, and those of the program otherwise.
    fn functions(&self) -> Vec<Function> {
        let counts = self.places.iter().filter(|(_, instructions)| *instructions > 0.0);
        let addresses: Vec<_> = counts.clone().filter_map(|(place, _)| place.address).collect();
        let inlined = inlined::functions(&addresses).unwrap_or_default();
        let mut functions: BTreeMap<&str, f64> = BTreeMap::new();
        for (place, instructions) in counts {
            let name = place.address.and_then(|address| inlined.get(&address));
            *functions.entry(name.unwrap_or(&place.function)).or_default() += instructions;
        }
        let function =
            |(name, instructions): (&str, _)| Function { name: name.to_string(), instructions };
        let mut functions: Vec<_> = functions.into_iter().map(function).collect();
        functions.sort_by(|a, b| b.instructions.total_cmp(&a.instructions));
        functions.truncate(FUNCTIONS);
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_that_is_counted_is_a_small_row_of_the_bench() {
        for row in ROWS {
            assert!(has_row(row.name, "popleft"), "{}", row.name);
            assert!(row.few < row.many);
        }
    }

    #[test]
    fn what_is_set_up_does_not_count() {
        let place = |function: &str| Place { function: function.to_string(), address: None };
        let profile = |spawn, set_up| Profile {
            counts: [(place("spawn"), spawn), (place("set up"), set_up)].into(),
        };
        let cost = Cost::between(&profile(100, 5_000), &profile(1_100, 5_000), 10);
        assert_eq!(cost.instructions, 100.0);
        let functions = cost.functions();
        assert_eq!(functions.len(), 1);
        assert_eq!((&*functions[0].name, functions[0].instructions), ("spawn", 100.0));
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
