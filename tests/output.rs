//! Printing can fail. When nobody reads any more, a program ends quietly; when what it prints gets
//! lost, it says so and ends with exit code 1. It never panics.
#![cfg(target_os = "linux")] // for /dev/full

mod server_process;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use server_process::{TASKS, run, text, until};

/// A run of a program that prints something; `ADDR` stands for a server's address.
struct Run {
    program: &'static str,
    args: &'static [&'static str],
}

const fn run_of(program: &'static str, args: &'static [&'static str]) -> Run {
    Run { program, args }
}

macro_rules! program {
    ($name:literal) => {
        env!(concat!("CARGO_BIN_EXE_", $name))
    };
}

const SERVERS: [&str; 7] = [
    program!("fib-sequential"),
    program!("fib-threads"),
    program!("fib-gil"),
    program!("fib-processes"),
    program!("fib-generators"),
    program!("fib-tasks"),
    program!("fib-cores"),
];

const CHOOSE: &str = program!("choose");
const TALK: &str = program!("talk");
const PERF1: &str = program!("perf1");
const PERF2: &str = program!("perf2");
const CLIENT: &str = program!("client");

/// Every program that is no server, in each of its ways to print.
const RUNS: [Run; 24] = [
    run_of(program!("countdown"), &[]),
    run_of(program!("countdown"), &["--tasks"]),
    run_of(program!("countdown"), &["--tasks", "--sim"]),
    run_of(program!("countdown"), &["--threads"]),
    run_of(program!("race"), &["--sim"]),
    run_of(program!("race"), &["--explore"]),
    run_of(program!("race"), &["--explore", "--json"]),
    run_of(program!("race"), &["--threads"]),
    run_of(program!("race"), &[]),
    run_of(program!("deadlock"), &["--sim"]),
    run_of(program!("deadlock"), &["--explore"]),
    run_of(program!("rude"), &["--sim"]),
    run_of(program!("rude"), &["--explore", "--json"]),
    run_of(program!("rude"), &["--threads"]),
    run_of(program!("fib-tasks"), &["--sim"]),
    run_of(PERF1, &["--addr", "ADDR", "--n", "5", "--seconds", "20"]),
    run_of(PERF1, &["--addr", "ADDR", "--n", "5", "--seconds", "20", "--json"]),
    run_of(PERF2, &["--addr", "ADDR", "--seconds", "2.5"]),
    run_of(PERF2, &["--addr", "ADDR", "--seconds", "0.2", "--json"]),
    run_of(CLIENT, &["ADDR"]),
    run_of(CHOOSE, &["--io", "1ms", "--cpu", "0", "--items", "2", "--rounds", "1"]),
    run_of(
        CHOOSE,
        &["--io", "0", "--cpu", "0", "--items", "2", "--rounds", "1", "--quiet", "--only", "tasks"],
    ),
    run_of(
        CHOOSE,
        &["--io", "1ms", "--cpu", "0", "--items", "2", "--rounds", "1", "--json", "--only", "gil"],
    ),
    run_of(TALK, &["--quick", "--act", "sequential", "--json", "-"]),
];

fn command(run: &Run, addr: &str) -> Command {
    let mut command = Command::new(run.program);
    command.args(run.args.iter().map(|arg| if *arg == "ADDR" { addr } else { arg }));
    command.env("NO_COLOR", "1").stdin(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that is killed when a test fails.
struct Started {
    process: Child,
    what: String,
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended already when the test has passed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts it with these numbers to read, of which only `client` takes notice.
fn start(command: &mut Command) -> Started {
    let process = command.spawn().unwrap();
    let started = Started { process, what: format!("{command:?}") };
    let _ = started.process.stdin.as_ref().map(|mut stdin| stdin.write_all(b"10\n11\n12\n"));
    started
}

/// Waits for its end, while its input stays open; returns the exit code and its standard error.
fn end(mut started: Started) -> (Option<i32>, String, String) {
    let mut status = None;
    until(&format!("this ends: {}", started.what), || {
        status = started.process.try_wait().unwrap();
        status.is_some()
    });
    let mut stderr = String::new();
    if let Some(mut pipe) = started.process.stderr.take() {
        pipe.read_to_string(&mut stderr).unwrap();
    }
    (status.unwrap().code(), stderr, std::mem::take(&mut started.what))
}

fn ends_quietly(started: Started) {
    let (code, stderr, what) = end(started);
    assert_eq!((code, &*stderr), (Some(0), ""), "{what}");
}

fn tells_of_the_full_disk(started: Started) {
    let (code, stderr, what) = end(started);
    assert_eq!(code, Some(1), "{what}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
    assert!(stderr.contains("cannot write to standard output"), "{what}: {stderr}");
    assert!(stderr.contains("No space left on device"), "{what}: {stderr}");
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe whose other end is closed.
fn nobody() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn every_program_is_put_to_these_laws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let programs = fs::read_dir(folder).unwrap().map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".rs").unwrap().to_string()
    });
    let known = SERVERS.into_iter().chain(RUNS.iter().map(|run| run.program));
    let known = known.map(|path| path.rsplit('/').next().unwrap().to_string());
    assert_eq!(programs.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn a_program_that_nobody_reads_any_more_ends_quietly() {
    let server = TASKS.start();
    for run in &RUNS {
        // After its first line, as `head -1` does it.
        let mut started = start(command(run, &server.addr).stdout(Stdio::piped()));
        let mut stdout = BufReader::new(started.process.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        ends_quietly(started);
        // And before that.
        ends_quietly(start(command(run, &server.addr).stdout(nobody())));
    }
}

#[test]
fn a_program_whose_output_gets_lost_says_so() {
    let server = TASKS.start();
    for run in &RUNS {
        tells_of_the_full_disk(start(command(run, &server.addr).stdout(full_disk())));
    }
}

#[test]
fn a_server_that_cannot_say_where_it_listens_does_not_serve() {
    for program in SERVERS {
        let run = run_of(program, &["--addr", "127.0.0.1:0"]);
        tells_of_the_full_disk(start(command(&run, "").stdout(full_disk())));
    }
}

#[test]
fn help_that_cannot_be_printed_is_no_success() {
    let all: BTreeSet<_> = SERVERS.into_iter().chain(RUNS.iter().map(|run| run.program)).collect();
    for program in all {
        for option in ["--help", "--version"] {
            let run = Run {
                program,
                args: if option == "--help" { &["--help"] } else { &["--version"] },
            };
            tells_of_the_full_disk(start(command(&run, "").stdout(full_disk())));
            ends_quietly(start(command(&run, "").stdout(nobody())));
        }
    }
}

#[test]
fn whoever_cannot_complain_ends_with_the_same_exit_code() {
    for (program, args, code) in [
        (program!("countdown"), &["many"][..], 2),
        (CLIENT, &["127.0.0.1:1"], 1),
        (PERF1, &["--addr", "127.0.0.1:1"], 1),
        (TALK, &["serve", "fib-fibers"], 2),
        (CHOOSE, &["worker"], 2),
        (CHOOSE, &["--html", "/nowhere/page.html"], 1),
    ] {
        for stderr in [Stdio::from(full_disk()), nobody()] {
            let started =
                start(command(&run_of(program, args), "").stdout(Stdio::null()).stderr(stderr));
            let (ended_with, _, what) = end(started);
            assert_eq!(ended_with, Some(code), "{what}");
        }
    }
}

// ===== files ====================================================================================

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_work() {
    // All of this would take very long.
    let choose = ["--io", "1h", "--limit", "24h", "--items", "1"];
    for file in ["/nowhere/x", "/", "/dev/null/x"] {
        for option in ["--html", "--json"] {
            for (program, args) in [(TALK, &[][..]), (CHOOSE, &choose)] {
                let output = run(program, &[args, &[option, file]].concat());
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                assert_eq!(text(&output.stdout), "");
                let said = text(&output.stderr);
                assert_eq!(said.lines().count(), 1, "{said}");
                assert!(said.contains(&format!("cannot write {file}: ")), "{said}");
            }
        }
    }
    for program in [program!("countdown"), program!("race"), program!("fib-tasks")] {
        let way = if program.ends_with("countdown") { "--tasks" } else { "--sim" };
        let output = run(program, &[way, "--trace", "/nowhere/x"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains("/nowhere/x"), "{output:?}");
    }
}

#[test]
fn a_file_stays_as_it_is_until_there_is_something_to_write() {
    let folder = std::env::temp_dir().join(format!("popleft-output-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (old, new) = (folder.join("old.html"), folder.join("new.html"));
    let (dangling, target) = (folder.join("dangling.html"), folder.join("target.html"));
    std::os::unix::fs::symlink(&target, &dangling).unwrap();
    let text = "x".repeat(1 << 20);
    fs::write(&old, &text).unwrap();
    // The other file is refused, so nothing is written to this one.
    for file in [&old, &new, &dangling] {
        let file = file.to_str().unwrap();
        for program in [TALK, CHOOSE] {
            let output = run(program, &["--html", file, "--json", "/nowhere/x"]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
        }
    }
    assert_eq!(fs::read_to_string(&old).unwrap(), text);
    assert!(!new.exists() && !target.exists());
    // What is written takes the place of all that was there.
    let work = ["--io", "0", "--cpu", "0", "--items", "1", "--rounds", "1", "--only", "tasks"];
    for file in [&old, &new, &dangling] {
        let output = run(CHOOSE, &[&work[..], &["--html", file.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(fs::read_to_string(file).unwrap().trim_end().ends_with("</html>"));
        assert!(fs::metadata(file).unwrap().len() < text.len() as u64);
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_that_becomes_full_is_an_error() {
    let work = ["--io", "0", "--cpu", "0", "--items", "1", "--rounds", "1", "--only", "tasks"];
    for option in ["--html", "--json"] {
        let output = run(CHOOSE, &[&work[..], &[option, "/dev/full"]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("cannot write /dev/full: "), "{output:?}");
    }
}

#[test]
fn a_loop_that_cannot_be_had_is_told_in_one_line() {
    for args in [
        "countdown --tasks 3",
        "rude --threads",
        "choose --only tasks --items 1",
        "choose --only offload --items 1",
    ] {
        let folder = Path::new(program!("countdown")).parent().unwrap();
        let script = format!("ulimit -n 4; exec {}/{args}", folder.display());
        let output = run("sh", &["-c", &script]);
        assert_eq!(output.status.code(), Some(1), "{args}: {output:?}");
        let said = text(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{args}: {said}");
        assert!(said.contains("Too many open files"), "{args}: {said}");
    }
}
