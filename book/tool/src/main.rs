//! `cargo run -p popleft-book -- build | check | test | record | open`

use clap::Parser;
use popleft_book::commands::{Arguments, run};
use popleft_book::printing::{complain, nobody_reads, print_help};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help_or_mistake) => {
            return ended(print_help(&help_or_mistake), help_or_mistake.exit_code());
        }
    };
    ended(run(&arguments), 0)
}

/// The exit code: this one when all went well.
fn ended(result: anyhow::Result<()>, exit_code: i32) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(exit_code as u8),
        Err(error) if nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
