//! What a technique is worth: both builds are measured in turns, and compared.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::measure::median;
use crate::rows::{self, Kind};
use crate::undo::Options;
use crate::undo::techniques::Technique;

/// One row with a technique and without it.
#[derive(Debug, Serialize)]
pub(super) struct Worth<'a> {
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

pub(super) fn measure<'a>(
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
        let ratio = |&(with, without): &(f64, f64)| {
            if more_is_better(row) { with / without } else { without / with }
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

pub(super) fn text(worths: &[Worth<'_>], options: &Options) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["technique", "row", "with", "without", ""]);
    let mut before = "";
    for worth in worths {
        let technique = if before == worth.technique {
            String::new()
        } else {
            format!("{}\n  undone: {}", worth.technique, worth.undone)
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
