//! One workload in six styles: all of it is done in each, and shown; what is wrong is said before.
//!
//! Nothing here depends on how long something took.

mod server_process;

use std::path::PathBuf;
use std::process::Command;

#[cfg(target_os = "linux")]
use rustix::process::Signal;
use serde_json::Value;
#[cfg(target_os = "linux")]
use server_process::{KilledAtLast, Running, children, has_ended, until};
use server_process::{run, text};

const CHOOSE: &str = env!("CARGO_BIN_EXE_choose");

const STYLES: [&str; 6] = ["sequential", "threads", "gil", "processes", "tasks", "offload"];

const TITLES: [&str; 6] = [
    "one after another",
    "threads",
    "threads under a GIL",
    "processes",
    "tasks",
    "tasks with offload",
];

/// Little to do, but some of everything.
const LITTLE: [&str; 10] =
    ["--io", "2ms", "--cpu", "1ms", "--bytes", "10k", "--items", "12", "--rounds", "1"];

fn succeeds(args: &[&str]) -> String {
    let output = run(CHOOSE, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{args:?}");
    text(&output.stdout)
}

fn json(args: &[&str]) -> Value {
    let printed = succeeds(&[&LITTLE, args, &["--json"]].concat());
    serde_json::from_str(&printed).unwrap()
}

/// What must be said on standard error, and that nothing was run.
fn is_refused(args: &[&str], code: i32, expected: &[&str]) {
    let output = run(CHOOSE, args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(expected.iter().all(|expected| said.contains(expected)), "{args:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("popleft-choose-{}-{name}", std::process::id()))
}

// ===== what is done =============================================================================

#[test]
fn every_style_does_every_item() {
    let report = json(&["--workers", "3"]);
    let styles = report["styles"].as_array().unwrap();
    let names: Vec<_> = styles.iter().map(|style| style["style"].as_str().unwrap()).collect();
    assert_eq!(names, STYLES);
    for style in styles {
        assert_eq!(style["items_done"], 12, "{style}");
        // All twelve have used the processor time that they were to use.
        assert!(style["cpu_seconds"].as_f64().unwrap() >= 0.012, "{style}");
        // Some wait was seen, and some computing, and it is drawn.
        for drawn in ["waiting", "computing"] {
            let drawn = style[drawn].as_array().unwrap();
            assert!(drawn.iter().any(|number| number.as_f64().unwrap() > 0.0), "{style}");
        }
    }
    assert_eq!((&report["items"], &report["bytes"]), (&12.into(), &10240.into()));
    assert_eq!((&report["workers"], &report["rounds"]), (&3.into(), &1.into()));
    assert_eq!((&report["io_seconds"], &report["cpu_seconds"]), (&0.002.into(), &0.001.into()));
}

#[test]
fn no_more_compute_or_wait_at_once_than_the_style_lets() {
    let report = json(&["--workers", "2"]);
    let style = |name: &str| {
        let styles = report["styles"].as_array().unwrap();
        styles.iter().find(|style| style["style"] == name).unwrap().clone()
    };
    assert_eq!(style("sequential")["most_waiting"], 1);
    assert!(style("processes")["most_waiting"].as_u64().unwrap() <= 2);
    // A loop and a loop under tasks compute one item at a time.
    assert_eq!(style("sequential")["computing_at_once"], 1.0);
    assert_eq!(style("tasks")["computing_at_once"], 1.0);
}

#[test]
fn the_verdict_names_a_style_that_was_run_and_those_that_tie() {
    let report = json(&[]);
    let verdict = &report["verdict"];
    assert!(STYLES.contains(&verdict["winner"].as_str().unwrap()));
    assert!(!verdict["ties"].as_array().unwrap().contains(&verdict["winner"]));
    let at = STYLES.iter().position(|style| verdict["winner"] == *style).unwrap();
    let sentence = verdict["sentence"].as_str().unwrap().to_lowercase();
    assert!(sentence.starts_with(&TITLES[at].to_lowercase()), "{sentence}");
    let locked = report["under_a_lock"]["winner"].as_str().unwrap();
    assert!(!["threads", "offload"].contains(&locked), "{locked}");
}

#[test]
fn the_result_can_be_written_beside_what_is_printed() {
    let path = scratch("result.json");
    let file = path.to_str().unwrap();
    let said = succeeds(&[&LITTLE[..], &["--only", "tasks", "--quiet", "--json", file]].concat());
    let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
    let sentence = report["verdict"]["sentence"].as_str().unwrap();
    assert!(words(&said).starts_with(&words(sentence)), "{said}");
    is_refused(&["--json", "/nowhere/result.json"], 1, &["cannot write", "/nowhere/result.json"]);
}

#[test]
fn some_styles_can_be_chosen_and_are_judged_alone() {
    let report = json(&["--only", "tasks,threads"]);
    let styles = report["styles"].as_array().unwrap();
    assert_eq!(styles.len(), 2);
    assert!(report["under_a_lock"].is_null());
    let alone = succeeds(&[&LITTLE[..], &["--only", "processes", "--quiet"]].concat());
    assert!(alone.starts_with("Processes win here"), "{alone}");
    let alone = alone.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(alone.ends_with("nothing else was measured."), "{alone}");
}

#[test]
fn what_there_is_nothing_of_is_left_out() {
    for (none, some) in [("--io", "--cpu"), ("--cpu", "--io")] {
        let args = [none, "0", some, "1ms", "--bytes", "0", "--items", "3", "--rounds", "1"];
        let printed = succeeds(&[&args[..], &["--json"]].concat());
        let report: Value = serde_json::from_str(&printed).unwrap();
        for style in report["styles"].as_array().unwrap() {
            assert_eq!(style["items_done"], 3, "{style}");
            let nothing = if none == "--io" { "most_waiting" } else { "computing_at_once" };
            assert_eq!(style[nothing].as_f64(), Some(0.0), "{style}");
        }
    }
    assert!(succeeds(&["--io", "0", "--cpu", "0", "--items", "1"]).contains("does nothing"));
}

#[test]
fn more_items_than_threads_are_taken_in_turns_and_all_done() {
    let args = ["--io", "0", "--cpu", "0", "--bytes", "0", "--items", "2000", "--rounds", "1"];
    let said = succeeds(&[&args[..], &["--only", "threads,tasks"]].concat());
    assert!(said.contains("1,000 threads take the items in turns"), "{}", said);
    let printed = succeeds(&[&args[..], &["--only", "threads,gil,tasks", "--json"]].concat());
    let report: Value = serde_json::from_str(&printed).unwrap();
    for style in report["styles"].as_array().unwrap() {
        assert_eq!(style["items_done"], 2000, "{style}");
    }
}

// ===== what is shown ============================================================================

#[test]
fn the_terminal_shows_six_styles_with_two_lines_each_and_the_verdict() {
    let said = succeeds(&LITTLE);
    for title in TITLES {
        let rows = said
            .lines()
            .filter(|line| line.strip_prefix(title).is_some_and(|rest| rest.starts_with("  ")));
        assert_eq!(rows.count(), 1, "{title}: {said}");
    }
    for row in ["  waiting  ", "  computing  "] {
        assert_eq!(said.lines().filter(|line| line.starts_with(row)).count(), 6, "{said}");
    }
    assert!(said.starts_with("12 items, each of which waits 2 ms and computes 1 ms, with 10 KiB"));
    assert!(said.contains(" win here with ") || said.contains(" wins here with "), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours where there is no terminal");
}

#[test]
fn the_page_is_one_file_that_needs_no_other() {
    let path = scratch("page.html");
    let file = path.to_str().unwrap();
    let said = succeeds(&[&LITTLE[..], &["--only", "sequential,tasks", "--html", file]].concat());
    assert!(said.ends_with(&format!("wrote {file}\n")), "{said}");
    let page = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for elsewhere in ["http", "<script", "<link", "src=", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert_eq!(page.matches("<path").count(), 4);
    assert!(page.contains("--io 2ms --cpu 1ms --bytes 10240 --items 12"), "how to repeat it");
    assert!(page.contains("--only sequential,tasks"), "how to repeat it");
    let sentence = page.contains("win here with") || page.contains("wins here with");
    assert!(sentence && page.contains("prefers-color-scheme: dark"));
}

// ===== what is wrong ============================================================================

#[test]
fn wrong_arguments_are_named_with_what_is_accepted() {
    for (args, expected) in [
        (["--items", "0"], "1 to 1000000"),
        (["--items", "many"], "1 to 1000000"),
        (["--items", "1000001"], "1 to 1000000"),
        (["--io", "50"], "500us, 50ms, 1.5s"),
        (["--io", "soon"], "500us, 50ms, 1.5s"),
        (["--cpu", "-5ms"], "500us, 50ms, 1.5s"),
        (["--items", "-1"], "1 to 1000000"),
        (["--cpu", "25h"], "24h"),
        (["--bytes", "1T"], "64k, 1M"),
        (["--bytes", "1G"], "256M"),
        (["--workers", "0"], "1 to 256"),
        (["--rounds", "0"], "1..=100"),
        (["--only", "fibers"], "sequential, threads, gil, tasks, offload, processes"),
        (["--limit", "long"], "500us, 50ms, 1.5s"),
    ] {
        is_refused(&args, 2, &[args[0], args[1], expected]);
    }
    is_refused(&["100"], 2, &["100"]);
    is_refused(&["worker"], 2, &["worker"]);
    assert!(text(&run(CHOOSE, &["--help"]).stdout).contains("Examples:"));
}

#[test]
fn what_would_take_too_long_is_refused_with_the_estimate_and_a_way_out() {
    is_refused(
        &["--cpu", "10h"],
        2,
        &["one after another would take at least 400 h", "limit for one style is 60 s", "--limit"],
    );
    is_refused(
        &["--io", "10s", "--cpu", "0", "--items", "7"],
        2,
        &["at least 70 s", "Too long: one after another.", "--only"],
    );
    is_refused(&["--io", "1s", "--limit", "10ms", "--only", "tasks"], 2, &["tasks would take"]);
}

#[test]
fn a_page_that_cannot_be_written_is_said_before_anything_runs() {
    // This would take an hour.
    let long = ["--io", "1h", "--limit", "24h", "--items", "1"];
    for file in ["/nowhere/page.html", "/"] {
        is_refused(&[&long[..], &["--html", file]].concat(), 1, &["cannot write", file]);
    }
}

#[test]
fn without_threads_and_processes_the_error_is_told() {
    // Too few descriptors for the pipes of 64 workers.
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 24 && exec \"$@\"", "sh", CHOOSE])
        .args(["--only", "processes", "--workers", "64", "--items", "64"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("processes: cannot start a worker process"), "{said}");
}

// ===== how it ends ==============================================================================

/// A long run of worker processes.
#[cfg(target_os = "linux")]
fn long_run() -> (Running, Vec<KilledAtLast>) {
    let args = ["--only", "processes", "--workers", "3", "--items", "3", "--limit", "24h"];
    let running = Running::start(CHOOSE, &[&args[..], &["--io", "0", "--cpu", "1h"]].concat());
    until("the workers are there", || children(running.pid()).len() == 3);
    let workers = children(running.pid()).into_iter().map(KilledAtLast).collect();
    (running, workers)
}

#[cfg(target_os = "linux")]
#[test]
fn it_ends_at_a_signal_and_its_workers_with_it() {
    for (signal, code) in
        [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)]
    {
        let (running, workers) = long_run();
        running.signal(signal);
        assert_eq!(running.wait().0, code);
        for worker in workers {
            until("a worker ends as well", || has_ended(worker.0));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_is_killed_is_named() {
    let (running, workers) = long_run();
    rustix::process::kill_process(workers[0].0, Signal::KILL).unwrap();
    // The others would compute for an hour.
    for worker in &workers[1..] {
        rustix::process::kill_process(worker.0, Signal::TERM).unwrap();
    }
    let (code, said) = running.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a worker process died: signal: "), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn it_ends_at_ctrl_c_while_a_loop_computes() {
    for style in ["sequential", "threads", "gil", "tasks", "offload"] {
        let args = ["--only", style, "--cpu", "1h", "--io", "0", "--items", "2", "--limit", "24h"];
        let running = Running::start(CHOOSE, &args);
        // It has caught the signal when its own thread for it is there.
        let tasks = format!("/proc/{}/task", running.pid());
        until("it waits for signals", || {
            let threads = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
            let name =
                |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm"));
            threads.map(name).any(|name| name.is_ok_and(|name| name.trim() == "stop"))
        });
        running.signal(Signal::INT);
        assert_eq!(running.wait(), (Some(130), "choose: interrupted\n".into()), "{style}");
    }
}
