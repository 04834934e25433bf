//! `counts`: instructions an operation of popleft.

use std::process::ExitCode;

use popleft_benches::{child, counts};

fn main() -> ExitCode {
    child::main().unwrap_or_else(counts::main)
}
