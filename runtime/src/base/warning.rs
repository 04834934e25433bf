//! Warnings for the programmer: printed to standard error, or collected by a simulation.

use std::cell::RefCell;
use std::io::Write as _;

/// A warning for the programmer. Each holds its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A task panicked and was not joined, or something else panicked: a drop, a waker.
    Panic(String),
    /// Tasks wait for each other's locks in a circle.
    Locks(String),
    /// Every task is parked.
    Stall(String),
}

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Warning>>> = const { RefCell::new(None) };
}

/// Prints the warning to standard error, unless warnings are collected on this thread.
#[cold]
pub(crate) fn warn(warning: Warning) {
    if !try_collect(&warning) {
        let (Warning::Panic(text) | Warning::Locks(text) | Warning::Stall(text)) = warning;
        // Without a standard error there is nowhere to report that.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Adds the warning to this thread's list. False if warnings are not collected here.
pub(crate) fn try_collect(warning: &Warning) -> bool {
    let collect = |list: &mut Vec<_>| list.push(warning.clone());
    COLLECTED.try_with(|list| list.borrow_mut().as_mut().map(collect)) == Ok(Some(()))
}

/// Collects warnings in `list` from now on, or prints them if it is `None`. Returns the list before.
pub(crate) fn collect_warnings(list: Option<Vec<Warning>>) -> Option<Vec<Warning>> {
    COLLECTED.replace(list)
}
