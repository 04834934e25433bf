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
