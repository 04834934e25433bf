//! The network of a simulated run.
//!
//! A program needs no change to run on it: its `net` sockets, its `lookup_host` and its `connect`
//! find it through the world that their loop lives in.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings.rs` | how a network begins: hosts, names, links, and what goes wrong with them |
//! | `host.rs` | which host a task is on |
//! | `sockets.rs` | what the sockets of `net` find in place of the system's |
//! | `tcp.rs` | the network itself, as a data structure |
//!
//! This file is how a program breaks and mends the network while it runs.

mod host;
pub(super) mod settings;
pub(super) mod sockets;
mod tcp;

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

pub use host::{OnHost, on_host};
pub use settings::{Link, Network};

use super::simulated::running;
use crate::base::access::{self, Object};
use settings::known_as;
use tcp::Tcp;

/// The network of the simulation that is running on this thread, to be broken and mended.
///
/// # Panics
///
/// When no simulation is running on this thread.
///
/// ```
/// use popleft::net::{TcpListener, TcpStream};
/// use popleft::sim::{self, Sim};
///
/// Sim::new().run(async {
///     let listener = TcpListener::bind("10.0.0.2:80").await.unwrap();
///     let client = TcpStream::connect("10.0.0.2:80").await.unwrap();
///     assert_eq!(sim::network().reset([127, 0, 0, 1], [10, 0, 0, 2]), 1);
///     let error = client.read(&mut [0; 10]).await.unwrap_err();
///     assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
/// });
/// ```
#[track_caller]
pub fn network() -> NetworkControl {
    let Some(simulated) = running() else {
        panic!("there is no network to break: no simulation is running on this thread");
    };
    NetworkControl { tcp: simulated.network.tcp.clone() }
}

/// What can be done to the network while a simulation is running; see [`network`].
#[derive(Clone)]
pub struct NetworkControl {
    tcp: Rc<RefCell<Tcp>>,
}

impl NetworkControl {
    fn change(&self) -> RefMut<'_, Tcp> {
        access::record_write(Object::Anything);
        self.tcp.borrow_mut()
    }

    /// Resets all connections between two hosts, and returns how many there were.
    pub fn reset(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) -> usize {
        self.change().reset((a.into(), b.into()))
    }

    /// Cuts the links between two hosts in both directions: nothing arrives any more, and no end
    /// gets an error. What is on its way is lost, until the links are [mended](NetworkControl::mend).
    pub fn cut(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) {
        let (a, b) = (a.into(), b.into());
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts one direction only.
    pub fn cut_one_way(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) {
        self.change().cut((from.into(), to.into()));
    }

    /// Mends both directions. What was lost meanwhile is sent again, as TCP does.
    pub fn mend(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) {
        let (a, b) = (a.into(), b.into());
        let mut tcp = self.change();
        tcp.mend((a, b));
        tcp.mend((b, a));
    }

    /// Gives the link from one host to another other settings. They hold for what is sent from now
    /// on; times count from now, and connections keep the window that they have.
    pub fn link(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>, link: Link) {
        self.change().set_link((from.into(), to.into()), link);
    }

    /// Gives a name to `host` alone, also if another host had it before.
    pub fn name(&self, name: impl Into<String>, host: impl Into<IpAddr>) {
        self.change().settings().names.insert(known_as(&name.into()), vec![host.into()]);
    }
}

impl fmt::Debug for NetworkControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkControl").finish_non_exhaustive()
    }
}
