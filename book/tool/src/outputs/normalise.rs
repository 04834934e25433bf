//! Takes out of an output what belongs to one machine or one run: paths, addresses, process numbers.

use super::{Kind, Run, SHOWN_ADDRESS};
use regex::Regex;
use std::path::Path;

/// The places of one run, and what the book shows in their stead.
pub(super) struct Places<'a> {
    pub(super) root: &'a Path,
    /// The folder of the programs, and `target/release` or `target/debug`.
    pub(super) programs: (&'a Path, &'a str),
    pub(super) scratch: &'a Path,
    pub(super) server: Option<&'a str>,
}

/// What gdb prints that differs from run to run.
const GDB: &[(&str, &str)] = &[
    (r"(?m)^warning: .*(?:\n|$)", ""),
    (r"(?m)^\[Thread debugging using libthread_db enabled\](?:\n|$)", ""),
    (r"(?m)^Using host libthread_db library .*(?:\n|$)", ""),
    (
        r"(?m)^(?:Download failed|Downloading|Missing separate debuginfo|Debuginfod has been).*(?:\n|$)",
        "",
    ),
    (r"\bprocess \d+", "process PID"),
    (r"\bThread 0x[0-9a-f]+", "Thread ADDRESS"),
    (r"\bLWP \d+", "LWP TID"),
    (r"\b0x[0-9a-f]{4,}\b", "0xADDRESS"),
    (r"/rustc/[0-9a-f]{40}/", "/rustc/"),
];

pub(super) fn normalise(run: &Run, places: &Places<'_>, text: &str) -> Result<String, String> {
    let (folder, shown_folder) = places.programs;
    let mut text = text.replace(&*folder.to_string_lossy(), shown_folder);
    text = text.replace(&format!("{}/", places.scratch.display()), "");
    text = text.replace(&format!("{}/", places.root.display()), "");
    text = text.replace(&*places.root.to_string_lossy(), ".");
    if let Some(address) = places.server {
        text = text.replace(address, SHOWN_ADDRESS);
    }
    if run.kind == Kind::Gdb {
        for (pattern, replacement) in GDB {
            text = replaced(&text, pattern, replacement)?;
        }
    }
    for (pattern, replacement) in &run.replace {
        text = replaced(&text, pattern, replacement)?;
    }
    Ok(text)
}

fn replaced(text: &str, pattern: &str, replacement: &str) -> Result<String, String> {
    let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
    Ok(regex.replace_all(text, replacement).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debugger_session_loses_what_belongs_to_one_run() {
        let run: Run = toml::from_str(
            "kind = 'gdb'\ncommand = 'gdb'\nreplace = [['since [0-9.]+ ms', 'since T ms']]",
        )
        .unwrap();
        let places = Places {
            root: Path::new("/home/me/popleft"),
            programs: (Path::new("/big/target/debug"), "target/debug"),
            scratch: Path::new("/scratch/x1"),
            server: None,
        };
        let text = "[Thread debugging using libthread_db enabled]\n\
            Using host libthread_db library \"/lib/libthread_db.so.1\".\n\
            [New Thread 0x7ffff7d8a6c0 (LWP 4711)]\n\
            Breakpoint 1, f (x=0x7fffffffe3a8) at /home/me/popleft/runtime/src/f.rs:12\n\
            /big/target/debug/countdown parked since 1.25 ms\n\
            [Inferior 1 (process 4710) exited normally]\n";
        assert_eq!(
            normalise(&run, &places, text).unwrap(),
            "[New Thread ADDRESS (LWP TID)]\n\
            Breakpoint 1, f (x=0xADDRESS) at runtime/src/f.rs:12\n\
            target/debug/countdown parked since T ms\n\
            [Inferior 1 (process PID) exited normally]\n"
        );
    }
}
