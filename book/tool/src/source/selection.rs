//! What a tag asks of a file, and the lines that answer it.

use super::items::Item;
use super::rust_items::compact;
use super::{LineKind, SourceFile};
use crate::tag::Word;

/// One piece of a file: an item, `uses`, `docs` or nothing (the whole file), narrowed by text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    pub what: What,
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum What {
    #[default]
    Whole,
    Uses,
    Docs,
    Item {
        kind: String,
        path: String,
        ordinal: Option<usize>,
    },
}

/// Lines of a file, counted from 1, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub first: usize,
    pub last: usize,
    /// The containers around it, outermost first: indices into the file's items.
    pub containers: Vec<usize>,
}

const KINDS: &[&str] = &[
    "fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod", "macro", "impl",
    "def", "class",
];

/// Reads the words after the file name: pieces with `;` between them.
pub fn selectors(words: &[Word]) -> Result<Vec<Selector>, String> {
    let groups = words.split(|word| *word == Word::Semicolon);
    groups.map(selector).collect()
}

fn selector(words: &[Word]) -> Result<Selector, String> {
    let mut selector = Selector::default();
    let mut at = 0;
    let mut path: Vec<String> = Vec::new();
    let mut kind = None;
    let mut ordinal = None;
    while at < words.len() {
        let Word::Plain(word) = &words[at] else {
            return Err(format!("unexpected {}", shown(&words[at])));
        };
        let next_quoted = match words.get(at + 1) {
            Some(Word::Quoted(text)) => Some(text.clone()),
            _ => None,
        };
        if (word == "from" || word == "to") && next_quoted.is_some() {
            let slot = if word == "from" { &mut selector.from } else { &mut selector.to };
            if slot.replace(next_quoted.unwrap_or_default()).is_some() {
                return Err(format!("`{word}` stands twice"));
            }
            at += 2;
            continue;
        }
        if let Some(number) = word.strip_prefix('#') {
            let number = number.parse::<usize>().ok().filter(|n| *n > 0);
            ordinal = Some(number.ok_or_else(|| format!("`{word}` is no ordinal"))?);
        } else if kind.is_none() && path.is_empty() {
            kind = Some(word.clone());
        } else {
            path.push(word.clone());
        }
        at += 1;
    }
    if selector.to.is_some() && selector.from.is_none() {
        return Err("`to` needs a `from`".to_string());
    }
    selector.what = what(kind, &path.join(" "), ordinal)?;
    Ok(selector)
}

fn what(kind: Option<String>, path: &str, ordinal: Option<usize>) -> Result<What, String> {
    let Some(kind) = kind else {
        return Ok(What::Whole);
    };
    if KINDS.contains(&kind.as_str()) {
        if path.is_empty() {
            return Err(format!("`{kind}` needs a name"));
        }
        let path = path.to_string();
        return Ok(What::Item { kind, path, ordinal });
    }
    match (kind.as_str(), path.is_empty()) {
        ("uses", true) => Ok(What::Uses),
        ("docs", true) => Ok(What::Docs),
        _ => Err(format!(
            "`{kind} {path}` names no piece; a piece is one of: {}, uses, docs, from \"..\" to \"..\"",
            KINDS.join(" ")
        )),
    }
}

fn shown(word: &Word) -> String {
    match word {
        Word::Plain(text) => format!("`{text}`"),
        Word::Quoted(text) => format!("\"{text}\""),
        Word::Option(key, value) => format!("option `{key}={value}`"),
        Word::Semicolon => "`;`".to_string(),
    }
}

/// The lines that `selector` names in `source`.
pub fn select(source: &SourceFile, selector: &Selector) -> Result<Vec<Piece>, String> {
    let pieces = match &selector.what {
        What::Whole => vec![Piece { first: 1, last: source.lines.len(), containers: Vec::new() }],
        What::Uses => uses(source)?,
        What::Docs => vec![docs(source)?],
        What::Item { kind, path, ordinal } => vec![item(source, kind, path, *ordinal)?],
    };
    let Some(from) = &selector.from else {
        return Ok(pieces);
    };
    let [piece] = pieces.as_slice() else {
        return Err("`from` cannot narrow `uses`".to_string());
    };
    Ok(vec![narrow(source, piece, from, selector.to.as_deref())?])
}

fn uses(source: &SourceFile) -> Result<Vec<Piece>, String> {
    let used = source.items.iter().filter(|item| item.is_use && !item.is_test);
    let pieces: Vec<Piece> = used
        .map(|item| Piece { first: item.first, last: item.last, containers: Vec::new() })
        .collect();
    if pieces.is_empty() {
        return Err(format!("{} has no `use` lines", source.path));
    }
    Ok(pieces)
}

/// The first unbroken run of `//!` lines.
fn docs(source: &SourceFile) -> Result<Piece, String> {
    let is_doc = |n: &usize| source.line(*n).trim_start().starts_with("//!");
    let numbers = 1..=source.lines.len();
    let first =
        numbers.clone().find(is_doc).ok_or_else(|| format!("{} has no `//!` docs", source.path))?;
    let last = numbers.skip(first).take_while(|n| is_doc(n)).last().unwrap_or(first);
    Ok(Piece { first, last, containers: Vec::new() })
}

fn item(
    source: &SourceFile,
    kind: &str,
    path: &str,
    ordinal: Option<usize>,
) -> Result<Piece, String> {
    let found: Vec<&Item> = source.items.iter().filter(|item| matches(item, kind, path)).collect();
    let item = match (found.as_slice(), ordinal) {
        ([], _) => return Err(missing(source, kind, path)),
        ([only], None) => only,
        (several, None) => return Err(ambiguous(source, kind, path, several)),
        (several, Some(n)) => several.get(n - 1).ok_or_else(|| {
            let count = several.len();
            format!("{}: only {count} match `{kind} {path}`, no #{n}", source.path)
        })?,
    };
    Ok(Piece { first: item.first, last: item.last, containers: containers(source, item) })
}

fn containers(source: &SourceFile, item: &Item) -> Vec<usize> {
    let mut found = Vec::new();
    let mut parent = item.parent;
    while let Some(index) = parent {
        found.push(index);
        parent = source.items[index].parent;
    }
    found.reverse();
    found
}

fn matches(item: &Item, kind: &str, path: &str) -> bool {
    if item.kind == "impl" && kind == "impl" {
        return same_head(&item.name, path);
    }
    let (of_trait, owners, name) = split_path(path);
    let named = (item.kind == kind && item.name == name)
        || item.aliases.iter().any(|(k, n)| *k == kind && *n == name);
    if !named {
        return false;
    }
    if let Some(of_trait) = &of_trait {
        let implemented = item.of_trait.as_deref().unwrap_or("");
        if !same_type(implemented, of_trait) {
            return false;
        }
    }
    let skip = item.owners.len().saturating_sub(owners.len());
    item.owners.len() >= owners.len()
        && item.owners[skip..].iter().zip(&owners).all(|(have, want)| same_type(have, want))
}

/// `<A as B>::c` -> (B, [A], c); `a::B::c` -> (none, [a, B], c); Python's `A.c` as `A::c`.
fn split_path(path: &str) -> (Option<String>, Vec<String>, String) {
    if let Some((qualified, name)) = path.strip_prefix('<').and_then(|rest| rest.rsplit_once(">::"))
        && let Some((owner, of_trait)) = qualified.split_once(" as ")
    {
        let owners = vec![owner.trim().to_string()];
        return (Some(of_trait.trim().to_string()), owners, name.to_string());
    }
    let path = path.replace('.', "::");
    let mut owners: Vec<String> = path.split("::").map(str::to_string).collect();
    let name = owners.pop().unwrap_or_default();
    (None, owners, name)
}

/// Compares heads of impls: `Wake for Record`. Generics count only when the tag writes them.
fn same_head(have: &str, want: &str) -> bool {
    let want = want.trim();
    match (have.split_once(" for "), want.split_once(" for ")) {
        (Some((have_trait, have_type)), Some((want_trait, want_type))) => {
            same_type(have_trait, want_trait) && same_type(have_type, want_type)
        }
        (None, None) => same_type(have, want),
        _ => false,
    }
}

/// A type as the tag writes it: with its generics and path, or with the last name alone.
fn same_type(have: &str, want: &str) -> bool {
    let want = compact(want);
    have == want || last_name(have) == want
}

fn last_name(name: &str) -> &str {
    let without_generics = name.split('<').next().unwrap_or(name);
    let without_path = without_generics.rsplit("::").next().unwrap_or(without_generics);
    without_path.trim_start_matches('&')
}

fn missing(source: &SourceFile, kind: &str, path: &str) -> String {
    let same_kind: Vec<String> = source
        .items
        .iter()
        .filter(|item| item.kind == kind && !item.is_test)
        .map(Item::label)
        .collect();
    let hint = if same_kind.is_empty() {
        format!("it has no `{kind}`")
    } else {
        format!("it has: {}", same_kind.join(", "))
    };
    format!("{}: no `{kind} {path}`; {hint}", source.path)
}

fn ambiguous(source: &SourceFile, kind: &str, path: &str, found: &[&Item]) -> String {
    let places: Vec<String> =
        found.iter().map(|item| format!("{} (line {})", item.label(), item.first)).collect();
    format!(
        "{}: `{kind} {path}` is ambiguous: {}; write the longer path or #N",
        source.path,
        places.join(", ")
    )
}

fn narrow(
    source: &SourceFile,
    piece: &Piece,
    from: &str,
    to: Option<&str>,
) -> Result<Piece, String> {
    let holding = |text: &str, first: usize| -> Vec<usize> {
        (first..=piece.last).filter(|n| source.line(*n).contains(text)).collect()
    };
    let starts = holding(from, piece.first);
    let first = match starts.as_slice() {
        [] => return Err(format!("{}: no line holds \"{from}\"", source.path)),
        [first] => *first,
        several => {
            let lines: Vec<String> = several.iter().map(usize::to_string).collect();
            return Err(format!(
                "{}: \"{from}\" is ambiguous: it stands on lines {}; write more of the line or name the item",
                source.path,
                lines.join(", ")
            ));
        }
    };
    let last = match to {
        None => first,
        Some(to) => *holding(to, first + 1)
            .first()
            .ok_or_else(|| format!("{}: no line after line {first} holds \"{to}\"", source.path))?,
    };
    Ok(Piece { first, last, containers: piece.containers.clone() })
}

/// The lines of a container that are not its members: its head with attributes, and its last line.
pub fn frame(source: &SourceFile, container: &Item) -> (Vec<usize>, usize) {
    let head = container.first..=container.head_last;
    let head = head.filter(|n| source.kind(*n) == LineKind::Code).collect();
    (head, container.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag;

    const FILE: &str = "\
//! What it is.
//! More.
use std::fmt;
mod inner;

pub struct A<T> {
    x: T,
}

// why
impl<T> A<T> {
    /// Docs.
    fn new(x: T) -> A<T> {
        A { x }
    }
}

impl<T> fmt::Display for A<T> {
    fn fmt(&self) {}
}

impl<T> fmt::Debug for A<T> {
    fn fmt(&self) {}
}

thread_local! {
    static CURRENT: u8 = 0;
}
";

    fn lines(text: &str) -> Result<Vec<(usize, usize)>, String> {
        let source = SourceFile::new("x.rs", FILE.to_string()).unwrap();
        let (parts, problems) = tag::parts("t", &format!("{{{{#weave {text}}}}}"));
        assert_eq!(problems, []);
        let tag::Part::Tag(tag) = &parts[0] else {
            panic!("no tag in {text}");
        };
        let mut found = Vec::new();
        for selector in selectors(&tag.words)? {
            found.extend(select(&source, &selector)?);
        }
        Ok(found.iter().map(|piece| (piece.first, piece.last)).collect())
    }

    #[test]
    fn items_are_found_by_kind_and_path() {
        assert_eq!(lines("struct A"), Ok(vec![(6, 8)]));
        assert_eq!(lines("impl A"), Ok(vec![(10, 16)]));
        assert_eq!(lines("impl A<T>"), Ok(vec![(10, 16)]));
        assert_eq!(lines("fn A::new"), Ok(vec![(12, 15)]));
        assert_eq!(lines("fn new; uses"), Ok(vec![(12, 15), (3, 3), (4, 4)]));
        assert_eq!(lines("impl Display for A"), Ok(vec![(18, 20)]));
        assert_eq!(lines("impl fmt::Debug for A<T>"), Ok(vec![(22, 24)]));
        assert_eq!(lines("fn <A as Display>::fmt"), Ok(vec![(19, 19)]));
        assert_eq!(lines("fn fmt #2"), Ok(vec![(23, 23)]));
        assert_eq!(lines("static CURRENT"), Ok(vec![(26, 28)]));
        assert_eq!(lines("docs"), Ok(vec![(1, 2)]));
        assert_eq!(lines(""), Ok(vec![(1, 28)]));
    }

    #[test]
    fn text_narrows_an_item_or_a_file() {
        assert_eq!(lines("fn new from \"A {\" to \"}\""), Ok(vec![(14, 15)]));
        assert_eq!(lines("from \"use std\""), Ok(vec![(3, 3)]));
    }

    #[test]
    fn what_does_not_resolve_says_what_there_is() {
        let missing = lines("fn old").unwrap_err();
        assert!(missing.contains("no `fn old`"), "{missing}");
        assert!(missing.contains("fn A<T>::new"), "{missing}");
        let ambiguous = lines("fn fmt").unwrap_err();
        assert!(ambiguous.contains("line 19"), "{ambiguous}");
        assert!(ambiguous.contains("line 23"), "{ambiguous}");
        assert!(lines("from \"impl\"").unwrap_err().contains("ambiguous"));
        assert!(lines("from \"nowhere\"").unwrap_err().contains("no line holds"));
        assert!(lines("from \"use std\" to \"nowhere\"").is_err());
        assert!(lines("function x").unwrap_err().contains("names no piece"));
        assert!(lines("fn").unwrap_err().contains("needs a name"));
        assert!(lines("to \"x\"").is_err());
        assert!(lines("impl A #2").unwrap_err().contains("only 1"));
    }
}
