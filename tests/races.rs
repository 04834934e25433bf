//! The demos of bugs: found under some schedule, had again with it, and gone from the mended program.

mod server_process;

use serde_json::Value;
use server_process::{Running, run, text};

const RACE: &str = env!("CARGO_BIN_EXE_race");
const DEADLOCK: &str = env!("CARGO_BIN_EXE_deadlock");
const RUDE: &str = env!("CARGO_BIN_EXE_rude");
const COUNTDOWN: &str = env!("CARGO_BIN_EXE_countdown");
const EVERY_BUG: [&str; 3] = [RACE, DEADLOCK, RUDE];

/// What a program says that ends well.
fn said(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{program} {args:?}: {output:?}");
    text(&output.stdout).to_string()
}

fn json(program: &str, args: &[&str]) -> Value {
    let said = said(program, &[args, &["--json"]].concat());
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(&said).unwrap()
}

fn lines(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

// ===== found, had again, mended =================================================================

#[test]
fn exploring_finds_each_bug_and_its_schedule_has_it_again_every_time() {
    let polite: &[&str] = &["--polite"];
    let five: &[&str] = &["--philosophers", "5"];
    for (program, more) in
        [(RACE, &[][..]), (DEADLOCK, &[]), (RUDE, &[]), (RUDE, polite), (DEADLOCK, five)]
    {
        let found = json(program, &[more, &["--explore"]].concat());
        let [failure] = &found["failures"].as_array().unwrap()[..] else { panic!("{found}") };
        let schedule = failure["schedule"].as_str().unwrap();
        assert!(!schedule.is_empty());
        let again = [more, &["--sim", "--schedule", schedule]].concat();
        for _ in 0..3 {
            let run = json(program, &again);
            assert!(run["wrong"].is_string(), "{run}");
            for what in ["story", "wrong", "circle"] {
                assert_eq!(run[what], failure[what]);
            }
        }
        assert_eq!(said(program, &again), said(program, &again));
    }
}

#[test]
fn the_command_that_is_printed_does_it_again() {
    for program in EVERY_BUG {
        let found = said(program, &["--explore"]);
        let (found, command) = found.split_once("  The same again: ").unwrap();
        let args: Vec<&str> = command.split_whitespace().skip(1).collect();
        let again = said(program, &args);
        assert!(again.contains("  Wrong: ") && found.contains(&again), "{found}\n{again}");
    }
}

#[test]
fn first_in_first_out_all_goes_well() {
    for program in EVERY_BUG {
        let run = json(program, &["--sim"]);
        assert!(run["wrong"].is_null(), "{run}");
    }
}

#[test]
fn no_schedule_fails_of_what_is_mended() {
    let three: &[&str] = &["--philosophers", "3"];
    for (program, more) in [(RACE, &[][..]), (DEADLOCK, &[]), (DEADLOCK, three), (RUDE, &[])] {
        let found = json(program, &[more, &["--explore", "--mended"]].concat());
        assert_eq!(found["complete"], true);
        assert_eq!(found["skipping"], false);
        assert_eq!(found["mended"], true);
        assert!(found["schedules"].as_u64().unwrap() > 1, "{found}");
        assert!(found["failures"].as_array().unwrap().is_empty(), "{found}");
    }
}

#[test]
fn what_can_only_repeat_another_is_left_out_and_the_rest_is_a_proof() {
    for count in ["2", "3", "5"] {
        let table = |more: &[&str]| {
            json(DEADLOCK, &[&["--explore", "--philosophers", count], more].concat())
        };
        let mended = table(&["--mended", "--skip"]);
        assert_eq!((&mended["complete"], &mended["skipping"]), (&true.into(), &true.into()));
        assert!(mended["failures"].as_array().unwrap().is_empty(), "{mended}");
        let (broken, searched) = (table(&["--skip"]), table(&[]));
        assert_eq!(broken["complete"], true);
        let circle = |found: &Value| found["failures"][0]["circle"].clone();
        assert_eq!(circle(&broken), circle(&searched));
    }
    let words = said(DEADLOCK, &["--explore", "--mended", "--philosophers", "5", "--skip"]);
    assert!(words.contains("All schedules are covered"), "{words}");
    let words = said(DEADLOCK, &["--explore", "--mended", "--philosophers", "5"]);
    assert!(words.contains("which is not all; none failed"), "{words}");
}

#[test]
fn chance_is_the_same_for_the_same_seed_and_another_for_others() {
    for program in EVERY_BUG {
        let with_seed = |seed: usize| said(program, &["--sim", "--seed", &seed.to_string()]);
        let stories: Vec<String> = (0..12).map(with_seed).collect();
        assert_eq!(stories[3], with_seed(3));
        assert!(stories.iter().any(|story| story.contains("  Wrong: ")));
        assert!(stories.iter().any(|story| story.contains("Nothing went wrong")));
    }
}

// ===== what each one shows ======================================================================

#[test]
fn a_lost_update_is_two_reads_before_the_first_write() {
    let run = json(RACE, &["--sim", "--schedule", "1"]);
    assert_eq!(lines(&run["story"]), ["A reads 0", "B reads 0", "A writes 1", "B writes 1"]);
    let run = json(RACE, &["--sim"]);
    assert_eq!(lines(&run["story"]), ["A reads 0", "A writes 1", "B reads 1", "B writes 2"]);
}

#[test]
fn a_deadlock_names_its_circle() {
    let run = json(DEADLOCK, &["--sim", "--schedule", "1"]);
    let circle = ["A waits for a lock that B holds", "B waits for a lock that A holds"];
    assert_eq!(lines(&run["circle"]), circle);
    for count in 2..=6 {
        let found = json(DEADLOCK, &["--explore", "--philosophers", &count.to_string()]);
        assert_eq!(lines(&found["failures"][0]["circle"]).len(), count);
    }
}

#[test]
fn under_no_schedule_a_rude_task_is_interrupted() {
    for seed in 0..20 {
        let run = json(RUDE, &["--sim", "--seed", &seed.to_string()]);
        let served = lines(&run["story"]).into_iter().find(|line| line.contains("served")).unwrap();
        assert!(served.contains("after 0 ") || served.contains("after 5 "), "{served}");
    }
}

#[test]
fn threads_are_counted_and_with_fetch_add_nothing_is_lost() {
    let broken = json(RACE, &["--threads"]);
    assert!(broken["lost"].as_u64().unwrap() <= broken["tries"].as_u64().unwrap());
    let mended = json(RACE, &["--threads", "--mended"]);
    assert_eq!((&mended["lost"], &mended["tries"]), (&0.into(), &broken["tries"]));
}

#[test]
fn threads_that_are_stuck_are_found_out_and_the_process_ends() {
    let broken = json(DEADLOCK, &["--threads"]);
    assert!(broken["stuck"] == true || broken["tries"] == 10_000, "{broken}");
    let mended = json(DEADLOCK, &["--threads", "--mended"]);
    assert_eq!((&mended["stuck"], &mended["tries"]), (&false.into(), &10_000.into()));
}

#[test]
fn a_rude_task_is_measured_by_the_clock_beside_threads() {
    let rude = json(RUDE, &["--threads"]);
    for what in ["computing_ms", "in_the_loop_ms", "as_threads_ms"] {
        assert!(rude[what].as_f64().unwrap() > 0.0, "{rude}");
    }
}

#[test]
fn the_whole_story_goes_from_chance_to_proof() {
    for program in EVERY_BUG {
        let story = said(program, &[]);
        let places: Vec<usize> =
            ["By chance", "Found", "The same again", "same story 1000 times", "Mended"]
                .iter()
                .map(|part| story.find(part).unwrap_or_else(|| panic!("no {part}: {story}")))
                .collect();
        assert!(places.is_sorted(), "{story}");
        assert!(story.contains("wrong in 0 of 1000"), "{story}");
        assert!(story[places[4]..].contains("; none failed."), "{story}");
    }
}

// ===== the command line =========================================================================

#[test]
fn a_schedule_that_does_not_fit_is_explained() {
    for program in EVERY_BUG {
        for (schedule, why) in
            [("9", "its choice number 1 is 9"), ("0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", "16 choices")]
        {
            let output = run(program, &["--sim", "--schedule", schedule]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(output.stdout.is_empty());
            assert!(text(&output.stderr).contains(why), "{output:?}");
        }
    }
    let output = run(COUNTDOWN, &["--tasks", "--sim", "--schedule", "0,9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("its choice number 2 is 9"), "{output:?}");
}

#[test]
fn wrong_arguments_are_explained() {
    let wrong: [(&[&str], &str); 11] = [
        (&["--schedule", "1"], "--sim"),
        (&["--seed", "1"], "--sim"),
        (&["--sim", "--seed", "1", "--schedule", "1"], "--schedule"),
        (&["--sim", "--schedule", "1,x"], "\"x\" is no choice"),
        (&["--sim", "--seed", "x"], "--seed"),
        (&["--sim", "--explore"], "--explore"),
        (&["--explore", "--threads"], "--threads"),
        (&["--mended"], "--explore"),
        (&["--json"], "--explore"),
        (&["--trace", "x"], "--sim"),
        (&["--explore", "--trace", "x"], "--sim"),
    ];
    for program in EVERY_BUG {
        for (args, named) in wrong {
            let output = run(program, args);
            assert_eq!(output.status.code(), Some(2), "{program} {args:?}: {output:?}");
            assert!(output.stdout.is_empty());
            assert!(text(&output.stderr).contains(named), "{program} {args:?}: {output:?}");
        }
        assert!(said(program, &["--help"]).contains("Examples:"));
    }
    for count in ["1", "7", "many"] {
        let output = run(DEADLOCK, &["--explore", "--philosophers", count]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert_eq!(run(RUDE, &["--explore", "--mended", "--polite"]).status.code(), Some(2));
    for way in [&["--sim"][..], &["--threads"], &[]] {
        let output = run(DEADLOCK, &[way, &["--skip"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains("--skip") || way.is_empty(), "{output:?}");
    }
    for args in [&["--sim"][..], &["--threads", "--sim"], &["--tasks", "--schedule", "1"]] {
        assert_eq!(run(COUNTDOWN, args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn they_end_quietly_when_nobody_reads() {
    for program in EVERY_BUG {
        let mut demo = Running::start(program, &["--explore"]);
        drop(demo.0.stdout.take());
        assert_eq!(demo.wait(), (Some(0), String::new()));
    }
}

#[test]
fn a_simulated_run_can_be_recorded_and_is_the_same_again() {
    for program in EVERY_BUG {
        let name = program.rsplit('/').next().unwrap();
        let record = |number: u32| {
            let file = format!("{}/{name}-{number}.jsonl", env!("CARGO_TARGET_TMPDIR"));
            said(program, &["--sim", "--schedule", "1", "--trace", &file]);
            std::fs::read_to_string(&file).unwrap()
        };
        let recorded = record(1);
        assert!(recorded.lines().next().unwrap().contains("popleft-record"));
        assert!(recorded.lines().count() > 10);
        assert_eq!(recorded, record(2));
    }
}

// ===== countdown ================================================================================

#[test]
fn a_simulated_countdown_takes_no_time_and_the_turns_that_were_chosen() {
    let real = said(COUNTDOWN, &["--tasks", "3", "2", "1"]);
    assert_eq!(said(COUNTDOWN, &["--tasks", "--sim", "3", "2", "1"]), real);
    let chosen = said(COUNTDOWN, &["--tasks", "--sim", "--schedule", "2,0,0", "3", "2", "1"]);
    assert_eq!(chosen.split_whitespace().take(3).collect::<Vec<_>>(), ["1", "3", "2"]);
    let seeded = |seed: &str| said(COUNTDOWN, &["--tasks", "--sim", "--seed", seed, "9", "8", "7"]);
    assert_eq!(seeded("1"), seeded("1"));
    assert!((2..9).any(|seed| seeded(&seed.to_string()) != seeded("1")));
    // A hundred thousand sleeps of 10 ms would be more than a quarter of an hour.
    assert_eq!(said(COUNTDOWN, &["--tasks", "--sim", "100000"]).lines().count(), 100_000);
}
