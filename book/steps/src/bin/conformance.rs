//! Puts a program to the laws of a runtime, and prints what became of each.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use popleft_steps::complain;
use popleft_steps::conformance::{LAWS, Law, Program, Verdict, judge};
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Puts a program to the laws of a runtime: each law in one line with `pass`, `FAIL` or `not claimed`.

Usage: conformance PROGRAM [LAW...]
       conformance --command \"PROGRAM WORD...\" [LAW...]
       conformance --list

PROGRAM is one of the steps by its name, or the path of a program.
LAW is the name of a law or of a scenario; all laws when none is named.

Examples:
  cargo run -p popleft-steps --bin conformance -- step-8
  cargo run -p popleft-steps --bin conformance -- step-3 crowd
  cargo run -p popleft-steps --bin conformance -- --command \"python3 my_runtime.py\"

Exit code: 0 when all claimed laws hold, 1 when one does not, 2 when the program cannot be started.";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words, &mut io::stdout().lock()) {
        Ok(exit_code) => exit_code,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("conformance: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns an error only when it cannot print.
fn run(words: &[&str], out: &mut impl Write) -> io::Result<ExitCode> {
    match words {
        [] | ["--help" | "-h", ..] => writeln!(out, "{USAGE}")?,
        ["--list"] => {
            for law in LAWS {
                writeln!(out, "{:<10} {:<18} {}", law.scenario, law.name, law.says)?;
            }
        }
        ["--command", command, laws @ ..] => {
            return conformance(program_of_command(command), laws, out);
        }
        [name, laws @ ..] if !name.starts_with('-') => {
            return conformance(program_of_name(name), laws, out);
        }
        _ => return Ok(refuse(USAGE)),
    }
    Ok(ExitCode::SUCCESS)
}

fn conformance(
    program: Result<Program, String>,
    names: &[&str],
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let program = match program {
        Ok(program) => program,
        Err(why) => return Ok(refuse(&why)),
    };
    if let Some(name) = names.iter().find(|name| !LAWS.iter().any(|law| is_named(law, name))) {
        return Ok(refuse(&format!("{name:?} is no law and no scenario; --list names them all")));
    }
    if let Err(error) = program.can_start() {
        return Ok(refuse(&format!("the program cannot be started: {error}")));
    }
    let chosen = |law: &&Law| names.is_empty() || names.iter().any(|name| is_named(law, name));
    let (mut held, mut broken, mut open) = (0, 0, 0);
    for law in LAWS.iter().filter(chosen) {
        let verdict = judge(&program, law);
        print_verdict(law, &verdict, out)?;
        match verdict {
            Verdict::Pass => held += 1,
            Verdict::Fail(_) => broken += 1,
            Verdict::NotClaimed | Verdict::NotMeasured(_) => open += 1,
        }
    }
    writeln!(out, "{held} pass, {broken} FAIL, {open} not claimed or not measured")?;
    if broken > 0 {
        return Ok(ExitCode::FAILURE);
    }
    if held == 0 {
        complain("a program that claims nothing keeps no law");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn is_named(law: &Law, name: &str) -> bool {
    law.name == name || law.scenario == name
}

fn print_verdict(law: &Law, verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    let (word, why) = match verdict {
        Verdict::Pass => ("pass", String::new()),
        Verdict::Fail(why) => ("FAIL", format!(": {}", shown(why))),
        Verdict::NotClaimed => ("not claimed", String::new()),
        Verdict::NotMeasured(why) => ("not measured", format!(": {why}")),
    };
    writeln!(out, "{word:<12}  {:<9}  {:<17}  {}{why}", law.scenario, law.name, law.says)
}

/// What the program said may be in it: no more than a line can hold, and nothing that a terminal would obey.
fn shown(why: &str) -> String {
    let escape = |character: char| match character {
        '"' | '\'' | '\\' => character.to_string(),
        _ => character.escape_debug().to_string(),
    };
    let cut = if why.chars().nth(500).is_some() { "..." } else { "" };
    why.chars().take(500).map(escape).collect::<String>() + cut
}

/// The words are parted at spaces; there is no shell, so that what is ended at last is the program and not its parent.
fn program_of_command(command: &str) -> Result<Program, String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        [] => Err("--command names no program".to_string()),
        [path, words @ ..] => Ok(Program::new(*path, words)),
    }
}

/// A step lies beside this program; anything else is a path.
fn program_of_name(name: &str) -> Result<Program, String> {
    if !name.starts_with("step-") {
        return Ok(Program::new(name, &[]));
    }
    let path = path_of_step(name).map_err(|error| error.to_string())?;
    build_step(name, &path)?;
    Ok(Program::new(path, &[]))
}

fn path_of_step(name: &str) -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(name))
}

/// `cargo run` of this package builds this program alone, so the step may be missing or old: cargo builds it first.
/// Started in any other way, the step is taken as it is.
fn build_step(name: &str, path: &Path) -> Result<(), String> {
    let package = env!("CARGO_MANIFEST_DIR");
    let run_by_cargo = env::var_os("CARGO_MANIFEST_DIR").is_some_and(|folder| folder == package);
    if let (Some(cargo), true) = (env::var_os("CARGO"), run_by_cargo) {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let profile = if folder == "debug" { "dev".as_ref() } else { folder };
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", name, "--manifest-path"]);
        build.arg(Path::new(package).join("Cargo.toml")).arg("--profile").arg(profile);
        match build.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return Err(format!("cargo cannot build {name}")),
            Err(error) => return Err(format!("cargo cannot be started: {error}")),
        }
    }
    if !path.is_file() {
        return Err(format!("there is no {name} beside this program; build it first"));
    }
    Ok(())
}

fn refuse(why: &str) -> ExitCode {
    complain(why);
    ExitCode::from(2)
}
