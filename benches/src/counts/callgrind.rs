//! Instructions, counted by callgrind: a child process runs under it, and what it wrote is read.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Command;
use std::{env, fs, process};

use anyhow::{Context, bail, ensure};

use crate::child::{Running, Task};
use crate::measure::Sample;

/// Where instructions were executed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The function, as the linker knows it: what is inlined into it is a part of it.
    pub(super) function: String,
    /// Where in this program; `None` in a library.
    pub(super) address: Option<u64>,
}

/// How many instructions were executed at each place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) counts: BTreeMap<Place, u64>,
}

impl Profile {
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Sees that valgrind is installed.
pub(super) fn is_there() -> anyhow::Result<()> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) => {
            ensure!(output.status.success(), "valgrind does not run here: {}", output.status);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("valgrind is not installed; on Debian: apt-get install valgrind")
        }
        Err(error) => Err(error).context("cannot run valgrind"),
    }
}

/// What a child executes for so many operations of a row, its beginning and end included.
pub(super) fn profile(row: &str, peer: &str, operations: u64) -> anyhow::Result<Profile> {
    let this = env::current_exe()?;
    let path = env::temp_dir().join(format!("popleft-callgrind-{}", process::id()));
    let file = format!("--callgrind-out-file={}", path.display());
    let by_address = ["--dump-instr=yes", "--compress-pos=no"];
    let watcher = ["valgrind", "-q", "--tool=callgrind", &file, by_address[0], by_address[1]];
    let task = Task::Times { row: row.to_string(), peer: peer.to_string(), operations };
    let counted = || {
        let mut child = Running::start_under(&watcher, task, None)?;
        child.hear::<Sample>()?;
        // The counts are written when it ends.
        child.end()?;
        let text = fs::read_to_string(&path).context("callgrind has written nothing")?;
        parse(&text, &this.to_string_lossy())
    };
    let counted = counted();
    let _ = fs::remove_file(&path);
    counted
}

/// Reads callgrind's format. `ob=` and `fn=` say in which file and in which function of it the
/// lines after them are. A line that begins with an address ends with the instructions executed
/// there. The line after `calls=` holds what the called function executed, which has lines of its
/// own.
fn parse(text: &str, program: &str) -> anyhow::Result<Profile> {
    let (mut files, mut functions) = (Names::default(), Names::default());
    let mut counts: BTreeMap<(&str, Option<u64>), u64> = BTreeMap::new();
    let (mut in_program, mut function) = (false, None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("ob=") {
            in_program = files.name(name)? == program;
        } else if let Some(name) = line.strip_prefix("cob=") {
            files.name(name)?;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = Some(functions.name(name)?);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            functions.name(name)?;
        } else if line.starts_with("calls=") {
            lines.next();
        } else if line.starts_with("0x") {
            let function = function.with_context(|| format!("{line:?} belongs to no function"))?;
            let (address, count) = count(line).with_context(|| format!("no count: {line:?}"))?;
            *counts.entry((function, in_program.then_some(address))).or_default() += count;
        }
    }
    ensure!(!counts.is_empty(), "callgrind has counted nothing");
    let mut profile = Profile::default();
    for ((function, address), count) in counts {
        *profile.counts.entry(Place { function: plain(function), address }).or_default() += count;
    }
    Ok(profile)
}

/// The address at the beginning of a line, and the count at its end.
fn count(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let address = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    Some((address, words.next_back()?.parse().ok()?))
}

/// Names are written once, as `(number) name`, and as `(number)` from then on.
#[derive(Default)]
struct Names<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    fn name(&mut self, text: &'a str) -> anyhow::Result<&'a str> {
        if let Some((number, name)) = text.split_once(") ") {
            self.0.insert(number, name);
            return Ok(name);
        }
        let number = text.trim_end_matches(')');
        self.0.get(number).copied().with_context(|| format!("nothing is named {text:?}"))
    }
}

/// A name without the hash of its crate and without the depth of a recursion.
fn plain(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or(name);
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            path.to_string()
        }
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_its_own_instructions_and_not_those_of_the_functions_called_there() {
        let text = "\
version: 1
creator: callgrind-3.19.0
positions: instr line
events: Ir
summary: 1143

ob=(1) /bin/program
fl=(1) main.rs
fn=(1) popleft::run::h0123456789abcdef
0x10 16 40
cob=(2) /lib/libc.so
cfi=(2) malloc.c
cfn=(2) malloc
calls=2 0x99 33
0x10 17 1000
0x14 17 100

ob=(2)
fl=(2)
fn=(2)
0x99 5 900
0x9b 5 100

ob=(1)
fl=(1)
fn=(1)
fi=(3) inlined.rs
0x10 16 2
fe=(1)
0x18 90 1
totals: 1143
";
        let place = |function: &str, address| Place { function: function.to_string(), address };
        let counts = [
            (place("malloc", None), 1000),
            (place("popleft::run", Some(0x10)), 42),
            (place("popleft::run", Some(0x14)), 100),
            (place("popleft::run", Some(0x18)), 1),
        ];
        let profile = parse(text, "/bin/program").unwrap();
        assert_eq!(profile, Profile { counts: BTreeMap::from(counts) });
        assert_eq!(profile.total(), 1143);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(parse("", "").is_err());
        assert!(parse("0x12 1 5\n", "").is_err());
        assert!(parse("fn=(7)\n0x12 1 5\n", "").is_err());
        assert!(parse("fn=(7) f\n0x12 1 many\n", "").is_err());
    }
}
