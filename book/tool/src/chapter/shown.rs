//! Which lines of a piece a reader sees, and which are left out.

use super::Arguments;
use crate::source::selection::Piece;
use crate::source::{LineKind, SourceFile};

/// What a tag asks to see beside code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible {
    docs: bool,
    comments: bool,
    tests: bool,
}

impl Visible {
    pub(super) fn take(arguments: &mut Arguments) -> Result<Visible, String> {
        Ok(Visible {
            docs: arguments.yes_or_no("docs", false)?,
            comments: arguments.yes_or_no("comments", true)?,
            tests: arguments.yes_or_no("tests", false)?,
        })
    }

    /// An item that is asked for by its name is shown even when it is a test.
    pub(super) fn with_tests(self) -> Visible {
        Visible { tests: true, ..self }
    }

    /// The line numbers of `piece` that are shown: never two blank ones in a row, none at the ends.
    pub(super) fn lines(self, source: &SourceFile, piece: &Piece) -> Vec<usize> {
        let mut shown: Vec<usize> = Vec::new();
        for number in piece.first..=piece.last {
            if source.is_test(number) && !self.tests {
                continue;
            }
            let kind = source.kind(number);
            let is_shown = match kind {
                LineKind::Code => true,
                LineKind::Doc => self.docs,
                LineKind::Comment => self.comments,
                LineKind::Blank => {
                    shown.last().is_some_and(|last| source.kind(*last) != LineKind::Blank)
                }
            };
            if is_shown {
                shown.push(number);
            }
        }
        while shown.last().is_some_and(|last| source.kind(*last) == LineKind::Blank) {
            shown.pop();
        }
        shown
    }
}
