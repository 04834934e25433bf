//! Builds of the bench with techniques taken out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use popleft_demos::output;

use crate::undo::techniques::{Edit, apply};
use crate::undo::workspace;

/// A copy of the workspace, in which techniques are undone one after the other.
pub(super) struct Builds {
    workspace: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    benches: PathBuf,
}

impl Builds {
    pub(super) fn new() -> anyhow::Result<Builds> {
        let this = std::env::current_exe()?;
        let target = this.ancestors().nth(2).context("this program lies nowhere")?;
        let folder = target.join("undone");
        let builds = Builds {
            workspace: workspace()?,
            copy: folder.join("workspace"),
            target: folder.join("target"),
            benches: folder.join("benches"),
        };
        fs::create_dir_all(&builds.benches)?;
        Ok(builds)
    }

    /// The bench of a copy with these edits.
    pub(super) fn build(&self, name: &str, edits: &[Edit]) -> anyhow::Result<PathBuf> {
        output::complain(format_args!("undone: building {name}"));
        copy(&self.workspace, &self.copy)?;
        apply(edits, &self.copy)?;
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
        if names.contains(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
