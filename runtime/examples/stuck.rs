//! A program that hangs, and a runtime that says so.
#![expect(clippy::print_stdout, reason = "an example may print")]
use popleft::{Runtime, spawn, task};
use std::future::pending;

fn main() {
    let runtime = Runtime::new().unwrap();
    let ended = runtime.try_block_on(async {
        let forgetful = task::Builder::new().name("forgetful").spawn(pending::<()>());
        let patient = spawn(async { forgetful.await.is_ok() });
        patient.await.is_ok()
    });
    println!("{}", ended.unwrap_err());
}
