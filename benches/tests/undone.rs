//! `undo.toml` replaces text of the library's sources, which change.

use std::fs;
use std::path::Path;
use std::process::Command;

use popleft_benches::undo;

/// Without this test an edit that no longer applies would fail only at the next measurement.
#[test]
fn each_edit_applies_to_the_sources_exactly_once() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (techniques, edits) = undo::check(&workspace).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(techniques > 0 && edits >= techniques);
}

#[test]
fn all_edits_that_do_not_apply_are_named_with_their_techniques() {
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("changed");
    let file = workspace.join("runtime/src/base/turn.rs");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "fn another() {}\n").unwrap();
    let error = undo::check(&workspace).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.starts_with("put-back: runtime/src/base/turn.rs: "), "{said}");
    assert!(said.contains(" stands there 0 times; one-clock: "), "{said}");
}

#[test]
fn the_program_says_that_all_apply_and_builds_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_undone")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("edits: each applies once\n"), "{said}");
    assert!(output.stderr.is_empty());
}
