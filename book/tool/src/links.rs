//! Looks at the built pages: every link leads somewhere, and nothing is fetched from a network.

use crate::problem::Problem;
use crate::repository::Repository;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What a page holds that concerns links.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    ids: BTreeSet<String>,
    /// The element, the attribute and the address.
    addresses: Vec<(String, String, String)>,
}

/// Problems of all pages in `book/book`. mdBook turns links to `x.md` into `x.html`; those that lead to a Markdown file
/// of the repository outside of the book are turned back first.
pub fn check(repository: &Repository) -> Result<Vec<Problem>> {
    let mut pages = BTreeMap::new();
    for name in repository.files("book/book", "html")? {
        let path = repository.path(&name);
        let text = fs::read_to_string(&path)?;
        let mended = with_markdown_links(repository, &path, &text);
        if mended != text {
            fs::write(&path, &mended)?;
        }
        pages.insert(path, page(&mended));
    }
    let mut problems = Vec::new();
    for (path, page) in &pages {
        for (element, attribute, address) in &page.addresses {
            if let Some(text) = broken(repository, &pages, path, element, attribute, address) {
                problems.push(Problem::new(place(repository, path, address), text));
            }
        }
    }
    problems.sort_by(|a, b| (&a.place, &a.text).cmp(&(&b.place, &b.text)));
    problems.dedup();
    Ok(problems)
}

/// The chapter and the line in it that holds the address, as far as they are to be found.
fn place(repository: &Repository, page: &Path, address: &str) -> String {
    let page_name = repository.name_of(page);
    let chapter = page_name.replace("book/book/", "book/src/").replace(".html", ".md");
    let Ok(text) = repository.read(&chapter) else {
        return page_name;
    };
    let wanted = address.replace(".html", ".md");
    match text.lines().position(|line| line.contains(&wanted)) {
        Some(at) => format!("{chapter}:{}", at + 1),
        None => chapter,
    }
}

fn broken(
    repository: &Repository,
    pages: &BTreeMap<PathBuf, Page>,
    path: &Path,
    element: &str,
    attribute: &str,
    address: &str,
) -> Option<String> {
    if is_external(address) {
        let fetches = attribute == "src" || element == "link";
        return fetches.then(|| format!("<{element}> fetches {address} from the network"));
    }
    let (file, fragment) = address.split_once('#').unwrap_or((address, ""));
    let file = file.split('?').next().unwrap_or("");
    let target = if file.is_empty() {
        path.to_path_buf()
    } else {
        let folder = path.parent().unwrap_or(path);
        flattened(&folder.join(decoded(file)))
    };
    if !target.starts_with(repository.root()) {
        return Some(format!("the link {address} leads out of the repository"));
    }
    if !target.exists() {
        return Some(format!("the link {address} leads nowhere"));
    }
    let page = pages.get(&target)?;
    let fragment = decoded(fragment);
    // `#step=3` is a place inside a figure, not an element.
    let is_missing =
        !fragment.is_empty() && !fragment.contains('=') && !page.ids.contains(&fragment);
    is_missing.then(|| format!("the link {address} leads to a page that has no #{fragment}"))
}

fn is_external(address: &str) -> bool {
    let scheme = address.split(':').next().unwrap_or("");
    address.starts_with("//")
        || (address.contains(':')
            && !scheme.is_empty()
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Without `.` and `..`, which need not exist on the way.
fn flattened(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Undoes `%20` and the like.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn with_markdown_links(repository: &Repository, path: &Path, text: &str) -> String {
    let mut out = text.to_string();
    let folder = path.parent().unwrap_or(path);
    for (_, _, address) in page(text).addresses {
        let file = address.split('#').next().unwrap_or("");
        let Some(stem) = file.strip_suffix(".html") else {
            continue;
        };
        let target = flattened(&folder.join(decoded(file)));
        let markdown = flattened(&folder.join(decoded(&format!("{stem}.md"))));
        let is_outside = !target.starts_with(repository.pages());
        if is_outside && !target.exists() && markdown.exists() {
            out = out.replace(&format!("\"{file}"), &format!("\"{stem}.md"));
        }
    }
    out
}

/// Reads the tags of a page. Text, comments and scripts hold no links.
fn page(text: &str) -> Page {
    let mut found = Page::default();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        rest = &rest[open + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = after(comment, "-->");
            continue;
        }
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if name.is_empty() {
            continue;
        }
        rest = attributes(&name, &rest[name.len()..], &mut found);
        if name == "script" || name == "style" {
            rest = after(rest, &format!("</{name}"));
        }
    }
    found
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end).map_or("", |at| &text[at + end.len()..])
}

/// Reads the attributes of one tag; returns what comes after its `>`.
fn attributes<'a>(element: &str, text: &'a str, found: &mut Page) -> &'a str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return rest;
        }
        if let Some(after) = rest.strip_prefix('>') {
            return after;
        }
        // A stray `=` counts as a name, so that something is always taken.
        let length = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| c.is_whitespace() || "=>/".contains(*c))
            .map_or(rest.len(), |(at, _)| at);
        let name = &rest[..length];
        rest = &rest[length..];
        let Some(value) = rest.trim_start().strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        let (value, after) = attribute_value(value);
        rest = after;
        match name {
            "id" => {
                found.ids.insert(unescaped(value));
            }
            "href" | "src" => {
                let address = unescaped(value);
                found.addresses.push((element.to_string(), name.to_string(), address));
            }
            _ => {}
        }
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            let end = inside.find(quote).unwrap_or(inside.len());
            return (&inside[..end], inside.get(end + 1..).unwrap_or(""));
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    text.split_at(end)
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_tags_and_not_from_text() {
        let text = "<!-- <a href=\"no\"> --><script src='a.js'>var x = '<a href=\"no\">';</script>\
            <h1 id=top>a < b href=\"no\"</h1><a class=\"x>y\" href=\"b.html?q=1&amp;r#c\">b</a><img src=d.png>";
        let page = page(text);
        let addresses: Vec<&str> = page.addresses.iter().map(|(_, _, a)| a.as_str()).collect();
        assert_eq!(addresses, ["a.js", "b.html?q=1&r#c", "d.png"]);
        assert!(page.ids.contains("top"));
    }

    #[test]
    fn external_addresses_have_a_scheme() {
        assert!(is_external("https://example.org"));
        assert!(is_external("mailto:me@example.org"));
        assert!(is_external("//example.org/x.js"));
        assert!(!is_external("a.html#b:c"));
        assert!(!is_external("../x.html"));
    }

    #[test]
    fn percent_signs_are_decoded() {
        assert_eq!(decoded("a%20b%2"), "a b%2");
    }
}
