//! Panics of foreign code that are caught here, and the messages in their payloads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::access::{self, Object};
use super::warning::{self, Warning};

/// Runs foreign code whose panic has nowhere to go: the drop of an unwanted result, a waker that is
/// not ours. The panic hook has printed the panic; it is caught here, and reported if
/// [warnings](Warning) are collected on this thread.
pub(crate) fn catch_and_report(foreign: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) {
        report_swallowed_panic(&*payload);
        // Its own drop might panic as well.
        std::mem::forget(payload);
    }
}

/// Reports a panic that was caught because it had nowhere to go. The panic hook has printed it
/// already, so it only goes to the collected warnings, if there are any.
#[cold]
pub(crate) fn report_swallowed_panic(payload: &dyn Any) {
    access::record_write(Object::Anything);
    warning::try_collect(&Warning::Panic(format!(
        "popleft: {}\n",
        text_of(payload).unwrap_or(NO_TEXT)
    )));
}

/// Stands for the message of a panic that carries something else.
const NO_TEXT: &str = "a panic without a text";

/// The message that a panic carries, if its payload is a string.
pub(crate) fn text_of(payload: &dyn Any) -> Option<&str> {
    let string = payload.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| payload.downcast_ref::<&str>().copied())
}

/// The message that a panic carries, or a substitute if its payload is no string.
pub(crate) fn words_of(payload: &dyn Any) -> String {
    text_of(payload).unwrap_or(NO_TEXT).to_string()
}
