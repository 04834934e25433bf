//! popleft beside other runtimes and the bare machine, measured in one interleaved run.
//!
//! - [`peers`] holds the vocabulary of each runtime: how it runs, spawns, yields, sleeps and
//!   offloads, written as its own documentation advises. The *limit* is no runtime: it does by hand
//!   only what a row demands.
//! - [`rows`] holds what is measured. A row of the small kind is written once, in those words, so
//!   that every runtime does the same; the servers are written out for each, side by side.
//! - [`measure`] and [`allocations`] hold the clocks and counters, [`child`] the processes in which
//!   each measurement is made afresh, [`bench`](mod@bench) the order of the run, [`report`] what
//!   is printed.
//! - [`undo`] takes the runtime's techniques away, one at a time, and measures what is missing.

pub mod allocations;
pub mod bench;
pub mod child;
pub mod counts;
pub mod load;
pub mod measure;
pub mod peers;
mod profile;
pub mod report;
pub mod rows;
pub mod share;
pub mod undo;
