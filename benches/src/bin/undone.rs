//! `undone`: what each technique of popleft is worth.

use std::process::ExitCode;

fn main() -> ExitCode {
    popleft_benches::undo::main()
}
