//! Panics that go no further: where foreign code ends, and what their payloads say.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::access::{self, Object};
use super::warning::{self, Warning};

/// Runs foreign code that has nobody to whom its panic could go: a drop of what nobody wants, a
/// waker that is not ours. The panic hook has told of it; here it ends, unless somebody collects
/// [warnings](Warning).
pub(crate) fn catch_and_report(foreign: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) {
        report_swallowed_panic(&*payload);
        // Its own drop might panic as well.
        std::mem::forget(payload);
    }
}

/// A panic ends here, because there is nobody to whom it could go. The panic hook has printed it;
/// only who collects warnings hears of it.
#[cold]
pub(crate) fn report_swallowed_panic(payload: &dyn Any) {
    access::record_write(Object::Anything);
    warning::is_collected(&Warning::Panic(format!(
        "popleft: {}\n",
        text_of(payload).unwrap_or(NO_TEXT)
    )));
}

/// What to say of a panic that carries something else.
const NO_TEXT: &str = "a panic without a text";

/// The text that a panic carries, if it is one.
pub(crate) fn text_of(payload: &dyn Any) -> Option<&str> {
    let string = payload.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| payload.downcast_ref::<&str>().copied())
}

/// The text that a panic carries, or what to say of one that carries none.
pub(crate) fn words_of(payload: &dyn Any) -> String {
    text_of(payload).unwrap_or(NO_TEXT).to_string()
}
