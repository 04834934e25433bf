//! The numbers that are kept in the repository, and the comparison with them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use popleft_demos::output;
use serde::{Deserialize, Serialize};

use super::ROWS;

/// By how many hundredths a row may get worse.
const MAY_GROW: f64 = 3.0;

/// What stands in `counts.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// With which compiler it was counted. Another one makes other instructions of the same text.
    pub(super) compiler: String,
    /// Instructions an operation of each row.
    pub(super) instructions: BTreeMap<String, f64>,
}

/// Where they are kept.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml")
}

impl Kept {
    pub(super) fn read() -> anyhow::Result<Kept> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn write(&self) -> anyhow::Result<()> {
        output::write_file(&path(), &self.text())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# Instructions an operation of popleft, as `counts --record` counted them last.\n\
             # `counts --check` fails when a row takes {MAY_GROW} % more.\n\n\
             compiler = {:?}\n\n[instructions]\n",
            self.compiler
        );
        let known = ROWS.iter().filter_map(|row| self.instructions.get_key_value(row.name));
        for (name, instructions) in known {
            let _ = writeln!(text, "{name} = {instructions:.1}");
        }
        text
    }

    /// A copy with new numbers for these rows.
    pub(super) fn with(&self, counted: &[(&str, f64)]) -> Kept {
        let mut instructions = self.instructions.clone();
        instructions.extend(counted.iter().map(|&(row, count)| (row.to_string(), count)));
        Kept { compiler: compiler(), instructions }
    }

    /// By how many hundredths a row takes more than what is kept, or less.
    pub(super) fn change(&self, row: &str, instructions: f64) -> Option<f64> {
        let kept = self.instructions.get(row)?;
        Some((instructions / kept - 1.0) * 100.0)
    }
}

/// Whether a change is more than a row may get worse by.
pub(super) fn is_worse(change: f64) -> bool {
    change > MAY_GROW
}

/// What is wrong with rows by what is kept: those that got worse, and those without a number.
pub(super) fn complaints(kept: &Kept, counted: &[(&str, f64)]) -> Vec<String> {
    let mut complaints = vec![];
    for &(row, instructions) in counted {
        match kept.change(row, instructions) {
            None => complaints.push(format!("{row}: no number is kept (--record writes it)")),
            Some(change) if is_worse(change) => complaints.push(format!(
                "{row}: {instructions:.1} instructions an operation, {change:.1} % more than the \
                 {:.1} kept",
                kept.instructions[row]
            )),
            Some(_) => {}
        }
    }
    complaints
}

/// The compiler that is used here.
pub(super) fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| "unknown".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let instructions = [("spawn".to_string(), 800.0), ("slot".to_string(), 600.5)];
        Kept { compiler: "rustc \"1\"".to_string(), instructions: BTreeMap::from(instructions) }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(toml::from_str::<Kept>(&kept().text()).unwrap(), kept());
    }

    #[test]
    fn a_number_that_was_counted_replaces_the_one_kept_and_leaves_the_others() {
        let kept = kept().with(&[("spawn", 700.0)]);
        assert_eq!((kept.instructions["spawn"], kept.instructions["slot"]), (700.0, 600.5));
    }

    #[test]
    fn a_row_may_get_better_but_not_worse_by_more_than_three_hundredths() {
        assert!(complaints(&kept(), &[("spawn", 823.9), ("slot", 300.0)]).is_empty());
        let said = complaints(&kept(), &[("spawn", 824.1), ("slot", 600.5)]);
        assert_eq!(
            said,
            ["spawn: 824.1 instructions an operation, 3.0 % more than the 800.0 kept"]
        );
    }

    #[test]
    fn a_row_without_a_number_is_complained_of() {
        let said = complaints(&kept(), &[("yield-1", 100.0)]);
        assert_eq!(said, ["yield-1: no number is kept (--record writes it)"]);
    }

    #[test]
    fn the_numbers_of_the_repository_are_those_of_all_rows() {
        let kept = Kept::read().unwrap();
        let rows: Vec<_> = kept.instructions.keys().map(String::as_str).collect();
        let mut counted: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        counted.sort_unstable();
        assert_eq!(rows, counted);
    }
}
