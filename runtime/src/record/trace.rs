//! A recording of every runtime in a process, without a change to the program.
//!
//! `POPLEFT_TRACE=FILE` records the first runtime that is made to FILE, the second to FILE.2, and
//! so on; the header of each names the runtime. Each file is locked as long as it is written: a
//! process that starts while another one records (its parent, for example, from which it has the
//! variable) takes the next number that is free. One that starts afterwards writes over it. What is
//! not a regular file, such as a pipe, takes the first runtime, and no other.

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::JsonLines;
use super::recorder::{Target, complain};

/// Where the trace of this process goes.
enum Trace {
    /// Nobody has asked yet.
    Unknown,
    Off,
    To {
        path: PathBuf,
        /// The number of the next runtime's file.
        number: usize,
        /// The next runtime's file, when it is open already.
        open: Option<File>,
    },
}

static TRACE: Mutex<Trace> = Mutex::new(Trace::Unknown);

fn trace() -> MutexGuard<'static, Trace> {
    TRACE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Records every runtime that is made in this process from now on: the first to `path`, the second
/// to `path` with `.2` behind it, and so on. `POPLEFT_TRACE=FILE` in the environment does this for
/// a program that does not call it; if it does, this counts.
///
/// The first file is created at once. If another process is recording to it, it takes the next
/// number that is free. If `path` is not a regular file, such as a pipe or a terminal, only the
/// first runtime is recorded.
///
/// # Errors
///
/// When the file cannot be written to; and always in a program that was built with
/// `--cfg popleft_bare`, which can record nothing.
pub fn record_all(path: impl Into<PathBuf>) -> io::Result<()> {
    let began = begin(path.into())?;
    *trace() = began;
    Ok(())
}

fn begin(path: PathBuf) -> io::Result<Trace> {
    if cfg!(popleft_bare) {
        let said = "this program was built with `--cfg popleft_bare` and can record nothing";
        return Err(io::Error::new(io::ErrorKind::Unsupported, said));
    }
    let (file, number) = open_next(&path, 1)?;
    Ok(Trace::To { path, number, open: Some(file) })
}

/// The sink of the runtime that is being made, if the process is traced.
pub(super) fn next() -> Option<Target> {
    let mut trace = trace();
    if let Trace::Unknown = *trace {
        *trace = from_environment();
    }
    let Trace::To { path, number, open } = &mut *trace else {
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
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(numbered(path, number))?;
        if !is_regular(&file) {
            return Ok((file, number));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => number += 1,
            // A file system without locks: the last one who opens it has it.
            Ok(()) | Err(_) => {
                file.set_len(0)?;
                return Ok((file, number));
            }
        }
    }
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    match number {
        0 | 1 => path.to_path_buf(),
        number => {
            let mut name = path.as_os_str().to_os_string();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}
