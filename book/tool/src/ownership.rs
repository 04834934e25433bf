//! The account of which source line stands where in the book.

use crate::config::{self, Config, Group};
use crate::problem::Problem;
use crate::repository::Repository;
use crate::source::selection::{Piece, frame};
use crate::source::{LineKind, SourceFile};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Which tags own which lines. A place is `chapter.md:line`.
#[derive(Debug, Default)]
pub struct Ledger {
    owners: BTreeMap<(String, usize), Vec<String>>,
    /// Heads and last lines of containers: they go with any of their members.
    frames: BTreeSet<(String, usize)>,
    /// Files that stand whole or as the new side of a difference.
    shown: BTreeSet<String>,
}

impl Ledger {
    /// A tag at `place` owns the code lines of `piece`.
    pub fn own(&mut self, source: &SourceFile, piece: &Piece, place: &str) {
        for number in piece.first..=piece.last {
            if source.kind(number) == LineKind::Code && !source.is_test(number) {
                let owners = self.owners.entry((source.path.clone(), number)).or_default();
                owners.push(place.to_string());
            }
        }
        for container in &piece.containers {
            let (head, last) = frame(source, &source.items[*container]);
            for number in head.into_iter().chain([last]) {
                self.frames.insert((source.path.clone(), number));
            }
        }
    }

    pub fn show(&mut self, path: &str) {
        self.shown.insert(path.to_string());
    }

    /// Holds the account against what `book/weave.toml` asks for.
    pub fn settle(&self, repository: &Repository, config: &Config) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for group in &config.groups {
            let mut lines = 0;
            for pattern in &group.files {
                let files = repository.matching(pattern)?;
                if files.is_empty() {
                    let text = format!("{}: no file matches {pattern}", group.name);
                    problems.push(Problem::new(config::FILE, text));
                }
                for path in files {
                    lines += self.settle_file(repository, group, &path, &mut problems);
                }
            }
            if let Some(limit) = group.at_most.filter(|limit| lines > *limit) {
                let text = format!("{}: {lines} lines of code, {limit} are allowed", group.name);
                problems.push(Problem::new(config::FILE, text));
            }
        }
        Ok(problems)
    }

    /// Returns how many lines of code the file has.
    fn settle_file(
        &self,
        repository: &Repository,
        group: &Group,
        path: &str,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let text = match repository.read(path) {
            Ok(text) => text,
            Err(error) => {
                let text = format!("{}: {error:#}", group.name);
                problems.push(Problem::new(config::FILE, text));
                return 0;
            }
        };
        if group.shown && !self.shown.contains(path) {
            let text = "the book shows it neither whole nor as the new side of a difference";
            problems.push(Problem::new(path, text));
        }
        if group.owned.is_none() && group.at_most.is_none() {
            return 0;
        }
        match SourceFile::new(path, text) {
            Ok(source) => {
                if group.owned.is_some() {
                    self.settle_lines(&source, problems);
                }
                source.telling_lines()
            }
            Err(error) => {
                problems.push(Problem::new(path, format!("{error:#}")));
                0
            }
        }
    }

    /// Lines that follow each other with the same fault are one problem.
    fn settle_lines(&self, source: &SourceFile, problems: &mut Vec<Problem>) {
        let mut faults: Vec<(String, usize, usize)> = Vec::new();
        let mut continues = false;
        for number in source.code_lines() {
            let Some(fault) = self.fault(&source.path, number) else {
                continues = false;
                continue;
            };
            match faults.last_mut() {
                Some((same, _, last)) if continues && *same == fault => *last = number,
                _ => faults.push((fault, number, number)),
            }
            continues = true;
        }
        for (fault, first, last) in faults {
            let lines = if first == last { String::new() } else { format!("-{last}") };
            let place = format!("{}:{first}{lines}", source.path);
            let text = format!("{fault}: {}", source.line(first).trim());
            problems.push(Problem::new(place, text));
        }
    }

    /// What is wrong with the account of one code line.
    fn fault(&self, path: &str, number: usize) -> Option<String> {
        let key = (path.to_string(), number);
        match self.owners.get(&key).map(Vec::as_slice) {
            None | Some([]) if self.frames.contains(&key) => None,
            None | Some([]) => Some("not in the book".to_string()),
            Some([_]) => None,
            Some(several) => Some(format!("owned twice, by {}", several.join(" and "))),
        }
    }
}
