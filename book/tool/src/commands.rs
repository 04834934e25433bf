//! What people type: build, check, test, record, open.

use crate::config::Config;
use crate::outputs::{Outputs, process, record};
use crate::pages::{self, Woven};
use crate::printing::say;
use crate::problem::{Problem, report};
use crate::repository::Repository;
use crate::{examples, links, warnings};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

/// Builds, checks and records the book.
#[derive(Debug, Parser)]
#[command(name = "popleft-book", version, about)]
#[command(after_help = "Examples:
  cargo run -p popleft-book -- build             # book/book/index.html, to be opened as a file
  cargo run -p popleft-book -- record countdown  # run a command anew and write what it prints
  cargo run -p popleft-book -- check             # everything that the book promises")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the pages to book/book; fail on tags that do not resolve and on broken links
    Build,
    /// Build, then check that every source line owed stands in the book once, and run every command again
    Check {
        /// Leave the commands out
        #[arg(long)]
        no_runs: bool,
    },
    /// Compile and run the Rust blocks written in chapters, compile the Python files
    Test,
    /// Run commands and write what they print to book/outputs (all of them when none is named)
    Record {
        /// Names from book/outputs.toml
        names: Vec<String>,
    },
    /// Build, and open the book in a browser
    Open,
}

/// Does what was asked for. Problems have been printed when it fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::find(&std::env::current_dir()?)?;
    let outputs = Outputs::read(&repository)?;
    process::end_groups_on_signals()?;
    match &arguments.command {
        Command::Build => build(&repository, &outputs).map(|_| ()),
        Command::Check { no_runs } => check(&repository, &outputs, *no_runs),
        Command::Test => {
            let config = Config::read(&repository)?;
            report("test", &examples::test(&repository, &config.examples)?)
        }
        Command::Record { names } => {
            let problems = record::record(&repository, &outputs, names)?;
            report("record", &problems)
        }
        Command::Open => open(&build(&repository, &outputs)?),
    }
}

/// Returns the first page.
fn build(repository: &Repository, outputs: &Outputs) -> Result<PathBuf> {
    let woven = pages::weave(repository, outputs)?;
    let mut problems = woven.problems.clone();
    problems.extend(examples::unchecked_blocks(repository)?);
    report("build", &problems)?;
    render(repository, woven)
}

fn render(repository: &Repository, woven: Woven) -> Result<PathBuf> {
    warnings::collect();
    woven.render()?;
    let warned = warnings::take().into_iter();
    let mut problems: Vec<Problem> = warned.map(|text| Problem::new("mdBook", text)).collect();
    problems.extend(links::check(repository)?);
    report("build", &problems)?;
    let index = repository.pages().join("index.html");
    say(format_args!("built {}", index.display()))?;
    Ok(index)
}

/// Everything is looked at before anything is reported, for runs take long.
fn check(repository: &Repository, outputs: &Outputs, no_runs: bool) -> Result<()> {
    let config = Config::read(repository)?;
    let woven = pages::weave(repository, outputs)?;
    let mut problems = woven.problems.clone();
    problems.extend(examples::unchecked_blocks(repository)?);
    problems.extend(woven.settle(repository, &config, outputs)?);
    if !no_runs {
        problems.extend(record::check(repository, outputs)?);
    }
    if problems.is_empty() {
        render(repository, woven)?;
    }
    report("check", &problems)?;
    say(if no_runs {
        "the book keeps what it promises, except for the commands, which were not run"
    } else {
        "the book keeps what it promises"
    })
}

/// Opens a page in the browser, or says where it is.
fn open(page: &PathBuf) -> Result<()> {
    for opener in ["xdg-open", "open"] {
        let mut command = Process::new(opener);
        command.arg(page).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Ok(());
        }
    }
    say(format_args!("no browser found; open {}", page.display()))
}
