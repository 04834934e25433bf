//! Descriptors that are made non-blocking, and put back.
//!
//! Whether a call may block is no property of a descriptor but of the open file behind it, which
//! its copies share, in other processes too: the standard input of a program is that of the shell
//! it was started from. So what a stranger brings is non-blocking only while it is watched. When
//! several watch one file, it stays so until the last of them has ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::ioctl_fionbio;

use crate::base::poller::saying;

/// What registering a descriptor does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: it was made non-blocking.
    AsItIs,
    /// Makes it non-blocking for as long as it is watched.
    WhileWatched,
}

/// A descriptor whose file is non-blocking for the time of its watch.
pub(super) struct Switched {
    file: File,
}

/// As far as can be told, what two descriptors of one open file have in common. Two pipe ends are
/// told apart by what they are open for; a file that was opened twice is not, and is put back with
/// the last of its watches.
#[derive(Clone, PartialEq, Eq, Hash)]
struct File {
    device: u64,
    number: u64,
    open_for: u32,
}

/// How many watches each file has that was made non-blocking for them.
static SWITCHED: Mutex<Option<HashMap<File, usize>>> = Mutex::new(None);

impl Mode {
    /// Returns what is to be put back when the watch ends.
    pub(super) fn switch(self, fd: BorrowedFd<'_>) -> io::Result<Option<Switched>> {
        match self {
            Mode::AsItIs => Ok(None),
            Mode::WhileWatched => {
                Switched::switch(fd).map_err(saying("cannot make the descriptor non-blocking"))
            }
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
        // Event descriptors and their like have no file of their own: all share one number.
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

    /// The watch has ended. `None` for `fd` when the descriptor is out of reach.
    pub(super) fn put_back(self, fd: Option<BorrowedFd<'_>>) {
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
            // If it fails, somebody else has closed the descriptor already.
            let _ = ioctl_fionbio(fd, false);
        }
    }
}

/// Held over the system's calls, so that a watch that begins and one that ends see one state.
fn switched() -> MutexGuard<'static, Option<HashMap<File, usize>>> {
    SWITCHED.lock().unwrap_or_else(|e| e.into_inner())
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
    fn a_file_is_put_back_when_its_last_watch_ends() {
        let (reader, writer) = io::pipe().unwrap();
        let copy = reader.try_clone().unwrap();
        let first = watch(&reader).unwrap();
        let second = watch(&copy).unwrap();
        let other_end = watch(&writer).unwrap();
        first.put_back(Some(reader.as_fd()));
        assert!(is_nonblocking(&reader));
        other_end.put_back(Some(writer.as_fd()));
        assert!(!is_nonblocking(&writer));
        second.put_back(Some(copy.as_fd()));
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
