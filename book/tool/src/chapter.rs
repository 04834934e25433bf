//! Turns a chapter with tags into Markdown that mdBook renders.

mod boxes;
mod difference;
mod listing;
mod shown;
mod weave;

use crate::outputs::Outputs;
use crate::ownership::Ledger;
use crate::problem::Problem;
use crate::repository::Repository;
use crate::source::SourceFile;
use crate::tag::{self, Part, Tag, Word};
use boxes::Container;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::rc::Rc;

/// Expands the tags of all chapters, and remembers what they used.
pub struct Weaver<'a> {
    repository: &'a Repository,
    outputs: &'a Outputs,
    sources: HashMap<String, Rc<SourceFile>>,
    pub ledger: Ledger,
    pub used_outputs: BTreeSet<String>,
    pub problems: Vec<Problem>,
}

/// What a tag needs to know of the chapter around it.
struct Context {
    /// `book/src/talk/await.md`
    chapter: String,
    /// From the built page to the root of the repository: `../../../`.
    to_root: String,
}

type Expanded = Result<String, String>;

impl<'a> Weaver<'a> {
    pub fn new(repository: &'a Repository, outputs: &'a Outputs) -> Weaver<'a> {
        Weaver {
            repository,
            outputs,
            sources: HashMap::new(),
            ledger: Ledger::default(),
            used_outputs: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// `chapter` is its path below `book/src`; `text` is what stands there.
    pub fn expand(&mut self, chapter: &str, text: &str) -> String {
        let context = Context {
            chapter: format!("book/src/{chapter}"),
            to_root: "../".repeat(2 + chapter.matches('/').count()),
        };
        let (parts, problems) = tag::parts(&context.chapter, text);
        self.problems.extend(problems);
        let mut open: Vec<Container> = Vec::new();
        let mut out = String::new();
        for part in &parts {
            match part {
                Part::Text(text) => {
                    if let Some(container) = open.last_mut() {
                        container.text(text);
                    }
                    out.push_str(text);
                }
                Part::Tag(tag) => match self.tag(&context, tag, &mut open) {
                    Ok(expanded) if tag.is_block => out.push_str(&format!("\n\n{expanded}\n\n")),
                    Ok(expanded) => out.push_str(&expanded),
                    Err(text) => self.problem(&context, tag.line, &text),
                },
            }
        }
        for container in open {
            let text = format!("`{{{{#{}}}}}` has no `{{{{#end}}}}`", container.name());
            self.problem(&context, container.line, &text);
        }
        out
    }

    fn problem(&mut self, context: &Context, line: usize, text: &str) {
        let place = format!("{}:{line}", context.chapter);
        self.problems.push(Problem::new(place, text));
    }

    fn tag(&mut self, context: &Context, tag: &Tag, open: &mut Vec<Container>) -> Expanded {
        let is_inline = matches!(tag.name.as_str(), "src" | "value");
        if !is_inline && !tag.is_block {
            return Err(format!(
                "`{{{{#{}}}}}` must stand alone on its line, at its very start",
                tag.name
            ));
        }
        if let Some(container) = open.last_mut()
            && !matches!(tag.name.as_str(), "end" | "src" | "value")
        {
            container.member();
        }
        match tag.name.as_str() {
            "weave" => self.weave(context, tag),
            "diff" => self.difference(context, tag),
            "src" => self.source_link(context, tag),
            "output" => self.output(tag),
            "command" => self.command(tag),
            "value" => self.value(tag),
            "box" | "beside" => {
                let container = Container::open(tag)?;
                let html = container.opening();
                open.push(container);
                Ok(html)
            }
            "end" => {
                let container = open.pop().ok_or("`{{#end}}` closes nothing")?;
                container.close()
            }
            "include" | "rustdoc_include" | "playground" | "title" => Err(format!(
                "`{{{{#{}}}}}` is mdBook's own; this book shows code with `{{{{#weave}}}}`",
                tag.name
            )),
            unknown => Err(format!("there is no tag `{unknown}`")),
        }
    }

    /// Reads a file of the repository, once.
    fn source(&mut self, path: &str) -> Result<Rc<SourceFile>, String> {
        if let Some(source) = self.sources.get(path) {
            return Ok(Rc::clone(source));
        }
        let text = self.repository.read(path).map_err(|error| format!("{error:#}"))?;
        let source = SourceFile::new(path, text).map_err(|error| format!("{error:#}"))?;
        let source = Rc::new(source);
        self.sources.insert(path.to_string(), Rc::clone(&source));
        Ok(source)
    }
}

/// The words of a tag, with options taken out one by one; what is left over at the end is an error.
struct Arguments {
    words: Vec<Word>,
}

impl Arguments {
    fn of(tag: &Tag) -> Arguments {
        Arguments { words: tag.words.clone() }
    }

    /// The first word, which must be a plain one.
    fn first(&mut self, what: &str) -> Result<String, String> {
        match self.words.first() {
            Some(Word::Plain(_)) => {}
            _ => return Err(format!("this tag needs {what}")),
        }
        match self.words.remove(0) {
            Word::Plain(word) => Ok(word),
            _ => Err(format!("this tag needs {what}")),
        }
    }

    fn option(&mut self, key: &str) -> Option<String> {
        let at = self
            .words
            .iter()
            .position(|word| matches!(word, Word::Option(found, _) if found == key))?;
        match self.words.remove(at) {
            Word::Option(_, value) => Some(value),
            _ => None,
        }
    }

    fn yes_or_no(&mut self, key: &str, otherwise: bool) -> Result<bool, String> {
        match self.option(key).as_deref() {
            None => Ok(otherwise),
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(other) => Err(format!("{key} is yes or no, not `{other}`")),
        }
    }

    fn number(&mut self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.option(key) else {
            return Ok(None);
        };
        let number = value.parse().map_err(|_| format!("{key}={value} is no number"))?;
        Ok(Some(number))
    }

    /// Takes the word `again` when it stands last, and is not the name of an item.
    fn again(&mut self) -> bool {
        let plain: Vec<usize> = (0..self.words.len())
            .filter(|at| !matches!(self.words[*at], Word::Option(..)))
            .collect();
        let Some(last) = plain.last().copied() else {
            return false;
        };
        let names_an_item = plain.len() == 2
            && matches!(&self.words[plain[0]], Word::Plain(kind) if kind != "uses");
        let is_again = matches!(&self.words[last], Word::Plain(word) if word == "again");
        if is_again && !names_an_item {
            self.words.remove(last);
        }
        is_again && !names_an_item
    }

    /// Fails when something is left that nobody asked for.
    fn finish(&self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(Word::Option(key, value)) => Err(format!("unknown option `{key}={value}`")),
            Some(word) => Err(format!("unexpected {word:?}")),
        }
    }
}
