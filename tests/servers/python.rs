//! Clients in Python, as in the talk: they send a number without a newline, and read once.

use std::process::{Command, Stdio};

use crate::server_process::{EVERY_KIND, run, text};

/// Whether there is a Python. Without one the test says that it was skipped, unless all tools have
/// to be there.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn python_is_here() -> bool {
    let version = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    match version {
        Ok(status) => status.success(),
        Err(error) => {
            let required = std::env::var_os("POPLEFT_REQUIRE_TOOLS").is_some_and(|set| set == "1");
            assert!(!required, "python3 cannot be run: {error}");
            println!("skipped: no python3");
            false
        }
    }
}

#[test]
fn python_clients_work_against_every_server_unchanged() {
    if !python_is_here() {
        return;
    }
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/talk_client.py");
    for kind in EVERY_KIND {
        let server = kind.start();
        let (host, port) = server.addr.rsplit_once(':').unwrap();
        let output = run("python3", &[client, host, port]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{}: {said}", kind.name());
        assert_eq!(
            said,
            "long requests: 832040 832040 832040\n\
             short requests: 1000 answers, all of them 1\n\
             lines: 55 error 89\n",
            "{}",
            kind.name()
        );
    }
}
