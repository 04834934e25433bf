//! The conformance suite: laws that a runtime should keep, and the means to put a program to them.
//!
//! The program may be written in any language. It is started once for each law, with the name of a scenario and numbers as
//! its arguments, and it is judged by what it prints and by how it answers on a socket. A program that does not know a
//! scenario ends with exit code 64: it does not claim the scenario's laws.
//!
//! The scenarios:
//!
//! | arguments          | what the program does |
//! |--------------------|-----------------------|
//! | `countdown N...`   | one task for each N. A task prints N, gives up its turn, prints N - 1, and so on down to 1 |
//! | `sleep MS...`      | one task for each MS. A task sleeps that many milliseconds, then prints MS |
//! | `yield MS`         | one task sleeps MS milliseconds, then prints MS. Another gives up its turn over and over for ten times as long, then prints `over` |
//! | `join MS...`       | as `sleep`, and each task returns 2 * MS. The main task joins them in the order of the arguments, then prints `joined RESULT` for each in that order |
//! | `serve`            | prints `listening on ADDR`; answers each line with a number n by a line with fib(n), and each other line by `error` and some words. One client at a time is enough |
//! | `crowd`            | the same for many clients at once |
//! | `offload`          | the same, and a long computation holds up nobody else |
//!
//! The first four end by themselves with exit code 0. Output that waits in a buffer does not count: flush each line.

mod client;
mod laws;
mod program;
mod server_laws;

pub use laws::{LAWS, Law};
pub use program::Program;

/// What became of one law.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// What was expected, and what came.
    Fail(String),
    /// The program does not know the scenario.
    NotClaimed,
    /// This system does not tell what the law asks about.
    NotMeasured(String),
}

/// Why a check stopped before its end.
enum Stop {
    Broken(String),
    NotClaimed,
    NotMeasured(String),
}

type Check = Result<(), Stop>;

fn broken<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Broken(what.into()))
}

/// Puts the program to one law. Takes from some milliseconds to some seconds; a program that hangs is ended.
pub fn judge(program: &Program, law: &Law) -> Verdict {
    match (law.check)(program) {
        Ok(()) => Verdict::Pass,
        Err(Stop::Broken(what)) => Verdict::Fail(what),
        Err(Stop::NotClaimed) => Verdict::NotClaimed,
        Err(Stop::NotMeasured(why)) => Verdict::NotMeasured(why),
    }
}
