//! What becomes of a program that cannot print.

use std::io::{self, Write};
use std::{panic, process};

/// The error of a pipe that nobody reads: EPIPE, on every system.
const BROKEN_PIPE: i32 = 32;

/// Has `println!` end the program where else it would panic: quietly when nobody reads any more, as when `head` has seen
/// enough, and with a word and exit code 1 when what is printed gets lost.
///
/// So a step can print with `println!`, and be read without a thought of what may fail there.
pub fn end_when_printing_fails() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref().map_or("", String::as_str);
        if let Some(why) = text.strip_prefix("failed printing to stdout: ") {
            end(why);
        }
        if text.starts_with("failed printing to stderr: ") {
            process::exit(1); // nobody is left to be told
        }
        usual(info);
    }));
}

fn end(why: &str) -> ! {
    if why == io::Error::from_raw_os_error(BROKEN_PIPE).to_string() {
        process::exit(0);
    }
    complain(&format!("cannot write to standard output: {why}"));
    process::exit(1);
}

/// Writes a line to standard error. If that fails there is nobody left to be told.
pub fn complain(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
