//! `{{#weave}}` and `{{#src}}`: pieces of the repository's files.

use super::shown::Visible;
use super::{Arguments, Context, Expanded, Weaver};
use crate::html;
use crate::source::selection::{self, Piece, Selector, What};
use crate::source::{LineKind, SourceFile};
use crate::tag::Tag;

/// A line of a listing, before it is HTML.
enum Row {
    Line(usize),
    /// A line of the container around the piece.
    Frame(usize),
    Blank,
    /// Something that the file has here is left out.
    Gap,
}

impl Weaver<'_> {
    pub(super) fn weave(&mut self, context: &Context, tag: &Tag) -> Expanded {
        let mut arguments = Arguments::of(tag);
        let path = arguments.first("a file")?;
        let visible = Visible::take(&mut arguments)?;
        let title = arguments.option("title");
        let marks: Vec<String> = std::iter::from_fn(|| arguments.option("mark")).collect();
        let again = arguments.again();
        let selectors = selection::selectors(&arguments.words)?;
        let source = self.source(&path)?;
        if selectors.iter().any(|selector| selector.what == What::Docs) {
            return docs(context, &source, &selectors);
        }

        let mut listing = Listing::new(&source);
        for selector in &selectors {
            let visible = if selector.what == What::Whole { visible } else { visible.with_tests() };
            for piece in selection::select(&source, selector)? {
                if !again {
                    let place = format!("{}:{}", context.chapter, tag.line);
                    self.ledger.own(&source, &piece, &place);
                }
                let lines = visible.lines(&source, &piece);
                listing.push(piece, selector, &lines);
            }
        }
        let rows = listing.finish();
        if selectors == [Selector::default()] {
            self.ledger.show(&path);
        }
        check_marks(&source, &marks, &rows)?;
        let mut caption = caption(context, &source, &rows, title.as_deref());
        if again {
            caption.push_str(" <span class=\"recap\">again</span>");
        }
        let lines = lines(&source, &rows, &marks);
        Ok(html::code_figure("woven", &caption, &lines))
    }

    /// A link in a sentence: the name of an item, with its place shown on hover; otherwise the place.
    pub(super) fn source_link(&mut self, context: &Context, tag: &Tag) -> Expanded {
        let mut arguments = Arguments::of(tag);
        let path = arguments.first("a file")?;
        let selectors = selection::selectors(&arguments.words)?;
        let address = format!("{}{path}", context.to_root);
        if selectors == [Selector::default()] {
            if !self.repository.path(&path).exists() {
                return Err(format!("there is no {path}"));
            }
            return Ok(format!("[`{path}`]({address})"));
        }
        let [selector] = selectors.as_slice() else {
            return Err("`{{#src}}` names one piece".to_string());
        };
        let source = self.source(&path)?;
        let pieces = selection::select(&source, selector)?;
        let first = pieces[0].first..=pieces[0].last;
        let line = first
            .into_iter()
            .find(|number| source.kind(*number) == LineKind::Code)
            .unwrap_or(pieces[0].first);
        match &selector.what {
            What::Item { path: name, .. } if selector.from.is_none() => {
                Ok(format!("[`{name}`]({address} \"{path}:{line}\")"))
            }
            _ => Ok(format!("[`{path}:{line}`]({address})")),
        }
    }
}

/// The `//!` text of a file as a quotation, with its source below.
fn docs(context: &Context, source: &SourceFile, selectors: &[Selector]) -> Expanded {
    let [selector] = selectors else {
        return Err("`docs` stands alone in its tag".to_string());
    };
    let pieces = selection::select(source, selector)?;
    let mut out = String::new();
    let mut in_code = false;
    for number in pieces[0].first..=pieces[0].last {
        let line = source.line(number).trim_start();
        let text = line.strip_prefix("//!").unwrap_or(line);
        if text.trim_start().starts_with("```") {
            in_code = !in_code;
            // In docs a block without a language is Rust.
            let is_bare = in_code && text.trim() == "```";
            let text = if is_bare { " ```rust" } else { text };
            out.push_str(&format!(">{text}\n"));
        } else if in_code {
            out.push_str(&format!(">{text}\n"));
        } else {
            out.push_str(&format!(">{}\n", without_item_links(text)));
        }
    }
    let path = &source.path;
    let link = html::link(&format!("{}{path}", context.to_root), path);
    out.push_str(&format!(">\n> <span class=\"quoted\">{link}</span>\n"));
    Ok(out)
}

/// ``[`Name`]`` links in rustdoc; in the book it is a name.
fn without_item_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find("[`") {
        let (before, link) = rest.split_at(open);
        out.push_str(before);
        let end = link.find("`]").map(|at| at + "`]".len());
        let is_plain = |end: &usize| !link[*end..].starts_with(['(', '[']);
        match end.filter(is_plain) {
            Some(end) => {
                out.push_str(&link[1..end - 1]);
                rest = &link[end..];
            }
            None => {
                out.push_str("[`");
                rest = &link["[`".len()..];
            }
        }
    }
    out + rest
}

/// The rows of a block, as its pieces are added one by one.
struct Listing<'a> {
    source: &'a SourceFile,
    rows: Vec<Row>,
    previous: Option<Piece>,
    /// The container whose head is shown and whose last line is not yet.
    open: Option<usize>,
}

impl<'a> Listing<'a> {
    fn new(source: &'a SourceFile) -> Listing<'a> {
        Listing { source, rows: Vec::new(), previous: None, open: None }
    }

    fn push(&mut self, piece: Piece, selector: &Selector, lines: &[usize]) {
        let container = framed(self.source, &piece, selector);
        let is_same = self.open == container;
        if !is_same {
            self.close();
        }
        if let Some(before) = &self.previous {
            push_between(self.source, before, &piece, &mut self.rows);
        }
        if let Some(container) = container.filter(|_| !is_same) {
            let (head, _) = selection::frame(self.source, &self.source.items[container]);
            self.rows.extend(head.into_iter().map(Row::Frame));
        }
        self.open = container;
        self.rows.extend(lines.iter().map(|number| Row::Line(*number)));
        self.previous = Some(piece);
    }

    /// Ends the container that is open. A class needs nothing: it ends with its last member.
    fn close(&mut self) {
        if let Some(container) = self.open.take() {
            let item = &self.source.items[container];
            if item.kind != "class" {
                self.rows.push(Row::Frame(item.last));
            }
        }
    }

    fn finish(mut self) -> Vec<Row> {
        self.close();
        self.rows
    }
}

/// The container whose head and tail are shown: an impl, a trait or a class around a whole member.
fn framed(source: &SourceFile, piece: &Piece, selector: &Selector) -> Option<usize> {
    let innermost = *piece.containers.last()?;
    let is_framed = matches!(source.items[innermost].kind, "impl" | "trait" | "class");
    (selector.from.is_none() && is_framed).then_some(innermost)
}

/// A blank line where the file has nothing else between two pieces, a gap where it has.
fn push_between(source: &SourceFile, before: &Piece, piece: &Piece, rows: &mut Vec<Row>) {
    if piece.first <= before.last {
        rows.push(Row::Gap);
        return;
    }
    let mut between = before.last + 1..piece.first;
    let is_left_out =
        |n: usize| source.kind(n) == LineKind::Code && !is_frame_of(source, piece, before, n);
    if between.clone().any(is_left_out) {
        rows.push(Row::Gap);
    } else if between.any(|n| source.kind(n) == LineKind::Blank) {
        rows.push(Row::Blank);
    }
}

/// The line is part of a frame that is shown anyway.
fn is_frame_of(source: &SourceFile, piece: &Piece, before: &Piece, number: usize) -> bool {
    let containers = piece.containers.iter().chain(&before.containers);
    containers.into_iter().any(|index| {
        let (head, last) = selection::frame(source, &source.items[*index]);
        last == number || head.contains(&number)
    })
}

fn check_marks(source: &SourceFile, marks: &[String], rows: &[Row]) -> Result<(), String> {
    for mark in marks {
        let holds = |row: &Row| matches!(row, Row::Line(n) if source.line(*n).contains(mark));
        if !rows.iter().any(holds) {
            return Err(format!("no shown line holds \"{mark}\" to mark"));
        }
    }
    Ok(())
}

fn lines(source: &SourceFile, rows: &[Row], marks: &[String]) -> String {
    let indent = common_indent(source, rows);
    let mut out = String::new();
    for row in rows {
        match row {
            Row::Line(number) => {
                let is_marked = marks.iter().any(|mark| source.line(*number).contains(mark));
                let classes = if is_marked { "line marked" } else { "line" };
                out.push_str(&html::line(classes, &html::source_line(source, *number, indent)));
            }
            Row::Frame(number) => {
                let inside = html::source_line(source, *number, indent);
                out.push_str(&html::line("line frame", &inside));
            }
            Row::Blank => out.push_str(&html::line("line", "")),
            Row::Gap => out.push_str(&html::line("line gap", "⋯")),
        }
    }
    out
}

fn common_indent(source: &SourceFile, rows: &[Row]) -> usize {
    let indents = rows.iter().filter_map(|row| match row {
        Row::Line(n) | Row::Frame(n) if source.kind(*n) != LineKind::Blank => {
            let line = source.line(*n);
            Some(line.len() - line.trim_start().len())
        }
        _ => None,
    });
    indents.min().unwrap_or(0)
}

/// `runtime/src/timers.rs:41-63, 80-92`, linked to the file.
fn caption(context: &Context, source: &SourceFile, rows: &[Row], title: Option<&str>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut is_joined = false;
    for row in rows {
        match row {
            Row::Line(number) => {
                match ranges.last_mut() {
                    Some((_, last)) if is_joined && *number > *last => *last = *number,
                    _ => ranges.push((*number, *number)),
                }
                is_joined = true;
            }
            Row::Gap => is_joined = false,
            Row::Frame(_) | Row::Blank => {}
        }
    }
    let ranges: Vec<String> = ranges
        .iter()
        .map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    let path = &source.path;
    let place = html::escape(&format!("{path}:{}", ranges.join(", ")));
    let link = html::link(&format!("{}{path}", context.to_root), &place);
    match title {
        Some(title) => format!("<span class=\"title\">{}</span> {link}", html::escape(title)),
        None => link,
    }
}
