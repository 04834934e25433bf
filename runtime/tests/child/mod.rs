//! Runs a test of this binary in a process of its own, for what a test cannot see from inside:
//! what is written to standard error, signals, limits of the process, and a loop that hangs.

use std::env;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CHILD: &str = "POPLEFT_TEST_CHILD";

/// Far longer than any of these tests takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// In the test itself: runs it again as a child and returns what that printed. In the child:
/// `None`, and the test goes on to do the thing. A child that hangs is killed, and fails the test.
pub(crate) fn output_of(test: &str) -> Option<Output> {
    if env::var_os(CHILD).is_some() {
        return None;
    }
    let this_binary = env::current_exe().expect("a test knows its own binary");
    let mut child = Command::new(this_binary)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a test can run itself");
    let stdout = read_to_end(child.stdout.take().expect("it is piped"));
    let stderr = read_to_end(child.stderr.take().expect("it is piped"));
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else {
        let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        panic!("{test} did not end within {LIMIT:?}: {}\n{}", text[0], text[1]);
    };
    Some(Output { status, stdout, stderr })
}

/// Reads on a thread, so that a child never waits for somebody to read.
fn read_to_end(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = vec![];
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
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
