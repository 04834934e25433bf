//! The functions and classes of a Python file, by indentation.

use super::items::Item;
use super::lexer::{Token, TokenKind};

pub(super) fn find(text: &str, tokens: &[Token]) -> Vec<Item> {
    let lines: Vec<&str> = text.lines().collect();
    let inside_text = lines_inside_strings(text, tokens);
    let mut items: Vec<Item> = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if inside_text[index] || line.trim().is_empty() {
            continue;
        }
        let indent = indent(line);
        open.retain(|(_, outer)| *outer < indent);
        let Some((kind, name)) = definition(line.trim_start()) else {
            continue;
        };
        let owners = open.iter().map(|(at, _)| items[*at].name.clone()).collect();
        items.push(Item {
            kind,
            name,
            owners,
            first: with_decorators(&lines, index) + 1,
            last: block_end(&lines, &inside_text, index) + 1,
            head_last: if kind == "class" { index + 1 } else { 0 },
            parent: open.last().map(|(at, _)| *at),
            ..Item::default()
        });
        open.push((items.len() - 1, indent));
    }
    items
}

fn definition(line: &str) -> Option<(&'static str, String)> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let (kind, rest) = ["def", "class"].into_iter().find_map(|kind| {
        let rest = line.strip_prefix(kind)?.strip_prefix(' ')?;
        Some((kind, rest.trim_start()))
    })?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    (end > 0).then(|| (kind, rest[..end].to_string()))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn with_decorators(lines: &[&str], index: usize) -> usize {
    let own = indent(lines[index]);
    let mut first = index;
    while first > 0 && lines[first - 1].starts_with(&format!("{}@", " ".repeat(own))) {
        first -= 1;
    }
    first
}

/// The last line that is indented more than the definition, or belongs to its head.
fn block_end(lines: &[&str], inside_text: &[bool], index: usize) -> usize {
    let own = indent(lines[index]);
    let mut last = index;
    for (next, line) in lines.iter().enumerate().skip(index + 1) {
        if line.trim().is_empty() {
            continue;
        }
        // The `)` that closes a head over several lines stands at the head's own column.
        let closes_head = indent(line) == own && line.trim_start().starts_with(')');
        if indent(line) <= own && !closes_head && !inside_text[next] {
            break;
        }
        last = next;
    }
    last
}

/// For each line whether it begins inside a string of several lines.
fn lines_inside_strings(text: &str, tokens: &[Token]) -> Vec<bool> {
    let mut inside = vec![false; text.lines().count()];
    for token in tokens.iter().filter(|token| token.kind == TokenKind::Text) {
        let first = text[..token.start].matches('\n').count();
        let more = text[token.start..token.end].matches('\n').count();
        for line in inside.iter_mut().skip(first + 1).take(more) {
            *line = true;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use crate::source::SourceFile;

    #[test]
    fn functions_classes_and_methods_with_their_decorators() {
        let text = "import os\n\nclass A:\n    @staticmethod\n    def f(\n        x,\n    ):\n        '''\nflush left\n'''\n        return 1\n\n    def g(self): pass\n\n\ndef f(): pass\n";
        let source = SourceFile::new("x.py", text.to_string()).unwrap();
        let found: Vec<(String, usize, usize)> =
            source.items.iter().map(|item| (item.label(), item.first, item.last)).collect();
        assert_eq!(
            found,
            [
                ("class A".to_string(), 3, 13),
                ("def A::f".to_string(), 4, 11),
                ("def A::g".to_string(), 13, 13),
                ("def f".to_string(), 16, 16),
            ]
        );
    }
}
