//! The named pieces of a source file, the same for every language that has them.

/// A function, type, impl block, ... with the lines it stands on.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// `fn`, `struct`, `impl`, `def`, ...: the word before the name in a tag.
    pub kind: &'static str,
    /// For an impl its head without `impl` and generics of its own: `Wake for Record`.
    pub name: String,
    /// Names under which it is found as well, such as what a macro call declares.
    pub aliases: Vec<(&'static str, String)>,
    /// What stands before `::` in a path: modules, the type or the class.
    pub owners: Vec<String>,
    /// The trait, for a member of a trait's impl.
    pub of_trait: Option<String>,
    /// From its docs, comments and attributes to its last line, counted from 1.
    pub first: usize,
    pub last: usize,
    /// The line of the `{`, for a container.
    pub head_last: usize,
    /// The index of the container.
    pub parent: Option<usize>,
    pub is_test: bool,
    /// Belongs to what the tag `uses` shows.
    pub is_use: bool,
}

impl Item {
    /// How messages name it.
    pub fn label(&self) -> String {
        let owner = self.owners.join("::");
        match (&self.of_trait, owner.is_empty()) {
            (Some(of_trait), _) => format!("{} <{owner} as {of_trait}>::{}", self.kind, self.name),
            (None, false) => format!("{} {owner}::{}", self.kind, self.name),
            (None, true) => format!("{} {}", self.kind, self.name),
        }
    }

    pub fn is_container(&self) -> bool {
        matches!(self.kind, "impl" | "mod" | "trait" | "class") && self.head_last > 0
    }
}
