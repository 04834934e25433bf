//! From names to addresses.
//!
//! Asking the system for a host's addresses may take seconds, and it blocks; so it is done on the
//! thread pool. What is an address already needs no asking.

use std::future::Future;
use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::panic::Location;

use super::async_io::{no_runtime, simulated};
use crate::current;
use crate::offload::spawn_blocking_at;
use crate::task::JoinError;

/// What a connection can be made to: addresses, or `"host:port"`.
///
/// Like [`std::net::ToSocketAddrs`], but resolving does not block.
pub trait ToSocketAddrs {
    /// The addresses, or the name that has to be looked up.
    fn target(self) -> Target;
}

/// What [`ToSocketAddrs`] came down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Addresses that are known.
    Addresses(Vec<SocketAddr>),
    /// `host:port`, to be looked up.
    Name(String),
}

/// All addresses of `host`, for example of `"localhost:80"`. The lookup runs on the thread pool;
/// in a simulated run the table of its network is asked instead.
///
/// Dropping the future gives the lookup up: one that has begun runs on, and nobody hears of it.
///
/// # Errors
///
/// When the name does not exist, is no `host:port`, or nobody answers; and when a name has to be
/// looked up and no runtime is running on this thread.
///
/// ```
/// popleft::run(async {
///     let found = popleft::net::lookup_host("127.0.0.1:80").await.unwrap();
///     assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
/// });
/// ```
#[track_caller]
pub fn lookup_host<A: ToSocketAddrs>(
    host: A,
) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + use<A> {
    resolve(host, Location::caller())
}

/// The same, for somebody who waits `at` this place.
pub(crate) async fn resolve(
    host: impl ToSocketAddrs,
    at: &'static Location<'static>,
) -> io::Result<Vec<SocketAddr>> {
    match host.target() {
        Target::Addresses(addresses) => Ok(addresses),
        Target::Name(name) => {
            if let Some(found) = simulated(|network| network.look_up(&name)) {
                return found;
            }
            if current::event_loop().is_none() {
                return Err(no_runtime(&format!("look up {name:?}")));
            }
            spawn_blocking_at(move || look_up(&name), at).await.map_err(lookup_failed)?
        }
    }
}

fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let found = net::ToSocketAddrs::to_socket_addrs(name);
    let found = found.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot look up {name:?}: {error}"))
    })?;
    Ok(found.collect())
}

/// The lookup's own task ended without a result.
fn lookup_failed(error: JoinError) -> io::Error {
    io::Error::other(error)
}

impl ToSocketAddrs for SocketAddr {
    fn target(self) -> Target {
        Target::Addresses(vec![self])
    }
}

impl ToSocketAddrs for &SocketAddr {
    fn target(self) -> Target {
        (*self).target()
    }
}

impl ToSocketAddrs for SocketAddrV4 {
    fn target(self) -> Target {
        SocketAddr::from(self).target()
    }
}

impl ToSocketAddrs for SocketAddrV6 {
    fn target(self) -> Target {
        SocketAddr::from(self).target()
    }
}

impl ToSocketAddrs for (IpAddr, u16) {
    fn target(self) -> Target {
        SocketAddr::from(self).target()
    }
}

impl ToSocketAddrs for (Ipv4Addr, u16) {
    fn target(self) -> Target {
        SocketAddr::from(self).target()
    }
}

impl ToSocketAddrs for (Ipv6Addr, u16) {
    fn target(self) -> Target {
        SocketAddr::from(self).target()
    }
}

impl ToSocketAddrs for &[SocketAddr] {
    fn target(self) -> Target {
        Target::Addresses(self.to_vec())
    }
}

impl ToSocketAddrs for &str {
    fn target(self) -> Target {
        match self.parse::<SocketAddr>() {
            Ok(address) => address.target(),
            Err(_) => Target::Name(self.to_string()),
        }
    }
}

impl ToSocketAddrs for &String {
    fn target(self) -> Target {
        self.as_str().target()
    }
}

impl ToSocketAddrs for String {
    fn target(self) -> Target {
        self.as_str().target()
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn target(self) -> Target {
        let (host, port) = self;
        match host.parse::<IpAddr>() {
            Ok(ip) => (ip, port).target(),
            Err(_) => Target::Name(format!("{host}:{port}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_lookup() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let found = Target::Addresses(vec![address]);
        assert_eq!("127.0.0.1:80".target(), found);
        assert_eq!(String::from("127.0.0.1:80").target(), found);
        assert_eq!(("127.0.0.1", 80).target(), found);
        assert_eq!((Ipv4Addr::LOCALHOST, 80).target(), found);
        assert_eq!(address.target(), found);
        assert_eq!([address][..].target(), found);
        let v6 = Target::Addresses(vec!["[::1]:80".parse().unwrap()]);
        assert_eq!("[::1]:80".target(), v6);
        assert_eq!(("::1", 80).target(), v6);
    }

    #[test]
    fn a_name_is_looked_up_in_the_pool() {
        let name = Target::Name("localhost:80".to_string());
        assert_eq!("localhost:80".target(), name);
        assert_eq!(("localhost", 80).target(), name);
        let found = crate::run(lookup_host("localhost:80")).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(!found.is_empty());
    }

    #[test]
    fn an_error_names_what_was_asked_for() {
        for wrong in ["no-port", "host:port", ""] {
            let error = crate::run(lookup_host(wrong)).unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
