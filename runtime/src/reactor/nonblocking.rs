//! Descriptors that are made non-blocking, and restored.
//!
//! Whether a call may block is a property not of a descriptor but of the open file behind it, which
//! all duplicates share, in other processes too: a program's standard input is that of the shell that
//! started it. So a descriptor that the user brings is non-blocking only while it is watched. If a
//! file is watched several times, it stays non-blocking until the last watch has ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::ioctl_fionbio;

use crate::base::atomics::ignore_poison;
use crate::base::poller::with_context;

/// What registering a descriptor does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: it is non-blocking already.
    AsItIs,
    /// Makes it non-blocking for as long as it is watched.
    WhileWatched,
}

/// A descriptor whose file is non-blocking while it is watched.
pub(super) struct Switched {
    file: File,
}

/// What two descriptors of one open file have in common, as far as can be determined. Two ends of a
/// pipe differ in `open_for`; a file that was opened twice counts as one, and is restored after the
/// last watch of both.
#[derive(Clone, PartialEq, Eq, Hash)]
struct File {
    device: u64,
    number: u64,
    open_for: u32,
}

/// The files that were made non-blocking, and how many watches each has.
static SWITCHED: Mutex<Option<HashMap<File, usize>>> = Mutex::new(None);

impl Mode {
    /// Returns what has to be restored when the watch ends.
    pub(super) fn switch(self, fd: BorrowedFd<'_>) -> io::Result<Option<Switched>> {
        match self {
            Mode::AsItIs => Ok(None),
            Mode::WhileWatched => Switched::switch(fd)
                .map_err(with_context("cannot make the descriptor non-blocking")),
        }
    }
}

impl Switched {
    fn switch(fd: BorrowedFd<'_>) -> io::Result<Option<Switched>> {
        let flags = fcntl_getfl(fd)?;
        let stat = fstat(fd)?;
        let file = File {
            device: stat.st_dev as u64,
            number: stat.st_ino as u64,
            open_for: (flags & OFlags::ACCMODE).bits() as u32,
        };
        let is_nonblocking = flags.contains(OFlags::NONBLOCK);
        // Event descriptors and similar ones have no file of their own: all share one inode number.
        let is_known = FileType::from_raw_mode(stat.st_mode) != FileType::Unknown;
        let mut switched = switched();
        let watches = switched.get_or_insert_default();
        if is_nonblocking && !(is_known && watches.contains_key(&file)) {
            return Ok(None);
        }
        if !is_nonblocking {
            ioctl_fionbio(fd, true)?;
        }
        *watches.entry(file.clone()).or_insert(0) += 1;
        Ok(Some(Switched { file }))
    }

    /// The watch has ended. `fd` is `None` when the descriptor is out of reach.
    pub(super) fn restore(self, fd: Option<BorrowedFd<'_>>) {
        let mut switched = switched();
        let watches = switched.get_or_insert_default();
        let Some(count) = watches.get_mut(&self.file) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        watches.remove(&self.file);
        if let Some(fd) = fd {
            // It fails only if the descriptor has been closed already.
            let _ = ioctl_fionbio(fd, false);
        }
    }
}

/// Held across the system calls, so that a watch that starts and one that ends see the same state.
fn switched() -> MutexGuard<'static, Option<HashMap<File, usize>>> {
    ignore_poison(SWITCHED.lock())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn is_nonblocking(fd: impl AsFd) -> bool {
        fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    fn watch(fd: &impl AsFd) -> Option<Switched> {
        Mode::WhileWatched.switch(fd.as_fd()).unwrap()
    }

    #[test]
    fn a_file_is_restored_when_its_last_watch_ends() {
        let (reader, writer) = io::pipe().unwrap();
        let copy = reader.try_clone().unwrap();
        let first = watch(&reader).unwrap();
        let second = watch(&copy).unwrap();
        let other_end = watch(&writer).unwrap();
        first.restore(Some(reader.as_fd()));
        assert!(is_nonblocking(&reader));
        other_end.restore(Some(writer.as_fd()));
        assert!(!is_nonblocking(&writer));
        second.restore(Some(copy.as_fd()));
        assert!(!is_nonblocking(&reader));
    }

    #[test]
    fn what_was_non_blocking_before_stays_so() {
        let (reader, _writer) = io::pipe().unwrap();
        ioctl_fionbio(&reader, true).unwrap();
        assert!(watch(&reader).is_none());
        assert!(Mode::AsItIs.switch(reader.as_fd()).unwrap().is_none());
        assert!(is_nonblocking(&reader));
    }
}
