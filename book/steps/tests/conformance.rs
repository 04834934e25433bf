//! Each step keeps the laws that it claims, other runtimes can keep them as well, and the suite fails who breaks one.

use popleft_steps::conformance::{LAWS, Law, Program, Verdict, judge};
use std::env;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Judges by the scenarios that should be claimed: all their laws hold, and no other is claimed.
/// A law has a process of its own and mostly waits, so all are judged at the same time.
fn keeps_the_laws_of(program: &Program, scenarios: &[&str]) {
    std::thread::scope(|scope| {
        for law in LAWS {
            scope.spawn(move || match judge(program, law) {
                Verdict::NotMeasured(_) => {}
                Verdict::Pass if scenarios.contains(&law.scenario) => {}
                Verdict::NotClaimed if !scenarios.contains(&law.scenario) => {}
                verdict => panic!("{}: {verdict:?}", law.name),
            });
        }
    });
}

fn step(path: &str, scenarios: &str) {
    let scenarios: Vec<&str> = scenarios.split_whitespace().collect();
    keeps_the_laws_of(&Program::new(path, &[]), &scenarios);
}

#[test]
fn step_1_takes_turns() {
    step(env!("CARGO_BIN_EXE_step-1"), "countdown");
}

#[test]
fn step_2_serves_one_client_at_a_time() {
    step(env!("CARGO_BIN_EXE_step-2"), "countdown serve");
}

#[test]
fn step_3_serves_a_crowd() {
    step(env!("CARGO_BIN_EXE_step-3"), "countdown serve crowd");
}

#[test]
fn step_4_does_the_same_with_futures() {
    step(env!("CARGO_BIN_EXE_step-4"), "countdown serve crowd");
}

#[test]
fn step_5_sleeps() {
    step(env!("CARGO_BIN_EXE_step-5"), "countdown serve crowd sleep yield");
}

#[test]
fn step_6_does_the_same_with_wakers() {
    step(env!("CARGO_BIN_EXE_step-6"), "countdown serve crowd sleep yield");
}

#[test]
fn step_7_joins() {
    step(env!("CARGO_BIN_EXE_step-7"), "countdown serve crowd sleep yield join");
}

#[test]
fn step_8_keeps_all_laws() {
    step(env!("CARGO_BIN_EXE_step-8"), "countdown serve crowd sleep yield join offload");
}

#[test]
fn a_program_of_threads_keeps_all_laws_as_well() {
    let program = Program::new(env!("CARGO_BIN_EXE_broken"), &["nothing"]);
    keeps_the_laws_of(
        &program,
        &["countdown", "serve", "crowd", "sleep", "yield", "join", "offload"],
    );
}

#[test]
fn asyncio_keeps_all_laws_as_well() {
    let found = Command::new("python3").args(["-c", "import asyncio"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        assert!(env::var_os("POPLEFT_REQUIRE_TOOLS").is_none(), "python3 is missing");
        return eprintln!("skipped: no python3");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/asyncio_runtime.py");
    let program = Program::new("python3", &[script.to_str().unwrap()]);
    keeps_the_laws_of(
        &program,
        &["countdown", "serve", "crowd", "sleep", "yield", "join", "offload"],
    );
}

/// One way to go wrong, and the laws that must notice.
const BREAKS: &[(&str, &[&str])] = &[
    ("lifo", &["turns", "many-turns"]),
    ("hang", &["turns"]),
    ("last-first", &["pipeline", "offload-order"]),
    ("no-errors", &["bad-line"]),
    ("never-close", &["last-words"]),
    ("fragile", &["gone"]),
    ("one-client", &["second", "half-line", "hundred", "greedy"]),
    ("one-by-one", &["deadlines"]),
    ("early", &["never-early"]),
    ("spin", &["rest-alone", "rest-asleep"]),
    ("starve", &["yield"]),
    ("mixed-results", &["join", "many-joins"]),
    ("inline", &["short-beside-long"]),
    ("crash", &["turns", "answers", "zero", "join"]),
];

fn law(name: &str) -> &'static Law {
    LAWS.iter().find(|law| law.name == name).expect("the law exists")
}

#[test]
fn who_breaks_a_law_fails_it() {
    // Each waits for its own program most of the time, so they wait together.
    std::thread::scope(|scope| {
        for (how, laws) in BREAKS {
            for name in *laws {
                scope.spawn(move || {
                    let program = Program::new(env!("CARGO_BIN_EXE_broken"), &[how]);
                    let program = program.with_patience(Duration::from_secs(2));
                    let verdict = judge(&program, law(name));
                    assert!(matches!(verdict, Verdict::Fail(_)), "{how}, {name}: {verdict:?}");
                });
            }
        }
    });
}

#[test]
fn the_busy_draft_of_step_6_fails_to_rest() {
    let program = Program::new(env!("CARGO_BIN_EXE_step-6"), &["--busy"]);
    for name in ["rest", "rest-alone", "rest-asleep"] {
        let verdict = judge(&program, law(name));
        assert!(
            matches!(verdict, Verdict::Fail(_) | Verdict::NotMeasured(_)),
            "{name}: {verdict:?}"
        );
    }
    assert_eq!(judge(&program, law("deadlines")), Verdict::Pass);
}

fn conformance(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    // As outside of cargo: the steps are built already.
    command.env_remove("CARGO").args(words).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

#[test]
fn the_suite_finds_a_step_by_its_name_and_prints_a_line_for_each_law() {
    let output = conformance(&["step-1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines.len(), LAWS.len() + 1);
    assert!(lines[0].starts_with("pass ") && lines[0].contains("turns"), "{}", lines[0]);
    assert!(lines[2].starts_with("not claimed "), "{}", lines[2]);
    assert!(lines[LAWS.len()].starts_with("2 pass, 0 FAIL"), "{}", lines[LAWS.len()]);
}

#[test]
fn the_suite_says_what_was_expected_and_what_came() {
    let command = format!("{} lifo", env!("CARGO_BIN_EXE_broken"));
    let output = conformance(&["--command", &command, "turns"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert!(lines[0].starts_with("FAIL "), "{}", lines[0]);
    assert!(
        lines[0].contains("expected .. 3, 2, 4,") && lines[0].contains("got .. 3, 2, 1"),
        "{}",
        lines[0]
    );
}

#[test]
fn the_suite_refuses_what_it_cannot_judge() {
    assert_eq!(conformance(&["/no/such/program"]).status.code(), Some(2));
    assert_eq!(conformance(&["step-9"]).status.code(), Some(2));
    assert_eq!(conformance(&["step-1", "no-such-law"]).status.code(), Some(2));
    assert_eq!(conformance(&["--command", " "]).status.code(), Some(2));
    // A program that claims nothing keeps no law.
    assert_eq!(conformance(&["step-1", "join"]).status.code(), Some(1));
}

#[test]
fn what_a_program_says_is_shown_and_not_obeyed_and_a_line_without_an_end_is_cut() {
    for script in [
        "printf '\\033[2J\\033]0;title\\007'",
        "printf '\\033[31m%s\\n' dying >&2; exit 3",
        "head -c 100000 /dev/zero | tr '\\0' '\\033'",
        "head -c 100000 /dev/zero | tr '\\0' '\\033' >&2; exit 3",
    ] {
        let folder = env::temp_dir().join(format!("popleft-escapes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program.sh");
        std::fs::write(&program, script).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_conformance"))
            .args(["--command", &format!("sh {}", program.display()), "turns"])
            .output()
            .unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("\\u{1b}"), "{script}: {said}");
        let harmless = |character: char| character == '\n' || !character.is_control();
        assert!(said.chars().all(harmless), "{script}: {said:?}");
        assert!(said.len() < 6000, "{script}: {}", said.len());
    }
}
