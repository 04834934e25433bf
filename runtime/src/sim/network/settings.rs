//! What a program is given to set up a network: hosts, names, links, and what goes wrong with them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The direction from one host to another.
pub(super) type Route = (IpAddr, IpAddr);

/// The network that a simulated run begins with: the names of its hosts, and the links between them.
///
/// A host is an address, and needs no making. A task that is on no host (see [`on_host`](crate::sim::on_host)) is on
/// `127.0.0.1`, or on `::1` when it connects to an IPv6 address. The name `localhost` is known.
///
/// ```
/// use std::time::Duration;
/// use popleft::sim::{Link, Network};
///
/// let far_away = Link::new().latency(Duration::from_millis(40)).bandwidth(1_000_000);
/// let network = Network::new()
///     .name("db", [10, 0, 0, 2])
///     .links([127, 0, 0, 1], [10, 0, 0, 2], far_away);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a network does nothing until a simulated run is given it"]
pub struct Network {
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    pub(super) links: BTreeMap<Route, Link>,
    other_links: Link,
    pub(super) seed: u64,
}

impl Network {
    /// A network without names, whose links take no time.
    pub fn new() -> Network {
        Network::default()
    }

    /// Gives `host` a name, under which [`lookup_host`](crate::net::lookup_host) and all that take
    /// a `"name:port"` find it, however its letters are written. A name may be given to several hosts;
    /// they are found in that order.
    pub fn name(mut self, name: impl Into<String>, host: impl Into<IpAddr>) -> Self {
        self.names.entry(known_as(&name.into())).or_default().push(host.into());
        self
    }

    /// The link from one host to another, in this direction only.
    pub fn link(mut self, from: impl Into<IpAddr>, to: impl Into<IpAddr>, link: Link) -> Self {
        self.links.insert((from.into(), to.into()), link);
        self
    }

    /// The links between two hosts, in both directions.
    pub fn links(self, a: impl Into<IpAddr>, b: impl Into<IpAddr>, link: Link) -> Self {
        let (a, b) = (a.into(), b.into());
        self.link(a, b, link.clone()).link(b, a, link)
    }

    /// All links of which nothing else was said, also that of a host to itself.
    pub fn other_links(mut self, link: Link) -> Self {
        self.other_links = link;
        self
    }

    /// The seed of all that is random here, as in [`Link::jitter`]. Defaults to 0. It is apart
    /// from the seed of the run, so that a [`Schedule`](crate::sim::Schedule) alone repeats a run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(super) fn link_of(&self, route: Route) -> &Link {
        self.links.get(&route).unwrap_or(&self.other_links)
    }

    pub(super) fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let failed = |kind, why: String| {
            Err(io::Error::new(kind, format!("cannot look up {name:?}: {why}")))
        };
        let Some((host, port)) = name.rsplit_once(':') else {
            return failed(io::ErrorKind::InvalidInput, "it is no host:port".into());
        };
        let Ok(port) = port.parse::<u16>() else {
            return failed(io::ErrorKind::InvalidInput, format!("{port:?} is no port number"));
        };
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let host = known_as(host);
        match (self.names.get(&host), host.as_str()) {
            (Some(found), _) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            (None, "localhost") => Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]),
            (None, _) => {
                let known: Vec<_> = self.names.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "no names but localhost".to_string()
                } else {
                    format!("only {}", known.join(", "))
                };
                failed(kind_of_an_unknown_name(), format!("the simulated network knows {known}"))
            }
        }
    }
}

/// The kind of error that the standard library gives for a name that no resolver knows. It has no
/// stable name; errors that the library has no kind for have it too.
fn kind_of_an_unknown_name() -> io::ErrorKind {
    io::Error::from_raw_os_error(i32::MAX).kind()
}

/// A name as the table has it: whether letters are upper or lower case makes no difference.
pub(super) fn known_as(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// One direction between two hosts: how long packets take, and what goes wrong.
///
/// ```
/// use std::time::Duration;
/// use popleft::sim::Link;
///
/// // 1,000 bytes take 10 ms to be sent and 5 ms more to arrive.
/// let slow = Link::new().latency(Duration::from_millis(5)).bandwidth(100_000);
/// // The connection breaks in the middle of an answer.
/// let weak = Link::new().reset_after_bytes(1_500);
/// // After a minute the other host is gone without a word.
/// let lost = Link::new().cut_after(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a link does nothing until a network is given it"]
pub struct Link {
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) bandwidth: Option<u64>,
    pub(super) window: usize,
    pub(super) reset_after: Option<Duration>,
    pub(super) reset_after_bytes: Option<u64>,
    pub(super) cut_after: Option<Duration>,
}

impl Default for Link {
    fn default() -> Self {
        Link::new()
    }
}

impl Link {
    /// A link that takes no time and never breaks.
    pub fn new() -> Link {
        Link {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            window: 64 * 1024,
            reset_after: None,
            reset_after_bytes: None,
            cut_after: None,
        }
    }

    /// How long each packet is on its way. Making a connection takes three packets. A time that is
    /// longer than the clock can count lasts for about 30 years, as a sleep does.
    pub fn latency(mut self, time: Duration) -> Self {
        self.latency = time;
        self
    }

    /// Up to so much longer, by chance, for each packet. The bytes of a connection stay in order.
    pub fn jitter(mut self, at_most: Duration) -> Self {
        self.jitter = at_most;
        self
    }

    /// How much may be sent in a second, by all connections together. Defaults to unlimited.
    ///
    /// # Panics
    ///
    /// When it is 0: such a link carries nothing, and that is a [cut](Link::cut_after).
    #[track_caller]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        assert!(bytes_per_second > 0, "a bandwidth of 0 carries nothing; cut the link instead");
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// How many bytes of a connection may be on their way and unread at the other end before the
    /// writer has to wait: the buffers of both ends. Defaults to 64 KiB.
    ///
    /// # Panics
    ///
    /// When it is 0: nothing could ever be written.
    #[track_caller]
    pub fn window(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a window of 0 bytes lets nothing be written");
        self.window = bytes;
        self
    }

    /// All connections between the two hosts are reset so long after the run began.
    pub fn reset_after(mut self, time: Duration) -> Self {
        self.reset_after = Some(time);
        self
    }

    /// Each connection is reset when so many bytes have arrived over it in this direction. They
    /// can still be read.
    pub fn reset_after_bytes(mut self, bytes: u64) -> Self {
        self.reset_after_bytes = Some(bytes);
        self
    }

    /// How long after the run began packets begin to vanish. From then on a read waits, a write
    /// succeeds until the [window](Link::window) is full, and a connect fails after 127 seconds,
    /// because it timed out. There is no other error.
    pub fn cut_after(mut self, time: Duration) -> Self {
        self.cut_after = Some(time);
        self
    }

    /// How long the link is busy with so many bytes.
    pub(super) fn time_for(&self, bytes: usize) -> Duration {
        let Some(bandwidth) = self.bandwidth else { return Duration::ZERO };
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(bandwidth);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}
