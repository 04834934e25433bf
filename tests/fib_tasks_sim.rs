//! `fib-tasks --sim`: a run that is the same every time, whatever the machine does.

use std::process::{Command, Output};

fn fib_tasks(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fib-tasks")).args(args).output().unwrap()
}

fn printed(seed: &str) -> String {
    let output = fib_tasks(&["--sim", "--seed", seed]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_seed_prints_the_same_lines_every_time_and_another_one_others() {
    assert_eq!(printed("7"), printed("7"));
    assert_ne!(printed("7"), printed("8"));
}

#[test]
fn a_schedule_says_who_goes_next() {
    let recorded = |name: &str, schedule: &[&str]| {
        let path = format!("{}/fib-tasks-{name}.jsonl", env!("CARGO_TARGET_TMPDIR"));
        let output = fib_tasks(&[&["--sim", "--trace", &path], schedule].concat());
        assert!(output.status.success());
        std::fs::read(path).unwrap()
    };
    let in_order = recorded("in-order", &[]);
    assert!(in_order == recorded("listed", &["--schedule", "0,0,0"]));
    assert!(in_order != recorded("others", &["--schedule", "1,1,1"]));
    let misfit = fib_tasks(&["--sim", "--schedule", "99"]);
    assert!(!misfit.status.success());
    let said = String::from_utf8_lossy(&misfit.stderr);
    assert!(said.contains("does not fit the program"), "{said}");
}

#[test]
fn every_client_sees_what_was_done_to_it() {
    for seed in 0..20 {
        let printed = printed(&seed.to_string());
        let heard_by = |name: &str| {
            let own = printed.lines().filter_map(|line| line.split_once(" s  "));
            let own = own.filter(|(_, said)| said.split_whitespace().next() == Some(name));
            own.map(|(_, said)| said[name.len()..].trim_start()).collect::<Vec<_>>()
        };
        let answers = ["gets 55", "asks for fib(20)", "gets 6765"];
        let begin = ["is connected", "asks for fib(10)"];
        assert_eq!(heard_by("far"), [&begin[..], &answers[..], &["goes"]].concat(), "{seed}");
        let mistake = ["asks for fib(ten)", "gets error: \"ten\" is not a number", "goes"];
        assert_eq!(heard_by("near"), [&begin[..], &answers[..], &mistake[..]].concat(), "{seed}");
        assert!(heard_by("reset").last().unwrap().starts_with("gives up: Connection reset"));
        assert_eq!(heard_by("lost").last(), Some(&"gives up: the deadline has elapsed"));
        assert!(printed.ends_with("server has stopped\n"), "{printed}");
    }
}

#[test]
fn a_seed_without_a_simulation_is_a_mistake() {
    for (args, named) in [
        (&["--seed", "7"][..], "--sim"),
        (&["--sim", "--addr", "127.0.0.1:0"], "--addr"),
        (&["--sim", "--workers", "2"], "--workers"),
    ] {
        let output = fib_tasks(args);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn several_loops_are_not_simulated_and_it_says_why_and_what_is() {
    let fib_cores =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_fib-cores")).args(args).output().unwrap();
    for args in [&["--sim"][..], &["--sim", "--cores", "1"]] {
        let output = fib_cores(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let says = String::from_utf8(output.stderr).unwrap();
        for part in ["--sim", "one loop on one thread", "fib-tasks --sim"] {
            assert!(says.contains(part), "{says}");
        }
    }
}
