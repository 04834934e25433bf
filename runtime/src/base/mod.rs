//! The lowest layer, which can be read last: ids, places, events, the clock, the state of the current
//! turn, and whatever differs between operating systems. Nothing here depends on the machine.

pub(crate) mod access;
pub(crate) mod atomics;
pub(crate) mod clock;
pub mod event;
pub(crate) mod id;
pub(crate) mod lock_graph;
pub(crate) mod network;
pub(crate) mod panics;
pub(crate) mod peak;
pub(crate) mod place;
pub(crate) mod poller;
pub(crate) mod turn;
pub(crate) mod warning;
pub(crate) mod world;
