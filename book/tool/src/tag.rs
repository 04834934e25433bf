//! Finds the tags of a chapter: `{{#name ...}}`. Code is left alone, `\{{#` shows a tag as text.

use crate::code;
use crate::problem::Problem;

/// A chapter, cut at its tags.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Tag(Tag),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub words: Vec<Word>,
    /// The line of the chapter on which the tag begins, from 1.
    pub line: usize,
    /// Alone on its line or lines, from column 0.
    pub is_block: bool,
}

/// What stands between the name of a tag and its `}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Plain(String),
    Quoted(String),
    /// `key=value` or `key="value"`.
    Option(String, String),
    /// `;`
    Semicolon,
}

/// Cuts `text` at its tags. Problems name `place`, the chapter's path.
pub fn parts(place: &str, text: &str) -> (Vec<Part>, Vec<Problem>) {
    let mut scanner =
        Scanner { place, text, plain_from: 0, parts: Vec::new(), problems: Vec::new() };
    scanner.run();
    (scanner.parts, scanner.problems)
}

struct Scanner<'a> {
    place: &'a str,
    text: &'a str,
    /// The text from here on is not in `parts` yet.
    plain_from: usize,
    parts: Vec<Part>,
    problems: Vec<Problem>,
}

impl Scanner<'_> {
    fn run(&mut self) {
        let code = code::ranges(self.text);
        let mut at = 0;
        while let Some(found) = self.text[at..].find("{{#") {
            let start = at + found;
            at = if let Some(code) = code.iter().find(|code| code.contains(&start)) {
                code.end
            } else if self.text[self.plain_from..start].ends_with('\\') {
                self.push_text(start - 1);
                self.plain_from = start;
                start + "{{#".len()
            } else {
                self.scan_tag(start)
            };
        }
        self.push_text(self.text.len());
    }

    /// Takes the tag that begins at `at`; returns where to continue.
    fn scan_tag(&mut self, at: usize) -> usize {
        let is_at_line_start = at == 0 || self.text[..at].ends_with('\n');
        let line = 1 + self.text[..at].matches('\n').count();
        let inside = at + "{{#".len();
        let Some(length) = tag_length(&self.text[inside..]) else {
            self.problem(line, "this tag has no `}}`");
            return self.text.len();
        };
        let after = inside + length + "}}".len();
        let alone_after = self.text[after..line_end(self.text, after)].trim().is_empty();
        self.push_text(at);
        self.plain_from = after;
        match words(&self.text[inside..inside + length]) {
            Ok((name, words)) => self.parts.push(Part::Tag(Tag {
                name,
                words,
                line,
                is_block: is_at_line_start && alone_after,
            })),
            Err(text) => self.problem(line, &text),
        }
        after
    }

    fn push_text(&mut self, until: usize) {
        if self.plain_from < until {
            let text = self.text[self.plain_from..until].to_string();
            self.parts.push(Part::Text(text));
            self.plain_from = until;
        }
    }

    fn problem(&mut self, line: usize, text: &str) {
        let place = format!("{}:{line}", self.place);
        self.problems.push(Problem::new(place, text));
    }
}

/// One past the newline that ends the line at `from`.
fn line_end(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |n| from + n + 1)
}

/// The length of the text up to the `}}` that is not inside quotes.
fn tag_length(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else if !quoted && text[at..].starts_with("}}") {
            return Some(at);
        }
    }
    None
}

fn words(inside: &str) -> Result<(String, Vec<Word>), String> {
    let inside = inside.trim();
    let name_length = inside.find(char::is_whitespace).unwrap_or(inside.len());
    let (name, mut rest) = inside.split_at(name_length);
    if name.is_empty() {
        return Err("this tag has no name".to_string());
    }
    let mut words = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Ok((name.to_string(), words));
        };
        if first == '"' {
            let (text, length) = quoted(rest)?;
            words.push(Word::Quoted(text));
            rest = &rest[length..];
        } else if first == ';' {
            words.push(Word::Semicolon);
            rest = &rest[1..];
        } else if let Some((key, value)) = option_start(rest) {
            let (value, length) = if value.starts_with('"') {
                quoted(value)?
            } else {
                let length =
                    value.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(value.len());
                (value[..length].to_string(), length)
            };
            words.push(Word::Option(key.to_string(), value));
            rest = &rest[key.len() + 1 + length..];
        } else {
            let length = rest.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(rest.len());
            words.push(Word::Plain(rest[..length].to_string()));
            rest = &rest[length..];
        }
    }
}

/// `key=`, where the key is a lower-case word: `Iterator<Item=u64>` is none.
fn option_start(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase());
    is_key.then_some((key, value))
}

/// The text of the quotes at the start of `text`, and their length. `\"` and `\\` stand for `"` and `\`.
fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((out, at + 1)),
            '\\' => match characters.next() {
                Some((_, next)) if next == '"' || next == '\\' => out.push(next),
                Some((_, next)) => out.extend(['\\', next]),
                None => break,
            },
            _ => out.push(c),
        }
    }
    Err(format!("quotes are not closed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<Tag> {
        let (parts, problems) = parts("x.md", text);
        assert_eq!(problems, []);
        let tags = parts.into_iter().filter_map(|part| match part {
            Part::Tag(tag) => Some(tag),
            Part::Text(_) => None,
        });
        tags.collect()
    }

    #[test]
    fn text_and_tags_alternate_and_nothing_is_lost() {
        let (parts, _) = parts("x.md", "a {{#value x.y}} b\n{{#weave f.rs}}\nc");
        let names: Vec<String> = parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => format!("text {text:?}"),
                Part::Tag(tag) => format!("{} block={} line={}", tag.name, tag.is_block, tag.line),
            })
            .collect();
        assert_eq!(
            names,
            [
                "text \"a \"",
                "value block=false line=1",
                "text \" b\\n\"",
                "weave block=true line=2",
                "text \"\\nc\"",
            ]
        );
    }

    #[test]
    fn tags_in_code_are_text() {
        let text =
            "`{{#a}}` ``x ` {{#b}}``\n```text\n{{#c}}\n```\n{{#d}}\n~~~~\n```\n{{#e}}\n~~~~\n";
        let names: Vec<String> = tags(text).into_iter().map(|tag| tag.name).collect();
        assert_eq!(names, ["d"]);
    }

    #[test]
    fn an_escaped_tag_is_text_without_its_backslash() {
        let (parts, _) = parts("x.md", "see \\{{#weave x}}.");
        let text: String = parts
            .into_iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Tag(tag) => panic!("{tag:?}"),
            })
            .collect();
        assert_eq!(text, "see {{#weave x}}.");
    }

    #[test]
    fn words_are_plain_quoted_options_and_semicolons() {
        let tag =
            &tags("{{#weave a.rs\n  fn <A as B>::c; from \"}} \\\"x\\\"\" mark=\"m n\" docs=yes}}")
                [0];
        assert_eq!(
            tag.words,
            [
                Word::Plain("a.rs".into()),
                Word::Plain("fn".into()),
                Word::Plain("<A".into()),
                Word::Plain("as".into()),
                Word::Plain("B>::c".into()),
                Word::Semicolon,
                Word::Plain("from".into()),
                Word::Quoted("}} \"x\"".into()),
                Word::Option("mark".into(), "m n".into()),
                Word::Option("docs".into(), "yes".into()),
            ]
        );
        assert!(tag.is_block);
    }

    #[test]
    fn a_tag_that_is_never_closed_is_a_problem_with_its_line() {
        let (_, problems) = parts("x.md", "a\n\n{{#weave f.rs\n\nb");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place, "x.md:3");
    }
}
