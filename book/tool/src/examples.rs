//! The code that chapters hold themselves: every Rust block is compiled and run, as rustdoc does it.

use crate::code::{Fence, fences};
use crate::config::Examples;
use crate::outputs::make::cargo;
use crate::outputs::process;
use crate::printing::say;
use crate::problem::Problem;
use crate::repository::Repository;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long all blocks of one chapter may take.
const CHAPTER_LIMIT: Duration = Duration::from_secs(300);

/// The words after the mark of a fence.
fn words(fence: &Fence) -> Vec<&str> {
    let words = fence.info.split([',', ' ', '\t']);
    words.filter(|word| !word.is_empty()).collect()
}

fn is_rust(fence: &Fence) -> bool {
    words(fence).first() == Some(&"rust")
}

/// Blocks that nothing would compile, and blocks that rustdoc would take for Rust though nobody says so.
pub fn unchecked_blocks(repository: &Repository) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for chapter in repository.files("book/src", "md")? {
        let text = repository.read(&chapter)?;
        for fence in fences(&text) {
            let words = words(&fence);
            let text = if words.is_empty() {
                "this block names no language; `text` if it is none"
            } else if is_rust(&fence) && words.contains(&"ignore") {
                "a Rust block that nobody compiles; weave it, or use no_run, should_panic or compile_fail"
            } else {
                continue;
            };
            problems.push(Problem::new(format!("{chapter}:{}", fence.line), text));
        }
    }
    Ok(problems)
}

/// Compiles and runs the Rust blocks of all chapters and compiles the Python files.
pub fn test(repository: &Repository, examples: &Examples) -> Result<Vec<Problem>> {
    let mut problems = unchecked_blocks(repository)?;
    let mut libraries: Option<Libraries> = None;
    let mut blocks = 0;
    for chapter in repository.files("book/src", "md")? {
        let text = repository.read(&chapter)?;
        let count = fences(&text).iter().filter(|fence| is_rust(fence)).count();
        if count == 0 {
            continue;
        }
        blocks += count;
        let libraries = match &mut libraries {
            Some(libraries) => libraries,
            none => none.insert(Libraries::build(repository, examples)?),
        };
        match test_chapter(repository, libraries, &chapter)? {
            None => say(format_args!("{chapter}: {count} Rust blocks ok"))?,
            Some(problem) => problems.push(problem),
        }
    }
    say(format_args!("{blocks} Rust blocks in the chapters"))?;
    problems.extend(compile_python(repository)?);
    Ok(problems)
}

/// The libraries that blocks may use, as rustdoc wants to hear of them.
struct Libraries {
    arguments: Vec<String>,
}

impl Libraries {
    fn build(repository: &Repository, examples: &Examples) -> Result<Libraries> {
        let mut libraries = Libraries { arguments: Vec::new() };
        if examples.packages.is_empty() {
            return Ok(libraries);
        }
        let mut command = cargo(repository);
        command.args(["build", "--message-format=json-render-diagnostics"]);
        for package in &examples.packages {
            command.args(["--package", package]);
        }
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo build of the examples' libraries failed");
        }
        let artifacts = artifacts(&String::from_utf8_lossy(&output.stdout));
        for name in &examples.crates {
            let found = artifacts.iter().rev().find(|(artifact, _)| artifact == name);
            let (_, file) = found.with_context(|| format!("no package builds the crate {name}"))?;
            libraries.arguments.push("--extern".to_string());
            libraries.arguments.push(format!("{name}={}", file.display()));
        }
        for folder in folders(&artifacts) {
            libraries.arguments.push("-L".to_string());
            libraries.arguments.push(format!("dependency={}", folder.display()));
        }
        Ok(libraries)
    }
}

/// The libraries that cargo built: names as Rust code uses them, and files.
fn artifacts(messages: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let name = message["target"]["name"].as_str().unwrap_or("").replace('-', "_");
        for file in message["filenames"].as_array().into_iter().flatten() {
            let file = PathBuf::from(file.as_str().unwrap_or(""));
            if file.extension().is_some_and(|extension| extension == "rlib") {
                found.push((name.clone(), file));
            }
        }
    }
    found
}

/// Where the dependencies lie: `deps` beside the top libraries and around the others.
fn folders(artifacts: &[(String, PathBuf)]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (_, file) in artifacts {
        let Some(folder) = file.parent() else {
            continue;
        };
        let deps =
            if folder.ends_with("deps") { folder.to_path_buf() } else { folder.join("deps") };
        if !found.contains(&deps) {
            found.push(deps);
        }
    }
    found
}

fn test_chapter(
    repository: &Repository,
    libraries: &Libraries,
    chapter: &str,
) -> Result<Option<Problem>> {
    let rustdoc = std::env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into());
    let mut command = Command::new(rustdoc);
    command
        .current_dir(repository.root())
        .args(["--test", chapter, "--edition", "2024"])
        .args(&libraries.arguments);
    let finished = process::run(&mut command, "", CHAPTER_LIMIT)?;
    if finished.status.success() {
        return Ok(None);
    }
    let text = format!(
        "a Rust block fails\n{}{}",
        finished.stdout.trim_start(),
        finished.stderr.trim_end()
    );
    Ok(Some(Problem::new(chapter, text)))
}

/// Python is there to be read beside Rust; that it runs is shown by the outputs, that all of it compiles is seen here.
fn compile_python(repository: &Repository) -> Result<Vec<Problem>> {
    let files = repository.files("book/src", "py")?;
    let mut problems = Vec::new();
    if files.is_empty() {
        return Ok(problems);
    }
    let mut command = Command::new("python3");
    command
        .current_dir(repository.root())
        .args([
            "-c",
            "import sys\nfor path in sys.argv[1:]:\n    compile(open(path).read(), path, 'exec')",
        ])
        .args(&files);
    let output = match command.output() {
        Ok(output) => output,
        Err(_) if std::env::var_os("POPLEFT_REQUIRE_TOOLS").is_some_and(|value| value == "1") => {
            bail!("python3 is not installed")
        }
        Err(_) => {
            say(format_args!("Python files: skipped: no python3"))?;
            return Ok(problems);
        }
    };
    if output.status.success() {
        say(format_args!("{} Python files compile", files.len()))?;
    } else {
        let said = process::tail(&String::from_utf8_lossy(&output.stderr));
        problems.push(Problem::new("book/src", format!("a Python file does not compile{said}")));
    }
    Ok(problems)
}
