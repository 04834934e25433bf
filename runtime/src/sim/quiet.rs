//! Panics that are expected: a search through all schedules provokes them by the thousand.
//!
//! The panic hook is the process's, and other threads may panic for reasons of their own
//! meanwhile. So a hook is installed once, which passes every panic on to the one before it,
//! unless the panicking thread has said that it wants its panics quiet.

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use super::run::text_of;
use crate::event::short;

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
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !hear(info) {
                    before(info);
                }
            }));
        });
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

fn hear(info: &PanicHookInfo<'_>) -> bool {
    let heard = || {
        let message = text_of(info.payload());
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
