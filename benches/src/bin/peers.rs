//! `peers`: popleft beside other runtimes and the bare machine.

use std::process::ExitCode;

use popleft_benches::allocations::Counting;
use popleft_benches::{bench, child, share};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    child::main().or_else(share::main).unwrap_or_else(bench::main)
}
