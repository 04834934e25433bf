//! A recording of every runtime in a process, without a change to the program.
//!
//! `POPLEFT_TRACE=FILE` records the first runtime that is made to FILE, the second to FILE.2, and
//! so on; the header of each names the runtime. `%p` in FILE becomes the process's number.
//!
//! A child has its parent's environment, and must not write over what the parent has recorded, nor
//! what that will. So a process locks FILE as long as it lives, also when its runtimes are gone. One
//! that finds FILE locked says so and records to FILE.1234 instead, where 1234 is its own number, then
//! to FILE.1234.2, and so on. A process that starts when the other one has ended writes over its files.
//! What is not a regular file, such as a pipe, is not locked; it takes the first runtime, and no other.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::JsonLines;
use super::sink::{Target, complain};
use crate::base::atomics::ignore_poison;

/// Where the trace of this process goes.
enum Trace {
    /// Nobody has asked yet.
    Unknown,
    Off,
    To {
        /// What was asked for.
        asked: PathBuf,
        /// The first runtime's file.
        path: PathBuf,
        /// The number of the next runtime's file.
        number: usize,
        /// The next runtime's file, when it is open already.
        open: Option<File>,
    },
}

static TRACE: Mutex<Trace> = Mutex::new(Trace::Unknown);

/// The first files that this process has recorded to. They stay open, and so stay locked.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn trace() -> MutexGuard<'static, Trace> {
    ignore_poison(TRACE.lock())
}

/// Records every runtime that is made in this process from now on: the first to `path`, the second
/// to `path` with `.2` behind it, and so on. `%p` in `path` becomes the number of this process.
/// `POPLEFT_TRACE=FILE` in the environment does this for a program that does not call it; if it
/// does, this counts. To call it again with the same path changes nothing.
///
/// The first file is created at once, and belongs to this process until it ends. If it belongs to
/// another process (a parent, whose environment this one has), that is left alone: a line on standard
/// error says so, and in place of `path` it is `path` with this process's number behind it. If
/// `path` is not a regular file, such as a pipe or a terminal, only the first runtime is recorded. A
/// pipe is opened when somebody reads it, and until then this waits; see
/// [the module](crate::record#recording-into-a-pipe).
///
/// # Errors
///
/// When the file cannot be written to; and always in a program that was built with
/// `--cfg popleft_bare`, which can record nothing.
pub fn record_all(path: impl Into<PathBuf>) -> io::Result<()> {
    let path = path.into();
    // The lock is not held while a pipe waits for its reader: other threads may make runtimes.
    if !matches!(&*trace(), Trace::To { asked, .. } if *asked == path) {
        let began = begin(path)?;
        *trace() = began;
    }
    Ok(())
}

fn begin(asked: PathBuf) -> io::Result<Trace> {
    if cfg!(popleft_bare) {
        let said = "this program was built with `--cfg popleft_bare` and can record nothing";
        return Err(io::Error::new(io::ErrorKind::Unsupported, said));
    }
    let mut path = with_process_number(&asked);
    let (file, number) = match open(&path)? {
        Some(file) => (file, 1),
        None => {
            let own = with_ending(&path, process::id());
            complain(&format!(
                "another process records to {}; this one records to {}",
                path.display(),
                own.display()
            ));
            path = own;
            open_next(&path, 1)?
        }
    };
    if is_regular(&file) {
        let held = file.try_clone()?;
        ignore_poison(HELD.lock()).push(held);
    }
    Ok(Trace::To { asked, path, number, open: Some(file) })
}

/// The sink of the runtime that is being made, if the process is traced.
pub(super) fn next() -> Option<Target> {
    let mut trace = trace();
    if let Trace::Unknown = *trace {
        *trace = from_environment();
    }
    let Trace::To { path, number, open, .. } = &mut *trace else {
        return None;
    };
    let opened = match open.take() {
        Some(file) => Ok((file, *number)),
        None => open_next(path, *number),
    };
    match opened {
        Ok((file, taken)) => {
            *number = taken + 1;
            if !is_regular(&file) {
                *trace = Trace::Off;
            }
            Some(Target::of(JsonLines::new(file)))
        }
        Err(error) => {
            complain(&format!("cannot record to {}: {error}", numbered(path, *number).display()));
            *trace = Trace::Off;
            None
        }
    }
}

fn from_environment() -> Trace {
    let Some(path) = env::var_os("POPLEFT_TRACE").filter(|path| !path.is_empty()) else {
        return Trace::Off;
    };
    begin(path.clone().into()).unwrap_or_else(|error| {
        complain(&format!("cannot record to {} (POPLEFT_TRACE): {error}", path.display()));
        Trace::Off
    })
}

/// Opens the first file from `number` on to which nobody records, and empties it.
fn open_next(path: &Path, mut number: usize) -> io::Result<(File, usize)> {
    loop {
        match open(&numbered(path, number))? {
            Some(file) => return Ok((file, number)),
            None => number += 1,
        }
    }
}

/// Opens the file and empties it; `None` when another one records to it.
fn open(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    if is_regular(&file) {
        // On a file system without locks the last one who opens it has it.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Ok(None);
        }
        file.set_len(0)?;
    }
    Ok(Some(file))
}

/// The path with the number of this process in place of each `%p`.
fn with_process_number(path: &Path) -> PathBuf {
    let number = process::id().to_string();
    let mut rest = path.as_os_str().as_bytes();
    let mut whole = Vec::with_capacity(rest.len());
    while let Some((&first, others)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(b"%p") {
            whole.extend_from_slice(number.as_bytes());
            rest = behind;
        } else {
            whole.push(first);
            rest = others;
        }
    }
    OsString::from_vec(whole).into()
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    match number {
        0 | 1 => path.to_path_buf(),
        number => with_ending(path, number),
    }
}

fn with_ending(path: &Path, ending: impl Display) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{ending}"));
    name.into()
}
