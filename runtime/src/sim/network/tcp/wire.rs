//! What is on its way: packets and the times of their arrival, how a connection is made, and how it
//! fails.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::settings::Route;
use super::{ATTEMPTS, Change, NOBODY, Packet, PacketKind, SocketId, Stage, Tcp, WireEvent};
use crate::base::poller::Report;
use crate::base::world::deadline;
use crate::sim::random::Random;

impl Tcp {
    pub(super) fn send_first_packet(&mut self, from: SocketId, attempt: u32) {
        let route = self.end(from).route();
        self.put_on_its_way(Packet { route, from, to: NOBODY, kind: PacketKind::Syn });
        let again = WireEvent::Again { from, attempt: attempt + 1 };
        let again = self.schedule(deadline(self.now, Duration::from_secs(1 << attempt)), again);
        self.end(from).again = Some(again);
    }

    pub(super) fn send_from(&mut self, id: SocketId, kind: PacketKind) {
        let end = &self.ends[&id];
        self.put_on_its_way(Packet { route: end.route(), from: id, to: end.other, kind });
    }

    /// Answers a packet, also for an end that is gone, or that never was.
    fn answer(&mut self, packet: &Packet, kind: PacketKind) {
        let route = (packet.route.1, packet.route.0);
        let (from, to) = (packet.to, packet.from);
        self.put_on_its_way(Packet { route, from, to, kind });
    }

    pub(super) fn put_on_its_way(&mut self, packet: Packet) {
        self.use_link(packet.route);
        if let Some(waiting) = self.cut.get_mut(&packet.route) {
            // A first packet is sent again by the side that connects.
            if !matches!(packet.kind, PacketKind::Syn) {
                waiting.push(packet);
            }
            return;
        }
        let link = self.settings.link_of(packet.route);
        let bytes = match &packet.kind {
            PacketKind::Data(bytes) => bytes.len(),
            _ => 0,
        };
        let busy_until = self.busy_until.entry(packet.route).or_insert(self.now);
        *busy_until = deadline(self.now.max(*busy_until), link.time_for(bytes));
        let jitter = match packet.kind {
            // No program sees when it comes, so it takes none of the numbers that decide what is seen.
            PacketKind::FinAck => Duration::ZERO,
            _ => up_to(link.jitter, &mut self.random),
        };
        let on_its_way = link.latency.saturating_add(jitter);
        let mut arrival = deadline(*busy_until, on_its_way);
        if let Some(end) = self.ends.get_mut(&packet.to) {
            arrival = arrival.max(end.last_arrival);
            end.last_arrival = arrival;
        }
        self.schedule(arrival, WireEvent::Arrival(packet));
    }

    pub(super) fn schedule(&mut self, at: Instant, event: WireEvent) -> (Instant, u64) {
        let key = (at, self.number());
        self.upcoming.insert(key, event);
        key
    }

    /// When something will happen next.
    pub(in crate::sim::network) fn next_event(&self) -> Option<Instant> {
        if !self.changed.is_empty() {
            return Some(self.now);
        }
        self.upcoming.first_key_value().map(|((at, _), _)| *at)
    }

    /// Makes everything happen that is due by `now`, and reports the sockets that became ready.
    pub(in crate::sim::network) fn advance(&mut self, now: Instant, reports: &mut Vec<Report>) {
        while let Some(first) = self.upcoming.first_entry() {
            let (at, _) = *first.key();
            if at > now {
                break;
            }
            self.now = at;
            match first.remove() {
                WireEvent::Arrival(packet) => self.arrive(packet),
                WireEvent::Again { from, attempt } => self.try_again(from, attempt),
                WireEvent::Change(route, Change::Reset) => drop(self.reset(route)),
                WireEvent::Change(route, Change::Cut) => self.cut(route),
            }
        }
        self.now = now;
        let changed = std::mem::take(&mut self.changed);
        reports.extend(changed.into_iter().filter_map(|id| self.report(id)));
    }

    pub(super) fn stop_retrying(&mut self, id: SocketId) {
        let again = self.end(id).again.take();
        if let Some(key) = again {
            self.upcoming.remove(&key);
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
        if let PacketKind::Syn = packet.kind {
            return self.begin_connection(&packet);
        }
        if let PacketKind::Fin = packet.kind {
            self.answer(&packet, PacketKind::FinAck);
        }
        let Some(end) = self.ends.get_mut(&packet.to) else {
            if let PacketKind::Data(_) | PacketKind::SynAck = packet.kind {
                self.answer(&packet, PacketKind::Rst);
            }
            return;
        };
        if end.stage == Stage::Over {
            return;
        }
        let id = packet.to;
        match packet.kind {
            PacketKind::Syn => {}
            PacketKind::SynAck => {
                end.stage = Stage::Connected;
                self.stop_retrying(id);
                self.send_from(id, PacketKind::Ack);
            }
            PacketKind::Ack => self.finish_connection(&packet),
            PacketKind::Data(bytes) => self.take_in(id, packet.route, &bytes),
            PacketKind::Read(length) => {
                end.room += length;
                // Room makes a socket writable that had none.
                if end.room > length {
                    return;
                }
            }
            PacketKind::Fin => end.has_ended = true,
            // No task waits for that.
            PacketKind::FinAck => {
                end.end_is_known = true;
                return;
            }
            PacketKind::Rst => {
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

    /// A first packet has reached its host. If no socket listens there it is refused; if the queue is
    /// full it is dropped, and will come again.
    fn begin_connection(&mut self, packet: &Packet) {
        let client = match self.ends.get(&packet.from) {
            Some(end) if end.stage == Stage::Connecting && end.other == NOBODY => end,
            _ => return,
        };
        let (local, peer) = (client.peer, client.local);
        let Some(listener) = self.who_listens(local) else {
            return self.answer(packet, PacketKind::Rst);
        };
        let listening = self.listener(listener);
        if listening.queue.len() + listening.half_made > listening.asked.backlog {
            return;
        }
        listening.half_made += 1;
        let id = self.number();
        self.ends.insert(id, self.new_end(local, peer, packet.from, Some(listener)));
        self.end(packet.from).other = id;
        self.send_from(id, PacketKind::SynAck);
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
            None => self.hang_up(id, PacketKind::Rst),
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
        if end.stage == Stage::Over || end.is_ended() {
            return;
        }
        if let Some(listener) = end.made_by {
            // No task knows of it yet.
            if let Some(listening) = self.listeners.get_mut(&listener) {
                listening.half_made -= 1;
            }
            return self.forget(id);
        }
        end.stage = Stage::Over;
        end.error = Some(error);
        self.stop_retrying(id);
        self.arrived_at(id);
    }

    pub(super) fn break_connection(&mut self, id: SocketId) {
        let other = self.end(id).other;
        for end in [id, other] {
            self.fail(end, Errno::CONNRESET);
        }
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
