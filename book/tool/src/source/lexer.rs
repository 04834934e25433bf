//! Cuts Rust and Python text into tokens: enough to colour it, and to tell code lines from docs and comments.

/// What a stretch of source text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Punctuation, spaces and names that nothing marks.
    Plain,
    Keyword,
    Type,
    /// The name after `fn`, `def` or `class`, and macros with their `!`.
    Title,
    Number,
    Text,
    Attribute,
    Lifetime,
    Comment,
    Doc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
    Other,
}

impl Language {
    pub fn of(path: &str) -> Language {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("rs") => Language::Rust,
            Some("py") => Language::Python,
            _ => Language::Other,
        }
    }
}

const RUST_KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while",
];

const PYTHON_KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// The tokens of `text`, one after the other without gaps.
pub fn tokens(language: Language, text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, language, at: 0, tokens: Vec::new(), names_next: false };
    while lexer.at < text.len() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    language: Language,
    at: usize,
    tokens: Vec<Token>,
    /// The last word was `fn`, `def` or `class`: a name follows.
    names_next: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let start = self.at;
        let end = start + length;
        self.at = end;
        match self.tokens.last_mut() {
            Some(last) if last.kind == kind && kind == TokenKind::Plain => last.end = end,
            _ => self.tokens.push(Token { kind, start, end }),
        }
    }

    fn step(&mut self) {
        match self.language {
            Language::Rust => self.step_rust(),
            Language::Python => self.step_python(),
            Language::Other => self.push(TokenKind::Plain, self.text.len()),
        }
    }

    fn step_rust(&mut self) {
        let rest = self.rest();
        if rest.starts_with("//") {
            let is_doc =
                rest.starts_with("//!") || (rest.starts_with("///") && !rest.starts_with("////"));
            let kind = if is_doc { TokenKind::Doc } else { TokenKind::Comment };
            self.push(kind, to_line_end(rest));
        } else if rest.starts_with("/*") {
            let is_doc =
                rest.starts_with("/*!") || (rest.starts_with("/**") && !rest.starts_with("/**/"));
            let kind = if is_doc { TokenKind::Doc } else { TokenKind::Comment };
            self.push(kind, block_comment(rest));
        } else if rest.starts_with("#[") || rest.starts_with("#![") {
            self.push(TokenKind::Attribute, attribute(rest));
        } else if let Some(length) = rust_string(rest) {
            self.push(TokenKind::Text, length);
        } else if rest.starts_with('\'') {
            self.step_quote();
        } else {
            self.step_word(RUST_KEYWORDS);
        }
    }

    /// A character, or a lifetime, or a lone quote.
    fn step_quote(&mut self) {
        let rest = self.rest();
        if let Some(length) = character(rest) {
            self.push(TokenKind::Text, length);
        } else {
            let length = 1 + word_length(&rest[1..]);
            self.push(TokenKind::Lifetime, length);
        }
    }

    fn step_python(&mut self) {
        let rest = self.rest();
        if rest.starts_with('#') {
            self.push(TokenKind::Comment, to_line_end(rest));
        } else if rest.starts_with('@') && self.at_line_start() {
            self.push(TokenKind::Attribute, 1 + dotted_length(&rest[1..]));
        } else if let Some(length) = python_string(rest) {
            self.push(TokenKind::Text, length);
        } else {
            self.step_word(PYTHON_KEYWORDS);
        }
    }

    fn at_line_start(&self) -> bool {
        let line = self.text[..self.at].rsplit('\n').next().unwrap_or("");
        line.trim().is_empty()
    }

    /// A number, a word, or one character of anything else.
    fn step_word(&mut self, keywords: &[&str]) {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_ascii_digit() {
            self.push(TokenKind::Number, number_length(rest));
            return;
        }
        let length = word_length(rest);
        if length == 0 {
            self.push(TokenKind::Plain, first.len_utf8());
            return;
        }
        let word = &rest[..length];
        let names_next = std::mem::take(&mut self.names_next);
        if keywords.contains(&word) {
            self.names_next = matches!(word, "fn" | "def" | "class");
            self.push(TokenKind::Keyword, length);
        } else if names_next {
            self.push(TokenKind::Title, length);
        } else if is_macro(self.language, &rest[length..]) {
            self.push(TokenKind::Title, length + 1);
        } else if first.is_uppercase() {
            self.push(TokenKind::Type, length);
        } else {
            self.push(TokenKind::Plain, length);
        }
    }
}

fn is_macro(language: Language, after: &str) -> bool {
    language == Language::Rust && after.starts_with('!') && !after.starts_with("!=")
}

fn to_line_end(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

fn dotted_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len())
}

/// `1_000u64`, `0x1F`, `1.5`; but not the dots of `0..n` and `x.0.len()`.
fn number_length(text: &str) -> usize {
    let whole = word_length(text);
    let fraction = &text[whole..];
    let has_fraction =
        fraction.starts_with('.') && fraction[1..].starts_with(|c: char| c.is_ascii_digit());
    if has_fraction { whole + 1 + word_length(&fraction[1..]) } else { whole }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `#[..]` or `#![..]` with its nested brackets and strings.
fn attribute(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if let Some(length) = rust_string(&text[at..]) {
            at += length;
            continue;
        }
        let c = text[at..].chars().next().unwrap_or(' ');
        at += c.len_utf8();
        match c {
            '[' => depth += 1,
            ']' if depth == 1 => return at,
            ']' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// A string with its prefix: `"`, `b"`, `c"`, `r#"`, `br"`.
fn rust_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let after = text.strip_prefix(prefix).unwrap_or("");
        after.starts_with('"') || (prefix.ends_with('r') && is_raw_start(after))
    })?;
    let after = &text[prefix.len()..];
    if !prefix.ends_with('r') {
        return Some(prefix.len() + escaped_string(after, '"'));
    }
    let hashes = after.chars().take_while(|c| *c == '#').count();
    let close = format!("\"{}", "#".repeat(hashes));
    let from = hashes + 1;
    let length = after[from..].find(&close).map_or(after.len(), |end| from + end + close.len());
    Some(prefix.len() + length)
}

/// `#"` or `##"`; `r#type` is a name.
fn is_raw_start(text: &str) -> bool {
    text.starts_with('#') && text.trim_start_matches('#').starts_with('"')
}

/// From a quote to the same quote, jumping over escapes.
fn escaped_string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// `'x'`, `'\n'`, `'\u{1F600}'`; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        let length = escaped_string(text, '\'');
        return text[..length].ends_with('\'').then_some(length);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

/// A string with its prefix: `'`, `"`, `"""`, `f"`, `rb'`.
fn python_string(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !"rbfuRBFU".contains(c)).unwrap_or(text.len());
    let after = &text[prefix..];
    let quote = after.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    if prefix > 2 {
        return None;
    }
    let triple = quote.to_string().repeat(3);
    if after.starts_with(&triple) {
        let length = after[3..].find(&triple).map_or(after.len(), |end| end + 6);
        return Some(prefix + length);
    }
    Some(prefix + escaped_string(after, quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(language: Language, text: &str) -> Vec<(TokenKind, String)> {
        let tokens = tokens(language, text);
        let whole: String = tokens.iter().map(|t| &text[t.start..t.end]).collect();
        assert_eq!(whole, text, "tokens leave no gaps");
        tokens
            .iter()
            .filter(|t| t.kind != TokenKind::Plain)
            .map(|t| (t.kind, text[t.start..t.end].to_string()))
            .collect()
    }

    #[test]
    fn rust_strings_comments_and_lifetimes_are_told_apart() {
        let text =
            "let x: &'a str = r#\"// \" no\"#; // yes 'b\nlet c = '\\''; let d = '\"'; /// doc\n";
        let found = kinds(Language::Rust, text);
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            ["let", "'a", "r#\"// \" no\"#", "// yes 'b", "let", "'\\''", "let", "'\"'", "/// doc"]
        );
        assert_eq!(found[1].0, TokenKind::Lifetime);
        assert_eq!(found[8].0, TokenKind::Doc);
    }

    #[test]
    fn names_after_fn_and_macros_are_titles() {
        let found = kinds(Language::Rust, "fn turn() { println!(\"x\"); a != b }");
        assert_eq!(found[1], (TokenKind::Title, "turn".to_string()));
        assert_eq!(found[2], (TokenKind::Title, "println!".to_string()));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn python_triple_quotes_and_comments() {
        let found = kinds(Language::Python, "def f():\n    '''# no\n'''\n    x = f'{a}' # yes\n");
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["def", "f", "'''# no\n'''", "f'{a}'", "# yes"]);
    }

    #[test]
    fn a_range_is_two_numbers() {
        let found = kinds(Language::Rust, "0..10 1.5 0x1F_u8");
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["0", "10", "1.5", "0x1F_u8"]);
    }
}
