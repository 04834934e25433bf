//! The list of all laws, and the checks of those that need no socket.

use super::program::{Printed, Program};
use super::server_laws as server;
use super::{Check, broken};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

/// A program that wants more than this share of a processor does not rest.
pub(super) const RESTLESS: f64 = 0.5;

/// One law: which scenario claims it, and what it says.
pub struct Law {
    pub scenario: &'static str,
    pub name: &'static str,
    pub says: &'static str,
    pub(super) check: fn(&Program) -> Check,
}

const fn law(
    scenario: &'static str,
    name: &'static str,
    says: &'static str,
    check: fn(&Program) -> Check,
) -> Law {
    Law { scenario, name, says, check }
}

/// All laws, in the order in which the steps begin to keep them.
pub const LAWS: &[Law] = &[
    law("countdown", "turns", "tasks take turns, first in, first out", turns),
    law("countdown", "many-turns", "so do a thousand tasks", many_turns),
    law("serve", "answers", "each line gets its answer, ended by LF or CRLF", server::answers),
    law("serve", "pieces", "a line may come in pieces", server::pieces),
    law("serve", "pipeline", "many lines at once are answered in order", server::pipeline),
    law(
        "serve",
        "bad-line",
        "a bad line gets an error, and the next line its answer",
        server::bad_line,
    ),
    law("serve", "last-words", "after the last line the server closes too", server::last_words),
    law("serve", "gone", "a client that goes away takes nobody with it", server::gone),
    law("serve", "rest", "while its client is silent the server rests", server::rest),
    law("serve", "rest-alone", "when its client is gone the server rests", server::rest_alone),
    law("crowd", "second", "a second client is served while the first is silent", server::second),
    law(
        "crowd",
        "half-line",
        "a client in the middle of a line holds up nobody",
        server::half_line,
    ),
    law("crowd", "hundred", "a hundred clients are served at once", server::hundred),
    law("crowd", "greedy", "a client that never stops asking starves nobody", server::greedy),
    law("sleep", "deadlines", "sleepers wake in the order of their deadlines", deadlines),
    law("sleep", "never-early", "no sleeper wakes early", never_early),
    law("sleep", "zero", "a sleep of nothing ends", zero),
    law("sleep", "rest-asleep", "while all tasks sleep the program rests", rest_asleep),
    law("yield", "yield", "a task that yields all the time starves no sleeper", yielding),
    law("join", "join", "a join waits, and gives the result of its task", join),
    law("join", "many-joins", "results go to those who join, whoever ends first", many_joins),
    law(
        "offload",
        "short-beside-long",
        "short requests flow while a long one is computed",
        server::short_beside_long,
    ),
    law(
        "offload",
        "offload-order",
        "a long request and then a short one are answered in order",
        server::offload_order,
    ),
];

fn turns(program: &Program) -> Check {
    take_turns(program, &[3, 2, 4])
}

fn many_turns(program: &Program) -> Check {
    take_turns(program, &[2; 1000])
}

fn take_turns(program: &Program, numbers: &[u64]) -> Check {
    let printed = program.run("countdown", numbers)?;
    same(&printed, &turns_of(numbers))
}

/// What the talk's deque prints: the law itself.
fn turns_of(numbers: &[u64]) -> Vec<String> {
    let mut tasks: VecDeque<u64> = numbers.iter().copied().collect();
    let mut lines = Vec::new();
    while let Some(n) = tasks.pop_front() {
        if n > 0 {
            lines.push(n.to_string());
            tasks.push_back(n - 1);
        }
    }
    lines
}

fn deadlines(program: &Program) -> Check {
    let printed = program.run("sleep", &[300, 100, 200])?;
    same(&printed, &["100", "200", "300"])
}

fn never_early(program: &Program) -> Check {
    let printed = program.run("sleep", &[50, 150, 250])?;
    same(&printed, &["50", "150", "250"])?;
    for line in &printed.lines {
        let due = Duration::from_millis(line.text.parse().expect("compared above"));
        // Counted from before the start of the program: who is early here is early by any clock.
        let took = line.at - printed.started;
        if took < due {
            return broken(format!("expected {due:?} or more, got {took:?}"));
        }
    }
    Ok(())
}

fn zero(program: &Program) -> Check {
    let printed = program.run("sleep", &[0])?;
    same(&printed, &["0"])
}

fn rest_asleep(program: &Program) -> Check {
    let mut running = program.start("sleep", &[1, 1500])?;
    if running.next_line()?.is_none() {
        running.end_well()?;
        return broken("expected \"1\", got nothing");
    }
    let share = running.restlessness()?;
    rests(share)
}

pub(super) fn rests(share: f64) -> Check {
    if share < RESTLESS {
        return Ok(());
    }
    broken(format!("expected less than {RESTLESS} of a processor, got {share:.2}: it spins"))
}

fn yielding(program: &Program) -> Check {
    let printed = program.run("yield", &[100])?;
    same(&printed, &["100", "over"])
}

fn join(program: &Program) -> Check {
    let printed = program.run("join", &[300, 100, 200])?;
    same(&printed, &["100", "200", "300", "joined 600", "joined 200", "joined 400"])
}

fn many_joins(program: &Program) -> Check {
    let numbers: Vec<u64> = (1..=100).rev().collect();
    let mut printed = program.run("join", &numbers)?;
    printed.lines.retain(|line| line.text.starts_with("joined"));
    let expected: Vec<String> = numbers.iter().map(|ms| format!("joined {}", 2 * ms)).collect();
    same(&printed, &expected)
}

/// Compares lines, and tells of the first that differ: a thousand lines are no reason.
fn same<S: AsRef<str> + Debug>(printed: &Printed, expected: &[S]) -> Check {
    let got = printed.texts();
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    if got == expected {
        return Ok(());
    }
    let alike = got.iter().zip(&expected).take_while(|(got, expected)| got == expected).count();
    let around = |lines: &[&str]| {
        let shown: Vec<&str> =
            lines.iter().skip(alike.saturating_sub(2)).take(8).copied().collect();
        if shown.is_empty() { "the end".to_string() } else { shown.join(", ") }
    };
    let (expected, got) = (around(&expected), around(&got));
    broken(format!("line {}: expected .. {expected} .., got .. {got} ..", alike + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_those_of_the_talk() {
        let lines = turns_of(&[10, 5, 20]);
        assert_eq!(lines[..9], ["10", "5", "20", "9", "4", "19", "8", "3", "18"]);
        assert_eq!(lines.len(), 35);
    }

    #[test]
    fn names_of_laws_are_unique() {
        for (index, law) in LAWS.iter().enumerate() {
            assert!(LAWS[..index].iter().all(|other| other.name != law.name), "{}", law.name);
        }
    }
}
