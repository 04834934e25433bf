//! The gdb commands, each driven with `gdb -batch` on `runtime/examples/who_waits.rs`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SOURCE: &str = include_str!("../runtime/examples/who_waits.rs");

/// The repository, from which paths are shown.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn tools_are_required() -> bool {
    env::var_os("POPLEFT_REQUIRE_TOOLS").is_some()
}

/// Whether gdb and objdump are there; says so if not, or fails where they are required.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn gdb_is_there() -> bool {
    for tool in ["gdb", "objdump"] {
        let version = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
        if version.is_err() {
            assert!(!tools_are_required(), "{tool} is missing");
            println!("skipped: no {tool}");
            return false;
        }
    }
    true
}

/// Builds the example with these options, and returns where it is. Cargo has built it already
/// when all tests are run; when this one is run alone, it has not.
fn build(options: &[&str], folder: &str) -> PathBuf {
    let this_test = env::current_exe().unwrap();
    // target/debug/deps/debugger-0123456789
    let target = this_test.ancestors().nth(3).unwrap();
    let built = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--quiet", "--locked", "--example", "who_waits"])
        .args(options)
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .status();
    assert!(built.unwrap().success());
    target.join(folder).join("examples").join("who_waits")
}

fn example() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| build(&[], "debug"))
}

fn gdb(program: &Path, more: &[&str], commands: &[&str]) -> String {
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-batch", "-nx", "-iex", "set auto-load safe-path /"])
        .args(["-iex", "set width 0", "-iex", "set confirm off"])
        .current_dir(root())
        .env("POPLEFT_GDB_TRACE", "1")
        .env_remove("DEBUGINFOD_URLS");
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.arg(program).args(more).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("Traceback"), "{text}");
    text
}

const TO_THE_PLACE: [&str; 2] = ["break who_waits::look_here", "run"];

/// What one session in a debug build says, from the first command on.
fn session() -> &'static str {
    static SESSION: OnceLock<String> = OnceLock::new();
    SESSION.get_or_init(|| {
        let mut commands = TO_THE_PLACE.to_vec();
        commands.extend([
            "popleft tasks",
            "echo ---ready\\n",
            "popleft ready",
            "echo ---timers\\n",
            "popleft timers",
            "echo ---bt\\n",
            "popleft bt",
            "echo ---step\\n",
            "popleft step 12",
            "echo ---running\\n",
            "popleft bt 12",
            "popleft ready",
            "echo ---end\\n",
        ]);
        gdb(example(), &[], &commands)
    })
}

/// The part of the session after a mark, up to the next.
fn part(mark: &str) -> &'static str {
    let after = session().split_once(mark).unwrap_or_else(|| panic!("{}", session())).1;
    after.split("---").next().unwrap()
}

/// The line of the example that holds this text.
fn line_of(text: &str) -> String {
    let line = SOURCE.lines().position(|line| line.contains(text)).unwrap() + 1;
    format!("runtime/examples/who_waits.rs:{line}")
}

/// The lines of one task's chain of awaits.
fn chain(task: &str) -> Vec<&'static str> {
    let mut lines = part("---bt").lines();
    lines.find(|line| line.starts_with("task ") && line.contains(task)).unwrap();
    lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect()
}

#[test]
fn tasks_are_listed_with_what_each_waits_for_and_where() {
    if !gdb_is_there() {
        return;
    }
    let tasks = part("spawned at\n");
    let row = |name: &str| tasks.lines().find(|line| line.contains(name)).unwrap();
    assert_eq!(tasks.lines().count(), 13, "{tasks}");
    assert!(row("main").contains("running"));
    assert!(row("always ready").contains("ready   "), "{tasks}");
    for (name, what) in [
        ("reader", format!("read at {}", line_of("// reader waits"))),
        ("nested", format!("timer at {}", line_of("// inner waits"))),
        ("guarded", format!("read at {}", line_of("// guarded waits"))),
        ("through a trait", String::from("read at via AsyncRead")),
        ("foreign", String::from("something of its own")),
        ("joiner", String::from("join of task 8")),
        ("waits for job", String::from("join of task 10")),
        ("offload", String::from("parked")),
    ] {
        assert!(row(name).contains(&what), "{name}: {tasks}");
    }
    // A program that lives is asked how late it is, and not when it last looked.
    assert!(row("reader").contains(", for ") && !tasks.contains("at least"), "{tasks}");
    let spawned = line_of("name(\"reader\")");
    assert!(row("reader").ends_with(&spawned), "{tasks}");
}

#[test]
fn the_deque_and_the_timers_are_shown_in_their_order() {
    if !gdb_is_there() {
        return;
    }
    assert_eq!(part("---ready").trim(), "task 12 \"always ready\"");
    let whom: Vec<_> = part("---timers")
        .lines()
        .filter_map(|line| line.split_once("wakes "))
        .map(|(_, whom)| whom)
        .collect();
    // After 1, 2, 2, 6 and 10 hours; the two of 2 hours in the order in which they were set.
    assert_eq!(whom.len(), 5);
    assert!(
        whom[0].contains("guarded") && whom[3].contains("nested") && whom[4].contains("either")
    );
    // How long it took to get there depends on the machine.
    let first = part("---timers").lines().find(|line| line.contains("guarded")).unwrap();
    let seconds: f64 = first.split_whitespace().next().unwrap().parse().unwrap();
    assert!((3000.0..=3600.0).contains(&seconds), "{first}");
}

#[test]
fn chains_of_awaits_go_down_to_the_leaf() {
    if !gdb_is_there() {
        return;
    }
    let at =
        |function: &str, mark: &str| format!("async who_waits::{function}  at {}", line_of(mark));
    let sleep = format!("Sleep  at {}", line_of("// inner waits"));
    assert_eq!(
        chain("\"nested\""),
        [at("outer", "// outer waits"), at("inner", "// inner waits"), sleep.clone()]
    );
    assert_eq!(
        chain("\"boxed\""),
        [
            at("boxed", "// boxed waits"),
            at("outer", "// outer waits"),
            at("inner", "// inner waits"),
            sleep.clone()
        ]
    );
    assert_eq!(
        chain("\"guarded\""),
        [
            at("read_for_an_hour", "// guarded waits"),
            String::from("Timeout"),
            format!("future: Operation  at {}", line_of("// guarded waits")),
        ]
    );
    let either = chain("\"either\"");
    assert_eq!(either[0], at("either", "// either waits"));
    assert!(either[1].contains("futures_lite::future::Or<"), "{either:?}");
    assert_eq!(either[2], format!("future1: {}", at("outer", "// outer waits")));
    assert_eq!(*either.last().unwrap(), sleep);
    assert_eq!(chain("task 10,"), ["a job on the thread pool"]);
    assert_eq!(chain("\"waits for job\"")[1], "JoinHandle  of task 10");
    // The task that runs, by the frame that polls it.
    assert_eq!(chain("\"main\"").len(), 2, "{:?}", chain("\"main\""));
    assert!(chain("\"main\"")[1].starts_with("YieldNow"));
}

#[test]
fn step_stops_in_the_tasks_own_code_at_its_next_turn() {
    if !gdb_is_there() {
        return;
    }
    let step = part("---step");
    assert!(step.contains("the turn of task 12 \"always ready\" begins"), "{step}");
    assert!(step.contains("who_waits::start_all::{async_block#3}"), "{step}");
    let running = part("---running");
    assert!(running.contains("task 12 \"always ready\", running"), "{running}");
    assert!(running.contains("YieldNow  at "), "{running}");
}

#[test]
fn wrong_arguments_and_moments_are_told_in_one_line() {
    if !gdb_is_there() {
        return;
    }
    let mut commands = vec!["popleft tasks", "popleft help", "popleft nonsense"];
    commands.extend(TO_THE_PLACE);
    commands.extend(["popleft bt 99", "popleft bt x", "popleft step 99"]);
    let said = gdb(example(), &[], &commands);
    for expected in [
        "popleft: the program is not running",
        "popleft step [ID]",
        "there is no `popleft nonsense`",
        "popleft: there is no task 99; `popleft tasks` lists them",
        "popleft: 'x' is no task number",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(said.matches("there is no task 99").count(), 2, "{said}");
}

#[test]
fn a_core_file_can_be_looked_at() {
    if !gdb_is_there() {
        return;
    }
    let core = env::temp_dir().join(format!("popleft-core-{}", std::process::id()));
    let dump = format!("generate-core-file {}", core.display());
    let mut commands = TO_THE_PLACE.to_vec();
    commands.extend([dump.as_str(), "kill"]);
    let said = gdb(example(), &[], &commands);
    let core_path = core.to_str().unwrap();
    let commands = ["popleft tasks", "popleft bt 1", "popleft timers", "popleft step"];
    let found = gdb(example(), &[core_path], &commands);
    std::fs::remove_file(&core).unwrap_or_else(|_| panic!("there is no core file: {said}"));
    let waits = format!("async who_waits::read_forever  at {}", line_of("// reader waits"));
    let parts =
        ["through a trait", &waits, "for at least", "wakes task 3", "cannot go on from here"];
    for expected in parts {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

/// Builds the example as `cargo build --release` does. It takes a while, so only where tools are
/// required.
#[test]
fn a_release_build_can_be_looked_at() {
    if !tools_are_required() {
        return println!("skipped: POPLEFT_REQUIRE_TOOLS is not set");
    }
    assert!(gdb_is_there());
    let example = build(&["--release"], "release");
    let mut commands = TO_THE_PLACE.to_vec();
    commands.extend([
        "popleft tasks",
        "popleft ready",
        "popleft timers",
        "popleft bt",
        "popleft step 12",
    ]);
    let said = gdb(&example, &[], &commands);
    let waits = format!("async who_waits::inner  at {}", line_of("// inner waits"));
    for expected in [
        "read at via AsyncRead",
        "wakes task 3 \"guarded\"",
        &waits,
        "JoinHandle  of task 10",
        "the turn of task 12 \"always ready\" begins",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
