//! Panics that are expected: a search through all schedules provokes them by the thousand. And
//! those that end the process, of which the schedule has to be told before.
//!
//! The panic hook is the process's, and other threads may panic for reasons of their own
//! meanwhile. So a hook is installed once, which passes every panic on to the one before it,
//! unless the panicking thread has said that it wants its panics quiet.
//!
//! A panic that leaves a destructor while another panic unwinds the stack ends the process: no run
//! returns, and there is no report. The standard library says so in one more panic, which
//! cannot unwind. When that comes, the hook prints what has been kept quiet in the run, and the
//! schedule that has led there.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::thread;

use super::failure::how_to_reproduce;
use super::simulated::running_if_any;
use crate::base::panics::words_of;
use crate::base::place::short;

/// A panic that was heard and not printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) message: String,
    /// The file and line.
    pub(super) place: String,
}

thread_local! {
    static HEARD: RefCell<Option<Vec<Heard>>> = const { RefCell::new(None) };
}

/// Keeps the panics of this thread quiet, until it is dropped.
pub(super) struct Quiet {
    before: Option<Vec<Heard>>,
}

impl Quiet {
    pub(super) fn begin() -> Quiet {
        install();
        Quiet { before: HEARD.replace(Some(Vec::new())) }
    }

    /// The panics since the last call.
    pub(super) fn take(&self) -> Vec<Heard> {
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(std::mem::take).unwrap_or_default())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        HEARD.replace(self.before.take());
    }
}

/// Installs the hook, unless it has been.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    // In a destructor, while a panic unwinds the stack, hooks cannot be changed.
    if INSTALLED.is_completed() || thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !hear(info) {
                before(info);
            }
            if ends_the_process(info) {
                tell_before_the_end();
            }
        }));
    });
}

/// Whether this is the panic after which the standard library aborts: another one was about to
/// leave a destructor that ran because of a panic, or a function that cannot unwind.
fn ends_the_process(info: &PanicHookInfo<'_>) -> bool {
    let text = words_of(info.payload());
    text == "panic in a destructor during cleanup"
        || text == "panic in a function that cannot unwind"
}

/// Prints the panics that were kept quiet, and how to have the run again.
#[cold]
fn tell_before_the_end() {
    let Some(simulated) = running_if_any() else {
        return;
    };
    let mut said = String::from("popleft: a panic in a simulated run ends the process\n");
    let quiet = HEARD.try_with(|list| list.try_borrow().ok()?.clone());
    for Heard { message, place } in quiet.ok().flatten().unwrap_or_default() {
        // A `String` takes everything.
        let _ = writeln!(said, "  {message:?} at {place}");
    }
    if let Some(schedule) = simulated.schedule_if_free() {
        let again = how_to_reproduce(None, &schedule.trimmed());
        let _ = writeln!(said, "  reproduced with {again}");
    }
    // If standard error is gone there is no place to print to.
    let _ = io::stderr().write_all(said.as_bytes());
}

fn hear(info: &PanicHookInfo<'_>) -> bool {
    let heard = || {
        let message = words_of(info.payload());
        let place = info.location().map_or_else(String::new, |location| {
            format!("{}:{}", short(location.file()), location.line())
        });
        Heard { message, place }
    };
    HEARD
        .try_with(|list| match &mut *list.borrow_mut() {
            Some(list) => {
                list.push(heard());
                true
            }
            None => false,
        })
        .unwrap_or(false)
}
