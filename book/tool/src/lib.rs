//! Builds, checks and records the book.
//!
//! A chapter (`book/src/*.md`) holds tags. [`tag`] finds them, [`source`] finds the pieces of the repository's files
//! that they name, [`chapter`] puts both together, and [`ownership`] keeps account of which line stands where.
//! [`outputs`] runs the commands whose output the book shows. [`pages`] hands the chapters to mdBook and [`links`]
//! looks at what came out. [`examples`] runs the Rust that chapters hold themselves. [`commands`] is what people type.

pub mod chapter;
mod code;
pub mod commands;
pub mod config;
pub mod examples;
pub mod html;
pub mod links;
pub mod outputs;
pub mod ownership;
pub mod pages;
pub mod printing;
pub mod problem;
pub mod repository;
pub mod source;
pub mod tag;
pub mod warnings;
