//! What programs print and write, and what becomes of them when they cannot.
//!
//! Printing fails in one of two ways. Either the reader has closed the pipe, as `head` does when it
//! has seen enough: then the program ends quietly, with exit code 0. Or what is printed gets lost,
//! because the disk is full, say: then the program reports that, and ends with exit code 1.
//! `println!` panics both times. So the programs here write to [`stdout`] and pass its errors on to
//! `cli::run`, which asks [`nobody_reads`].

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use anstream::AutoStream;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

// ===== standard output ==========================================================================

/// Standard output, locked. Colours are left out where it is no terminal.
pub struct Stdout(AutoStream<StdoutLock<'static>>);

/// Locks standard output.
pub fn stdout() -> Stdout {
    Stdout(anstream::stdout().lock())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(not_printed)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).map_err(not_printed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(not_printed)
    }
}

/// An error of standard output, distinguishable from those of sockets and files.
#[derive(Debug)]
struct NotPrinted(io::Error);

fn not_printed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), NotPrinted(error))
}

impl fmt::Display for NotPrinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for NotPrinted {}

/// Whether a program failed only because the reader of its standard output is gone.
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    let not_printed =
        |error: &io::Error| error.get_ref()?.downcast_ref().map(|NotPrinted(e)| e.kind());
    let errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.filter_map(not_printed).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// Ends the process because printing failed, where the error cannot be passed on.
pub fn end(program: &str, error: io::Error) -> ! {
    let error = error.into();
    if nobody_reads(&error) {
        process::exit(0);
    }
    complain(format_args!("{program}: {}", with_causes(&error)));
    process::exit(1);
}

/// An error and what caused it, in one line. Some errors name their cause themselves: then it is
/// not repeated.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line += &format!(": {cause}");
        }
    }
    line
}

/// Writes a line to standard error. When that fails, there is nowhere left to report it.
pub fn complain(what: impl fmt::Display) {
    let _ = anstream::stderr().write_all(format!("{what}\n").as_bytes());
}

// ===== files ====================================================================================

/// Checks whether a file can be written, before the work whose result it will hold. An existing
/// file is left as it is, and a missing one is still missing afterwards.
///
/// # Errors
///
/// When it cannot be written.
pub fn can_be_written(path: &Path) -> anyhow::Result<()> {
    try_to_open(path).with_context(|| cannot_write(path))
}

fn try_to_open(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() || there.is_dir() => {
            OpenOptions::new().append(true).open(path)?;
        }
        // Opening a pipe would wait for its reader.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            OpenOptions::new().append(true).create(true).open(path)?;
            // The path may be a link to a file that did not exist.
            fs::remove_file(fs::canonicalize(path)?)?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Writes a file, and replaces what was in it.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

// ===== lines ====================================================================================

/// How wide a line of text is at most.
const LINE: usize = 88;

/// A text in lines that fit a terminal, each behind `indent`.
pub fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::from(indent);
    let mut width = indent.len();
    for word in text.split(' ') {
        let length = word.chars().count();
        let begins_the_line = width == indent.len();
        if !begins_the_line && width + 1 + length > LINE {
            lines += "\n";
            lines += indent;
            width = indent.len();
        } else if !begins_the_line {
            lines.push(' ');
            width += 1;
        }
        lines += word;
        width += length;
    }
    lines + "\n"
}

// ===== texts from elsewhere =====================================================================

/// How much is shown of a text from elsewhere, in characters.
const SHOWN_AT_MOST: usize = 200;

/// A text that came over a connection, to be shown within a line: [`harmless`], and not too long.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_AT_MOST) {
        Some((end, _)) => harmless(&text[..end]) + "...",
        None => harmless(text),
    }
}

/// A text without the characters that a terminal does not show but obeys: those appear as `\u{1b}`
/// and the like. Ends of lines and tabs remain.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' | '\\' | '"' | '\'' => harmless.push(character),
            _ => harmless.extend(character.escape_debug()),
        }
    }
    harmless
}

// ===== progress =================================================================================

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// One line that shows what is being done; nothing where standard error is no terminal.
pub fn spinner(template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = ProgressBar::new_spinner().with_style(style);
    let turning = bar.downgrade();
    let turn = move || {
        while let Some(bar) = turning.upgrade().filter(|bar| !bar.is_finished()) {
            bar.tick();
            thread::sleep(TURN);
        }
    };
    // Without a thread of its own it shows what is being done, but does not turn.
    let _ = thread::Builder::new().name("spinner".into()).spawn(turn);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printing_failed(kind: io::ErrorKind) -> anyhow::Error {
        not_printed(kind.into()).into()
    }

    #[test]
    fn only_standard_output_without_a_reader_ends_a_program_quietly() {
        use io::ErrorKind::{BrokenPipe, StorageFull};
        assert!(nobody_reads(&printing_failed(BrokenPipe)));
        assert!(nobody_reads(&printing_failed(BrokenPipe).context("act \"tasks\"")));
        assert!(!nobody_reads(&printing_failed(StorageFull)));
        assert!(!nobody_reads(&io::Error::from(BrokenPipe).into()), "a connection broke");
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || anyhow::anyhow!("no memory");
        assert_eq!(with_causes(&cause()), "no memory");
        assert_eq!(with_causes(&cause().context("cannot start")), "cannot start: no memory");
        let told_twice = cause().context("cannot start: no memory").context("tasks");
        assert_eq!(with_causes(&told_twice), "tasks: cannot start: no memory");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(harmless("\"x\" is\tno number\n"), "\"x\" is\tno number\n");
        assert_eq!(
            harmless("\u{1b}[2J\u{9b}1m\r\u{7}\u{202e}"),
            r"\u{1b}[2J\u{9b}1m\r\u{7}\u{202e}"
        );
        assert_eq!(harmless("größer als 45 → zu groß"), "größer als 45 → zu groß");
        let long = "ü".repeat(SHOWN_AT_MOST);
        assert_eq!(shortened(&long), long);
        assert_eq!(shortened(&(long.clone() + "\n")), long + "...");
    }

    #[test]
    fn wrapped_lines_are_indented_short_and_lose_nothing() {
        let text = "a word and another ".repeat(20);
        for indent in ["", "  "] {
            let lines = wrapped(text.trim_end(), indent);
            assert!(lines.lines().all(|line| line.starts_with(indent) && line.len() <= LINE));
            assert!(lines.lines().rev().skip(1).all(|line| line.len() > LINE - 8));
            let words: Vec<_> = lines.split_whitespace().collect();
            assert_eq!(words.join(" "), text.trim_end());
        }
    }
}
