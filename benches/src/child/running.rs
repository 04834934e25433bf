//! The parent's side: a child that is started, asked and ended.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

use crate::child::{CHILD, Task};

/// A child process that answers in lines of JSON.
pub struct Running {
    child: Child,
    /// `None` once it is to end.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    task: Task,
}

impl Running {
    /// Starts a child on one core, or on any.
    pub fn start(task: Task, core: Option<usize>) -> anyhow::Result<Running> {
        Running::start_under(&[], task, core)
    }

    /// Starts a child under a program that watches it.
    pub fn start_under(
        watcher: &[&str],
        task: Task,
        core: Option<usize>,
    ) -> anyhow::Result<Running> {
        let this = env::current_exe()?;
        let mut command = match watcher {
            [] => Command::new(this),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(this);
                command
            }
        };
        let core = core.map_or("any".to_string(), |core| core.to_string());
        let mut child = command
            .args([CHILD, &core, &serde_json::to_string(&task)?])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a child process")?;
        let (Some(questions), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a child without pipes");
        };
        Ok(Running { child, questions: Some(questions), answers: BufReader::new(stdout), task })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        self.go_on()?;
        self.hear()
    }

    /// Tells it to go on.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        if let Some(questions) = &mut self.questions {
            writeln!(questions)?;
        }
        Ok(())
    }

    /// Lets it end by itself, and waits for that.
    pub fn end(mut self) -> anyhow::Result<()> {
        // A server ends with its questions.
        self.questions = None;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its next line. The error holds what the child wrote to standard error.
    pub fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(value) => Ok(value),
            Err(_) => {
                let mut said = String::new();
                let _ = self.child.kill();
                if let Some(stderr) = &mut self.child.stderr {
                    let _ = std::io::Read::read_to_string(stderr, &mut said);
                }
                bail!("{:?} failed: {}", self.task, said.trim());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one task in a child, and returns its answer.
pub fn done<T: DeserializeOwned>(task: Task, core: Option<usize>) -> anyhow::Result<T> {
    Running::start(task, core)?.hear()
}

/// An error in the words of a table: the message of the panic, or the last line of the error.
pub(crate) fn last_words(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut after_panic = text.lines().skip_while(|line| !line.contains("panicked at"));
    let message = after_panic.nth(1).or(text.lines().last());
    message.unwrap_or_default().trim().to_string()
}
