//! What the steps have in common and what none of them is about.
//!
//! The steps themselves are the programs in `src/bin`: each is the one before plus one idea, and each can be read alone.
//! This library is to them what Python's own library is to the talk's server: [`select`] asks the kernel which sockets
//! are ready, [`Connection`] holds the bytes of one client, [`answer`] is the work, and [`arguments`] reads the command line.
//!
//! [`conformance`] puts a program, in whatever language, to the laws that a runtime should keep.

mod arguments;
pub mod conformance;
mod fib;
mod printing;
pub mod select;
pub mod thread_pool;

pub use arguments::{arguments, not_claimed};
pub use fib::{Connection, answer, listen, listen_non_blocking};
pub use printing::{complain, end_when_printing_fails};
