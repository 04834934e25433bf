//! Runs a test of this binary in a process of its own, for what a test cannot see from inside:
//! what is written to standard error, signals, and limits of the process.

use std::env;
use std::process::{Command, Output};

const CHILD: &str = "POPLEFT_TEST_CHILD";

/// In the test itself: runs it again as a child and returns what that printed. In the child:
/// `None`, and the test goes on to do the thing.
pub(crate) fn output_of(test: &str) -> Option<Output> {
    if env::var_os(CHILD).is_some() {
        return None;
    }
    let this_binary = env::current_exe().expect("a test knows its own binary");
    let output = Command::new(this_binary)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("a test can run itself");
    Some(output)
}

/// The same for a child that must succeed; returns its standard error.
pub(crate) fn stderr_of(test: &str) -> Option<String> {
    let output = output_of(test)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "there is no test {test:?}: {stdout}");
    Some(stderr)
}
