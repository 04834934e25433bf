//! What the tool prints. Unlike `println!`, which panics, it says when that fails; and when nobody reads any more it ends.

use anyhow::{Context, Result};
use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line.
pub fn say(line: impl Display) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Prints a text.
pub fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context(NotPrinted)
}

/// Prints help where it belongs: what was asked for to standard output, what tells of a mistake to standard error.
pub fn print_help(help_or_mistake: &clap::Error) -> Result<()> {
    match help_or_mistake.print() {
        Err(error) if !help_or_mistake.use_stderr() => Err(error).context(NotPrinted),
        _ => Ok(()),
    }
}

/// Standard output took no more.
#[derive(Debug)]
struct NotPrinted;

impl Display for NotPrinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot write to standard output")
    }
}

/// Whether the tool failed only because nobody reads what it prints.
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    let broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.is::<NotPrinted>() && error.downcast_ref().is_some_and(broken_pipe)
}

/// Writes a line to standard error. If that fails there is nobody left to be told.
pub fn complain(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
