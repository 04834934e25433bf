//! The demos: one module each, to be read.

pub mod blocking;
pub mod cli;
pub mod fib;
pub mod fib_generators;
pub mod fib_gil;
pub mod fib_processes;
pub mod fib_sequential;
pub mod fib_threads;
pub mod gil;
pub mod protocol;
pub mod servers;
pub mod stop;
pub mod worker_processes;
