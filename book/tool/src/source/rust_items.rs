//! The items of a Rust file, with the lines on which they stand, from syn's syntax tree.

use super::items::Item;
use anyhow::{Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::{Attribute, ImplItem, ItemImpl, ItemMacro, ItemMod, ItemTrait, TraitItem};

pub(super) fn find(path: &str, text: &str) -> Result<Vec<Item>> {
    let file = syn::parse_file(text).map_err(|error| {
        let line = error.span().start().line;
        anyhow!("{path}:{line}: not Rust: {error}")
    })?;
    let mut finder = Finder { items: Vec::new() };
    for attribute in &file.attrs {
        if !attribute.path().is_ident("doc") {
            finder.inner_attribute(attribute);
        }
    }
    finder.items(&file.items, &Place::default());
    Ok(finder.items)
}

/// Where an item stands: what contains it.
#[derive(Clone, Default)]
struct Place {
    owners: Vec<String>,
    of_trait: Option<String>,
    parent: Option<usize>,
    is_test: bool,
}

struct Finder {
    items: Vec<Item>,
}

impl Finder {
    fn items(&mut self, items: &[syn::Item], place: &Place) {
        for item in items {
            self.item(item, place);
        }
    }

    fn item(&mut self, item: &syn::Item, place: &Place) {
        use syn::Item::{
            Const, Enum, ExternCrate, Fn, Impl, Macro, Mod, Static, Struct, Trait, TraitAlias,
            Type, Union, Use,
        };
        match item {
            Const(it) => self.push("const", &it.ident.to_string(), &it.attrs, it, place),
            Enum(it) => self.push("enum", &it.ident.to_string(), &it.attrs, it, place),
            Fn(it) => self.push("fn", &it.sig.ident.to_string(), &it.attrs, it, place),
            Static(it) => self.push("static", &it.ident.to_string(), &it.attrs, it, place),
            Struct(it) => self.push("struct", &it.ident.to_string(), &it.attrs, it, place),
            TraitAlias(it) => self.push("trait", &it.ident.to_string(), &it.attrs, it, place),
            Type(it) => self.push("type", &it.ident.to_string(), &it.attrs, it, place),
            Union(it) => self.push("union", &it.ident.to_string(), &it.attrs, it, place),
            Use(it) => self.push_use("use", &it.attrs, it, place),
            ExternCrate(it) => self.push_use("extern", &it.attrs, it, place),
            Macro(it) => self.macro_call(it, place),
            Mod(it) => self.module(it, place),
            Trait(it) => self.trait_definition(it, place),
            Impl(it) => self.implementation(it, place),
            _ => {}
        }
    }

    fn push(
        &mut self,
        kind: &'static str,
        name: &str,
        attributes: &[Attribute],
        tree: &impl Spanned,
        place: &Place,
    ) {
        let span = tree.span();
        self.items.push(Item {
            kind,
            name: name.to_string(),
            owners: place.owners.clone(),
            of_trait: place.of_trait.clone(),
            first: span.start().line,
            last: span.end().line,
            parent: place.parent,
            is_test: place.is_test || is_test(attributes),
            ..Item::default()
        });
    }

    fn push_use(
        &mut self,
        kind: &'static str,
        attributes: &[Attribute],
        tree: &impl Spanned,
        place: &Place,
    ) {
        self.push(kind, "", attributes, tree, place);
        self.last_item().is_use = place.parent.is_none();
    }

    fn last_item(&mut self) -> &mut Item {
        let last = self.items.len() - 1;
        &mut self.items[last]
    }

    fn inner_attribute(&mut self, attribute: &Attribute) {
        self.push("attribute", "", &[], attribute, &Place::default());
        self.last_item().is_use = true;
    }

    /// `macro_rules! name`, or a call such as `thread_local! { static NAME }`, found by what it declares too.
    fn macro_call(&mut self, it: &ItemMacro, place: &Place) {
        let last = it.mac.path.segments.last();
        let called = last.map(|segment| segment.ident.to_string());
        let name = match &it.ident {
            Some(ident) => ident.to_string(),
            None => called.unwrap_or_default(),
        };
        self.push("macro", &name, &it.attrs, it, place);
        if it.ident.is_none() {
            self.last_item().aliases = declared(it.mac.tokens.clone());
        }
    }

    fn module(&mut self, it: &ItemMod, place: &Place) {
        let name = it.ident.to_string();
        self.push("mod", &name, &it.attrs, it, place);
        let Some((brace, items)) = &it.content else {
            self.last_item().is_use = place.parent.is_none();
            return;
        };
        let inside = self.enter(brace.span.open().start().line, name, None, place);
        self.items(items, &inside);
    }

    fn trait_definition(&mut self, it: &ItemTrait, place: &Place) {
        let name = it.ident.to_string();
        self.push("trait", &name, &it.attrs, it, place);
        let inside = self.enter(it.brace_token.span.open().start().line, name, None, place);
        for member in &it.items {
            match member {
                TraitItem::Const(m) => {
                    self.push("const", &m.ident.to_string(), &m.attrs, m, &inside);
                }
                TraitItem::Fn(m) => {
                    self.push("fn", &m.sig.ident.to_string(), &m.attrs, m, &inside);
                }
                TraitItem::Type(m) => {
                    self.push("type", &m.ident.to_string(), &m.attrs, m, &inside);
                }
                _ => {}
            }
        }
    }

    fn implementation(&mut self, it: &ItemImpl, place: &Place) {
        let self_type = compact(&source_text(&*it.self_ty));
        let of_trait = it.trait_.as_ref().map(|implemented| compact(&source_text(&implemented.0)));
        let name = match &of_trait {
            Some(of_trait) => format!("{of_trait} for {self_type}"),
            None => self_type.clone(),
        };
        self.push("impl", &name, &it.attrs, it, place);
        let head_last = it.brace_token.span.open().start().line;
        let inside = self.enter(head_last, self_type, of_trait, place);
        for member in &it.items {
            match member {
                ImplItem::Const(m) => {
                    self.push("const", &m.ident.to_string(), &m.attrs, m, &inside);
                }
                ImplItem::Fn(m) => {
                    self.push("fn", &m.sig.ident.to_string(), &m.attrs, m, &inside);
                }
                ImplItem::Type(m) => {
                    self.push("type", &m.ident.to_string(), &m.attrs, m, &inside);
                }
                _ => {}
            }
        }
    }

    /// The place inside the container that was pushed last.
    fn enter(
        &mut self,
        head_last: usize,
        name: String,
        of_trait: Option<String>,
        place: &Place,
    ) -> Place {
        let parent = self.items.len() - 1;
        self.items[parent].head_last = head_last;
        let mut owners = place.owners.clone();
        owners.push(name);
        Place { owners, of_trait, parent: Some(parent), is_test: self.items[parent].is_test }
    }
}

/// `#[test]` and `#[cfg(test)]`, also inside `all(..)`; not `#[cfg(not(test))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let Ok(list) = attribute.meta.require_list() else {
            return false;
        };
        let words = words(list.tokens.clone());
        attribute.path().is_ident("cfg")
            && words.iter().any(|word| word == "test")
            && !words.iter().any(|word| word == "not" || word == "any")
    })
}

fn words(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => found.push(ident.to_string()),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            _ => {}
        }
    }
    found
}

/// The items that a macro call declares at its top level: the word after `struct`, `enum`, `static`, ...
fn declared(tokens: TokenStream) -> Vec<(&'static str, String)> {
    const KINDS: [&str; 6] = ["struct", "enum", "static", "const", "fn", "type"];
    let mut found = Vec::new();
    let mut kind = None;
    for token in tokens {
        let TokenTree::Ident(ident) = token else {
            continue;
        };
        let word = ident.to_string();
        if let Some(kind) = kind.take() {
            found.push((kind, word));
        } else {
            kind = KINDS.into_iter().find(|k| *k == word);
        }
    }
    found
}

fn source_text(tree: &impl Spanned) -> String {
    tree.span().source_text().unwrap_or_default()
}

/// Without the spaces that formatting may put anywhere: `Pin< & mut T >` and `Pin<&mut T>` are the same.
pub(super) fn compact(text: &str) -> String {
    let mut out = String::new();
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space = true;
            continue;
        }
        let joins_words = is_word(c) && out.chars().last().is_some_and(is_word);
        if space && joins_words {
            out.push(' ');
        }
        space = false;
        out.push(c);
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
