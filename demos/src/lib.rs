//! The demos: one module each, to be read.

pub mod fib;
pub mod protocol;
