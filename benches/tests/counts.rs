//! Counting needs valgrind, and numbers that can be compared.

use std::process::{Command, Output};

fn counts(args: &[&str], path: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counts"));
    // Without cargo it does not build itself again.
    command.args(args).env("PATH", path).env_remove("CARGO").output().unwrap()
}

/// The exit code, and standard error.
fn failure(output: Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn without_valgrind_it_says_how_to_get_it() {
    let (code, said) = failure(counts(&["--check"], "/nowhere"));
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said, "counts: valgrind is not installed; on Debian: apt-get install valgrind\n");
}

#[test]
fn a_row_that_is_not_counted_is_refused_with_those_that_are() {
    let (code, said) = failure(counts(&["--rows", "echo-1"], "/nowhere"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no row \"echo-1\"; there are: yield-1, "), "{said}");
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    for args in [["--check", "--record"], ["--check", "--peers"], ["--check", "--as-built"]] {
        let (code, said) = failure(counts(&args, "/nowhere"));
        assert_eq!(code, Some(2), "{args:?}: {said}");
    }
}
