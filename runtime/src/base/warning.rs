//! What a person should know though nothing in the program asks: printed to standard error, or
//! collected by a simulation.

use std::cell::RefCell;
use std::io::Write as _;

/// What a person should know, though nothing in the program asks. Each holds its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A task panicked and nobody joined it, or something did that is no task: a drop, a waker.
    Panic(String),
    /// Tasks wait in a circle for each other's locks.
    Locks(String),
    /// Every task is parked.
    Stall(String),
}

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Warning>>> = const { RefCell::new(None) };
}

/// Prints the warning to standard error, unless somebody collects them on this thread.
#[cold]
pub(crate) fn warn(warning: Warning) {
    if !is_collected(&warning) {
        let (Warning::Panic(text) | Warning::Locks(text) | Warning::Stall(text)) = warning;
        // If standard error is gone there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Whether somebody collects warnings on this thread; then this one is in the list.
pub(crate) fn is_collected(warning: &Warning) -> bool {
    let collect = |list: &mut Vec<_>| list.push(warning.clone());
    COLLECTED.try_with(|list| list.borrow_mut().as_mut().map(collect)) == Ok(Some(()))
}

/// From now on warnings are collected in `list`, or printed if there is none. Returns the list
/// before.
pub(crate) fn collect_warnings(list: Option<Vec<Warning>>) -> Option<Vec<Warning>> {
    COLLECTED.replace(list)
}
