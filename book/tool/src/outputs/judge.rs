//! Holds what a run printed against its laws, and against what is recorded.

use super::law::Law;
use super::{FILE, Kind, Outputs, Recording, Value};
use crate::problem::Problem;
use crate::repository::Repository;
use anyhow::Result;
use regex::Regex;
use similar::{ChangeTag, TextDiff};
use std::collections::BTreeMap;

/// Holds a fresh run against the recorded one.
pub(super) fn judge(
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
            problems.push(Problem::new(problem.place, format!("as recorded: {}", problem.text)));
        }
    }
    Ok(problems)
}

/// The laws and lines that `recording` breaks. Values of other runs are taken from `fresh`, else as recorded.
pub(super) fn broken_laws(
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
        value.number().ok_or_else(|| format!("{named} is no number: {value}"))
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
) -> Result<Value, String> {
    let run = outputs.run(name)?;
    let extraction = run.values.get(key).ok_or_else(|| format!("{name} has no value `{key}`"))?;
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

pub(super) fn change(before: Option<&str>, now: &str) -> String {
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
    let mut out: String = changes.iter().take(SHOWN_CHANGES).map(String::as_str).collect();
    if changes.len() > SHOWN_CHANGES {
        out.push_str(&format!("and {} more\n", changes.len() - SHOWN_CHANGES));
    }
    out
}

pub(super) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

pub(super) fn place(name: &str) -> String {
    format!("{FILE}: output.{name}")
}
