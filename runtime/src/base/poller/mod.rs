//! Where the loop sleeps: the one file that differs by operating system.
//!
//! - **Linux**: an epoll instance, and one system call a wait. The timer is a timerfd, touched only
//!   when the earliest deadline changes, and exact to microseconds where a timeout of epoll's counts
//!   in milliseconds. The notifier is an eventfd. Neither is ever read: everything here is
//!   edge-triggered, and a new expiry, or a new ring, is a new edge.
//! - **elsewhere**: `polling`, which speaks kqueue and its relatives; its wait takes a timeout, and
//!   its `notify` is the notifier. It could do Linux too, but there a wait through it costs five
//!   system calls (it sets its timer and re-arms its notifier around each one), and it does not
//!   tell the end of the other side's bytes from bytes. This half still runs on Linux, for the
//!   tests, with `--cfg popleft_portable`.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

pub(crate) use super::network::{Interest, Report};
pub(crate) use super::world::Until;

/// How many reports one wait takes. TaskRef is not among them comes first at the next.
const REPORTS: usize = 1024;

/// How long the loop pauses after a wait that the system could not do now.
const PAUSE: Duration = Duration::from_millis(10);

/// A wait has failed. What the system lacks it may have again: then the loop goes on, and asks once
/// more.
fn after_a_failed_wait(error: io::Error) -> io::Result<()> {
    match Errno::from_io_error(&error) {
        Some(Errno::INTR) => Ok(()),
        None | Some(Errno::BADF | Errno::INVAL | Errno::FAULT) => {
            Err(saying("cannot wait for events")(error))
        }
        Some(_) => {
            thread::sleep(PAUSE);
            Ok(())
        }
    }
}

/// Has an error say what was being done. It is of the same kind as before.
pub(crate) fn saying<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{doing}: {error}"))
    }
}

#[cfg(all(target_os = "linux", not(popleft_portable)))]
mod epoll;
#[cfg(not(all(target_os = "linux", not(popleft_portable))))]
mod portable;

#[cfg(all(target_os = "linux", not(popleft_portable)))]
pub(crate) use epoll::{Notifier, Poller};
#[cfg(not(all(target_os = "linux", not(popleft_portable))))]
pub(crate) use portable::{Notifier, Poller};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_descriptor_that_is_no_good_ends_the_loop() {
        for errno in [Errno::INTR, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS] {
            assert!(after_a_failed_wait(errno.into()).is_ok(), "{errno}");
        }
        for errno in [Errno::BADF, Errno::INVAL, Errno::FAULT] {
            let error = after_a_failed_wait(errno.into()).unwrap_err();
            assert!(error.to_string().starts_with("cannot wait for events: "), "{error}");
        }
    }
}
