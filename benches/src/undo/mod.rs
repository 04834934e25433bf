//! What each technique is worth: it is undone, and both are measured in turns.
//!
//! `undo.toml` says for each technique which lines to replace. The workspace is copied, the lines
//! are replaced there, and the bench is built from the copy; then the runtime as it is and the one
//! without the technique take turns.

mod builds;
mod techniques;
mod worth;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use popleft_demos::{cli, output};

use self::builds::Builds;
use self::techniques::Technique;
pub use self::techniques::check;

/// What each technique of popleft is worth, shown by undoing it
///
/// Copies the workspace, takes one technique out of the copy, builds it, and measures both in
/// turns. The first build takes a minute or two, each further one about half a minute.
#[derive(Debug, Parser)]
#[command(
    name = "undone",
    version,
    after_help = "\
Examples:
  cargo run --release -p popleft-benches --bin undone                  # all of them
  cargo run --release -p popleft-benches --bin undone -- fresh slack   # these two
  cargo run --release -p popleft-benches --bin undone -- --list
  cargo run --release -p popleft-benches --bin undone -- --check       # whether each edit still applies"
)]
struct Options {
    /// Only these techniques (`--list` names them)
    names: Vec<String>,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Short measurements
    #[arg(long)]
    quick: bool,
    /// Write what was measured as JSON (`-` for standard output, and nothing else there)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Name all techniques, and end
    #[arg(long)]
    list: bool,
    /// See whether each edit still applies to the sources, and end; nothing is built
    #[arg(long, conflicts_with_all = ["names", "list", "json"])]
    check: bool,
}

/// Runs with the arguments of this process.
pub fn main() -> ExitCode {
    cli::run("undone", cli::arguments(), |options: Options| run(&options))
}

fn run(options: &Options) -> anyhow::Result<()> {
    if options.check {
        let (techniques, edits) = check(&workspace()?)?;
        writeln!(output::stdout(), "{techniques} techniques, {edits} edits: each applies once")?;
        return Ok(());
    }
    let all = techniques::all()?;
    if options.list {
        let mut out = output::stdout();
        for Technique { name, title, undone, .. } in &all {
            writeln!(out, "{name:18}{title}; undone: {undone}")?;
        }
        return Ok(());
    }
    let json_file = options.json.as_ref().filter(|path| path.as_os_str() != "-");
    if let Some(path) = json_file {
        output::can_be_written(path)?;
    }
    if let Some(unknown) = options.names.iter().find(|name| all.iter().all(|t| t.name != **name)) {
        let names: Vec<_> = all.iter().map(|technique| &*technique.name).collect();
        bail!("there is no technique {unknown:?}; there are: {}", names.join(", "));
    }
    let chosen = |technique: &&Technique| {
        options.names.is_empty() || options.names.contains(&technique.name)
    };
    let builds = Builds::new()?;
    let as_it_is = builds.build("as-it-is", &[])?;
    let mut built = vec![];
    for technique in all.iter().filter(chosen) {
        built.push((technique, builds.build(&technique.name, &technique.edit)?));
    }
    let mut worths = vec![];
    for (technique, without) in &built {
        worths.extend(worth::measure(technique, &as_it_is, without, options)?);
    }
    let json = serde_json::to_string_pretty(&worths)? + "\n";
    let prints_json = options.json.is_some() && json_file.is_none();
    let said = if prints_json { &json } else { &worth::text(&worths, options) };
    output::stdout().write_all(said.as_bytes())?;
    if let Some(path) = json_file {
        output::write_file(path, &json)?;
    }
    Ok(())
}

/// Where the sources lie.
fn workspace() -> anyhow::Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?)
}
