//! Where things are. The tool works from any directory inside a repository that has `book/book.toml`.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The repository that holds the book. All paths in tags, tables and messages are relative to it.
#[derive(Debug, Clone)]
pub struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The nearest directory at or above `start` that holds `book/book.toml`.
    pub fn find(start: &Path) -> Result<Repository> {
        let start = start.canonicalize().with_context(|| format!("{}", start.display()))?;
        let root = start
            .ancestors()
            .find(|folder| folder.join("book/book.toml").is_file())
            .with_context(|| format!("no book/book.toml at or above {}", start.display()))?;
        Ok(Repository { root: root.to_path_buf() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub fn book(&self) -> PathBuf {
        self.path("book")
    }

    /// Where the built pages go.
    pub fn pages(&self) -> PathBuf {
        self.path("book/book")
    }

    pub fn read(&self, relative: &str) -> Result<String> {
        let path = self.path(relative);
        fs::read_to_string(&path).with_context(|| format!("cannot read {relative}"))
    }

    /// `path` as the book names it: relative to the root, with `/`.
    pub fn name_of(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        relative.to_string_lossy().replace('\\', "/")
    }

    /// All files below `folder` with this extension, sorted by name.
    pub fn files(&self, folder: &str, extension: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .with_context(|| format!("cannot read {}", self.name_of(&folder)))?;
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|found| found == extension) {
                    found.push(self.name_of(&path));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The files that a pattern of `book/weave.toml` names: a path, with at most one `*` in its last part.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>> {
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(vec![pattern.to_string()]);
        };
        let (folder, prefix) = before.rsplit_once('/').unwrap_or(("", before));
        let mut found = Vec::new();
        if self.path(folder).is_dir() {
            for entry in fs::read_dir(self.path(folder))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.starts_with(prefix) && name.ends_with(after) {
                    found.push(format!("{folder}/{name}"));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
