//! The runs whose output the book shows: `book/outputs.toml`, and what is recorded in `book/outputs/`.

mod judge;
mod law;
pub(crate) mod make;
mod normalise;
pub mod process;
pub mod record;
mod value;

use crate::repository::Repository;
use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use value::Extraction;
pub use value::Value;

pub const FILE: &str = "book/outputs.toml";

/// How a fresh run is compared with the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By bytes.
    Exact,
    /// By the laws that it obeys; its digits belong to the machine.
    Measured,
    /// By bytes, after addresses and process numbers are replaced.
    Gdb,
}

/// One entry of `book/outputs.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub kind: Kind,
    /// A shell line, run in the root of the repository.
    command: String,
    /// The command as the book shows it.
    shown: Option<String>,
    #[serde(default)]
    bins: Vec<String>,
    #[serde(default = "default_package")]
    package: String,
    profile: Option<Profile>,
    /// Started first; its `listening on ADDR` becomes `{addr}`.
    server: Option<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    stderr: bool,
    #[serde(default)]
    status: i32,
    /// Seconds until it is killed with all its children.
    #[serde(default = "default_timeout")]
    timeout: u64,
    /// It takes minutes: it is run only when it is named, and what is recorded is held to its laws.
    #[serde(default)]
    long: bool,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Programs without which the run is skipped.
    #[serde(default)]
    needs: Vec<String>,
    /// Written by the run to `{dir}`, and recorded too.
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    replace: Vec<(String, String)>,
    /// Regexes that must match lines, in this order.
    #[serde(default)]
    lines: Vec<String>,
    #[serde(default)]
    values: BTreeMap<String, Extraction>,
    #[serde(default)]
    laws: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    Release,
    Debug,
}

fn default_package() -> String {
    "popleft-demos".to_string()
}

fn default_timeout() -> u64 {
    60
}

/// All runs, by name.
#[derive(Debug, Default)]
pub struct Outputs {
    runs: BTreeMap<String, Run>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    output: BTreeMap<String, Run>,
}

/// What one run printed and wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    pub text: String,
    pub files: BTreeMap<String, String>,
}

impl Outputs {
    /// Reads `book/outputs.toml`; fails on what can be seen to be wrong without running anything.
    pub fn read(repository: &Repository) -> Result<Outputs> {
        if !repository.path(FILE).exists() {
            return Ok(Outputs::default());
        }
        let table: Table = toml::from_str(&repository.read(FILE)?).context(FILE)?;
        for (name, run) in &table.output {
            run.validate().with_context(|| format!("{FILE}: output.{name}"))?;
        }
        Ok(Outputs { runs: table.output })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.runs.keys().map(String::as_str)
    }

    pub fn run(&self, name: &str) -> Result<&Run, String> {
        self.runs.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            format!("{FILE} has no output `{name}`; it has: {}", names.join(", "))
        })
    }

    /// The recorded text of a run, or of a file that it wrote.
    pub fn recorded(
        &self,
        repository: &Repository,
        name: &str,
        file: Option<&str>,
    ) -> Result<String, String> {
        let run = self.run(name)?;
        if let Some(file) = file
            && !run.files.iter().any(|written| written == file)
        {
            return Err(format!("{FILE}: output `{name}` writes no file `{file}`"));
        }
        let path = recorded_path(name, file);
        repository.read(&path).map_err(|_| {
            format!("output `{name}` is not recorded: `cargo run -p popleft-book -- record {name}`")
        })
    }

    /// All that is recorded of a run.
    pub fn recording(&self, repository: &Repository, name: &str) -> Result<Recording, String> {
        let mut recording =
            Recording { text: self.recorded(repository, name, None)?, files: BTreeMap::new() };
        for file in &self.run(name)?.files {
            let text = self.recorded(repository, name, Some(file))?;
            recording.files.insert(file.clone(), text);
        }
        Ok(recording)
    }

    /// A value as it was recorded.
    pub fn recorded_value(
        &self,
        repository: &Repository,
        name: &str,
        key: &str,
    ) -> Result<Value, String> {
        let run = self.run(name)?;
        let extraction = run.values.get(key).ok_or_else(|| {
            let keys: Vec<&str> = run.values.keys().map(String::as_str).collect();
            format!("{FILE}: output `{name}` has no value `{key}`; it has: {}", keys.join(", "))
        })?;
        let recording = self.recording(repository, name)?;
        let value = extraction.extract(&recording);
        value.map_err(|text| format!("{name}.{key}: {text}"))
    }

    /// The runs whose values the laws of other runs name.
    pub fn named_in_laws(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, run) in &self.runs {
            for law in run.laws.iter().filter_map(|law| law::Law::parse(law).ok()) {
                let others = law
                    .names()
                    .into_iter()
                    .filter_map(|named| named.split_once('.').map(|(other, _)| other.to_string()));
                found.extend(others.filter(|other| other != name));
            }
        }
        found
    }
}

/// `book/outputs/NAME.txt`, or `book/outputs/NAME.FILE` for a file that the run wrote.
pub fn recorded_path(name: &str, file: Option<&str>) -> String {
    format!("book/outputs/{name}.{}", file.unwrap_or("txt"))
}

impl Run {
    fn validate(&self) -> Result<()> {
        for (pattern, _) in &self.replace {
            Regex::new(pattern).with_context(|| format!("replace: {pattern}"))?;
        }
        for pattern in &self.lines {
            Regex::new(pattern).with_context(|| format!("lines: {pattern}"))?;
        }
        for (key, extraction) in &self.values {
            extraction.validate(&self.files).with_context(|| format!("values.{key}"))?;
        }
        for law in &self.laws {
            if let Err(text) = law::Law::parse(law) {
                bail!("law `{law}`: {text}");
            }
        }
        if self.kind == Kind::Measured && self.laws.is_empty() && self.lines.is_empty() {
            bail!("a measured output states no law and no lines: nothing would check it");
        }
        Ok(())
    }

    fn profile(&self) -> Profile {
        let usual = if self.kind == Kind::Gdb { Profile::Debug } else { Profile::Release };
        self.profile.unwrap_or(usual)
    }

    /// The outside programs that it cannot do without.
    fn tools(&self) -> Vec<&str> {
        let gdb = (self.kind == Kind::Gdb).then_some("gdb");
        gdb.into_iter().chain(self.needs.iter().map(String::as_str)).collect()
    }

    /// The command as one types it in the root of the repository.
    pub fn shown_command(&self) -> String {
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        let folder = match self.profile() {
            Profile::Release => "target/release",
            Profile::Debug => "target/debug",
        };
        let command = self
            .command
            .replace("{target}", folder)
            .replace("{addr}", SHOWN_ADDRESS)
            .replace("{dir}/", "");
        let (program, arguments) = command.split_once(' ').unwrap_or((&command, ""));
        if !self.bins.iter().any(|bin| bin == program) {
            return command;
        }
        let mut words = vec!["cargo run".to_string()];
        if self.package != default_package() {
            words.push(format!("-p {}", self.package));
        }
        if self.profile() == Profile::Release {
            words.push("--release".to_string());
        }
        words.push(format!("--bin {program}"));
        if !arguments.is_empty() {
            words.push(format!("-- {arguments}"));
        }
        words.join(" ")
    }
}

/// What the book shows where a run had an address of its own.
const SHOWN_ADDRESS: &str = "127.0.0.1:25000";

/// Where the built programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    target: PathBuf,
}

impl Programs {
    fn folder(&self, profile: Profile) -> PathBuf {
        self.target.join(match profile {
            Profile::Release => "release",
            Profile::Debug => "debug",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Run> {
        let run: Run = toml::from_str(text)?;
        run.validate()?;
        Ok(run)
    }

    #[test]
    fn a_built_program_is_shown_as_cargo_runs_it() {
        let exact =
            run("kind = 'exact'\ncommand = 'countdown 3 --addr {addr}'\nbins = ['countdown']")
                .unwrap();
        assert_eq!(
            exact.shown_command(),
            "cargo run --release --bin countdown -- 3 --addr 127.0.0.1:25000"
        );
        let step = run("kind = 'exact'\ncommand = 'step-1'\nbins = ['step-1']\npackage = 'popleft-steps'\nprofile = 'debug'").unwrap();
        assert_eq!(step.shown_command(), "cargo run -p popleft-steps --bin step-1");
        let gdb = run("kind = 'gdb'\ncommand = 'gdb --args {target}/x'\nbins = ['x']").unwrap();
        assert_eq!(gdb.shown_command(), "gdb --args target/debug/x");
    }

    #[test]
    fn what_nothing_would_check_is_refused() {
        assert!(run("kind = 'measured'\ncommand = 'x'").is_err());
        assert!(run("kind = 'exact'\ncommand = 'x'\nlaws = ['a <']").is_err());
        assert!(run("kind = 'exact'\ncommand = 'x'\nlines = ['(']").is_err());
        assert!(run("kind = 'exact'\ncommand = 'x'\nvalues.a = { regex = 'no group' }").is_err());
        assert!(run("kind = 'exact'\ncommand = 'x'\nunknown = 1").is_err());
        assert!(
            run("kind = 'exact'\ncommand = 'x'\nvalues.a = { file = 'f', json = '/a' }").is_err()
        );
    }
}
