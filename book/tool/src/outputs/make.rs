//! Makes one run: builds its programs, starts its server, keeps what it prints and writes.

use super::normalise::{Places, normalise};
use super::process::{self, Server};
use super::{Outputs, Profile, Programs, Recording, Run};
use crate::repository::Repository;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What became of a run.
pub(super) enum Outcome {
    Made(Recording),
    /// `no gdb`
    Skipped(String),
}

/// Builds what the runs need, one cargo command for each package and profile.
pub(super) fn build_programs(
    repository: &Repository,
    outputs: &Outputs,
    names: &[String],
) -> Result<Programs> {
    let mut wanted: BTreeMap<(String, Profile), BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let run = outputs.run(name).map_err(anyhow::Error::msg)?;
        let bins = wanted.entry((run.package.clone(), run.profile())).or_default();
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
    // A book need not stand in a workspace.
    let target = if repository.path("Cargo.toml").exists() {
        target_folder(repository)?
    } else {
        repository.path("target")
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
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = command.output().context("cannot start cargo")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder.context("cargo metadata names no target directory")?.into())
}

/// The folders around one run.
struct Stage {
    programs: PathBuf,
    scratch: tempfile::TempDir,
}

pub(super) fn make(
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
    let stage = Stage { programs: programs.folder(run.profile()), scratch: tempfile::tempdir()? };
    let mut server = match &run.server {
        Some(line) => Some(Server::start(&mut shell(repository, run, &stage, line, None))?),
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
        bail!("it ended with {}, not {}{said}", finished.status, run.status);
    }
    if server.as_mut().is_some_and(Server::has_ended) {
        bail!("its server ended before it did");
    }
    collect(repository, run, &stage, address.as_deref(), &finished.stdout).map(Outcome::Made)
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
    let mut recording = Recording { text: clean(stdout)?, files: BTreeMap::new() };
    for file in &run.files {
        let path = stage.scratch.path().join(file);
        let text = std::fs::read_to_string(path).with_context(|| format!("it wrote no {file}"))?;
        recording.files.insert(file.clone(), clean(&text)?);
    }
    Ok(recording)
}
