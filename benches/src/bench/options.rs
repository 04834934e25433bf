//! What the bench is asked for on its command line.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;

use crate::{peers, rows};

/// popleft beside other runtimes and the bare machine, measured in one interleaved run.
///
/// Each measurement is made in a process of its own, on one processor; the servers and their load
/// on two. The other runtimes take part when built with `--features peers`.
#[derive(Debug, Parser)]
#[command(
    name = "peers",
    version,
    after_help = "\
Examples:
  cargo run --release -p popleft-benches --features peers --bin peers -- --quick
  cargo run --release -p popleft-benches --features peers --bin peers -- --rows yield-1,slot --peers popleft,tokio
  cargo run --release -p popleft-benches --bin peers -- --rows lateness --json -"
)]
pub(super) struct Options {
    /// Short measurements: the whole table in some minutes
    #[arg(long)]
    pub quick: bool,
    /// Only these rows (`--list` names them)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only these runtimes (`--list` names them)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Write what was measured as JSON (`-` for standard output, and nothing else there)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Name all rows and runtimes, and end
    #[arg(long)]
    pub list: bool,
    /// Measure this build as it is, instead of building with fat link-time optimisation first
    #[arg(long)]
    pub as_built: bool,
}

/// Tables that are not one row for all peers.
pub(super) const TABLES: &[(&str, &str)] = &[
    ("grown", "an operation of popleft beside 10^2 to 10^6 others, and beside 10^4 connections"),
    ("lateness", "how late timers fire, with nothing else to do and beside a busy task"),
    ("latency", "how long an echo takes, with 100 connections"),
    ("spin", "what it buys and costs to spin before sleeping: one connection across two cores"),
    ("share", "what perf2 keeps of its rate beside one perf1, for each fib server"),
];

impl Options {
    /// Where the JSON goes, unless that is standard output.
    pub(super) fn json_file(&self) -> Option<&PathBuf> {
        self.json.as_ref().filter(|path| path.as_os_str() != "-")
    }
}

/// Writes all rows, tables and runtimes that can be asked for.
pub(super) fn list(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "rows")?;
    for row in rows::ALL {
        writeln!(out, "  {:18}{}", row.name, row.title)?;
    }
    writeln!(out, "tables")?;
    for (name, title) in TABLES {
        writeln!(out, "  {name:18}{title}")?;
    }
    writeln!(out, "runtimes")?;
    for (name, title) in peers::ALL {
        match peers::why_not(name) {
            None => writeln!(out, "  {name:18}{title}")?,
            Some(why) => writeln!(out, "  {name:18}{title} ({why})")?,
        }
    }
    Ok(())
}

/// Of all names, those that were asked for: all when none was.
pub(crate) fn chosen(
    what: &str,
    asked: &[String],
    all: impl Iterator<Item = &'static str>,
) -> anyhow::Result<Vec<&'static str>> {
    let all: Vec<_> = all.collect();
    if let Some(unknown) = asked.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no {what} {unknown:?}; there are: {}", all.join(", "));
    }
    let keep = |name: &&str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    Ok(all.into_iter().filter(keep).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused_with_those_that_there_are() {
        let error = chosen("row", &["yeld".to_string()], ["yield", "spawn"].into_iter());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("yeld") && text.contains("yield, spawn"), "{text}");
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
