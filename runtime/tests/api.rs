//! What the public types promise besides their methods: traits, conversions, and their docs.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};

use popleft::net::{HostOrAddrs, ListenOptions, ReuniteError, TcpListener};
use popleft::task::Id;
use popleft::time::{Elapsed, MissedTickBehavior};
use popleft::{JoinError, RunError, spawn, spawn_blocking, yield_now};

fn is_a_value<T: Clone + Debug + Eq + Hash>() {}

fn is_an_error<T: std::error::Error>() {}

#[test]
fn small_values_can_be_compared_hashed_and_printed() {
    is_a_value::<Id>();
    is_a_value::<RunError>();
    is_a_value::<Elapsed>();
    is_a_value::<MissedTickBehavior>();
    is_a_value::<HostOrAddrs>();
    is_an_error::<RunError>();
    is_an_error::<Elapsed>();
    is_an_error::<JoinError>();
    is_an_error::<ReuniteError<std::net::TcpStream>>();
}

#[test]
fn errors_go_to_any_thread_and_into_an_io_error() {
    fn goes_anywhere<T: Send + Sync + 'static + Into<io::Error>>() {}
    goes_anywhere::<JoinError>();
    goes_anywhere::<Elapsed>();
}

#[test]
fn ids_are_ordered_as_their_tasks_were_spawned() {
    popleft::run(async {
        let mut ids = Vec::new();
        for _ in 0..3 {
            // The first rows are used again, the numbers are not.
            let tasks: Vec<_> = (0..4).map(|_| spawn(yield_now())).collect();
            ids.extend(tasks.iter().map(|task| task.id()));
            for task in tasks.into_iter().rev() {
                task.await.unwrap();
            }
        }
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    });
}

#[test]
fn the_error_of_a_job_becomes_an_io_error_that_holds_it() {
    let error = popleft::run(async {
        let job = spawn_blocking(|| -> io::Result<()> { panic!("broken") });
        let both = async { job.await? };
        both.await.unwrap_err()
    });
    assert_eq!(error.kind(), io::ErrorKind::Other);
    let inner = error.get_ref().unwrap().downcast_ref::<JoinError>().unwrap();
    assert!(inner.is_panic(), "{inner}");
}

#[test]
fn default_listen_options_are_those_of_a_listener() {
    let (default, options) = (ListenOptions::default(), TcpListener::options());
    assert_eq!(format!("{default:?}"), format!("{options:?}"));
}

// ===== docs =====================================================================================

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The docs of each item, with the line behind them and its attributes left out: `(docs, item)`.
fn documented(source: &str) -> Vec<(Vec<&str>, String)> {
    let mut found = Vec::new();
    let mut docs = Vec::new();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            docs.push(text.strip_prefix(' ').unwrap_or(text));
        } else if line.starts_with("#[") && !docs.is_empty() {
            // Attributes stand between the docs and the item.
        } else if !docs.is_empty() {
            let mut item = line.to_string();
            while !item.ends_with(['{', ';', ',', '}'])
                || item.ends_with(',') && item.contains("fn ")
            {
                let Some(line) = lines.next() else { break };
                item.push(' ');
                item.push_str(line);
            }
            found.push((std::mem::take(&mut docs), item));
        }
    }
    found
}

/// The sources whose docs are looked at: all but the tools, whose readers have read the others.
fn is_api(path: &Path) -> bool {
    let tools = ["base", "record", "sim"];
    !path.components().any(|part| tools.iter().any(|tool| part.as_os_str() == *tool))
}

/// Calls `wrong` with the docs and the head of each public item; it says whether they are wrong.
fn items_with_wrong_docs(
    is_read: fn(&Path) -> bool,
    wrong: impl Fn(&[&str], &str) -> bool,
) -> Vec<String> {
    let mut paths = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    let mut found = Vec::new();
    for path in paths.into_iter().filter(|path| is_read(path)) {
        let source = fs::read_to_string(&path).unwrap();
        let items = documented(&source);
        let bad = items.iter().filter(|(docs, item)| item.starts_with("pub ") && wrong(docs, item));
        found.extend(bad.map(|(_, item)| format!("{}: {item}", path.display())));
    }
    found
}

#[test]
fn the_first_sentence_of_an_items_docs_stands_alone() {
    let found = items_with_wrong_docs(is_api, |docs, _| {
        ["The same", "As ", "Like ", "See ", "Has "].iter().any(|start| docs[0].starts_with(start))
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_returns_a_result_documents_its_errors() {
    let found = items_with_wrong_docs(
        |_| true,
        |docs, item| {
            let result =
                item.split_once("->").is_some_and(|(_, output)| output.contains("Result<"));
            item.contains("fn ") && result && !docs.contains(&"# Errors")
        },
    );
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn docs_are_in_standard_english() {
    let words = ["if you do not say", "unless you say", "is to be had", "whom ", "nobody "];
    let found = items_with_wrong_docs(is_api, |docs, _| {
        docs.iter().any(|line| words.iter().any(|word| line.to_lowercase().contains(word)))
    });
    assert!(found.is_empty(), "{found:#?}");
}
