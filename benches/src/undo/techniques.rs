//! The techniques of `undo.toml`, and the edits that take them out of a workspace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::rows;

#[derive(Debug, Deserialize)]
struct Techniques {
    technique: Vec<Technique>,
}

/// Something that makes the runtime faster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Technique {
    /// By which it is chosen.
    pub(super) name: String,
    /// In words.
    pub(super) title: String,
    /// What is done in its place.
    pub(super) undone: String,
    /// Which rows of the bench show it.
    pub(super) rows: Vec<String>,
    /// Made one after the other.
    pub(super) edit: Vec<Edit>,
}

/// A replacement in one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    file: PathBuf,
    was: String,
    is: String,
}

impl Edit {
    fn apply_to(&self, text: &str) -> anyhow::Result<String> {
        let times = text.matches(&self.was).count();
        let (file, was) = (self.file.display(), &self.was);
        ensure!(times == 1, "{file}: {was:?} stands there {times} times");
        Ok(text.replace(was, &self.is))
    }
}

/// All techniques.
pub(super) fn all() -> anyhow::Result<Vec<Technique>> {
    let Techniques { technique } =
        toml::from_str(include_str!("../../undo.toml")).context("undo.toml")?;
    Ok(technique)
}

/// The files that a list of edits changes, and what they hold then.
fn edited(edits: &[Edit], workspace: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for edit in edits {
        let path = workspace.join(&edit.file);
        let text = match files.remove(&path) {
            // An edit before it changed the same file.
            Some(text) => text,
            None => fs::read_to_string(&path).with_context(|| path.display().to_string())?,
        };
        files.insert(path, edit.apply_to(&text)?);
    }
    Ok(files)
}

/// Makes a list of edits in a workspace.
pub(super) fn apply(edits: &[Edit], workspace: &Path) -> anyhow::Result<()> {
    for (path, text) in edited(edits, workspace)? {
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Checks that each edit of each technique applies to a workspace, exactly once, and that the rows
/// which are to show a technique exist. Nothing is written. Returns how many techniques and edits
/// there are.
///
/// # Errors
///
/// When some do not apply; the error names all of them.
pub fn check(workspace: &Path) -> anyhow::Result<(usize, usize)> {
    let all = all()?;
    let mut complaints = vec![];
    for Technique { name, rows, edit, .. } in &all {
        for row in rows.iter().filter(|row| rows::find(row).is_none()) {
            complaints.push(format!("{name}: there is no row {row:?}"));
        }
        if let Err(error) = edited(edit, workspace) {
            complaints.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    Ok((all.len(), all.iter().map(|technique| technique.edit.len()).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(was: &str, is: &str) -> Edit {
        Edit { file: "a.rs".into(), was: was.to_string(), is: is.to_string() }
    }

    #[test]
    fn text_that_stands_twice_is_not_replaced() {
        assert_eq!(edit("b", "c").apply_to("a b").unwrap(), "a c");
        let error = edit("b", "c").apply_to("b b").unwrap_err().to_string();
        assert_eq!(error, "a.rs: \"b\" stands there 2 times");
    }

    #[test]
    fn an_edit_sees_what_the_edits_before_it_have_made_of_the_file() {
        let folder = std::env::temp_dir().join(format!("popleft-edits-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.rs"), "one").unwrap();
        let files = edited(&[edit("one", "two"), edit("two", "three")], &folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(files.unwrap(), BTreeMap::from([(folder.join("a.rs"), "three".to_string())]));
    }
}
