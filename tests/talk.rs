//! The talk itself, played once, quickly, and its ends.

mod server_process;

use std::process::Command;

#[cfg(target_os = "linux")]
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
#[cfg(target_os = "linux")]
use server_process::{Running, children, has_ended, until};
use server_process::{run, text};

const TALK: &str = env!("CARGO_BIN_EXE_talk");

const ACTS: [&str; 7] =
    ["sequential", "threads", "gil", "processes", "generators-inline", "generators", "tasks"];

#[test]
fn a_quick_talk_plays_every_act_and_writes_what_it_measured() {
    let folder = std::env::temp_dir().join(format!("popleft-talk-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (html, json) = (folder.join("talk.html"), folder.join("talk.json"));
    let output =
        run(TALK, &["--quick", "--html", html.to_str().unwrap(), "--json", json.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));

    assert!(said.contains("10 5 20 9 4 19 8 3 18"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours where there is no terminal");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let acts = report["acts"].as_array().unwrap();
    let names: Vec<_> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(names, ACTS);
    let page = std::fs::read_to_string(&html).unwrap();
    for act in acts {
        assert!(act["short_alone"].as_f64().unwrap() > 0.0, "{act}");
        assert!(act["long_alone"].as_f64().unwrap() > 0.0, "{act}");
        assert!(page.contains(act["server"].as_str().unwrap()), "{act}");
        assert!(said.contains(act["title"].as_str().unwrap()), "{act}");
    }
    // The page can be sent to somebody by itself.
    assert!(page.contains("<svg"));
    for elsewhere in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
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
    assert!(said.contains("processes") && said.contains("it said"), "{said}");
}

/// Waits for the talk's server process to be there, or about to be.
#[cfg(target_os = "linux")]
fn server_of(talk: &Running) -> Pid {
    let mut server = None;
    until("the talk starts a server", || {
        server = children(talk.pid()).first().copied();
        server.is_some()
    });
    server.unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_is_killed_in_mid_act_is_named() {
    let talk = Running::start(TALK, &["--quick", "--act", "tasks"]);
    kill_process(server_of(&talk), Signal::KILL).unwrap();
    let (code, said) = talk.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("act \"tasks\""), "{said}");
    assert!(said.contains("signal: 9"), "{said}");
    assert!(said.contains("fib-tasks"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn no_server_outlives_the_talk() {
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        // The server of this act has processes of its own.
        let talk = Running::start(TALK, &["--act", "processes"]);
        let server = server_of(&talk);
        until("its workers are there", || children(server).len() == 4);
        let workers = children(server);
        talk.signal(signal);
        assert_eq!(talk.wait().0, code);
        for process in [&[server], &workers[..]].concat() {
            until("it ends as well", || has_ended(process));
        }
    }
}
