//! Each step runs, prints what its idea is about, and is small enough to be read at one sitting.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const STEPS: [(&str, &str); 8] = [
    ("step-1", env!("CARGO_BIN_EXE_step-1")),
    ("step-2", env!("CARGO_BIN_EXE_step-2")),
    ("step-3", env!("CARGO_BIN_EXE_step-3")),
    ("step-4", env!("CARGO_BIN_EXE_step-4")),
    ("step-5", env!("CARGO_BIN_EXE_step-5")),
    ("step-6", env!("CARGO_BIN_EXE_step-6")),
    ("step-7", env!("CARGO_BIN_EXE_step-7")),
    ("step-8", env!("CARGO_BIN_EXE_step-8")),
];

fn run(step: usize, words: &[&str]) -> Output {
    let (_, path) = STEPS[step - 1];
    Command::new(path).args(words).output().expect("the step starts")
}

fn printed(step: usize, words: &[&str]) -> String {
    let output = run(step, words);
    assert!(output.status.success(), "step {step} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_step_has_at_most_150_lines() {
    for (name, _) in STEPS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/bin/{name}.rs"));
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= 150, "{name} has {lines} lines");
    }
}

#[test]
fn step_1_alone_prints_the_countdowns_of_the_talk() {
    let lines = printed(1, &[]);
    assert!(lines.starts_with("10 5 20 9 4 19 8 3 18 7 2 17 6 1 16 5 15"), "{lines}");
    assert!(lines.ends_with("4 3 2 1"), "{lines}");
}

#[test]
fn all_steps_count_down_alike() {
    for step in 1..=8 {
        assert_eq!(printed(step, &["countdown", "2", "1", "3"]), "2 1 3 1 2 1", "step {step}");
        assert_eq!(printed(step, &["countdown"]), "", "step {step}");
    }
}

#[test]
fn a_step_says_which_scenarios_it_does_not_know() {
    for (step, unknown) in [(1, "serve"), (2, "crowd"), (4, "sleep"), (6, "join"), (7, "offload")] {
        let output = run(step, &[unknown, "1"]);
        assert_eq!(output.status.code(), Some(64), "step {step}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(unknown), "step {step}");
    }
    assert_eq!(run(8, &["sleep", "soon"]).status.code(), Some(2));
}

#[test]
fn step_5_sleeps_and_step_7_joins_when_asked_for_nothing() {
    assert_eq!(printed(5, &[]), "100 200 300");
    assert_eq!(printed(7, &[]), "100 200 300 joined 600 joined 200 joined 400");
}

/// The idea of step 6, in numbers: 4 tasks that sleep are polled twice each with wakers, and without end while busy.
#[test]
fn wakers_spare_the_polls_that_the_busy_draft_makes() {
    let polls = |words: &[&str]| -> u64 {
        let output = run(6, words);
        assert!(output.status.success(), "{output:?}");
        let words = String::from_utf8(output.stderr).unwrap();
        let number = words.strip_suffix(" polls\n").expect("the count comes last");
        number.parse().unwrap()
    };
    // The main task once; each sleeper at its start and at its deadline.
    assert_eq!(polls(&["sleep", "30", "10", "20"]), 7);
    assert!(polls(&["--busy", "sleep", "30", "10", "20"]) > 70);
}

/// How a program ends whose standard output is this: the exit code, and what it said on standard error.
fn ends(mut command: Command, stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).stdout(stdout).output().expect("the program starts");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Every program of this package, with something for it to print.
fn every_program() -> impl Iterator<Item = Command> {
    let command = |path: &str, words: &[&str]| {
        let mut command = Command::new(path);
        command.args(words);
        command
    };
    let steps = STEPS.iter().map(move |(_, path)| command(path, &["countdown", "3", "2", "1"]));
    let serving = command(STEPS[2].1, &["serve"]);
    let joining = command(STEPS[7].1, &["join", "20", "10"]);
    let broken = command(env!("CARGO_BIN_EXE_broken"), &["nothing", "countdown", "3", "2"]);
    let suite = env!("CARGO_BIN_EXE_conformance");
    let list = command(suite, &["--list"]);
    let help = command(suite, &["--help"]);
    let judging = command(suite, &[STEPS[0].1, "countdown"]);
    steps.chain([serving, joining, broken, list, help, judging])
}

#[test]
fn a_program_that_nobody_reads_any_more_ends_quietly() {
    for command in every_program() {
        let what = format!("{command:?}");
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(ends(command, writer), (Some(0), String::new()), "{what}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_whose_output_gets_lost_says_so() {
    for command in every_program() {
        let what = format!("{command:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = ends(command, full);
        assert_eq!(code, Some(1), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{what}: {said}");
    }
}
