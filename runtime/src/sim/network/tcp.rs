//! TCP as a data structure: connections between hosts, and the packets that are on their way.
//!
//! Nothing here waits and nothing here reads a clock. A program's calls put packets on their way,
//! each with the time at which it arrives; `advance` has them arrive. All is kept in ordered maps:
//! the same calls at the same times have the same effect, byte for byte.
//!
//! `calls.rs` is what a program does, `wire.rs` what is on its way, `faults.rs` what is done to the
//! links. This file is what they work on, and which sockets are ready.
//!
//! What the calls return is what Linux returns, errors included; a test compares the two. What is
//! simpler than there: nothing is lost but on a cut link, acknowledgements take no bandwidth and no
//! jitter, and what one end may have on its way and unread at the other is one number, not two buffers.

mod calls;
mod faults;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rustix::io::Errno;

use super::super::random::Random;
use super::settings::{Network, Route};
use crate::base::network::Listen;
use crate::base::poller::{Interest, Report};

/// Names one end of a connection, or one listener. Never used twice.
pub(super) type SocketId = u64;

/// No socket has this number: a first packet is not sent to one.
const NOBODY: SocketId = 0;

/// Over a link with a bandwidth bytes travel in packets of this size, as on an Ethernet.
const PACKET: usize = 1460;

/// The ports that connections begin at unless one is given, and listeners on port 0 get.
const FIRST_PORT: u16 = 49152;

/// How often the first packet of a connection is sent again: after 1, 2, 4, .. 32 seconds. Another
/// 64 seconds later the attempt has failed.
const ATTEMPTS: u32 = 6;

/// All hosts, and what is on its way between them.
pub(super) struct Tcp {
    began: Instant,
    now: Instant,
    settings: Network,
    random: Random,
    listeners: BTreeMap<SocketId, Listening>,
    /// The listeners by host and port.
    listening: BTreeMap<(IpAddr, u16), Vec<SocketId>>,
    ends: BTreeMap<SocketId, End>,
    /// The ports of the hosts at which connections have begun.
    ports: BTreeSet<(IpAddr, u16)>,
    next_port: BTreeMap<IpAddr, u16>,
    /// What will happen, in the order in which it does.
    upcoming: BTreeMap<(Instant, u64), WireEvent>,
    next_number: u64,
    /// Until when a link is busy with what was sent before, for the links that have been used.
    busy_until: BTreeMap<Route, Instant>,
    /// The cut links, and what waits to be sent again over each of them.
    cut: BTreeMap<Route, Vec<Packet>>,
    /// The watched sockets of which something is to be reported.
    changed: BTreeSet<SocketId>,
}

/// A socket that accepts connections.
struct Listening {
    address: SocketAddr,
    /// The host on whose port it listens.
    host: IpAddr,
    asked: Listen,
    /// The ends that wait to be accepted.
    queue: VecDeque<SocketId>,
    /// How many more are being made.
    half_made: usize,
    watch: Option<(usize, Interest)>,
}

/// One end of a connection, from its making until its program closes it.
struct End {
    local: SocketAddr,
    peer: SocketAddr,
    /// The other end, once there is one.
    other: SocketId,
    /// The listener that made it, while the connection is being made.
    made_by: Option<SocketId>,
    stage: Stage,
    received: VecDeque<u8>,
    /// How many bytes have arrived in its life.
    arrived: u64,
    /// How many bytes may be written before the other side has to read.
    room: usize,
    /// The other side has sent its last byte, and it has arrived.
    has_ended: bool,
    reads_no_more: bool,
    writes_no_more: bool,
    /// The other side has said that it knows of the end of this one.
    end_is_known: bool,
    /// Why it is over, until a call has returned it.
    error: Option<Errno>,
    nodelay: bool,
    /// Its port is its own, not its listener's.
    has_port: bool,
    /// When its first packet is sent again, while it connects.
    again: Option<(Instant, u64)>,
    /// When the last packet arrives that is on its way to this end: none overtakes another.
    last_arrival: Instant,
    watch: Option<(usize, Interest)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Connected,
    /// Reset, refused or timed out.
    Over,
}

/// What will happen at some time.
enum WireEvent {
    Arrival(Packet),
    /// The first packet of a connection that is not made yet is sent again.
    Again {
        from: SocketId,
        attempt: u32,
    },
    /// Something is done to a link.
    Change(Route, Change),
}

struct Packet {
    route: Route,
    from: SocketId,
    to: SocketId,
    kind: PacketKind,
}

enum PacketKind {
    /// The three packets that make a connection.
    Syn,
    SynAck,
    Ack,
    Data(Vec<u8>),
    /// The program at the other end has read so many bytes.
    Read(usize),
    Fin,
    /// The end of the other side's bytes has arrived.
    FinAck,
    Rst,
}

/// What can be done to a link.
#[derive(Clone, Copy)]
enum Change {
    Reset,
    Cut,
}

impl Tcp {
    pub(super) fn new(settings: Network, now: Instant) -> Self {
        Tcp {
            began: now,
            now,
            random: Random::new(settings.seed),
            settings,
            listeners: BTreeMap::new(),
            listening: BTreeMap::new(),
            ends: BTreeMap::new(),
            ports: BTreeSet::new(),
            next_port: BTreeMap::new(),
            upcoming: BTreeMap::new(),
            next_number: NOBODY + 1,
            busy_until: BTreeMap::new(),
            cut: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    fn new_end(
        &self,
        local: SocketAddr,
        peer: SocketAddr,
        other: SocketId,
        made_by: Option<SocketId>,
    ) -> End {
        End {
            local,
            peer,
            other,
            made_by,
            stage: Stage::Connecting,
            received: VecDeque::new(),
            arrived: 0,
            room: self.settings.link_of((local.ip(), peer.ip())).window,
            has_ended: false,
            reads_no_more: false,
            writes_no_more: false,
            end_is_known: false,
            error: None,
            nodelay: false,
            has_port: made_by.is_none(),
            again: None,
            last_arrival: self.now,
            watch: None,
        }
    }

    /// An end that a program, or a listener, still has.
    fn end(&mut self, id: SocketId) -> &mut End {
        self.ends.get_mut(&id).expect("an end stays until it is closed")
    }

    fn listener(&mut self, id: SocketId) -> &mut Listening {
        self.listeners.get_mut(&id).expect("a listener stays until it is closed")
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }
}

impl End {
    fn route(&self) -> Route {
        (self.local.ip(), self.peer.ip())
    }

    /// Whether there is a connection: it is made, and neither broken nor ended in both directions.
    fn is_connected(&self) -> bool {
        self.stage == Stage::Connected && !self.is_ended()
    }

    /// Both sides have said all, and know it of each other.
    fn is_ended(&self) -> bool {
        self.has_ended && self.end_is_known
    }
}

// ===== readiness ================================================================================

impl Tcp {
    pub(super) fn watch(&mut self, id: SocketId, watch: Option<(usize, Interest)>) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.watch = watch;
        } else if let Some(listening) = self.listeners.get_mut(&id) {
            listening.watch = watch;
        }
        self.arrived_at(id);
    }

    /// Something has arrived at a socket: bytes, room, a connection, the end.
    fn arrived_at(&mut self, id: SocketId) {
        if self.report(id).is_some() {
            self.changed.insert(id);
        }
    }

    /// What is to be reported of a socket, if it is watched and ready.
    fn report(&self, id: SocketId) -> Option<Report> {
        let (watch, readable, writable, drain) = match (self.ends.get(&id), self.listeners.get(&id))
        {
            (Some(end), _) => {
                (end.watch, end.is_readable(), end.is_writable(), end.is_at_the_end())
            }
            (None, Some(listening)) => (listening.watch, !listening.queue.is_empty(), false, false),
            (None, None) => return None,
        };
        let (key, interest) = watch?;
        let writable = writable && interest == Interest::ReadWrite;
        (readable || writable).then_some(Report { key, readable, writable, drain })
    }
}

impl End {
    fn is_readable(&self) -> bool {
        !self.received.is_empty() || self.is_at_the_end()
    }

    fn is_at_the_end(&self) -> bool {
        self.has_ended || self.reads_no_more || self.stage == Stage::Over
    }

    fn is_writable(&self) -> bool {
        match self.stage {
            Stage::Connecting => false,
            Stage::Connected => self.room > 0 || self.writes_no_more,
            Stage::Over => true,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
