//! From names to addresses.
//!
//! Looking up a host may take seconds, and the system's call blocks; so it runs on the thread pool.
//! An address needs no lookup.

use std::future::Future;
use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::panic::Location;

use super::async_io::{no_runtime, simulated_network};
use crate::current;
use crate::offload::spawn_blocking_at;

/// Something that can be resolved to socket addresses: addresses, or `"host:port"`.
///
/// Like [`std::net::ToSocketAddrs`], but resolving does not block.
///
/// ```
/// use popleft::net::{HostOrAddrs, ToSocketAddrs};
/// use std::net::Ipv4Addr;
///
/// let known = (Ipv4Addr::LOCALHOST, 80).host_or_addrs();
/// assert_eq!(known, HostOrAddrs::Addrs(vec!["127.0.0.1:80".parse().unwrap()]));
/// let unknown = ("localhost", 80).host_or_addrs();
/// assert_eq!(unknown, HostOrAddrs::Host("localhost:80".to_string()));
/// ```
pub trait ToSocketAddrs {
    /// Returns the addresses, or the name that has to be looked up.
    fn host_or_addrs(self) -> HostOrAddrs;
}

/// Socket addresses, or a name that has to be looked up; see [`ToSocketAddrs`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostOrAddrs {
    /// Addresses, which need no lookup.
    Addrs(Vec<SocketAddr>),
    /// `host:port`, to be looked up.
    Host(String),
}

/// Resolves `host`, for example `"localhost:80"`, to all of its addresses.
///
/// The lookup runs on the thread pool; a simulated run uses the table of its network instead.
///
/// Dropping the future abandons the lookup: it still runs on the pool, and its result is dropped.
///
/// # Errors
///
/// - When the name does not exist, is not of the form `host:port`, or cannot be looked up.
/// - When a name has to be looked up and no runtime is running on this thread.
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

/// [`lookup_host`], with the place that reports show for the waiting task.
pub(crate) async fn resolve(
    host: impl ToSocketAddrs,
    at: &'static Location<'static>,
) -> io::Result<Vec<SocketAddr>> {
    match host.host_or_addrs() {
        HostOrAddrs::Addrs(addresses) => Ok(addresses),
        HostOrAddrs::Host(name) => {
            if let Some(found) = simulated_network(|network| network.look_up(&name)) {
                return found;
            }
            if current::event_loop().is_none() {
                return Err(no_runtime(&format!("look up {name:?}")));
            }
            spawn_blocking_at(move || look_up(&name), at).await?
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

impl ToSocketAddrs for SocketAddr {
    fn host_or_addrs(self) -> HostOrAddrs {
        HostOrAddrs::Addrs(vec![self])
    }
}

impl ToSocketAddrs for &SocketAddr {
    fn host_or_addrs(self) -> HostOrAddrs {
        (*self).host_or_addrs()
    }
}

impl ToSocketAddrs for SocketAddrV4 {
    fn host_or_addrs(self) -> HostOrAddrs {
        SocketAddr::from(self).host_or_addrs()
    }
}

impl ToSocketAddrs for SocketAddrV6 {
    fn host_or_addrs(self) -> HostOrAddrs {
        SocketAddr::from(self).host_or_addrs()
    }
}

impl ToSocketAddrs for (IpAddr, u16) {
    fn host_or_addrs(self) -> HostOrAddrs {
        SocketAddr::from(self).host_or_addrs()
    }
}

impl ToSocketAddrs for (Ipv4Addr, u16) {
    fn host_or_addrs(self) -> HostOrAddrs {
        SocketAddr::from(self).host_or_addrs()
    }
}

impl ToSocketAddrs for (Ipv6Addr, u16) {
    fn host_or_addrs(self) -> HostOrAddrs {
        SocketAddr::from(self).host_or_addrs()
    }
}

impl ToSocketAddrs for &[SocketAddr] {
    fn host_or_addrs(self) -> HostOrAddrs {
        HostOrAddrs::Addrs(self.to_vec())
    }
}

impl ToSocketAddrs for Vec<SocketAddr> {
    fn host_or_addrs(self) -> HostOrAddrs {
        HostOrAddrs::Addrs(self)
    }
}

impl ToSocketAddrs for &Vec<SocketAddr> {
    fn host_or_addrs(self) -> HostOrAddrs {
        self.as_slice().host_or_addrs()
    }
}

impl<const N: usize> ToSocketAddrs for [SocketAddr; N] {
    fn host_or_addrs(self) -> HostOrAddrs {
        HostOrAddrs::Addrs(Vec::from(self))
    }
}

impl<const N: usize> ToSocketAddrs for &[SocketAddr; N] {
    fn host_or_addrs(self) -> HostOrAddrs {
        self.as_slice().host_or_addrs()
    }
}

impl ToSocketAddrs for &str {
    fn host_or_addrs(self) -> HostOrAddrs {
        match self.parse::<SocketAddr>() {
            Ok(address) => address.host_or_addrs(),
            Err(_) => HostOrAddrs::Host(self.to_string()),
        }
    }
}

impl ToSocketAddrs for &String {
    fn host_or_addrs(self) -> HostOrAddrs {
        self.as_str().host_or_addrs()
    }
}

impl ToSocketAddrs for String {
    fn host_or_addrs(self) -> HostOrAddrs {
        self.as_str().host_or_addrs()
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn host_or_addrs(self) -> HostOrAddrs {
        let (host, port) = self;
        match host.parse::<IpAddr>() {
            Ok(ip) => (ip, port).host_or_addrs(),
            Err(_) => HostOrAddrs::Host(format!("{host}:{port}")),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    fn host_or_addrs(self) -> HostOrAddrs {
        let (host, port) = self;
        (host.as_str(), port).host_or_addrs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_lookup() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let found = HostOrAddrs::Addrs(vec![address]);
        assert_eq!("127.0.0.1:80".host_or_addrs(), found);
        assert_eq!(String::from("127.0.0.1:80").host_or_addrs(), found);
        assert_eq!(("127.0.0.1", 80).host_or_addrs(), found);
        assert_eq!((Ipv4Addr::LOCALHOST, 80).host_or_addrs(), found);
        assert_eq!(address.host_or_addrs(), found);
        assert_eq!([address][..].host_or_addrs(), found);
        assert_eq!([address].host_or_addrs(), found);
        assert_eq!((&[address]).host_or_addrs(), found);
        assert_eq!((&vec![address]).host_or_addrs(), found);
        assert_eq!(vec![address].host_or_addrs(), found);
        assert_eq!((String::from("127.0.0.1"), 80).host_or_addrs(), found);
        let v6 = HostOrAddrs::Addrs(vec!["[::1]:80".parse().unwrap()]);
        assert_eq!("[::1]:80".host_or_addrs(), v6);
        assert_eq!(("::1", 80).host_or_addrs(), v6);
    }

    #[test]
    fn a_name_is_looked_up_in_the_pool() {
        let name = HostOrAddrs::Host("localhost:80".to_string());
        assert_eq!("localhost:80".host_or_addrs(), name);
        assert_eq!(("localhost", 80).host_or_addrs(), name);
        let found = crate::run(lookup_host("localhost:80")).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(!found.is_empty());
    }

    #[test]
    fn an_error_names_the_host() {
        for wrong in ["no-port", "host:port", ""] {
            let error = crate::run(lookup_host(wrong)).unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
