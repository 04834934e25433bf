//! `book/weave.toml`: what the book owes to the repository's files.

use crate::repository::Repository;
use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
    #[serde(default)]
    pub named: Named,
    #[serde(default)]
    pub examples: Examples,
}

/// Files that the book must show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    /// Every code line stands in exactly one place of the book.
    pub owned: Option<Percentage>,
    /// All of the files together have no more lines of code than this, tests not counted, nor
    /// imports, attributes, and lines on which brackets are closed and nothing else.
    pub at_most: Option<usize>,
    /// Every file is shown whole, or as the new side of a difference.
    #[serde(default)]
    pub shown: bool,
    /// Paths; the last part of one may hold a `*`.
    pub files: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub enum Percentage {
    #[serde(rename = "100%")]
    All,
}

/// Folders of programs that must each be named somewhere in the book.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub folders: Vec<String>,
}

/// What the Rust blocks of the chapters may use.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    /// Built before the blocks are compiled.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Crates, by the names with which Rust code uses them.
    #[serde(default)]
    pub crates: Vec<String>,
}

pub const FILE: &str = "book/weave.toml";

impl Config {
    /// Reads `book/weave.toml`; a book without one owes nothing.
    pub fn read(repository: &Repository) -> Result<Config> {
        if !repository.path(FILE).exists() {
            return Ok(Config::default());
        }
        toml::from_str(&repository.read(FILE)?).context(FILE)
    }
}
