//! Makes the runs, writes down what they printed, and holds it against what was written down before.

use super::law::Law;
use super::normalise::{Places, normalise};
use super::process::{self, Server};
use super::{FILE, Kind, Outputs, Profile, Programs, Recording, Run, recorded_path};
use crate::problem::Problem;
use crate::repository::Repository;
use anyhow::{Context, Result, bail};
use regex::Regex;
use similar::{ChangeTag, TextDiff};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What became of a run.
enum Outcome {
    Made(Recording),
    /// `no gdb`
    Skipped(String),
}

/// Runs the commands with these names (all when there are none) and writes `book/outputs/`.
pub fn record(
    repository: &Repository,
    outputs: &Outputs,
    names: &[String],
) -> Result<Vec<Problem>> {
    let names = chosen(outputs, names)?;
    let programs = build_programs(repository, outputs, &names)?;
    let mut fresh = BTreeMap::new();
    let mut problems = Vec::new();
    for name in &names {
        match make(repository, outputs, &programs, name) {
            Ok(Outcome::Made(recording)) => {
                fresh.insert(name.clone(), recording);
            }
            Ok(Outcome::Skipped(why)) => println!("{name}: skipped: {why}"),
            Err(error) => problems.push(Problem::new(place(name), format!("{error:#}"))),
        }
    }
    for (name, recording) in &fresh {
        let broken = broken_laws(repository, outputs, name, recording, &fresh)?;
        if broken.is_empty() {
            let before = outputs.recorded(repository, name, None).ok();
            write(repository, name, recording)?;
            println!("{name}: {}", change(before.as_deref(), &recording.text));
        } else {
            println!("{name}: not recorded, for it breaks its laws");
            print!("{}", indented(&recording.text));
            problems.extend(broken);
        }
    }
    Ok(problems)
}

/// Runs everything again and compares it with what is recorded.
pub fn check(repository: &Repository, outputs: &Outputs) -> Result<Vec<Problem>> {
    let names = chosen(outputs, &[])?;
    let programs = build_programs(repository, outputs, &names)?;
    let mut fresh = BTreeMap::new();
    let mut problems = strays(repository, outputs)?;
    for name in &names {
        match make(repository, outputs, &programs, name) {
            Ok(Outcome::Made(recording)) => {
                fresh.insert(name.clone(), recording);
            }
            Ok(Outcome::Skipped(why)) => println!("{name}: skipped: {why}"),
            Err(error) => problems.push(Problem::new(place(name), format!("{error:#}"))),
        }
    }
    for name in fresh.keys().cloned().collect::<Vec<_>>() {
        let run = outputs.run(&name).map_err(anyhow::Error::msg)?;
        let recorded = match outputs.recording(repository, &name) {
            Ok(recorded) => recorded,
            Err(text) => {
                problems.push(Problem::new(place(&name), text));
                continue;
            }
        };
        let mut found = judge(repository, outputs, &name, &recorded, &fresh)?;
        if !found.is_empty() && run.kind == Kind::Measured {
            println!("{name}: a law is broken; measuring once more");
            if let Outcome::Made(again) = make(repository, outputs, &programs, &name)? {
                fresh.insert(name.clone(), again);
                found = judge(repository, outputs, &name, &recorded, &fresh)?;
            }
        }
        if found.is_empty() {
            println!("{name}: ok");
        }
        problems.extend(found);
    }
    Ok(problems)
}

fn place(name: &str) -> String {
    format!("{FILE}: output.{name}")
}

fn chosen(outputs: &Outputs, names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(outputs.names().map(str::to_string).collect());
    }
    for name in names {
        outputs.run(name).map_err(anyhow::Error::msg)?;
    }
    Ok(names.to_vec())
}

/// Builds what the runs need, one cargo command for each package and profile.
fn build_programs(
    repository: &Repository,
    outputs: &Outputs,
    names: &[String],
) -> Result<Programs> {
    let mut wanted: BTreeMap<(String, Profile), BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let run = outputs.run(name).map_err(anyhow::Error::msg)?;
        let bins = wanted
            .entry((run.package.clone(), run.profile()))
            .or_default();
        bins.extend(run.bins.iter().cloned());
    }
    wanted.retain(|_, bins| !bins.is_empty());
    for ((package, profile), bins) in &wanted {
        let mut command = cargo(repository);
        command.args(["build", "--package", package]);
        if *profile == Profile::Release {
            command.arg("--release");
        }
        for bin in bins {
            command.args(["--bin", bin]);
        }
        let status = command.status().context("cannot start cargo")?;
        if !status.success() {
            bail!("cargo build --package {package} failed");
        }
    }
    let target = if wanted.is_empty() {
        repository.path("target")
    } else {
        target_folder(repository)?
    };
    Ok(Programs { target })
}

pub(crate) fn cargo(repository: &Repository) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository.root());
    command
}

/// Where cargo puts what it builds.
fn target_folder(repository: &Repository) -> Result<PathBuf> {
    let mut command = cargo(repository);
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    let output = command.output().context("cannot start cargo")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder
        .context("cargo metadata names no target directory")?
        .into())
}

/// The folders around one run.
struct Stage {
    programs: PathBuf,
    scratch: tempfile::TempDir,
}

fn make(
    repository: &Repository,
    outputs: &Outputs,
    programs: &Programs,
    name: &str,
) -> Result<Outcome> {
    let run = outputs.run(name).map_err(anyhow::Error::msg)?;
    if let Some(tool) = run.tools().into_iter().find(|tool| !is_installed(tool)) {
        if std::env::var_os("POPLEFT_REQUIRE_TOOLS").is_some_and(|value| value == "1") {
            bail!("{tool} is not installed");
        }
        return Ok(Outcome::Skipped(format!("no {tool}")));
    }
    let stage = Stage {
        programs: programs.folder(run.profile()),
        scratch: tempfile::tempdir()?,
    };
    let mut server = match &run.server {
        Some(line) => Some(Server::start(&mut shell(
            repository, run, &stage, line, None,
        ))?),
        None => None,
    };
    let address = server.as_ref().map(|server| server.address.clone());
    let mut line = run.command.clone();
    if run.stderr {
        line = format!("{{ {line}\n}} 2>&1");
    }
    let mut command = shell(repository, run, &stage, &line, address.as_deref());
    let finished = process::run(&mut command, &run.stdin, Duration::from_secs(run.timeout))?;
    if finished.status.code() != Some(run.status) {
        let said = process::tail(&format!("{}{}", finished.stdout, finished.stderr));
        bail!(
            "it ended with {}, not {}{said}",
            finished.status,
            run.status
        );
    }
    if server.as_mut().is_some_and(Server::has_ended) {
        bail!("its server ended before it did");
    }
    collect(
        repository,
        run,
        &stage,
        address.as_deref(),
        &finished.stdout,
    )
    .map(Outcome::Made)
}

fn is_installed(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version");
    command.output().is_ok_and(|output| output.status.success())
}

fn shell(
    repository: &Repository,
    run: &Run,
    stage: &Stage,
    line: &str,
    address: Option<&str>,
) -> Command {
    let mut line = line
        .replace("{target}", &stage.programs.to_string_lossy())
        .replace("{dir}", &stage.scratch.path().to_string_lossy());
    if let Some(address) = address {
        line = line.replace("{addr}", address);
    }
    let mut path = stage.programs.clone().into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command
        .args(["-c", &line])
        .current_dir(repository.root())
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "80")
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8")
        .env("DEBUGINFOD_URLS", "")
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LOG")
        .envs(&run.env);
    command
}

/// What the run printed and wrote, without what belongs to this machine.
fn collect(
    repository: &Repository,
    run: &Run,
    stage: &Stage,
    server: Option<&str>,
    stdout: &str,
) -> Result<Recording> {
    let shown_folder = match run.profile() {
        Profile::Release => "target/release",
        Profile::Debug => "target/debug",
    };
    let places = Places {
        root: repository.root(),
        programs: (&stage.programs, shown_folder),
        scratch: stage.scratch.path(),
        server,
    };
    let clean = |text: &str| normalise(run, &places, text).map_err(anyhow::Error::msg);
    let mut recording = Recording {
        text: clean(stdout)?,
        files: BTreeMap::new(),
    };
    for file in &run.files {
        let path = stage.scratch.path().join(file);
        let text = std::fs::read_to_string(path).with_context(|| format!("it wrote no {file}"))?;
        recording.files.insert(file.clone(), clean(&text)?);
    }
    Ok(recording)
}

/// Holds a fresh run against the recorded one.
fn judge(
    repository: &Repository,
    outputs: &Outputs,
    name: &str,
    recorded: &Recording,
    fresh: &BTreeMap<String, Recording>,
) -> Result<Vec<Problem>> {
    let run = outputs.run(name).map_err(anyhow::Error::msg)?;
    let Some(now) = fresh.get(name) else {
        return Ok(Vec::new());
    };
    let mut problems = broken_laws(repository, outputs, name, now, fresh)?;
    if run.kind != Kind::Measured && now != recorded {
        let text = format!(
            "it prints something else than is recorded (-recorded +now); `record {name}` writes it anew\n{}",
            differing_lines(recorded, now)
        );
        problems.push(Problem::new(place(name), text.trim_end()));
    }
    if run.kind == Kind::Measured {
        for problem in broken_laws(repository, outputs, name, recorded, &BTreeMap::new())? {
            problems.push(Problem::new(
                problem.place,
                format!("as recorded: {}", problem.text),
            ));
        }
    }
    Ok(problems)
}

/// The laws and lines that `recording` breaks. Values of other runs are taken from `fresh`, else as recorded.
fn broken_laws(
    repository: &Repository,
    outputs: &Outputs,
    name: &str,
    recording: &Recording,
    fresh: &BTreeMap<String, Recording>,
) -> Result<Vec<Problem>> {
    let run = outputs.run(name).map_err(anyhow::Error::msg)?;
    let mut problems = Vec::new();
    if let Err(pattern) = lines_in_order(&run.lines, &recording.text)? {
        let text = format!("no line (after those for the patterns before) matches `{pattern}`");
        problems.push(Problem::new(place(name), text));
    }
    for (key, extraction) in &run.values {
        if let Err(text) = extraction.extract(recording) {
            problems.push(Problem::new(place(name), format!("values.{key}: {text}")));
        }
    }
    let value = |named: &str| -> Result<f64, String> {
        let value = match named.split_once('.') {
            None => extracted(outputs, name, named, recording)?,
            Some((other, key)) => match fresh.get(other) {
                Some(recording) => extracted(outputs, other, key, recording)?,
                None => outputs.recorded_value(repository, other, key)?,
            },
        };
        value
            .number()
            .ok_or_else(|| format!("{named} is no number: {value}"))
    };
    for text in &run.laws {
        let law = Law::parse(text).map_err(anyhow::Error::msg)?;
        match law.holds(&value) {
            Ok(true) => {}
            Ok(false) => {
                let values = law.names().into_iter().map(|named| match value(&named) {
                    Ok(number) => format!("{named} = {number}"),
                    Err(error) => error,
                });
                let values: Vec<String> = values.collect();
                let text = format!("law broken: {text} ({})", values.join(", "));
                problems.push(Problem::new(place(name), text));
            }
            Err(error) => {
                problems.push(Problem::new(place(name), format!("law {text}: {error}")));
            }
        }
    }
    Ok(problems)
}

fn extracted(
    outputs: &Outputs,
    name: &str,
    key: &str,
    recording: &Recording,
) -> Result<super::Value, String> {
    let run = outputs.run(name)?;
    let extraction = run
        .values
        .get(key)
        .ok_or_else(|| format!("{name} has no value `{key}`"))?;
    extraction.extract(recording)
}

/// `Err` holds the first pattern that no line matches after the line of the pattern before it.
fn lines_in_order<'a>(patterns: &'a [String], text: &str) -> Result<Result<(), &'a str>> {
    let mut lines = text.lines();
    for pattern in patterns {
        let regex = Regex::new(pattern)?;
        if !lines.any(|line| regex.is_match(line)) {
            return Ok(Err(pattern));
        }
    }
    Ok(Ok(()))
}

fn write(repository: &Repository, name: &str, recording: &Recording) -> Result<()> {
    std::fs::create_dir_all(repository.path("book/outputs"))?;
    std::fs::write(repository.path(&recorded_path(name, None)), &recording.text)?;
    for (file, text) in &recording.files {
        std::fs::write(repository.path(&recorded_path(name, Some(file))), text)?;
    }
    Ok(())
}

/// Files in `book/outputs` that no run owns.
fn strays(repository: &Repository, outputs: &Outputs) -> Result<Vec<Problem>> {
    let mut owned: BTreeSet<String> = BTreeSet::new();
    for name in outputs.names() {
        let run = outputs.run(name).map_err(anyhow::Error::msg)?;
        owned.insert(recorded_path(name, None));
        owned.extend(run.files.iter().map(|file| recorded_path(name, Some(file))));
    }
    let mut problems = Vec::new();
    let folder = repository.path("book/outputs");
    if !Path::new(&folder).is_dir() {
        return Ok(problems);
    }
    for entry in std::fs::read_dir(&folder)? {
        let path = repository.name_of(&entry?.path());
        let is_hidden = path.contains("/.");
        if !is_hidden && !owned.contains(&path) {
            problems.push(Problem::new(path, format!("no run of {FILE} writes this")));
        }
    }
    Ok(problems)
}

fn change(before: Option<&str>, now: &str) -> String {
    let Some(before) = before else {
        return format!("new, {} lines", now.lines().count());
    };
    if before == now {
        return "unchanged".to_string();
    }
    let text = indented(&changed_lines(before, now));
    format!("changed\n{}", text.trim_end())
}

fn differing_lines(before: &Recording, now: &Recording) -> String {
    let mut out = changed_lines(&before.text, &now.text);
    for (file, text) in &now.files {
        let recorded = before.files.get(file).map_or("", String::as_str);
        if recorded != text {
            out.push_str(&format!("in {file}:\n{}", changed_lines(recorded, text)));
        }
    }
    indented(&out)
}

/// At most this many changed lines are shown.
const SHOWN_CHANGES: usize = 20;

fn changed_lines(before: &str, now: &str) -> String {
    let difference = TextDiff::from_lines(before, now);
    let changes: Vec<String> = difference
        .iter_all_changes()
        .filter_map(|change| {
            let text = change.value().trim_end_matches('\n');
            match change.tag() {
                ChangeTag::Equal => None,
                ChangeTag::Delete => Some(format!("-{text}\n")),
                ChangeTag::Insert => Some(format!("+{text}\n")),
            }
        })
        .collect();
    let mut out: String = changes
        .iter()
        .take(SHOWN_CHANGES)
        .map(String::as_str)
        .collect();
    if changes.len() > SHOWN_CHANGES {
        out.push_str(&format!("and {} more\n", changes.len() - SHOWN_CHANGES));
    }
    out
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
