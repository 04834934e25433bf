//! `{{#diff}}`: what one file has against another.

use super::shown::Visible;
use super::{Arguments, Context, Expanded, Weaver};
use crate::html;
use crate::source::SourceFile;
use crate::source::selection::Piece;
use crate::tag::Tag;
use similar::{Algorithm, DiffOp, DiffTag};

/// Lines of context around a change when the tag does not say.
const CONTEXT: usize = 3;

/// One file of the two: its shown lines.
struct Side {
    source: std::rc::Rc<SourceFile>,
    numbers: Vec<usize>,
}

impl Side {
    fn texts(&self) -> Vec<&str> {
        self.numbers.iter().map(|n| self.source.line(*n)).collect()
    }

    fn row(&self, at: usize, classes: &str) -> String {
        let inside = html::source_line(&self.source, self.numbers[at], 0);
        html::line(classes, &inside)
    }
}

impl Weaver<'_> {
    pub(super) fn difference(&mut self, context: &Context, tag: &Tag) -> Expanded {
        let mut arguments = Arguments::of(tag);
        let old_path = arguments.first("two files")?;
        let new_path = arguments.first("two files")?;
        let visible = Visible::take(&mut arguments)?;
        let title = arguments.option("title");
        let around = match arguments.option("context").as_deref() {
            None => Some(CONTEXT),
            Some("all") => None,
            Some(number) => {
                let number = number.parse();
                Some(number.map_err(|_| "context is a number or `all`".to_string())?)
            }
        };
        arguments.finish()?;
        let old = self.side(&old_path, visible)?;
        let new = self.side(&new_path, visible)?;
        self.ledger.show(&new_path);

        let operations =
            similar::capture_diff_slices(Algorithm::Patience, &old.texts(), &new.texts());
        if operations.iter().all(|operation| operation.tag() == DiffTag::Equal) {
            return Err(format!("{old_path} and {new_path} do not differ"));
        }
        let (added, removed) = counts(&operations);
        let groups = match around {
            Some(lines) => similar::group_diff_ops(operations, lines),
            None => vec![operations],
        };
        let lines = lines(&old, &new, &groups);
        let link =
            |path: &str| html::link(&format!("{}{path}", context.to_root), &html::escape(path));
        let mut caption = String::new();
        if let Some(title) = title {
            caption.push_str(&format!("<span class=\"title\">{}</span> ", html::escape(&title)));
        }
        caption.push_str(&format!(
            "{} against {} <span class=\"counts\">+{added} -{removed}</span>",
            link(&new_path),
            link(&old_path),
        ));
        // `samp`, because a reader who copied this would copy the removed lines too.
        Ok(format!(
            "<figure class=\"woven difference\"><figcaption>{caption}</figcaption><pre><samp class=\"hljs\">{lines}</samp></pre></figure>"
        ))
    }

    fn side(&mut self, path: &str, visible: Visible) -> Result<Side, String> {
        let source = self.source(path)?;
        let whole = Piece { first: 1, last: source.lines.len(), containers: Vec::new() };
        let numbers = visible.lines(&source, &whole);
        Ok(Side { source, numbers })
    }
}

fn counts(operations: &[DiffOp]) -> (usize, usize) {
    let changed = operations.iter().filter(|operation| operation.tag() != DiffTag::Equal);
    changed.fold((0, 0), |(added, removed), operation| {
        (added + operation.new_range().len(), removed + operation.old_range().len())
    })
}

fn lines(old: &Side, new: &Side, groups: &[Vec<DiffOp>]) -> String {
    let mut out = String::new();
    let mut next_old = 0;
    for group in groups {
        let Some(first) = group.first() else {
            continue;
        };
        if first.old_range().start > next_old {
            out.push_str(&html::line("line gap", "⋯"));
        }
        for operation in group {
            if operation.tag() == DiffTag::Equal {
                out.extend(operation.new_range().map(|at| new.row(at, "line")));
            } else {
                out.extend(operation.old_range().map(|at| old.row(at, "line removed")));
                out.extend(operation.new_range().map(|at| new.row(at, "line added")));
            }
            next_old = operation.old_range().end;
        }
    }
    if next_old < old.numbers.len() {
        out.push_str(&html::line("line gap", "⋯"));
    }
    out
}
