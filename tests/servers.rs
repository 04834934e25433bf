//! Every server against every rule, over real sockets.
//!
//! A law is a function of the kind of server. `laws!` makes a test of it for each kind, so that
//! `cargo test --test servers gil` puts one server to all of them.

#[macro_use]
#[path = "server_process/laws.rs"]
mod laws;
mod server_process;

#[path = "servers/answers.rs"]
mod answers;
#[path = "servers/clients.rs"]
mod clients;
#[path = "servers/python.rs"]
mod python;
#[cfg(target_os = "linux")]
#[path = "servers/workers.rs"]
mod workers;
