//! The talk itself, played once, quickly, and its ends.

mod server_process;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server_process::{run, text};

const TALK: &str = env!("CARGO_BIN_EXE_talk");

const ACTS: [&str; 7] = [
    "sequential",
    "threads",
    "gil",
    "processes",
    "generators-inline",
    "generators",
    "tasks",
];

#[test]
fn a_quick_talk_plays_every_act_and_writes_what_it_measured() {
    let folder = std::env::temp_dir().join(format!("popleft-talk-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (html, json) = (folder.join("talk.html"), folder.join("talk.json"));
    let output = run(
        TALK,
        &[
            "--quick",
            "--html",
            html.to_str().unwrap(),
            "--json",
            json.to_str().unwrap(),
        ],
    );
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));

    assert!(said.contains("10 5 20 9 4 19 8 3 18"), "{said}");
    assert!(
        !said.contains('\u{1b}'),
        "no colours where there is no terminal"
    );
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let acts = report["acts"].as_array().unwrap();
    let names: Vec<_> = acts
        .iter()
        .map(|act| act["act"].as_str().unwrap())
        .collect();
    assert_eq!(names, ACTS);
    let page = std::fs::read_to_string(&html).unwrap();
    for act in acts {
        assert!(act["short_alone"].as_f64().unwrap() > 0.0, "{act}");
        assert!(act["long_alone"].as_f64().unwrap() > 0.0, "{act}");
        assert!(page.contains(act["server"].as_str().unwrap()), "{act}");
    }
    // What does not depend on how fast or how busy the machine is.
    let act = |name| acts.iter().find(|act| act["act"] == name).unwrap();
    assert_eq!(act("sequential")["short_beside"], 0.0);
    assert_eq!(act("sequential")["left_waiting"], 1);
    let alone = act("generators-inline")["short_alone"].as_f64().unwrap();
    assert!(act("generators-inline")["short_beside"].as_f64().unwrap() < alone / 10.0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn one_act_can_be_played_and_unknown_ones_are_named() {
    let output = run(TALK, &["--quick", "--act", "threads", "--json", "-"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("A thread for each client") && !said.contains("One client at a time"));
    let json = &said[said.find("\n{\n").unwrap()..said.rfind("\n}\n").unwrap() + 2];
    let report: Value = serde_json::from_str(json).unwrap();
    assert_eq!(report["acts"].as_array().unwrap().len(), 1);

    let output = run(TALK, &["--act", "fibers"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(ACTS.iter().all(|act| said.contains(act)), "{said}");
    assert_eq!(run(TALK, &["serve", "fib-fibers"]).status.code(), Some(2));
    assert!(text(&run(TALK, &["--help"]).stdout).contains("Examples:"));
}

#[test]
fn a_server_that_fails_is_named_with_its_last_words() {
    // Too few descriptors for the server to begin with, enough for the talk.
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 16 && exec \"$@\"", "sh", TALK])
        .args(["--quick", "--act", "processes"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("processes") && said.contains("it said"),
        "{said}"
    );
}

#[test]
fn no_server_outlives_the_talk() {
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let mut talk = Command::new(TALK)
            .args(["--act", "tasks"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(talk.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("grown up") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0);
        }
        // Its server is there, or is about to be.
        let server = loop {
            let list = format!("/proc/{0}/task/{0}/children", talk.id());
            let list = std::fs::read_to_string(list).unwrap_or_default();
            if let Some(pid) = list.split_whitespace().next() {
                break pid.to_string();
            }
            std::thread::yield_now();
        };
        kill_process(Pid::from_child(&talk), signal).unwrap();
        assert_eq!(talk.wait().unwrap().code(), code);
        stdout.read_to_end(&mut vec![]).unwrap();
        // Whoever has adopted it reaps it; until then it is a zombie without a command line.
        let alive =
            || std::fs::read(format!("/proc/{server}/cmdline")).is_ok_and(|line| !line.is_empty());
        let deadline = std::time::Instant::now() + server_process::LONG;
        while alive() {
            assert!(
                std::time::Instant::now() < deadline,
                "server {server} lives on"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
