//! The demos: one module each, to be read, and a thin binary for each.
//!
//! Read the servers in the order of the talk: [`fib_sequential`], [`fib_threads`], [`fib_gil`],
//! [`fib_processes`], [`fib_generators`], [`fib_tasks`]. Their accept loops and handlers differ in
//! little more than in how they wait. [`countdown`] comes before [`fib_generators`], which begins
//! with its scheduler.
//!
//! What they share stands apart: [`protocol`] says what a request is, [`fib`](mod@fib) is the work,
//! [`cli`] the command line, [`output`] what is printed, [`blocking`] the sockets of those that have
//! threads, and [`stop`] how a server ends. [`gil`] and [`worker_processes`] belong to one server each.
//!
//! [`race`], [`deadlock`] and [`rude`] are three bugs that the compiler does not refuse, each found
//! by trying every schedule, shown again and fixed; [`exploring`] is what they share.
//!
//! [`perf1`], [`perf2`] and [`client`] are the other side: what [`loads`] put on a server.
//! [`talk`] plays all of it, and [`choose`] runs a workload of yours in each style.

#![warn(clippy::match_bool)]

pub mod blocking;
pub mod choose;
pub mod cli;
pub mod client;
pub mod countdown;
pub mod deadlock;
pub mod exploring;
pub mod fib;
pub mod fib_cores;
pub mod fib_generators;
pub mod fib_gil;
pub mod fib_processes;
pub mod fib_sequential;
pub mod fib_tasks;
pub mod fib_threads;
pub mod gil;
pub mod loads;
pub mod output;
mod page;
pub mod perf1;
pub mod perf2;
pub mod protocol;
pub mod race;
pub mod rude;
pub mod servers;
pub mod stop;
pub mod talk;
pub mod worker_processes;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Where the idea of a program is, if not in the module of its name.
    const ELSEWHERE: [(&str, &str); 2] = [("choose", "choose/styles"), ("talk", "talk/acts")];

    /// Lines on the first screen.
    const SCREEN: usize = 40;

    #[test]
    fn every_demo_begins_with_its_idea_and_not_with_its_command_line() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut programs = 0;
        for program in fs::read_dir(sources.join("bin")).unwrap() {
            let program = program.unwrap().path();
            let name = program.file_stem().unwrap().to_str().unwrap().replace('-', "_");
            let elsewhere = ELSEWHERE.iter().find(|(program, _)| *program == name);
            let module = elsewhere.map_or(&*name, |(_, module)| module);
            let source = fs::read_to_string(sources.join(format!("{module}.rs"))).unwrap();
            let is_item = |line: &&str| {
                let words = ["fn ", "async fn ", "struct ", "enum ", "type "];
                let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
                words.iter().any(|word| line.starts_with(word))
            };
            let screen: Vec<&str> = source.lines().take(SCREEN).collect();
            let idea = screen.iter().position(is_item);
            let options = screen.iter().position(|line| line.contains("Parser)]"));
            assert!(idea.is_some_and(|idea| idea < SCREEN - 5), "{module}.rs: {idea:?}");
            assert!(options.is_none(), "{module}.rs: {options:?}");
            programs += 1;
        }
        assert!(programs >= 16, "{programs}");
    }
}
