//! The rules of the house, held by reading the sources: who may know whom, what the loop must not
//! contain, and how long things may get. What is explained in `ARCHITECTURE.md` is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up. A file may know files of its own layer and of those before it.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &["base/"]),
    (
        "machine",
        &["event_loop", "current", "runtime", "stall", "deadlock", "timers", "task/", "reactor/"],
    ),
    ("people", &["generator", "handle", "signal", "net/", "time/", "sync/", "offload/"]),
    ("windows", &["record/", "sim/"]),
    ("front", &["builder", "cores", "lib", "loom_tests"]),
];

/// The parts in which a reader must see what runs and nothing else.
const LOOP: &[&str] = &["event_loop", "timers", "task/"];

/// A hook is one line, `emit(..)`. So many stand in the machine: one each for a task that is made,
/// polled, put back, parked, ended or cut off, three for a wake (by the loop, by others, and by a
/// fired timer's cause), two for timers, two for the wait, one for the look and one for a job's
/// start. The machine must still read as if they were not there.
const MOST_HOOKS: usize = 13;

/// Lines of code of `event_loop.rs`. What all of the machine may have is checked by the book's tool,
/// since the book shows it whole.
const LONGEST_LOOP: usize = 250;

/// A function fits on a screen.
const LONGEST_FUNCTION: usize = 70;

/// One source file, without its tests.
struct Source {
    /// Its path below `src`, without the extension; a `mod.rs` is named as its folder's `mod`.
    name: String,
    code: String,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read_all(folder: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.with_extension("").strip_prefix(src()).unwrap().display().to_string();
            if !name.ends_with("tests") {
                into.push(Source { name, code: without_tests_and_comments(&text) });
            }
        }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read_all(&src(), &mut sources);
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(sources.len() > 40, "the sources are not where they are looked for");
    sources
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = code.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).map(|line| format!("{line}\n")).collect()
}

impl Source {
    fn layer(&self) -> usize {
        let is_in = |room: &&str| match room.strip_suffix('/') {
            Some(folder) => self.name.starts_with(&format!("{folder}/")),
            None => self.name == **room,
        };
        let found = LAYERS.iter().position(|(_, rooms)| rooms.iter().any(is_in));
        found.unwrap_or_else(|| panic!("{} belongs to no layer", self.name))
    }

    fn is_one_of(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.name.starts_with(room))
    }

    /// The module in which its `super` lies.
    fn module(&self) -> Vec<String> {
        let parts: Vec<_> = self.name.split('/').map(str::to_string).collect();
        match parts.last().map(String::as_str) {
            Some("mod" | "lib") => parts[..parts.len() - 1].to_vec(),
            _ => parts,
        }
    }

    /// All paths to other modules of the crate, from its root.
    fn paths(&self) -> BTreeSet<Vec<String>> {
        let mut found = BTreeSet::new();
        for (start, root) in [("crate::", Some(0)), ("super::", None)] {
            for (at, _) in self.code.match_indices(start) {
                // Not `pub(in crate::x)`: that names who may look in.
                if self.code[..at].ends_with("(in ") {
                    continue;
                }
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                    continue;
                }
                let module = self.module();
                let mut rest = &self.code[at..];
                let mut base = module.len();
                while let Some(after) = rest.strip_prefix("super::") {
                    base -= 1;
                    rest = after;
                }
                let base = root.unwrap_or(base);
                let rest = rest.strip_prefix("crate::").unwrap_or(rest);
                for path in expand(rest) {
                    found.insert(module[..base].iter().cloned().chain(path).collect());
                }
            }
        }
        // What a folder's `mod.rs` takes from its own files.
        for line in self.code.lines().map(str::trim) {
            let line =
                line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
            if let Some(used) = line.strip_prefix("use ")
                && let Some((first, _)) = used.split_once("::")
                && !first.is_empty()
                && src().join(self.module().join("/")).join(first).with_extension("rs").exists()
            {
                let path = self.module().into_iter().chain([first.to_string()]);
                found.insert(path.collect());
            }
        }
        found
    }
}

/// The paths of `a::{b, c::d}`; only as far as they may name a module.
fn expand(text: &str) -> Vec<Vec<String>> {
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let head: Vec<String> =
        text[..end].split("::").filter(|part| !part.is_empty()).map(str::to_string).collect();
    let Some(group) =
        text[end..].strip_prefix('{').filter(|_| end == 0 || text[..end].ends_with("::"))
    else {
        return vec![head];
    };
    let close = group.find('}').unwrap_or(group.len());
    let names = group[..close].split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let parts = name.split("::").map(|part| part.split(' ').next().unwrap().to_string());
            head.iter().cloned().chain(parts).collect()
        })
        .collect()
}

/// Which file knows which others.
fn arrows(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let file_of = |path: &[String]| {
        (1..=path.len()).rev().find_map(|length| {
            let file = path[..length].join("/");
            let folder = format!("{file}/mod");
            [file, folder].into_iter().find(|name| files.contains(name.as_str()))
        })
    };
    let known_by = |source: &Source| {
        let mut known: BTreeSet<String> =
            source.paths().iter().filter_map(|path| file_of(path)).collect();
        known.remove(&source.name);
        known
    };
    sources.iter().map(|source| (source.name.clone(), known_by(source))).collect()
}

#[test]
fn paths_are_found_in_all_their_forms() {
    let source = |name: &str, code: &str| Source { name: name.to_string(), code: code.to_string() };
    let paths = |name: &str, code: &str| {
        let joined = |path: &Vec<String>| path.join("::");
        source(name, code).paths().iter().map(joined).collect::<Vec<_>>()
    };
    assert_eq!(paths("timers", "use crate::base::id::Id;"), ["base::id::Id"]);
    assert_eq!(paths("timers", "use crate::{sim, net::Async};"), ["net::Async", "sim"]);
    assert_eq!(paths("timers", "x(crate::net::{a, b as c})"), ["net::a", "net::b"]);
    assert_eq!(paths("task/join", "use super::table::Join;"), ["task::table::Join"]);
    assert_eq!(
        paths("sim/network/tcp", "use super::super::random::Random;"),
        ["sim::random::Random"]
    );
    assert_eq!(paths("task/mod", "pub use join::JoinHandle;"), ["task::join"]);
    assert_eq!(paths("timers", "use ::crate_of_somebody::x; $crate::y"), [""; 0]);
}

#[test]
fn no_file_knows_one_of_a_higher_layer() {
    let sources = sources();
    let layers: BTreeMap<_, _> =
        sources.iter().map(|source| (source.name.clone(), source.layer())).collect();
    let mut wrong = Vec::new();
    for (file, known) in arrows(&sources) {
        for other in known.iter().filter(|other| layers[*other] > layers[&file]) {
            wrong.push(format!("{file} -> {other}"));
        }
    }
    assert!(wrong.is_empty(), "arrows that go up:\n  {}", wrong.join("\n  "));
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let mut left = arrows(&sources());
    // A folder's `mod.rs` names its files, and they may use what it holds: that is one room.
    for (file, known) in &mut left {
        let own = |other: &String| {
            let folder = file.rsplit_once('/').map(|(folder, _)| folder);
            folder.is_some_and(|folder| *other == format!("{folder}/mod") || other == folder)
                && file != other
        };
        known.retain(|other| !own(other));
    }
    while let Some(file) =
        left.iter().find(|(_, known)| known.is_empty()).map(|(file, _)| file.clone())
    {
        left.remove(&file);
        left.values_mut().for_each(|known| {
            known.remove(&file);
        });
    }
    let circle: Vec<_> = left.iter().map(|(file, known)| format!("{file} -> {known:?}")).collect();
    assert!(circle.is_empty(), "in or behind circles:\n  {}", circle.join("\n  "));
}

#[test]
fn the_loop_stays_small() {
    let event_loop = sources().into_iter().find(|source| source.name == "event_loop").unwrap();
    let lines = event_loop.code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= LONGEST_LOOP, "{lines} lines");
}

#[test]
fn hooks_are_few() {
    let machine: Vec<_> = sources().into_iter().filter(|source| source.layer() == 1).collect();
    let hooks: Vec<_> = machine
        .iter()
        .flat_map(|source| {
            let calls = source.code.lines().filter(|line| line.trim_start().starts_with("emit("));
            calls.map(|line| format!("{}: {}", source.name, line.trim()))
        })
        .collect();
    assert!(hooks.len() <= MOST_HOOKS, "{} hooks:\n  {}", hooks.len(), hooks.join("\n  "));
}

#[test]
fn the_loop_has_no_switches_and_no_simulator() {
    for source in sources().iter().filter(|source| source.is_one_of(LOOP)) {
        for banned in ["cfg(", "cfg!(", "Simulat", "crate::sim"] {
            assert!(!source.code.contains(banned), "{} has {banned:?}", source.name);
        }
    }
}

#[test]
fn one_file_reads_the_clock() {
    for source in sources() {
        let reads = source.code.matches("Instant::now").count()
            + source.code.matches("SystemTime::now").count();
        let allowed = usize::from(source.name == "base/world");
        assert_eq!(reads, allowed, "{}", source.name);
    }
}

#[test]
fn one_block_is_unsafe() {
    let blocks: Vec<_> = sources()
        .iter()
        .flat_map(|source| {
            let is_unsafe = |line: &&str| {
                ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| line.contains(word))
            };
            let found = source.code.lines().filter(is_unsafe).count();
            std::iter::repeat_n(source.name.clone(), found)
        })
        .collect();
    assert_eq!(blocks, ["base/poller/portable"]);
}

#[test]
fn functions_fit_on_a_screen() {
    for source in sources() {
        let mut begun: Vec<(usize, usize, String)> = Vec::new();
        for (number, line) in source.code.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start();
            if words.starts_with("fn ") || words.contains(" fn ") && !words.starts_with('"') {
                begun.push((number, indent, words.to_string()));
            }
            if words.starts_with('}') {
                while let Some((start, _, name)) = begun.pop_if(|(_, at, _)| *at >= indent) {
                    let length = number - start + 1;
                    assert!(length <= LONGEST_FUNCTION, "{}: {name} has {length}", source.name);
                }
            }
        }
    }
}
