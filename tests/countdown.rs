//! The countdowns, in all three ways.

mod server_process;

use std::io::{BufRead, BufReader};

use server_process::{Running, run, text};

const COUNTDOWN: &str = env!("CARGO_BIN_EXE_countdown");

fn numbers(args: &[&str]) -> Vec<u64> {
    let output = run(COUNTDOWN, args);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn generators_and_tasks_take_turns() {
    let generators = numbers(&[]);
    assert_eq!(generators[..12], [10, 5, 20, 9, 4, 19, 8, 3, 18, 7, 2, 17]);
    assert_eq!(generators.len(), 35);
    assert_eq!(numbers(&["--tasks"]), generators);
    for way in [&[][..], &["--tasks"]] {
        assert_eq!(numbers(&[way, &["3", "0", "1"]].concat()), [3, 1, 2, 1]);
    }
}

#[test]
fn threads_count_the_same_numbers_each_in_its_own_order() {
    let mut counted = numbers(&["--threads", "6", "4"]);
    counted.sort_unstable();
    assert_eq!(counted, [1, 1, 2, 2, 3, 3, 4, 4, 5, 6]);
}

#[test]
fn the_tasks_can_be_recorded() {
    use popleft::record::{Event, read};

    let file = std::env::temp_dir().join(format!("countdown-{}.jsonl", std::process::id()));
    let path = file.to_str().unwrap();
    assert_eq!(numbers(&["--tasks", "--trace", path, "3", "1"]), [3, 1, 2, 1]);
    let entries: Vec<_> = read(&file).unwrap().map(Result::unwrap).collect();
    std::fs::remove_file(&file).unwrap();
    let count = |is: fn(&Event) -> bool| entries.iter().filter(|entry| is(&entry.event)).count();
    assert_eq!(count(|event| matches!(event, Event::Spawn { .. })), 3);
    assert_eq!(count(|event| matches!(event, Event::TimerFired { .. })), 4);
    assert_eq!(count(|event| matches!(event, Event::Done { .. })), 3);
}

#[test]
fn a_recording_that_cannot_be_is_explained() {
    let output = run(COUNTDOWN, &["--tasks", "--trace", "/nowhere/run.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = "countdown: cannot record to /nowhere/run.jsonl (--trace): No such file";
    assert!(text(&output.stderr).starts_with(said), "{output:?}");

    let output = run(COUNTDOWN, &["--trace", "/nowhere/run.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("add --tasks"), "{output:?}");
}

#[test]
fn it_ends_quietly_when_nobody_reads_any_more() {
    for way in [&["100000"][..], &["--tasks", "100000"], &["--threads", "100000"]] {
        let mut countdown = Running::start(COUNTDOWN, way);
        let mut first = String::new();
        let mut stdout = BufReader::new(countdown.0.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        assert_eq!(first, "100000\n");
        drop(stdout);
        assert_eq!(countdown.wait(), (Some(0), String::new()));
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for args in [&["ten"][..], &["--tasks", "--threads"], &["-1"]] {
        let output = run(COUNTDOWN, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert!(text(&run(COUNTDOWN, &["--help"]).stdout).contains("Examples:"));
}
