//! What each technique is worth: it is undone, and both are measured in turns.
//!
//! `undo.toml` says for each technique which lines to replace. The workspace is copied, the lines
//! are replaced there, and the bench is built from the copy; then the runtime as it is and the one
//! without the technique take turns.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use popleft_demos::{cli, output};
use serde::{Deserialize, Serialize};

use crate::measure::median;
use crate::rows::{self, Kind};

/// What each technique of popleft is worth, told by undoing it
///
/// Copies the workspace, takes one technique out of the copy, builds it, and has both measured in
/// turns. The first build takes a minute or two, each further one about half a minute.
#[derive(Debug, Parser)]
#[command(
    name = "undone",
    version,
    after_help = "\
Examples:
  cargo run --release -p popleft-benches --bin undone                  # all of them
  cargo run --release -p popleft-benches --bin undone -- fresh slack   # these two
  cargo run --release -p popleft-benches --bin undone -- --list"
)]
struct Options {
    /// Only these techniques (`--list` names them)
    names: Vec<String>,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Short measurements
    #[arg(long)]
    quick: bool,
    /// Write what was measured as JSON (`-` for standard output, and nothing else there)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Name all techniques, and end
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Deserialize)]
struct Techniques {
    technique: Vec<Technique>,
}

/// Something that makes the runtime faster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Technique {
    name: String,
    title: String,
    /// What is done in its place.
    undone: String,
    /// Which rows of the bench show it.
    rows: Vec<String>,
    edit: Vec<Edit>,
}

/// A replacement in one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: PathBuf,
    was: String,
    is: String,
}

impl Edit {
    fn apply(&self, workspace: &Path) -> anyhow::Result<()> {
        let path = workspace.join(&self.file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let times = text.matches(&self.was).count();
        ensure!(times == 1, "{}: {:?} stands there {times} times", path.display(), self.was);
        fs::write(&path, text.replace(&self.was, &self.is))
            .with_context(|| path.display().to_string())
    }
}

/// One row with a technique and without it.
#[derive(Debug, Serialize)]
struct Worth<'a> {
    technique: &'a str,
    undone: &'a str,
    row: &'a str,
    unit: &'static str,
    with: f64,
    without: f64,
    /// How many times as good the row is with the technique: the median of the rounds' ratios.
    ratio: f64,
}

/// The part of a bench's JSON that is read here.
#[derive(Deserialize)]
struct Measured {
    rows: Vec<MeasuredRow>,
}

#[derive(Deserialize)]
struct MeasuredRow {
    row: String,
    cells: Vec<MeasuredCell>,
}

#[derive(Deserialize)]
struct MeasuredCell {
    value: f64,
    cpu: Option<f64>,
}

/// Runs with the arguments of this process.
pub fn main() -> ExitCode {
    cli::run("undone", cli::arguments(), |options: Options| run(&options))
}

fn run(options: &Options) -> anyhow::Result<()> {
    let all = techniques()?;
    if options.list {
        let mut out = output::stdout();
        for Technique { name, title, undone, .. } in &all {
            writeln!(out, "{name:18}{title}; undone: {undone}")?;
        }
        return Ok(());
    }
    let json_file = options.json.as_ref().filter(|path| path.as_os_str() != "-");
    if let Some(path) = json_file {
        output::can_be_written(path)?;
    }
    if let Some(unknown) = options.names.iter().find(|name| all.iter().all(|t| t.name != **name)) {
        let names: Vec<_> = all.iter().map(|technique| &*technique.name).collect();
        bail!("there is no technique {unknown:?}; there are: {}", names.join(", "));
    }
    let chosen = |technique: &&Technique| {
        options.names.is_empty() || options.names.contains(&technique.name)
    };
    let builds = Builds::new()?;
    let as_it_is = builds.build("as-it-is", &[])?;
    let mut built = vec![];
    for technique in all.iter().filter(chosen) {
        built.push((technique, builds.build(&technique.name, &technique.edit)?));
    }
    let mut worths = vec![];
    for (technique, without) in &built {
        worths.extend(measure(technique, &as_it_is, without, options)?);
    }
    let json = serde_json::to_string_pretty(&worths)? + "\n";
    let prints_json = options.json.is_some() && json_file.is_none();
    let said = if prints_json { &json } else { &text(&worths, options) };
    output::stdout().write_all(said.as_bytes())?;
    if let Some(path) = json_file {
        output::write_file(path, &json)?;
    }
    Ok(())
}

fn techniques() -> anyhow::Result<Vec<Technique>> {
    let Techniques { technique } =
        toml::from_str(include_str!("../undo.toml")).context("undo.toml")?;
    Ok(technique)
}

/// The row counts something of which more is better.
fn more_is_better(row: &str) -> bool {
    rows::find(row).is_some_and(|row| matches!(row.kind, Kind::Server { .. }))
}

/// Of a row that counts time the processor's counts, where a thread may have to wait for another.
fn figure(row: &str, cell: &MeasuredCell) -> f64 {
    match rows::find(row).map(|row| row.kind) {
        Some(Kind::Operation { cpu: true, .. }) => cell.cpu.unwrap_or(cell.value),
        _ => cell.value,
    }
}

fn measure<'a>(
    technique: &'a Technique,
    with: &Path,
    without: &Path,
    options: &Options,
) -> anyhow::Result<Vec<Worth<'a>>> {
    let mut rounds = vec![];
    for _ in 0..options.rounds {
        let pair = [with, without].map(|bench| one_round(bench, &technique.rows, options));
        let [with, without] = pair;
        rounds.push((with?, without?));
    }
    let worths = technique.rows.iter().map(|row| {
        let of = |measured: &Measured| -> Option<f64> {
            let measured = measured.rows.iter().find(|measured| measured.row == *row)?;
            Some(figure(row, measured.cells.first()?))
        };
        let pairs: Option<Vec<_>> =
            rounds.iter().map(|(with, without)| Some((of(with)?, of(without)?))).collect();
        let pairs = pairs.with_context(|| format!("{row} was not measured"))?;
        let ratio = |&(with, without): &(f64, f64)| match more_is_better(row) {
            true => with / without,
            false => without / with,
        };
        Ok(Worth {
            technique: &technique.title,
            undone: &technique.undone,
            row,
            unit: if more_is_better(row) { "1000/s" } else { "ns" },
            with: median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>()),
            without: median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>()),
            ratio: median(&pairs.iter().map(ratio).collect::<Vec<_>>()),
        })
    });
    worths.collect()
}

fn one_round(bench: &Path, rows: &[String], options: &Options) -> anyhow::Result<Measured> {
    let mut command = Command::new(bench);
    command.args(["--as-built", "--peers", "popleft", "--rounds", "1", "--json", "-"]);
    command.args(["--rows", &rows.join(",")]);
    if options.quick {
        command.arg("--quick");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{} failed", bench.display());
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(worths: &[Worth<'_>], options: &Options) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["technique", "row", "with", "without", ""]);
    let mut before = "";
    for worth in worths {
        let technique = match before == worth.technique {
            true => String::new(),
            false => format!("{}\n  undone: {}", worth.technique, worth.undone),
        };
        before = worth.technique;
        let figure = |value: f64| match value {
            100.0.. => format!("{value:.0} {}", worth.unit),
            _ => format!("{value:.1} {}", worth.unit),
        };
        table.add_row([
            technique,
            worth.row.to_string(),
            figure(worth.with),
            figure(worth.without),
            format!("{:.2} times", worth.ratio),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("medians of {} rounds in turns\n", options.rounds);
    for line in table.lines() {
        text += line.trim_end();
        text += "\n";
    }
    text
}

// ===== building =================================================================================

/// A copy of the workspace, in which techniques are undone one after the other.
struct Builds {
    workspace: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    benches: PathBuf,
}

impl Builds {
    fn new() -> anyhow::Result<Builds> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let this = std::env::current_exe()?;
        let target = this.ancestors().nth(2).context("this program lies nowhere")?;
        let folder = target.join("undone");
        let builds = Builds {
            workspace,
            copy: folder.join("workspace"),
            target: folder.join("target"),
            benches: folder.join("benches"),
        };
        fs::create_dir_all(&builds.benches)?;
        Ok(builds)
    }

    /// The bench of a copy with these edits.
    fn build(&self, name: &str, edits: &[Edit]) -> anyhow::Result<PathBuf> {
        output::complain(format_args!("undone: building {name}"));
        copy(&self.workspace, &self.copy)?;
        for edit in edits {
            edit.apply(&self.copy)?;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "-q", "--profile", "measured", "-p", "popleft-benches"])
            .args(["--bin", "peers"])
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "{name} does not build");
        let bench = self.benches.join(name);
        fs::copy(self.target.join("measured").join("peers"), &bench)?;
        Ok(bench)
    }
}

/// Copies what has changed, so that only that is built again, and removes what is gone.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    let skipped = [OsStr::new("target"), OsStr::new(".git")];
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if skipped.contains(&&*entry.file_name()) {
            continue;
        }
        names.insert(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&path, &copied)?;
        } else if fs::read(&copied).ok() != Some(fs::read(&path)?) {
            fs::copy(&path, &copied)?;
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        match (names.contains(&entry.file_name()), entry.file_type()?.is_dir()) {
            (true, _) => {}
            (false, true) => fs::remove_dir_all(entry.path())?,
            (false, false) => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An edit that no longer fits would be found out only when somebody measures.
    #[test]
    fn every_edit_fits_the_sources_and_every_row_exists() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for technique in techniques().unwrap() {
            for row in &technique.rows {
                assert!(rows::find(row).is_some(), "{}: no row {row}", technique.name);
            }
            for edit in &technique.edit {
                let text = fs::read_to_string(workspace.join(&edit.file)).unwrap();
                let times = text.matches(&edit.was).count();
                assert_eq!(times, 1, "{}: {:?}", technique.name, edit.was);
            }
        }
    }
}
