//! Makes the runs, writes down what they printed, and holds it against what was written down before.

use super::judge::{broken_laws, change, indented, judge, place};
use super::make::{Outcome, build_programs, make};
use super::{FILE, Kind, Outputs, Programs, Recording, recorded_path};
use crate::printing::{print, say};
use crate::problem::Problem;
use crate::repository::Repository;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Runs the commands with these names (all that are not long when there are none) and writes
/// `book/outputs/`.
pub fn record(
    repository: &Repository,
    outputs: &Outputs,
    names: &[String],
) -> Result<Vec<Problem>> {
    let names = chosen(outputs, names)?;
    let programs = build_programs(repository, outputs, &names)?;
    let (fresh, mut problems) = make_all(repository, outputs, &programs, &names)?;
    for (name, recording) in &fresh {
        let broken = broken_laws(repository, outputs, name, recording, &fresh)?;
        if broken.is_empty() {
            let before = outputs.recorded(repository, name, None).ok();
            write(repository, name, recording)?;
            say(format_args!("{name}: {}", change(before.as_deref(), &recording.text)))?;
        } else {
            say(format_args!("{name}: not recorded, for it breaks its laws"))?;
            print(&indented(&recording.text))?;
            problems.extend(broken);
        }
    }
    Ok(problems)
}

/// Runs everything again and compares it with what is recorded. What is long is not run: what is
/// recorded is held to its laws.
pub fn check(repository: &Repository, outputs: &Outputs) -> Result<Vec<Problem>> {
    let names = chosen(outputs, &[])?;
    let programs = build_programs(repository, outputs, &names)?;
    let (mut fresh, mut problems) = make_all(repository, outputs, &programs, &names)?;
    problems.extend(strays(repository, outputs)?);
    problems.extend(check_long(repository, outputs)?);
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
            say(format_args!("{name}: a law is broken; measuring once more"))?;
            if let Outcome::Made(again) = make(repository, outputs, &programs, &name)? {
                fresh.insert(name.clone(), again);
                found = judge(repository, outputs, &name, &recorded, &fresh)?;
            }
        }
        if found.is_empty() {
            say(format_args!("{name}: ok"))?;
        }
        problems.extend(found);
    }
    Ok(problems)
}

fn check_long(repository: &Repository, outputs: &Outputs) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for name in outputs.names() {
        if !outputs.run(name).map_err(anyhow::Error::msg)?.long {
            continue;
        }
        match outputs.recording(repository, name) {
            Ok(recorded) => {
                say(format_args!("{name}: long; held to its laws as recorded"))?;
                let nothing = BTreeMap::new();
                problems.extend(broken_laws(repository, outputs, name, &recorded, &nothing)?);
            }
            Err(text) => problems.push(Problem::new(place(name), text)),
        }
    }
    Ok(problems)
}

/// Makes the runs one after the other: what is measured is measured alone.
fn make_all(
    repository: &Repository,
    outputs: &Outputs,
    programs: &Programs,
    names: &[String],
) -> Result<(BTreeMap<String, Recording>, Vec<Problem>)> {
    let mut fresh = BTreeMap::new();
    let mut problems = Vec::new();
    for name in names {
        match make(repository, outputs, programs, name) {
            Ok(Outcome::Made(recording)) => {
                fresh.insert(name.clone(), recording);
            }
            Ok(Outcome::Skipped(why)) => say(format_args!("{name}: skipped: {why}"))?,
            Err(error) => problems.push(Problem::new(place(name), format!("{error:#}"))),
        }
    }
    Ok((fresh, problems))
}

fn chosen(outputs: &Outputs, names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        let is_short = |name: &&str| outputs.run(name).is_ok_and(|run| !run.long);
        return Ok(outputs.names().filter(is_short).map(str::to_string).collect());
    }
    for name in names {
        outputs.run(name).map_err(anyhow::Error::msg)?;
    }
    Ok(names.to_vec())
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
