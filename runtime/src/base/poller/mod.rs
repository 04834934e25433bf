//! Where the loop sleeps: the one folder that differs between operating systems.
//!
//! - **Linux**: an epoll instance, and one system call per wait. The timer is a timerfd, set only
//!   when the earliest deadline changes, and exact to microseconds where epoll's own timeout counts
//!   milliseconds. The notifier is an eventfd. Neither is ever read: everything here is
//!   edge-triggered, and each expiry and each notification is a new edge.
//! - **elsewhere**: `polling`, which uses kqueue and its relatives; its wait takes a timeout, and
//!   its `notify` is the notifier. It supports Linux, too, but there a wait through it costs five
//!   system calls (it sets its timer and re-arms its notifier around each one), and it does not
//!   distinguish the end of the stream from bytes. This half still runs on Linux, for the tests,
//!   with `--cfg popleft_portable`.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

pub(crate) use super::network::{Interest, Report};
pub(crate) use super::world::Until;

/// How many reports one wait returns. Sources left out are returned first by the next wait.
const REPORTS: usize = 1024;

/// How long the loop pauses after a wait that failed for a temporary reason.
const PAUSE: Duration = Duration::from_millis(10);

/// Handles a failed wait. Most reasons are temporary, such as a lack of memory: then the loop goes
/// on, and waits again after a pause.
fn after_a_failed_wait(error: io::Error) -> io::Result<()> {
    match Errno::from_io_error(&error) {
        Some(Errno::INTR) => Ok(()),
        None | Some(Errno::BADF | Errno::INVAL | Errno::FAULT) => {
            Err(with_context("cannot wait for events")(error))
        }
        Some(_) => {
            thread::sleep(PAUSE);
            Ok(())
        }
    }
}

/// Adds to an error's message what was being done. Its kind stays the same.
pub(crate) fn with_context<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> io::Error {
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
