//! Hands the chapters to mdBook, with their tags expanded.

use crate::chapter::Weaver;
use crate::config::Config;
use crate::outputs::{self, Outputs};
use crate::ownership::Ledger;
use crate::problem::Problem;
use crate::repository::Repository;
use anyhow::Result;
use mdbook_driver::MDBook;
use mdbook_preprocessor::book::Book;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The chapters with their tags expanded, and what came up on the way.
pub struct Woven {
    book: MDBook,
    /// By path below `book/src`.
    texts: BTreeMap<String, String>,
    pub ledger: Ledger,
    pub used_outputs: BTreeSet<String>,
    pub problems: Vec<Problem>,
}

/// Reads the book and expands all tags.
pub fn weave(repository: &Repository, outputs: &Outputs) -> Result<Woven> {
    let book = MDBook::load(repository.book())?;
    let mut weaver = Weaver::new(repository, outputs);
    let mut texts = BTreeMap::new();
    for chapter in book.book.chapters() {
        let Some(path) = &chapter.path else {
            continue;
        };
        let path = slashed(path);
        let text = weaver.expand(&path, &chapter.content);
        texts.insert(path, text);
    }
    let mut problems = weaver.problems;
    problems.extend(unlisted(repository, &texts)?);
    Ok(Woven { book, texts, ledger: weaver.ledger, used_outputs: weaver.used_outputs, problems })
}

/// Chapters that SUMMARY.md does not name.
fn unlisted(repository: &Repository, texts: &BTreeMap<String, String>) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for file in repository.files("book/src", "md")? {
        let chapter = file.trim_start_matches("book/src/");
        if chapter != "SUMMARY.md" && !texts.contains_key(chapter) {
            problems.push(Problem::new(file, "book/src/SUMMARY.md does not name it"));
        }
    }
    Ok(problems)
}

impl Woven {
    /// Writes the pages to `book/book`.
    pub fn render(mut self) -> Result<()> {
        self.book.with_preprocessor(Expanded { texts: self.texts });
        self.book.build()
    }

    /// What the whole book owes and does not give: lines, programs, outputs.
    pub fn settle(
        &self,
        repository: &Repository,
        config: &Config,
        outputs: &Outputs,
    ) -> Result<Vec<Problem>> {
        let mut problems = self.ledger.settle(repository, config)?;
        problems.extend(self.unnamed_programs(repository, config)?);
        let named_in_laws = outputs.named_in_laws();
        for name in outputs.names() {
            if !self.used_outputs.contains(name) && !named_in_laws.contains(name) {
                let place = format!("{}: output.{name}", outputs::FILE);
                problems.push(Problem::new(place, "no chapter shows it"));
            }
        }
        Ok(problems)
    }

    fn unnamed_programs(&self, repository: &Repository, config: &Config) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for folder in &config.named.folders {
            for file in repository.files(folder, "rs")? {
                let name = file.rsplit('/').next().unwrap_or(&file).trim_end_matches(".rs");
                if !self.texts.values().any(|text| names(text, name)) {
                    problems.push(Problem::new(&file, format!("no chapter names `{name}`")));
                }
            }
        }
        Ok(problems)
    }
}

/// Whether `text` holds `name` as a word of its own: `fib-tasks` does not name `fib`.
fn names(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// Gives mdBook the expanded chapters.
struct Expanded {
    texts: BTreeMap<String, String>,
}

impl Preprocessor for Expanded {
    fn name(&self) -> &str {
        "weave"
    }

    fn run(&self, _: &PreprocessorContext, mut book: Book) -> Result<Book> {
        book.for_each_chapter_mut(|chapter| {
            let path = chapter.path.as_deref().map(slashed);
            if let Some(text) = path.and_then(|path| self.texts.get(&path)) {
                chapter.content.clone_from(text);
            }
        });
        Ok(book)
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_program_is_named_by_a_word_of_its_own() {
        assert!(names("run `fib`.", "fib"));
        assert!(names("--bin fib-tasks -- x", "fib-tasks"));
        assert!(!names("fib-tasks, fibs, my_fib", "fib"));
    }
}
