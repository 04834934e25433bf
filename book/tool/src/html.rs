//! The HTML of woven blocks: coloured lines, figures, terminal blocks. No block holds an empty line, for that would end
//! it in Markdown.

use crate::source::SourceFile;
use crate::source::lexer::TokenKind;

pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// One line of a block.
pub fn line(classes: &str, inside: &str) -> String {
    format!("<span class=\"{classes}\">{inside}\n</span>")
}

/// A line of a source file with its tokens coloured, without its first `indent` bytes.
pub fn source_line(source: &SourceFile, number: usize, indent: usize) -> String {
    let line = &source.lines[number - 1];
    let start = (line.start + indent).min(line.end);
    let first = source.tokens.partition_point(|token| token.end <= start);
    let mut out = String::new();
    for token in &source.tokens[first..] {
        if token.start >= line.end {
            break;
        }
        let from = token.start.max(start);
        let to = token.end.min(line.end);
        let text = escape(&source.text[from..to]);
        match class(token.kind) {
            Some(class) => out.push_str(&format!("<span class=\"{class}\">{text}</span>")),
            None => out.push_str(&text),
        }
    }
    out
}

/// The classes that mdBook's themes colour.
fn class(kind: TokenKind) -> Option<&'static str> {
    match kind {
        TokenKind::Plain => None,
        TokenKind::Keyword => Some("hljs-keyword"),
        TokenKind::Type => Some("hljs-type"),
        TokenKind::Title => Some("hljs-title"),
        TokenKind::Number => Some("hljs-number"),
        TokenKind::Text => Some("hljs-string"),
        TokenKind::Attribute => Some("hljs-meta"),
        TokenKind::Lifetime => Some("hljs-symbol"),
        TokenKind::Comment | TokenKind::Doc => Some("hljs-comment"),
    }
}

/// A captioned block of code. `nohighlight` keeps mdBook's own highlighter away.
pub fn code_figure(kind: &str, caption: &str, lines: &str) -> String {
    format!(
        "<figure class=\"{kind}\"><figcaption>{caption}</figcaption><pre><code class=\"nohighlight hljs\">{lines}</code></pre></figure>"
    )
}

/// A command as one types it.
pub fn command(command: &str) -> String {
    let lines: String = command.lines().map(|text| line("line", &escape(text))).collect();
    format!("<pre class=\"command\"><code class=\"nohighlight hljs\">{lines}</code></pre>")
}

/// What a command printed.
pub fn printed(lines: &str) -> String {
    format!("<pre class=\"printed\"><samp>{lines}</samp></pre>")
}

pub fn link(address: &str, inside: &str) -> String {
    format!("<a href=\"{}\">{inside}</a>", escape(address))
}
