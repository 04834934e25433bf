//! The tool says when what it prints gets lost, and ends quietly when nobody reads it.

use std::io;
use std::process::{Command, Stdio};

/// How the tool ends that prints its help to this: the exit code, and what it said on standard error.
fn prints_help_to(stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_popleft-book"));
    let output = tool.arg("--help").stdout(stdout).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn help_that_nobody_reads_is_no_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    assert_eq!(prints_help_to(writer), (Some(0), String::new()));
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_gets_lost_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = prints_help_to(full);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to standard output: No space left"), "{said}");
}
