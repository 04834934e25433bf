//! `{{#output}}`, `{{#command}}` and `{{#value}}`: what runs printed.

use super::{Arguments, Expanded, Weaver};
use crate::html;
use crate::outputs::Kind;
use crate::tag::{Tag, Word};

/// An output with a longer line may be wider than the text.
const WIDE: usize = 95;

impl Weaver<'_> {
    pub(super) fn output(&mut self, tag: &Tag) -> Expanded {
        let mut arguments = Arguments::of(tag);
        let name = arguments.first("the name of an output")?;
        let file = arguments.option("file");
        let shows_command = arguments.yes_or_no("command", true)?;
        let title = arguments.option("title");
        let cut = Cut::take(&mut arguments)?;
        arguments.finish()?;
        self.used_outputs.insert(name.clone());
        let run = self.outputs.run(&name)?;
        let text = self.outputs.recorded(self.repository, &name, file.as_deref())?;
        let lines: Vec<&str> = text.lines().collect();
        let rows = cut.rows(&lines).map_err(|text| format!("output {name}: {text}"))?;
        let mut caption = title.map(|title| html::escape(&title)).unwrap_or_default();
        if run.kind == Kind::Measured {
            let separator = if caption.is_empty() { "" } else { ": " };
            caption.push_str(&format!("{separator}measured; yours will differ"));
        }
        let mut inside = String::new();
        if !caption.is_empty() {
            inside.push_str(&format!("<figcaption>{caption}</figcaption>"));
        }
        if shows_command {
            inside.push_str(&html::command(&run.shown_command()));
        }
        inside.push_str(&html::printed(&rows));
        let is_wide = lines.iter().any(|line| line.chars().count() > WIDE);
        let class = if is_wide { "run wide" } else { "run" };
        Ok(format!("<figure class=\"{class}\">{inside}</figure>"))
    }

    pub(super) fn command(&mut self, tag: &Tag) -> Expanded {
        let mut arguments = Arguments::of(tag);
        let name = arguments.first("the name of an output")?;
        arguments.finish()?;
        self.used_outputs.insert(name.clone());
        let command = html::command(&self.outputs.run(&name)?.shown_command());
        Ok(format!("<figure class=\"run\">{command}</figure>"))
    }

    pub(super) fn value(&mut self, tag: &Tag) -> Expanded {
        let mut arguments = Arguments::of(tag);
        let path = arguments.first("`run.key`")?;
        arguments.finish()?;
        let (name, key) =
            path.split_once('.').ok_or_else(|| format!("`{path}` is not `run.key`"))?;
        self.used_outputs.insert(name.to_string());
        let value = self.outputs.recorded_value(self.repository, name, key)?;
        Ok(plain(&value.to_string()))
    }
}

/// Text that Markdown must not read as its own.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in html::escape(text).chars() {
        if "\\`*_[]|~$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Which lines of an output are shown.
#[derive(Default)]
struct Cut {
    from: Option<String>,
    to: Option<String>,
    head: Option<usize>,
    tail: Option<usize>,
}

impl Cut {
    fn take(arguments: &mut Arguments) -> Result<Cut, String> {
        Ok(Cut {
            from: take_quoted(arguments, "from")?,
            to: take_quoted(arguments, "to")?,
            head: arguments.number("head")?,
            tail: arguments.number("tail")?,
        })
    }

    fn rows(&self, lines: &[&str]) -> Result<String, String> {
        let (mut first, mut last) = (0, lines.len());
        if let Some(from) = &self.from {
            let holds = |line: &&str| line.contains(from.as_str());
            let found = lines.iter().position(holds);
            first = found.ok_or_else(|| format!("no line holds \"{from}\""))?;
            last = if self.to.is_none() { first + 1 } else { last };
        }
        if let Some(to) = &self.to {
            let start = if self.from.is_some() { first + 1 } else { first };
            let holds = |line: &&str| line.contains(to.as_str());
            let found = lines[start..].iter().position(holds);
            let found = found.ok_or_else(|| format!("no line after that holds \"{to}\""))?;
            last = start + found + 1;
        }
        let shown = last - first;
        let (head, tail) = match (self.head, self.tail) {
            (None, None) => (shown, 0),
            (head, tail) => (head.unwrap_or(0), tail.unwrap_or(0)),
        };
        let gap = html::line("line gap", "⋯");
        let mut out = String::new();
        if first > 0 {
            out.push_str(&gap);
        }
        for (at, line) in lines[first..last].iter().enumerate() {
            if at < head || at + tail >= shown {
                out.push_str(&html::line("line", &html::escape(line)));
            } else if at == head {
                out.push_str(&gap);
            }
        }
        if last < lines.len() {
            out.push_str(&gap);
        }
        Ok(out)
    }
}

/// Takes `from "text"`.
fn take_quoted(arguments: &mut Arguments, key: &str) -> Result<Option<String>, String> {
    let is_key = |word: &Word| matches!(word, Word::Plain(plain) if plain == key);
    let Some(at) = arguments.words.iter().position(is_key) else {
        return Ok(None);
    };
    arguments.words.remove(at);
    match arguments.words.get(at) {
        Some(Word::Quoted(_)) => {}
        _ => return Err(format!("`{key}` needs a text in quotes")),
    }
    match arguments.words.remove(at) {
        Word::Quoted(text) => Ok(Some(text)),
        _ => Ok(None),
    }
}
