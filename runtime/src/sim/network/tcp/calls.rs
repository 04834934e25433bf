//! What a program does with its sockets: listen, connect, read, write, close.
//!
//! No call waits: what cannot be done now is `WouldBlock`, and what goes to the other end is put on
//! its way.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

use rustix::io::Errno;

use super::{FIRST_PORT, Listening, NOBODY, PACKET, PacketKind, SocketId, Stage, Tcp};
use crate::base::network::Listen;

impl Tcp {
    pub(in crate::sim::network) fn listen(
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

    pub(in crate::sim::network) fn accept(
        &mut self,
        id: SocketId,
    ) -> io::Result<(SocketId, SocketAddr)> {
        let listening = self.listener(id);
        let Some(end) = listening.queue.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        Ok((end, self.end(end).peer))
    }

    pub(in crate::sim::network) fn listens_on(&self, id: SocketId) -> SocketAddr {
        self.listeners[&id].address
    }

    /// The listener is closed: those that wait to be accepted are reset.
    pub(in crate::sim::network) fn close_listener(&mut self, id: SocketId) {
        self.changed.remove(&id);
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
            self.hang_up(waiting, PacketKind::Rst);
        }
    }

    pub(in crate::sim::network) fn connect(
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

    pub(in crate::sim::network) fn receive(
        &mut self,
        id: SocketId,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let length = self.peek(id, buffer)?;
        if length > 0 {
            let end = self.end(id);
            end.received.drain(..length);
            if end.stage == Stage::Connected {
                self.send_from(id, PacketKind::Read(length));
            }
        }
        Ok(length)
    }

    pub(in crate::sim::network) fn peek(
        &mut self,
        id: SocketId,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
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
        if end.reads_no_more || end.stage == Stage::Over {
            Ok(0)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    pub(in crate::sim::network) fn send(
        &mut self,
        id: SocketId,
        bytes: &[u8],
    ) -> io::Result<usize> {
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
            self.send_from(id, PacketKind::Data(chunk.to_vec()));
        }
        Ok(length)
    }

    pub(in crate::sim::network) fn shut_down(
        &mut self,
        id: SocketId,
        how: Shutdown,
    ) -> io::Result<()> {
        let end = self.end(id);
        if !end.is_connected() {
            return Err(Errno::NOTCONN.into());
        }
        let ends_writing = how != Shutdown::Read && !end.writes_no_more;
        end.writes_no_more |= ends_writing;
        end.reads_no_more |= how != Shutdown::Write;
        if ends_writing {
            self.send_from(id, PacketKind::Fin);
        }
        if how != Shutdown::Write {
            self.arrived_at(id);
        }
        Ok(())
    }

    pub(in crate::sim::network) fn take_error(&mut self, id: SocketId) -> Option<io::Error> {
        self.end(id).error.take().map(io::Error::from)
    }

    pub(in crate::sim::network) fn local_addr(&self, id: SocketId) -> SocketAddr {
        self.ends[&id].local
    }

    pub(in crate::sim::network) fn peer_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        let end = &self.ends[&id];
        if end.is_connected() { Ok(end.peer) } else { Err(Errno::NOTCONN.into()) }
    }

    pub(in crate::sim::network) fn nodelay(&mut self, id: SocketId) -> &mut bool {
        &mut self.end(id).nodelay
    }

    /// The program has dropped its end. Bytes that it has not read reset the connection.
    pub(in crate::sim::network) fn close(&mut self, id: SocketId) {
        let end = self.end(id);
        let final_packet = if end.received.is_empty() && end.stage != Stage::Connecting {
            PacketKind::Fin
        } else {
            PacketKind::Rst
        };
        self.hang_up(id, final_packet);
    }

    pub(super) fn hang_up(&mut self, id: SocketId, final_packet: PacketKind) {
        let end = self.end(id);
        let already_sent = end.writes_no_more && matches!(final_packet, PacketKind::Fin);
        if end.stage != Stage::Over && end.other != NOBODY && !already_sent {
            self.send_from(id, final_packet);
        }
        self.forget(id);
    }

    pub(super) fn forget(&mut self, id: SocketId) {
        self.changed.remove(&id);
        self.stop_retrying(id);
        if let Some(end) = self.ends.remove(&id).filter(|end| end.has_port) {
            self.ports.remove(&(end.local.ip(), end.local.port()));
        }
    }

    /// A port of `host` that is free.
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

fn unspecified_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
