//! Which errors end a listener and which do not.
//!
//! accept(2) returns the errors of the connection that it would have accepted: a client that has
//! gone, a firewall, a network that is down. One client's error must not end the service for all
//! the others; nor must a shortage of descriptors or memory, which passes. So a listener returns an
//! error only when the listener itself is unusable.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::time::Duration;

use rustix::io::Errno;

/// How long a listener waits after an error that would recur at once.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// After this many skipped connections in a row the listener pauses.
pub(super) const PASSED_OVER: u32 = 128;

/// The errors of a single connection, as accept(2) lists them: the next one may succeed.
pub(super) const OF_A_CONNECTION: &[Errno] = &[
    Errno::CONNABORTED,
    Errno::PROTO,
    Errno::NETDOWN,
    Errno::NOPROTOOPT,
    Errno::HOSTDOWN,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Errno::NONET,
    Errno::HOSTUNREACH,
    Errno::OPNOTSUPP,
    Errno::NETUNREACH,
    Errno::TIMEDOUT,
    // A firewall's rule.
    Errno::PERM,
    Errno::INTR,
];

/// The errors of the listener itself: no later call can succeed.
const OF_THE_LISTENER: &[Errno] = &[Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::FAULT];

/// What a listener does after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Accepts again at once.
    Again,
    /// Accepts again after a pause.
    Pause,
    /// Returns the error.
    GiveUp,
}

/// `None` means an error that is not the system's.
fn next_after(errno: Option<Errno>) -> Next {
    match errno {
        Some(errno) if OF_A_CONNECTION.contains(&errno) => Next::Again,
        Some(errno) if OF_THE_LISTENER.contains(&errno) => Next::GiveUp,
        // Shortages, and errors that are not listed.
        Some(_) => Next::Pause,
        None => Next::GiveUp,
    }
}

/// What a listener remembers about its errors.
#[derive(Default)]
pub(crate) struct Setbacks {
    /// How many connections were skipped since the last one that was accepted.
    passed_over: Cell<u32>,
    /// The errors that have been printed, each once per listener.
    pub(super) warned: RefCell<Vec<String>>,
}

impl Setbacks {
    pub(super) fn next(&self, error: &io::Error) -> Next {
        let mut next = next_after(Errno::from_io_error(error));
        if error.kind() == io::ErrorKind::ConnectionAborted {
            next = Next::Again;
        }
        if next == Next::Again {
            self.passed_over.set(self.passed_over.get() + 1);
            if self.passed_over.get() < PASSED_OVER {
                return Next::Again;
            }
            next = Next::Pause;
        }
        if next == Next::Pause {
            self.passed_over.set(0);
            self.warn_once(error);
        }
        next
    }

    /// A connection was accepted.
    pub(super) fn end(&self) {
        self.passed_over.set(0);
    }

    /// Prints that a connection was not accepted and why, once for each text.
    pub(crate) fn warn_once(&self, error: &io::Error) {
        let text = error.to_string();
        let mut warned = self.warned.borrow_mut();
        if !warned.contains(&text) {
            let line = format!("popleft: cannot accept a connection: {text}; trying again\n");
            // If standard error is closed the warning cannot be shown.
            let _ = io::stderr().write_all(line.as_bytes());
            warned.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_one_connection_does_not_end_the_listener() {
        for errno in OF_A_CONNECTION {
            assert_eq!(next_after(Some(*errno)), Next::Again, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC] {
            assert_eq!(next_after(Some(errno)), Next::Pause, "{errno}");
        }
        for errno in OF_THE_LISTENER {
            assert_eq!(next_after(Some(*errno)), Next::GiveUp, "{errno}");
        }
        // Any other number that a system may use.
        for raw in 1..200 {
            let errno = Errno::from_raw_os_error(raw);
            let is_listed = OF_THE_LISTENER.contains(&errno);
            assert_eq!(next_after(Some(errno)) == Next::GiveUp, is_listed, "{errno}");
        }
        assert_eq!(next_after(None), Next::GiveUp);
    }
}
