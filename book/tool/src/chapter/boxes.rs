//! Tags that hold other things until `{{#end}}`: boxes and pairs.

use super::Arguments;
use crate::html::escape;
use crate::tag::Tag;

pub(super) struct Container {
    pub(super) line: usize,
    kind: Kind,
}

enum Kind {
    Box { kind: String, title: String },
    Beside { members: usize, has_text: bool },
}

/// The kinds of boxes and their headings.
const BOXES: &[(&str, &str)] = &[
    ("try", "Try it"),
    ("debugger", "In the debugger"),
    ("peers", "What real runtimes do differently"),
    ("python", "For those who come from Python"),
    ("question", "A question"),
    ("answer", "The answer"),
    ("exercises", "Exercises"),
    ("note", "Note"),
];

impl Container {
    pub(super) fn open(tag: &Tag) -> Result<Container, String> {
        let mut arguments = Arguments::of(tag);
        let kind = if tag.name == "beside" {
            Kind::Beside { members: 0, has_text: false }
        } else {
            let kind = arguments.first("the kind of box")?;
            let known = BOXES.iter().find(|(name, _)| *name == kind);
            let (_, heading) = known.ok_or_else(|| {
                let names: Vec<&str> = BOXES.iter().map(|(name, _)| *name).collect();
                format!("there is no box `{kind}`; there are: {}", names.join(", "))
            })?;
            let title = arguments.option("title");
            Kind::Box { kind, title: title.unwrap_or_else(|| heading.to_string()) }
        };
        arguments.finish()?;
        Ok(Container { line: tag.line, kind })
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Box { .. } => "box",
            Kind::Beside { .. } => "beside",
        }
    }

    pub(super) fn opening(&self) -> String {
        match &self.kind {
            Kind::Beside { .. } => "<div class=\"beside\">".to_string(),
            Kind::Box { kind, title } if kind == "answer" => {
                let title = escape(title);
                format!("<details class=\"box box-answer\"><summary>{title}</summary>")
            }
            Kind::Box { kind, title } => {
                let title = escape(title);
                format!("<div class=\"box box-{kind}\"><p class=\"box-title\">{title}</p>")
            }
        }
    }

    pub(super) fn member(&mut self) {
        if let Kind::Beside { members, .. } = &mut self.kind {
            *members += 1;
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Kind::Beside { has_text, .. } = &mut self.kind {
            *has_text |= !text.trim().is_empty();
        }
    }

    pub(super) fn close(&self) -> Result<String, String> {
        match &self.kind {
            Kind::Beside { has_text: true, .. } => {
                Err("`{{#beside}}` holds two block tags and no text".to_string())
            }
            Kind::Beside { members, .. } if *members != 2 => {
                Err(format!("`{{{{#beside}}}}` holds two block tags, not {members}"))
            }
            Kind::Box { kind, .. } if kind == "answer" => Ok("</details>".to_string()),
            _ => Ok("</div>".to_string()),
        }
    }
}
