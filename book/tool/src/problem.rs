//! What is wrong with the book. Nothing stops at the first problem: an author sees them all at once.

use crate::printing::complain;
use std::fmt;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `book/src/x.md:12`, `runtime/src/x.rs:3`, `book/outputs.toml`: something an editor can open.
    pub place: String,
    pub text: String,
}

impl Problem {
    pub fn new(place: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem { place: place.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Fails when there are problems, after printing each on its own line of stderr.
pub fn report(what: &str, problems: &[Problem]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    for problem in problems {
        complain(problem);
    }
    let count = problems.len();
    let word = if count == 1 { "problem" } else { "problems" };
    anyhow::bail!("{what}: {count} {word}")
}
