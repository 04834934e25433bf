//! TCP as a data structure: connections between hosts, and the packets that are on their way.
//!
//! Nothing here waits and nothing here reads a clock. A program's calls put packets on their way,
//! each with the time at which it arrives; `advance` has them arrive. All is kept in ordered maps:
//! the same calls at the same times have the same effect, byte for byte.
//!
//! What the calls return is what Linux returns, errors included; a test compares the two. What is
//! simpler than there: nothing is lost but on a cut link, acknowledgements take no bandwidth, and
//! what one end may have on its way and unread at the other is one number, not two buffers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::random::Random;
use super::{Link, Network};
use crate::network::Listen;
use crate::reactor::wait::{Interest, Report};
use crate::world::deadline;

/// Names one end of a connection, or one listener. Never used twice.
pub(super) type SocketId = u64;

/// The direction from one host to another.
pub(super) type Route = (IpAddr, IpAddr);

/// No socket has this number: a first packet is not sent to one.
const NOBODY: SocketId = 0;

/// Over a link with a bandwidth bytes travel in packets of this size, as on an Ethernet.
const PACKET: usize = 1460;

/// The ports that connections begin at when nobody says, and listeners on port 0 get.
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
    /// Who listens on which port of which host.
    listening: BTreeMap<(IpAddr, u16), Vec<SocketId>>,
    ends: BTreeMap<SocketId, End>,
    /// The ports of the hosts at which connections have begun.
    ports: BTreeSet<(IpAddr, u16)>,
    next_port: BTreeMap<IpAddr, u16>,
    /// What will happen, in the order in which it does.
    coming: BTreeMap<(Instant, u64), Coming>,
    next_number: u64,
    /// Until when a link is busy with what was sent before, for the links that have been used.
    busy_until: BTreeMap<Route, Instant>,
    /// The cut links, and what waits to be sent again over each of them.
    cut: BTreeMap<Route, Vec<Packet>>,
    /// The watched sockets of which something is to be reported.
    news: BTreeSet<SocketId>,
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
enum Coming {
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
    what: What,
}

enum What {
    /// The three packets that make a connection.
    Syn,
    SynAck,
    Ack,
    Data(Vec<u8>),
    /// The program at the other end has read so many bytes.
    Read(usize),
    Fin,
    Rst,
}

/// What can be done to a link.
#[derive(Clone, Copy)]
enum Change {
    Reset,
    Cut,
}

// ===== what a program does ======================================================================

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
            coming: BTreeMap::new(),
            next_number: NOBODY + 1,
            busy_until: BTreeMap::new(),
            cut: BTreeMap::new(),
            news: BTreeSet::new(),
        }
    }

    pub(super) fn listen(
        &mut self,
        mut address: SocketAddr,
        home: Option<IpAddr>,
        asked: Listen,
    ) -> io::Result<SocketId> {
        let host = host_of(address.ip(), home);
        if address.port() == 0 {
            address.set_port(self.free_port(host)?);
        }
        let place = (host, address.port());
        let beside = self.listening.get(&place).map_or(&[][..], Vec::as_slice);
        let shares = |id| asked.reuse_port && self.listeners[id].asked.reuse_port;
        if self.ports.contains(&place) || !beside.iter().all(shares) {
            return Err(Errno::ADDRINUSE.into());
        }
        let id = self.number();
        let (queue, half_made, watch) = (VecDeque::new(), 0, None);
        let listening = Listening { address, host, asked, queue, half_made, watch };
        self.listeners.insert(id, listening);
        self.listening.entry(place).or_default().push(id);
        Ok(id)
    }

    pub(super) fn accept(&mut self, id: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        let listening = self.listener(id);
        let Some(end) = listening.queue.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        Ok((end, self.end(end).peer))
    }

    pub(super) fn listens_on(&self, id: SocketId) -> SocketAddr {
        self.listeners[&id].address
    }

    /// The listener is closed: those that wait to be accepted are reset.
    pub(super) fn close_listener(&mut self, id: SocketId) {
        self.news.remove(&id);
        let Some(listening) = self.listeners.remove(&id) else { return };
        let place = (listening.host, listening.address.port());
        let left = self.listening.get_mut(&place).map_or(0, |all| {
            all.retain(|other| *other != id);
            all.len()
        });
        if left == 0 {
            self.listening.remove(&place);
        }
        for waiting in listening.queue {
            self.hang_up(waiting, What::Rst);
        }
    }

    pub(super) fn connect(
        &mut self,
        peer: SocketAddr,
        home: Option<IpAddr>,
    ) -> io::Result<SocketId> {
        let host = match home {
            Some(home) if home.is_ipv4() == peer.is_ipv4() => home,
            _ => host_of(unspecified_like(peer.ip()), None),
        };
        let peer = SocketAddr::new(host_of(peer.ip(), home), peer.port());
        let local = SocketAddr::new(host, self.free_port(host)?);
        self.ports.insert((host, local.port()));
        let id = self.number();
        self.ends.insert(id, self.new_end(local, peer, NOBODY, None));
        self.send_first_packet(id, 0);
        Ok(id)
    }

    pub(super) fn receive(&mut self, id: SocketId, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.peek(id, buffer)?;
        if length > 0 {
            let end = self.end(id);
            end.received.drain(..length);
            if end.stage == Stage::Connected {
                self.send_from(id, What::Read(length));
            }
        }
        Ok(length)
    }

    pub(super) fn peek(&mut self, id: SocketId, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.end(id);
        let length = buffer.len().min(end.received.len());
        if length > 0 || buffer.is_empty() {
            for (place, byte) in buffer.iter_mut().zip(&end.received) {
                *place = *byte;
            }
            return Ok(length);
        }
        if end.has_ended {
            return Ok(0);
        }
        if let Some(error) = end.error.take() {
            return Err(error.into());
        }
        match end.reads_no_more || end.stage == Stage::Over {
            true => Ok(0),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn send(&mut self, id: SocketId, bytes: &[u8]) -> io::Result<usize> {
        let end = self.end(id);
        match end.stage {
            Stage::Over => return Err(end.error.take().unwrap_or(Errno::PIPE).into()),
            _ if end.writes_no_more => return Err(Errno::PIPE.into()),
            _ if bytes.is_empty() => return Ok(0),
            Stage::Connected if end.room > 0 => {}
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let length = end.room.min(bytes.len());
        end.room -= length;
        let route = end.route();
        let packet = match self.settings.link_of(route).bandwidth {
            Some(_) => PACKET,
            None => length,
        };
        for chunk in bytes[..length].chunks(packet) {
            self.send_from(id, What::Data(chunk.to_vec()));
        }
        Ok(length)
    }

    pub(super) fn shut_down(&mut self, id: SocketId, how: Shutdown) -> io::Result<()> {
        let end = self.end(id);
        if end.stage != Stage::Connected {
            return Err(Errno::NOTCONN.into());
        }
        let ends_writing = how != Shutdown::Read && !end.writes_no_more;
        end.writes_no_more |= ends_writing;
        end.reads_no_more |= how != Shutdown::Write;
        if ends_writing {
            self.send_from(id, What::Fin);
        }
        if how != Shutdown::Write {
            self.arrived_at(id);
        }
        Ok(())
    }

    pub(super) fn take_error(&mut self, id: SocketId) -> Option<io::Error> {
        self.end(id).error.take().map(io::Error::from)
    }

    pub(super) fn local_addr(&self, id: SocketId) -> SocketAddr {
        self.ends[&id].local
    }

    pub(super) fn peer_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        let end = &self.ends[&id];
        match end.stage {
            Stage::Connected => Ok(end.peer),
            Stage::Connecting | Stage::Over => Err(Errno::NOTCONN.into()),
        }
    }

    pub(super) fn nodelay(&mut self, id: SocketId) -> &mut bool {
        &mut self.end(id).nodelay
    }

    /// The program has dropped its end. Bytes that it has not read reset the connection.
    pub(super) fn close(&mut self, id: SocketId) {
        let end = self.end(id);
        let last_word = match end.received.is_empty() && end.stage != Stage::Connecting {
            true => What::Fin,
            false => What::Rst,
        };
        self.hang_up(id, last_word);
    }

    fn hang_up(&mut self, id: SocketId, last_word: What) {
        let end = self.end(id);
        let is_said = end.writes_no_more && matches!(last_word, What::Fin);
        if end.stage != Stage::Over && end.other != NOBODY && !is_said {
            self.send_from(id, last_word);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: SocketId) {
        self.news.remove(&id);
        self.try_no_more(id);
        if let Some(end) = self.ends.remove(&id).filter(|end| end.has_port) {
            self.ports.remove(&(end.local.ip(), end.local.port()));
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
            error: None,
            nodelay: false,
            has_port: made_by.is_none(),
            again: None,
            last_arrival: self.now,
            watch: None,
        }
    }

    /// A port of `host` that nobody uses.
    fn free_port(&mut self, host: IpAddr) -> io::Result<u16> {
        let next = self.next_port.entry(host).or_insert(FIRST_PORT);
        for _ in FIRST_PORT..=u16::MAX {
            let port = *next;
            *next = port.checked_add(1).unwrap_or(FIRST_PORT);
            let place = (host, port);
            if !self.ports.contains(&place) && !self.listening.contains_key(&place) {
                return Ok(port);
            }
        }
        Err(Errno::ADDRNOTAVAIL.into())
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
}

/// The host that an address means: `0.0.0.0` is the one where the task is.
fn host_of(ip: IpAddr, home: Option<IpAddr>) -> IpAddr {
    match (ip.is_unspecified(), home, ip) {
        (false, _, ip) => ip,
        (true, Some(home), _) => home,
        (true, None, IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        (true, None, IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// By chance, a time of at most this length.
fn up_to(longest: Duration, random: &mut Random) -> Duration {
    match u64::try_from(longest.as_nanos()) {
        Ok(0) => Duration::ZERO,
        Ok(nanoseconds) => Duration::from_nanos(random.next() % nanoseconds.saturating_add(1)),
        Err(_) => longest,
    }
}

fn unspecified_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

// ===== what is on its way =======================================================================

impl Tcp {
    fn send_first_packet(&mut self, from: SocketId, attempt: u32) {
        let route = self.end(from).route();
        self.put_on_its_way(Packet { route, from, to: NOBODY, what: What::Syn });
        let again = Coming::Again { from, attempt: attempt + 1 };
        let again = self.schedule(self.now + Duration::from_secs(1 << attempt), again);
        self.end(from).again = Some(again);
    }

    fn send_from(&mut self, id: SocketId, what: What) {
        let end = &self.ends[&id];
        self.put_on_its_way(Packet { route: end.route(), from: id, to: end.other, what });
    }

    /// Answers a packet for an end that is gone, or that never was.
    fn refuse(&mut self, packet: &Packet) {
        let route = (packet.route.1, packet.route.0);
        let (from, to) = (packet.to, packet.from);
        self.put_on_its_way(Packet { route, from, to, what: What::Rst });
    }

    fn put_on_its_way(&mut self, packet: Packet) {
        self.use_link(packet.route);
        if let Some(waiting) = self.cut.get_mut(&packet.route) {
            // A first packet is sent again by who makes the connection.
            if !matches!(packet.what, What::Syn) {
                waiting.push(packet);
            }
            return;
        }
        let link = self.settings.link_of(packet.route);
        let bytes = match &packet.what {
            What::Data(bytes) => bytes.len(),
            _ => 0,
        };
        let busy_until = self.busy_until.entry(packet.route).or_insert(self.now);
        *busy_until = self.now.max(*busy_until) + link.time_for(bytes);
        let mut arrival = *busy_until + link.latency + up_to(link.jitter, &mut self.random);
        if let Some(end) = self.ends.get_mut(&packet.to) {
            arrival = arrival.max(end.last_arrival);
            end.last_arrival = arrival;
        }
        self.schedule(arrival, Coming::Arrival(packet));
    }

    fn schedule(&mut self, at: Instant, what: Coming) -> (Instant, u64) {
        let key = (at, self.number());
        self.coming.insert(key, what);
        key
    }

    /// When something will happen next.
    pub(super) fn next_event(&self) -> Option<Instant> {
        if !self.news.is_empty() {
            return Some(self.now);
        }
        self.coming.first_key_value().map(|((at, _), _)| *at)
    }

    /// Has all happen that happens until `now`, and reports what is news.
    pub(super) fn advance(&mut self, now: Instant, reports: &mut Vec<Report>) {
        while let Some(first) = self.coming.first_entry() {
            let (at, _) = *first.key();
            if at > now {
                break;
            }
            self.now = at;
            match first.remove() {
                Coming::Arrival(packet) => self.arrive(packet),
                Coming::Again { from, attempt } => self.try_again(from, attempt),
                Coming::Change(route, Change::Reset) => drop(self.reset(route)),
                Coming::Change(route, Change::Cut) => self.cut(route),
            }
        }
        self.now = now;
        let news = std::mem::take(&mut self.news);
        reports.extend(news.into_iter().filter_map(|id| self.report(id)));
    }

    fn try_no_more(&mut self, id: SocketId) {
        let again = self.end(id).again.take();
        if let Some(key) = again {
            self.coming.remove(&key);
        }
    }

    fn try_again(&mut self, from: SocketId, attempt: u32) {
        if attempt <= ATTEMPTS {
            return self.send_first_packet(from, attempt);
        }
        let half_made = self.end(from).other;
        for end in [from, half_made] {
            self.fail(end, Errno::TIMEDOUT);
        }
    }

    fn arrive(&mut self, packet: Packet) {
        if let What::Syn = packet.what {
            return self.begin_connection(&packet);
        }
        let Some(end) = self.ends.get_mut(&packet.to) else {
            if let What::Data(_) | What::SynAck = packet.what {
                self.refuse(&packet);
            }
            return;
        };
        if end.stage == Stage::Over {
            return;
        }
        let id = packet.to;
        match packet.what {
            What::Syn => {}
            What::SynAck => {
                end.stage = Stage::Connected;
                self.try_no_more(id);
                self.send_from(id, What::Ack);
            }
            What::Ack => self.finish_connection(&packet),
            What::Data(bytes) => self.take_in(id, packet.route, &bytes),
            What::Read(length) => {
                end.room += length;
                // Room is news for who had none.
                if end.room > length {
                    return;
                }
            }
            What::Fin => end.has_ended = true,
            What::Rst => {
                let error = match (end.stage, end.has_ended) {
                    (Stage::Connecting, _) => Errno::CONNREFUSED,
                    (_, true) => Errno::PIPE,
                    (_, false) => Errno::CONNRESET,
                };
                self.fail(id, error);
            }
        }
        self.arrived_at(id);
    }

    /// A first packet has reached its host. If nobody listens there it is refused; if the queue is
    /// full it is dropped, and will come again.
    fn begin_connection(&mut self, packet: &Packet) {
        let client = match self.ends.get(&packet.from) {
            Some(end) if end.stage == Stage::Connecting && end.other == NOBODY => end,
            _ => return,
        };
        let (local, peer) = (client.peer, client.local);
        let Some(listener) = self.who_listens(local) else {
            return self.refuse(packet);
        };
        let listening = self.listener(listener);
        if listening.queue.len() + listening.half_made > listening.asked.backlog {
            return;
        }
        listening.half_made += 1;
        let id = self.number();
        self.ends.insert(id, self.new_end(local, peer, packet.from, Some(listener)));
        self.end(packet.from).other = id;
        self.send_from(id, What::SynAck);
    }

    /// The listener at `address`; one of them, if several share it.
    fn who_listens(&mut self, address: SocketAddr) -> Option<SocketId> {
        let all = self.listening.get(&(address.ip(), address.port()))?;
        match all.as_slice() {
            [one] => Some(*one),
            several => several.get(self.random.below(several.len())).copied(),
        }
    }

    /// The last of the three packets that make a connection has arrived: it can be accepted.
    fn finish_connection(&mut self, packet: &Packet) {
        let id = packet.to;
        let end = self.end(id);
        end.stage = Stage::Connected;
        let Some(listener) = end.made_by.take() else { return };
        match self.listeners.get_mut(&listener) {
            Some(listening) => {
                listening.half_made -= 1;
                listening.queue.push_back(id);
                self.arrived_at(listener);
            }
            None => self.hang_up(id, What::Rst),
        }
    }

    fn take_in(&mut self, id: SocketId, route: Route, bytes: &[u8]) {
        let limit = self.settings.link_of(route).reset_after_bytes.unwrap_or(u64::MAX);
        let end = self.end(id);
        let left = limit.saturating_sub(end.arrived);
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        end.received.extend(&bytes[..taken]);
        end.arrived += taken as u64;
        if end.arrived >= limit {
            self.break_connection(id);
        }
    }

    /// The connection is over. What has been received can still be read.
    fn fail(&mut self, id: SocketId, error: Errno) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.stage == Stage::Over {
            return;
        }
        if let Some(listener) = end.made_by {
            // Nobody knows of it yet.
            if let Some(listening) = self.listeners.get_mut(&listener) {
                listening.half_made -= 1;
            }
            return self.forget(id);
        }
        end.stage = Stage::Over;
        end.error = Some(error);
        self.try_no_more(id);
        self.arrived_at(id);
    }

    fn break_connection(&mut self, id: SocketId) {
        let other = self.end(id).other;
        for end in [id, other] {
            self.fail(end, Errno::CONNRESET);
        }
    }
}

// ===== what is done to links ====================================================================

impl Tcp {
    /// A link that is used for the first time: from here on its faults will happen.
    fn use_link(&mut self, route: Route) {
        if self.busy_until.contains_key(&route) {
            return;
        }
        self.busy_until.insert(route, self.now);
        let link = self.settings.link_of(route).clone();
        self.schedule_faults(route, &link, self.began);
    }

    fn schedule_faults(&mut self, route: Route, link: &Link, start: Instant) {
        let cut_at = link.cut_after.map(|after| deadline(start, after));
        let reset_at = link.reset_after.map(|after| deadline(start, after));
        match cut_at {
            Some(at) if at <= self.now => self.cut(route),
            Some(at) => drop(self.schedule(at, Coming::Change(route, Change::Cut))),
            None => {}
        }
        // What was due before there were connections has hit none.
        if let Some(at) = reset_at.filter(|at| *at > self.now) {
            self.schedule(at, Coming::Change(route, Change::Reset));
        }
    }

    /// Gives a link other settings. What is on its way stays on its way.
    pub(super) fn set_link(&mut self, route: Route, link: Link) {
        let is_old = |what: &Coming| matches!(what, Coming::Change(of, _) if *of == route);
        self.coming.retain(|_, what| !is_old(what));
        self.busy_until.insert(route, self.now);
        self.schedule_faults(route, &link, self.now);
        self.settings.links.insert(route, link);
    }

    pub(super) fn settings(&mut self) -> &mut Network {
        &mut self.settings
    }

    /// Resets all connections between two hosts; how many they were is returned.
    pub(super) fn reset(&mut self, (a, b): Route) -> usize {
        let between = |end: &End| end.route() == (a, b) || end.route() == (b, a);
        let is_hit = |end: &End| end.stage != Stage::Over && end.other != NOBODY && between(end);
        let hit: Vec<SocketId> =
            self.ends.iter().filter(|(_, end)| is_hit(end)).map(|(id, _)| *id).collect();
        let mut connections = BTreeSet::new();
        for id in hit {
            // The first of a connection's two ends takes the other with it.
            if let Some(end) = self.ends.get(&id) {
                connections.insert(id.min(end.other));
                self.break_connection(id);
            }
        }
        connections.len()
    }

    /// From now on no packet arrives over this link; those that are on their way do not either.
    pub(super) fn cut(&mut self, route: Route) {
        if self.cut.contains_key(&route) {
            return;
        }
        let is_hit =
            |what: &Coming| matches!(what, Coming::Arrival(packet) if packet.route == route);
        let hit: Vec<_> =
            self.coming.iter().filter(|(_, what)| is_hit(what)).map(|(key, _)| *key).collect();
        // In the order in which they were sent: that is the order of the numbers.
        let mut lost = BTreeMap::new();
        for key in hit {
            if let Some(Coming::Arrival(packet)) = self.coming.remove(&key) {
                lost.insert(key.1, packet);
            }
        }
        let again = lost.into_values().filter(|packet| !matches!(packet.what, What::Syn));
        self.cut.insert(route, again.collect());
        self.busy_until.insert(route, self.now);
        for end in self.ends.values_mut() {
            let (local, peer) = end.route();
            if (peer, local) == route {
                end.last_arrival = self.now;
            }
        }
    }

    /// The link works again, and what was lost is sent again.
    pub(super) fn mend(&mut self, route: Route) {
        for packet in self.cut.remove(&route).unwrap_or_default() {
            self.put_on_its_way(packet);
        }
    }
}

// ===== who is ready =============================================================================

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
            self.news.insert(id);
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
        let writable = writable && interest == Interest::ArrivalsAndRoom;
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
