//! The command line of a step: the name of a scenario, then numbers.

use crate::printing::{complain, end_when_printing_fails};
use std::env;
use std::process;

/// How a program says that it does not know a scenario. `sysexits.h` calls it EX_USAGE.
pub(crate) const NOT_CLAIMED: i32 = 64;

/// The scenario and its numbers; `default` (such as `"countdown 10 5 20"`) when the command line names none.
///
/// From here on `println!` ends the program when printing fails: every step begins with this call.
///
/// Words that begin with `--` are left to the program. A word that should be a number and is none ends the program.
pub fn arguments(default: &str) -> (String, Vec<u64>) {
    end_when_printing_fails();
    let mut words: Vec<String> = env::args().skip(1).collect();
    words.retain(|word| !word.starts_with("--"));
    if words.is_empty() {
        words = default.split_whitespace().map(String::from).collect();
    }
    let scenario = words.remove(0);
    let numbers = words.iter().map(|word| number(word)).collect();
    (scenario, numbers)
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| {
        complain(&format!("{word:?} should be a number"));
        process::exit(2);
    })
}

/// Ends the program: it does not know the scenario, so it claims to keep none of its laws.
pub fn not_claimed(scenario: &str, known: &str) -> ! {
    complain(&format!("{scenario:?} is not known here; what is: {known}"));
    process::exit(NOT_CLAIMED);
}
