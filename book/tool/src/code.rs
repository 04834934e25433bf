//! Where the code of a chapter is: fenced, indented and inline.

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};
use std::ops::Range;

/// The opening line of a fenced block.
pub(crate) struct Fence {
    pub(crate) line: usize,
    pub(crate) info: String,
}

/// All fenced blocks, in the order of the text.
pub(crate) fn fences(text: &str) -> Vec<Fence> {
    let fence = |(event, range): (Event<'_>, Range<usize>)| match event {
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => Some(Fence {
            line: 1 + text[..range.start].matches('\n').count(),
            info: info.trim().to_string(),
        }),
        _ => None,
    };
    Parser::new(text).into_offset_iter().filter_map(fence).collect()
}

/// The ranges of all code, in the order of the text.
pub(crate) fn ranges(text: &str) -> Vec<Range<usize>> {
    let code = |(event, range): (Event<'_>, Range<usize>)| {
        matches!(event, Event::Code(_) | Event::Start(Tag::CodeBlock(_))).then_some(range)
    };
    Parser::new(text).into_offset_iter().filter_map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_found_in_lists_and_with_either_mark() {
        let text = "- a\n\n  ```rust,ignore\n  x\n  ```\n\n~~~text `\ny\n~~~\n";
        let found: Vec<_> = fences(text).into_iter().map(|f| (f.line, f.info)).collect();
        assert_eq!(found, [(3, "rust,ignore".to_string()), (7, "text `".to_string())]);
    }

    #[test]
    fn a_fence_inside_a_longer_one_is_its_text() {
        let found = fences("````md\n```rust\n```\n````\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].info, "md");
    }

    #[test]
    fn code_is_fenced_indented_and_inline() {
        let text = "`a` b\n\n    c\n\n```\nd\n```\n";
        let code: Vec<_> = ranges(text).into_iter().map(|range| text[range].trim()).collect();
        assert_eq!(code, ["`a`", "c", "```\nd\n```"]);
    }
}
