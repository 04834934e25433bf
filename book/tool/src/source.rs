//! A file of the repository, as the book sees it: lines with their kinds, and named items.

pub mod items;
pub mod lexer;
mod python_items;
mod rust_items;
pub mod selection;

use anyhow::Result;
use items::Item;
use lexer::{Language, Token, TokenKind};

/// What a line is for a reader who counts code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Code,
    Comment,
    Doc,
    Blank,
}

#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the repository.
    pub path: String,
    pub text: String,
    pub language: Language,
    pub tokens: Vec<Token>,
    pub lines: Vec<Line>,
    pub items: Vec<Item>,
}

#[derive(Debug)]
pub struct Line {
    pub kind: LineKind,
    /// Byte range in the text, without the newline.
    pub start: usize,
    pub end: usize,
    /// Inside a `#[cfg(test)]` item.
    pub is_test: bool,
}

impl SourceFile {
    /// Cuts `text` into lines, tokens and items. Fails when a Rust file does not parse.
    pub fn new(path: &str, text: String) -> Result<SourceFile> {
        let language = Language::of(path);
        let tokens = lexer::tokens(language, &text);
        let mut lines = lines(&text, &tokens);
        let mut items = match language {
            Language::Rust => rust_items::find(path, &text)?,
            Language::Python => python_items::find(&text, &tokens),
            Language::Other => Vec::new(),
        };
        for item in &items {
            if item.is_test {
                for line in &mut lines[item.first - 1..item.last] {
                    line.is_test = true;
                }
            }
        }
        for item in &mut items {
            item.first = with_comment_above(&lines, item.first);
        }
        Ok(SourceFile { path: path.to_string(), text, language, tokens, lines, items })
    }

    /// The text of a line, counted from 1.
    pub fn line(&self, number: usize) -> &str {
        let line = &self.lines[number - 1];
        &self.text[line.start..line.end]
    }

    pub fn kind(&self, number: usize) -> LineKind {
        self.lines[number - 1].kind
    }

    pub fn is_test(&self, number: usize) -> bool {
        self.lines[number - 1].is_test
    }

    /// The lines that the book owes to a reader when the file is listed as owned.
    pub fn code_lines(&self) -> impl Iterator<Item = usize> + '_ {
        let numbers = 1..=self.lines.len();
        numbers.filter(|n| self.kind(*n) == LineKind::Code && !self.is_test(*n))
    }

    /// How many of them say what is done: brackets that close, imports and attributes do not.
    pub fn telling_lines(&self) -> usize {
        let closes = |c: char| ")]};,>".contains(c) || c.is_whitespace();
        let tells = |line: &str| {
            let line = line.trim_start();
            let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
            !line.chars().all(closes)
                && !["use ", "pub use ", "#["].iter().any(|start| line.starts_with(start))
        };
        self.code_lines().filter(|n| tells(self.line(*n))).count()
    }
}

fn lines(text: &str, tokens: &[Token]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut token = 0;
    for whole in text.split_inclusive('\n') {
        let end = start + whole.trim_end_matches(['\n', '\r']).len();
        while token + 1 < tokens.len() && tokens[token].end <= start {
            token += 1;
        }
        let kind = line_kind(text, &tokens[token.min(tokens.len())..], start, end);
        lines.push(Line { kind, start, end, is_test: false });
        start += whole.len();
    }
    lines
}

/// Code wins over docs, docs over comments; spaces count for nothing.
fn line_kind(text: &str, tokens: &[Token], start: usize, end: usize) -> LineKind {
    let mut kind = LineKind::Blank;
    for token in tokens.iter().take_while(|token| token.start < end) {
        let from = token.start.max(start);
        let to = token.end.min(end);
        if from >= to || text[from..to].trim().is_empty() {
            continue;
        }
        match token.kind {
            TokenKind::Doc => kind = LineKind::Doc,
            TokenKind::Comment if kind == LineKind::Blank => kind = LineKind::Comment,
            TokenKind::Comment => {}
            _ => return LineKind::Code,
        }
    }
    kind
}

/// A comment that stands right above an item belongs to it.
fn with_comment_above(lines: &[Line], first: usize) -> usize {
    let mut first = first;
    while first > 1 && lines[first - 2].kind == LineKind::Comment {
        first -= 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_kinds() {
        let text = "//! d\n\n// c\nfn f() {} // x\n/* a\n b */\nlet s = \"\n// in a string\n\";\n";
        let source = SourceFile::new("x.txt", String::new()).unwrap();
        assert_eq!(source.lines.len(), 0);
        let tokens = lexer::tokens(Language::Rust, text);
        let kinds: Vec<LineKind> = lines(text, &tokens).iter().map(|line| line.kind).collect();
        use LineKind::{Blank, Code, Comment, Doc};
        assert_eq!(kinds, [Doc, Blank, Comment, Code, Comment, Comment, Code, Code, Code]);
    }

    #[test]
    fn a_comment_above_an_item_belongs_to_it_and_tests_are_marked() {
        let text =
            "use a::b;\n\n// why\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n";
        let source = SourceFile::new("x.rs", text.to_string()).unwrap();
        let f = source.items.iter().find(|item| item.name == "f").unwrap();
        assert_eq!((f.first, f.last), (3, 4));
        assert_eq!(source.code_lines().collect::<Vec<_>>(), [1, 4]);
    }
}
