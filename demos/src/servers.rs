//! All the servers by name, for a program that starts them by executing itself.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{
    fib_cores, fib_generators, fib_gil, fib_processes, fib_sequential, fib_tasks, fib_threads,
};

/// The names that [`serve`] knows, in the order in which the talk comes to them.
pub const SERVERS: &[&str] = &[
    "fib-sequential",
    "fib-threads",
    "fib-gil",
    "fib-processes",
    "fib-generators",
    "fib-tasks",
    "fib-cores",
];

/// Runs the server of this name until it is stopped. `None` when there is none.
///
/// `args` are what follows the name; they have to be the last arguments of this process.
pub fn serve(name: &str, args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let exit_code = match name {
        "fib-sequential" => fib_sequential::run_from(args),
        "fib-threads" => fib_threads::run_from(args),
        "fib-gil" => fib_gil::run_from(args),
        "fib-processes" => fib_processes::run_from(args),
        "fib-generators" => fib_generators::run_from(args),
        "fib-tasks" => fib_tasks::run_from(args),
        "fib-cores" => fib_cores::run_from(args),
        _ => return None,
    };
    Some(exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_no_other() {
        for name in SERVERS {
            let help = [OsString::from("--help")].into_iter();
            assert_eq!(serve(name, help), Some(ExitCode::SUCCESS), "{name}");
        }
        assert_eq!(serve("fib-fibers", std::iter::empty()), None);
    }
}
