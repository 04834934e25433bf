//! What is done to links: resets, cuts, other settings; at a set time, or by the program.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::settings::Route;
use super::super::settings::{Link, Network};
use super::{Change, End, NOBODY, PacketKind, SocketId, Stage, Tcp, WireEvent};
use crate::base::world::deadline;

impl Tcp {
    /// A link that is used for the first time: from here on its faults will happen.
    pub(super) fn use_link(&mut self, route: Route) {
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
            Some(at) => drop(self.schedule(at, WireEvent::Change(route, Change::Cut))),
            None => {}
        }
        // What was due before there were connections has hit none.
        if let Some(at) = reset_at.filter(|at| *at > self.now) {
            self.schedule(at, WireEvent::Change(route, Change::Reset));
        }
    }

    /// Gives a link other settings. What is on its way stays on its way.
    pub(in crate::sim::network) fn set_link(&mut self, route: Route, link: Link) {
        let is_old = |event: &WireEvent| matches!(event, WireEvent::Change(of, _) if *of == route);
        self.upcoming.retain(|_, event| !is_old(event));
        self.busy_until.insert(route, self.now);
        self.schedule_faults(route, &link, self.now);
        self.settings.links.insert(route, link);
    }

    pub(in crate::sim::network) fn settings(&mut self) -> &mut Network {
        &mut self.settings
    }

    /// Resets all connections between two hosts; how many they were is returned.
    pub(in crate::sim::network) fn reset(&mut self, (a, b): Route) -> usize {
        let between = |end: &End| end.route() == (a, b) || end.route() == (b, a);
        let is_alive = |end: &End| end.stage != Stage::Over && !end.is_ended();
        let is_hit = |end: &End| is_alive(end) && end.other != NOBODY && between(end);
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
    pub(in crate::sim::network) fn cut(&mut self, route: Route) {
        if self.cut.contains_key(&route) {
            return;
        }
        let is_hit = |event: &WireEvent| matches!(event, WireEvent::Arrival(packet) if packet.route == route);
        let hit: Vec<_> =
            self.upcoming.iter().filter(|(_, event)| is_hit(event)).map(|(key, _)| *key).collect();
        // In the order in which they were sent: that is the order of the numbers.
        let mut lost = BTreeMap::new();
        for key in hit {
            if let Some(WireEvent::Arrival(packet)) = self.upcoming.remove(&key) {
                lost.insert(key.1, packet);
            }
        }
        let again = lost.into_values().filter(|packet| !matches!(packet.kind, PacketKind::Syn));
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
    pub(in crate::sim::network) fn mend(&mut self, route: Route) {
        for packet in self.cut.remove(&route).unwrap_or_default() {
            self.put_on_its_way(packet);
        }
    }
}
