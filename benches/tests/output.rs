//! The benches end quietly when their output is not read, and report an error when it would be lost.

use std::io;
use std::process::{Command, Stdio};

const PROGRAMS: [&str; 3] =
    [env!("CARGO_BIN_EXE_peers"), env!("CARGO_BIN_EXE_undone"), env!("CARGO_BIN_EXE_counts")];

/// Runs a program with this standard output; returns the exit code and standard error.
fn ends(program: &str, args: &[&str], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let output = Command::new(program).args(args).stdout(stdout).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_program_that_nobody_reads_ends_quietly() {
    for program in PROGRAMS {
        for args in [["--list"], ["--help"]] {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            assert_eq!(
                ends(program, &args, writer),
                (Some(0), String::new()),
                "{program} {args:?}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_whose_output_gets_lost_says_so() {
    for program in PROGRAMS {
        for args in [["--list"], ["--help"]] {
            let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            let (code, said) = ends(program, &args, full);
            assert_eq!(code, Some(1), "{program} {args:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("cannot write to standard output: No space left"), "{said}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_built() {
    for program in PROGRAMS {
        let (code, said) = ends(program, &["--json", "/nowhere/x"], Stdio::piped());
        assert_eq!(code, Some(1), "{program}: {said}");
        assert!(said.contains("cannot write /nowhere/x: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
