//! The simulated world.

mod network;

pub use network::{Link, Network, NetworkControl, OnHost, network, on_host};
