//! The network as a data structure: no loop, no tasks, and time that the tests themselves move.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::world::zero;
use crate::sim::network::Link;

const BOTH: Interest = Interest::ReadWrite;
const READ: Interest = Interest::Read;
const SERVER: [u8; 4] = [10, 0, 0, 2];
const CLIENT: [u8; 4] = [127, 0, 0, 1];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn server() -> SocketAddr {
    SocketAddr::from((SERVER, 80))
}

fn route() -> Route {
    (CLIENT.into(), SERVER.into())
}

/// A network, its clock, and a listener of the server.
struct Lab {
    tcp: Tcp,
    listener: SocketId,
}

impl Lab {
    fn new(network: Network) -> Lab {
        let mut tcp = Tcp::new(network.seed(7), zero());
        let asked = Listen { backlog: 16, reuse_port: false };
        let listener = tcp.listen(server(), None, asked).unwrap();
        Lab { tcp, listener }
    }

    /// Both directions have the settings of `link`.
    fn over(link: Link) -> Lab {
        Lab::new(Network::new().links(CLIENT, SERVER, link))
    }

    /// Lets so much time pass, and returns what is reported then.
    fn pass(&mut self, time: Duration) -> Vec<Report> {
        let mut reports = vec![];
        self.tcp.advance(self.tcp.now + time, &mut reports);
        reports
    }

    /// Since the beginning.
    fn passed(&self) -> Duration {
        self.tcp.now - self.tcp.began
    }

    /// A connection, at the time at which the server could accept it.
    fn connected(&mut self) -> (SocketId, SocketId) {
        let client = self.tcp.connect(server(), None).unwrap();
        (client, self.accept())
    }

    /// Lets time pass until the server can accept.
    fn accept(&mut self) -> SocketId {
        loop {
            match self.tcp.accept(self.listener) {
                Ok((end, _)) => return end,
                Err(_) => self.step(),
            }
        }
    }

    /// Goes to the next thing that happens.
    fn step(&mut self) {
        let next = self.tcp.next_event().expect("something happens");
        self.tcp.advance(next, &mut vec![]);
    }

    /// All that can be read at once, to the end, to an error, or to where one would wait.
    fn read(&mut self, id: SocketId) -> (Vec<u8>, Result<(), ErrorKind>) {
        let mut all = vec![];
        let mut buffer = [0; 1000];
        loop {
            match self.tcp.receive(id, &mut buffer) {
                Ok(0) => return (all, Ok(())),
                Ok(length) => all.extend(&buffer[..length]),
                Err(error) => return (all, Err(error.kind())),
            }
        }
    }
}

fn refused<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("it fails").kind()
}

#[test]
fn a_connection_takes_three_packets() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let client = lab.tcp.connect(server(), None).unwrap();
    assert_eq!(refused(lab.tcp.peer_addr(client)), ErrorKind::NotConnected);
    lab.pass(ms(19));
    assert_eq!(refused(lab.tcp.send(client, b"early")), ErrorKind::WouldBlock);
    lab.pass(ms(1));
    assert_eq!(lab.tcp.peer_addr(client).unwrap(), server());
    assert_eq!(refused(lab.tcp.accept(lab.listener)), ErrorKind::WouldBlock);
    lab.pass(ms(10));
    let (end, peer) = lab.tcp.accept(lab.listener).unwrap();
    assert_eq!(lab.tcp.local_addr(end), server());
    assert_eq!(peer, lab.tcp.local_addr(client));
    assert_eq!(peer, SocketAddr::from((CLIENT, FIRST_PORT)));
    assert_eq!(lab.tcp.next_event(), None);
}

#[test]
fn bytes_take_latency_and_their_size_by_the_bandwidth() {
    let mut lab = Lab::over(Link::new().latency(ms(5)).bandwidth(100_000));
    let (client, end) = lab.connected();
    assert_eq!(lab.passed(), ms(15));
    assert_eq!(lab.tcp.send(client, &[1; 1000]).unwrap(), 1000);
    lab.pass(ms(14));
    assert_eq!(lab.read(end), (vec![], Err(ErrorKind::WouldBlock)));
    lab.pass(ms(1));
    assert_eq!(lab.read(end).0.len(), 1000);
}

#[test]
fn much_arrives_packet_by_packet() {
    let mut lab = Lab::over(Link::new().bandwidth(1460 * 10));
    let (client, end) = lab.connected();
    assert_eq!(lab.tcp.send(client, &[1; 14600]).unwrap(), 14600);
    for _ in 0..10 {
        lab.pass(ms(100));
        assert_eq!(lab.read(end).0.len(), 1460);
    }
}

#[test]
fn connections_share_a_bandwidth_and_each_direction_has_its_own() {
    let mut lab = Lab::over(Link::new().bandwidth(1000));
    let (one, at_one) = lab.connected();
    let (two, at_two) = lab.connected();
    lab.tcp.send(one, &[1; 100]).unwrap();
    lab.tcp.send(two, &[2; 100]).unwrap();
    lab.tcp.send(at_one, &[3; 100]).unwrap();
    lab.pass(ms(100));
    assert_eq!(lab.read(at_one).0.len(), 100);
    assert_eq!(lab.read(at_two).0.len(), 0);
    assert_eq!(lab.read(one).0.len(), 100);
    lab.pass(ms(100));
    assert_eq!(lab.read(at_two).0.len(), 100);
}

#[test]
fn nobody_listens() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let client = lab.tcp.connect(SocketAddr::from((SERVER, 81)), None).unwrap();
    lab.tcp.watch(client, Some((1, BOTH)));
    assert_eq!(lab.pass(ms(19)), []);
    let reports = lab.pass(ms(1));
    assert_eq!(reports, [Report { key: 1, readable: true, writable: true, drain: true }]);
    let error = lab.tcp.take_error(client).unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(lab.tcp.take_error(client).is_none());
    assert_eq!(refused(lab.tcp.peer_addr(client)), ErrorKind::NotConnected);
}

#[test]
fn a_writer_waits_for_a_reader_when_the_window_is_full() {
    let mut lab = Lab::over(Link::new().latency(ms(10)).window(1000));
    let (client, end) = lab.connected();
    lab.tcp.watch(client, Some((1, BOTH)));
    assert_eq!(lab.tcp.send(client, &[1; 700]).unwrap(), 700);
    assert_eq!(lab.tcp.send(client, &[2; 700]).unwrap(), 300);
    assert_eq!(refused(lab.tcp.send(client, &[3; 1])), ErrorKind::WouldBlock);
    assert_eq!(lab.pass(ms(1000)), []);
    let mut buffer = [0; 600];
    assert_eq!(lab.tcp.receive(end, &mut buffer).unwrap(), 600);
    // That there is room has to come back first.
    assert_eq!(lab.pass(ms(9)), []);
    assert_eq!(lab.pass(ms(1)), [report(1, false)]);
    assert_eq!(lab.tcp.send(client, &[3; 1000]).unwrap(), 600);
}

#[test]
fn the_end_comes_after_the_bytes_and_the_other_direction_goes_on() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let (client, end) = lab.connected();
    lab.tcp.send(client, b"last words").unwrap();
    lab.tcp.shut_down(client, Shutdown::Write).unwrap();
    assert_eq!(refused(lab.tcp.send(client, b"more")), ErrorKind::BrokenPipe);
    lab.pass(ms(10));
    assert_eq!(lab.read(end), (b"last words".to_vec(), Ok(())));
    lab.tcp.send(end, b"answer").unwrap();
    lab.tcp.close(end);
    lab.pass(ms(10));
    assert_eq!(lab.read(client), (b"answer".to_vec(), Ok(())));
}

#[test]
fn closing_with_bytes_unread_resets_and_what_had_arrived_can_be_read() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let (client, end) = lab.connected();
    lab.tcp.send(client, b"unread").unwrap();
    lab.tcp.send(end, b"data").unwrap();
    lab.pass(ms(10));
    lab.tcp.close(end);
    lab.pass(ms(10));
    assert_eq!(lab.read(client), (b"data".to_vec(), Err(ErrorKind::ConnectionReset)));
    assert_eq!(lab.read(client), (vec![], Ok(())));
    assert_eq!(refused(lab.tcp.send(client, b"x")), ErrorKind::BrokenPipe);
    assert_eq!(refused(lab.tcp.shut_down(client, Shutdown::Write)), ErrorKind::NotConnected);
}

#[test]
fn who_writes_to_one_that_is_gone_is_told_a_little_later() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let (client, end) = lab.connected();
    lab.tcp.close(end);
    lab.pass(ms(10));
    assert_eq!(lab.read(client), (vec![], Ok(())));
    assert_eq!(lab.tcp.send(client, b"anybody?").unwrap(), 8);
    lab.pass(ms(20));
    assert_eq!(refused(lab.tcp.send(client, b"hello?")), ErrorKind::BrokenPipe);
}

#[test]
fn a_cut_link_says_nothing() {
    let mut lab = Lab::over(Link::new().latency(ms(10)).window(1000));
    let (client, end) = lab.connected();
    lab.tcp.watch(end, Some((1, READ)));
    lab.tcp.send(client, &[1; 400]).unwrap();
    lab.tcp.cut(route());
    assert_eq!(lab.tcp.send(client, &[2; 900]).unwrap(), 600);
    assert_eq!(refused(lab.tcp.send(client, &[3; 1])), ErrorKind::WouldBlock);
    assert_eq!(lab.pass(ms(1_000_000)), []);
    assert_eq!(lab.tcp.next_event(), None);
    assert_eq!(lab.read(end), (vec![], Err(ErrorKind::WouldBlock)));
    // The other direction works.
    lab.tcp.send(end, b"still there?").unwrap();
    lab.pass(ms(10));
    assert_eq!(lab.read(client).0, b"still there?");

    lab.tcp.mend(route());
    lab.pass(ms(10));
    let (bytes, _) = lab.read(end);
    assert_eq!(bytes, [vec![1; 400], vec![2; 600]].concat());
}

#[test]
fn connecting_over_a_cut_link_times_out() {
    let mut lab = Lab::over(Link::new().latency(ms(10)).cut_after(ms(0)));
    let client = lab.tcp.connect(server(), None).unwrap();
    while lab.tcp.next_event().is_some() {
        lab.step();
    }
    assert_eq!(lab.passed(), Duration::from_secs(127));
    assert_eq!(lab.tcp.take_error(client).unwrap().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_first_packet_that_was_lost_comes_again() {
    let mut lab = Lab::over(Link::new());
    lab.tcp.cut(route());
    let client = lab.tcp.connect(server(), None).unwrap();
    lab.pass(ms(2_500));
    lab.tcp.mend(route());
    lab.accept();
    assert_eq!(lab.passed(), Duration::from_secs(3));
    assert_eq!(lab.tcp.peer_addr(client).unwrap(), server());
}

#[test]
fn faults_happen_when_they_are_due() {
    let mut lab = Lab::over(Link::new().cut_after(ms(100)));
    let (client, end) = lab.connected();
    lab.pass(ms(99));
    lab.tcp.send(client, b"in time").unwrap();
    lab.pass(ms(1));
    lab.tcp.send(client, b"too late").unwrap();
    lab.pass(ms(100));
    assert_eq!(lab.read(end).0, b"in time");

    let mut lab = Lab::over(Link::new().reset_after(ms(100)));
    let (client, end) = lab.connected();
    lab.pass(ms(99));
    assert_eq!(lab.read(client), (vec![], Err(ErrorKind::WouldBlock)));
    lab.pass(ms(1));
    for id in [client, end] {
        assert_eq!(lab.read(id), (vec![], Err(ErrorKind::ConnectionReset)));
    }
    // What comes later is served.
    lab.connected();
}

#[test]
fn a_link_breaks_after_so_many_bytes_of_one_connection() {
    let weak = Link::new().reset_after_bytes(1500);
    let mut lab = Lab::new(Network::new().link(SERVER, CLIENT, weak));
    for _ in 0..2 {
        let (client, end) = lab.connected();
        lab.tcp.send(client, &[1; 5000]).unwrap();
        lab.tcp.send(end, &[2; 1000]).unwrap();
        lab.tcp.send(end, &[3; 1000]).unwrap();
        lab.pass(ms(0));
        let expected = [vec![2; 1000], vec![3; 500]].concat();
        assert_eq!(lab.read(client), (expected, Err(ErrorKind::ConnectionReset)));
        assert_eq!(lab.read(end), (vec![1; 5000], Err(ErrorKind::ConnectionReset)));
    }
}

#[test]
fn a_reset_hits_the_connections_between_two_hosts() {
    let mut lab = Lab::new(Network::new());
    let (client, end) = lab.connected();
    let other = Some([10, 0, 0, 3].into());
    let elsewhere = lab.tcp.connect(server(), other).unwrap();
    lab.accept();
    lab.tcp.watch(client, Some((1, BOTH)));
    assert_eq!(lab.tcp.reset(route()), 1);
    assert_eq!(lab.pass(ms(0)), [Report { key: 1, readable: true, writable: true, drain: true }]);
    for id in [client, end] {
        assert_eq!(lab.read(id), (vec![], Err(ErrorKind::ConnectionReset)));
    }
    assert_eq!(lab.read(elsewhere), (vec![], Err(ErrorKind::WouldBlock)));
    assert_eq!(lab.tcp.reset(route()), 0);
}

#[test]
fn a_full_queue_drops_first_packets_until_there_is_room() {
    let mut lab = Lab::new(Network::new());
    let few = SocketAddr::from((SERVER, 90));
    let listener = lab.tcp.listen(few, None, Listen { backlog: 1, reuse_port: false }).unwrap();
    let clients: Vec<_> = (0..4).map(|_| lab.tcp.connect(few, None).unwrap()).collect();
    lab.pass(ms(0));
    let is_connected = |lab: &Lab, id| lab.tcp.peer_addr(id).is_ok();
    let connected: Vec<_> = clients.iter().map(|id| is_connected(&lab, *id)).collect();
    // As in Linux, one more than was asked for.
    assert_eq!(connected, [true, true, false, false]);
    lab.tcp.accept(listener).unwrap();
    lab.pass(Duration::from_secs(1));
    assert!(is_connected(&lab, clients[2]));
    assert!(!is_connected(&lab, clients[3]));
}

#[test]
fn a_listener_that_goes_resets_those_who_wait() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let client = lab.tcp.connect(server(), None).unwrap();
    lab.pass(ms(30));
    let late = lab.tcp.connect(server(), None).unwrap();
    lab.pass(ms(10));
    lab.tcp.close_listener(lab.listener);
    lab.pass(ms(50));
    for id in [client, late] {
        assert_eq!(lab.read(id), (vec![], Err(ErrorKind::ConnectionReset)));
    }
    let listener = lab.tcp.listen(server(), None, Listen { backlog: 1, reuse_port: false });
    assert!(listener.is_ok());
}

#[test]
fn an_attempt_that_is_given_up_leaves_nothing() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    for given_up_after in [0, 5, 10, 15, 20, 25] {
        let client = lab.tcp.connect(server(), None).unwrap();
        lab.pass(ms(given_up_after));
        lab.tcp.close(client);
        lab.pass(ms(100));
        while let Ok((end, _)) = lab.tcp.accept(lab.listener) {
            lab.tcp.close(end);
        }
        lab.pass(ms(100));
        assert!(lab.tcp.ends.is_empty() && lab.tcp.ports.is_empty(), "{given_up_after}");
        assert_eq!(lab.tcp.next_event(), None);
        assert_eq!(lab.tcp.listeners[&lab.listener].half_made, 0);
    }
}

#[test]
fn addresses_are_taken_and_given_back() {
    let mut lab = Lab::new(Network::new());
    let alone = Listen { backlog: 1, reuse_port: false };
    let shared = Listen { backlog: 1, reuse_port: true };
    assert_eq!(refused(lab.tcp.listen(server(), None, alone)), ErrorKind::AddrInUse);
    assert_eq!(refused(lab.tcp.listen(server(), None, shared)), ErrorKind::AddrInUse);
    let any = SocketAddr::from(([0, 0, 0, 0], 80));
    assert_eq!(refused(lab.tcp.listen(any, Some(SERVER.into()), alone)), ErrorKind::AddrInUse);
    let at_home = lab.tcp.listen(any, None, alone).unwrap();
    assert_eq!(lab.tcp.listens_on(at_home), any);

    let port_0 = SocketAddr::from((SERVER, 0));
    let some = lab.tcp.listen(port_0, None, shared).unwrap();
    let some = lab.tcp.listens_on(some);
    assert!(some.port() >= FIRST_PORT);
    lab.tcp.listen(some, None, shared).unwrap();
    assert_eq!(refused(lab.tcp.listen(some, None, alone)), ErrorKind::AddrInUse);

    let client = lab.tcp.connect(server(), None).unwrap();
    let taken = lab.tcp.local_addr(client);
    assert_eq!(refused(lab.tcp.listen(taken, None, alone)), ErrorKind::AddrInUse);
    lab.tcp.close(client);
    lab.tcp.listen(taken, None, alone).unwrap();
}

#[test]
fn listeners_that_share_an_address_share_the_connections() {
    let mut lab = Lab::new(Network::new());
    let shared = SocketAddr::from((SERVER, 90));
    let asked = Listen { backlog: 100, reuse_port: true };
    let listeners = [(); 3].map(|()| lab.tcp.listen(shared, None, asked).unwrap());
    for _ in 0..60 {
        lab.tcp.connect(shared, None).unwrap();
    }
    lab.pass(ms(0));
    let counts = listeners.map(|id| lab.tcp.listeners[&id].queue.len());
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
}

/// Of a connection that is open and has room.
fn report(key: usize, readable: bool) -> Report {
    Report { key, readable, writable: true, drain: false }
}

#[test]
fn each_arrival_at_what_is_watched_is_reported_once() {
    let mut lab = Lab::new(Network::new());
    let (client, end) = lab.connected();
    lab.tcp.send(client, b"a").unwrap();
    assert_eq!(lab.pass(ms(0)), []);
    // What came before the watch began counts as well.
    lab.tcp.watch(end, Some((5, BOTH)));
    assert_eq!(lab.tcp.next_event(), Some(lab.tcp.now));
    assert_eq!(lab.pass(ms(0)), [report(5, true)]);
    assert_eq!(lab.pass(ms(0)), []);
    lab.tcp.send(client, b"b").unwrap();
    assert_eq!(lab.pass(ms(0)), [report(5, true)]);
    // Reading is no arrival, here nor at the other side, which had room.
    let mut byte = [0];
    assert_eq!(lab.tcp.peek(end, &mut byte).unwrap(), 1);
    assert_eq!(lab.tcp.receive(end, &mut byte).unwrap(), 1);
    assert_eq!(byte, *b"a");
    lab.tcp.watch(client, Some((6, BOTH)));
    assert_eq!(lab.pass(ms(0)), [report(6, false)]);
    assert_eq!(lab.tcp.receive(end, &mut byte).unwrap(), 1);
    assert_eq!(lab.pass(ms(0)), []);
    // A socket that does not ask for room gets no report of it.
    lab.tcp.watch(client, Some((6, READ)));
    assert_eq!(lab.pass(ms(0)), []);
    // The end is one, and is told apart from bytes.
    lab.tcp.shut_down(client, Shutdown::Write).unwrap();
    assert_eq!(lab.pass(ms(0)), [Report { drain: true, ..report(5, true) }]);
    lab.tcp.watch(end, None);
    lab.tcp.reset(route());
    assert_eq!(lab.pass(ms(0)).iter().filter(|report| report.key == 5).count(), 0);
}

#[test]
fn after_a_shutdown_of_reading_what_was_received_is_left_and_then_the_end() {
    let mut lab = Lab::new(Network::new());
    let (client, end) = lab.connected();
    lab.tcp.send(client, b"before").unwrap();
    lab.pass(ms(0));
    lab.tcp.shut_down(end, Shutdown::Read).unwrap();
    assert_eq!(lab.read(end), (b"before".to_vec(), Ok(())));
    lab.tcp.send(end, b"writes go on").unwrap();
    lab.pass(ms(0));
    assert_eq!(lab.read(client).0, b"writes go on");
}

#[test]
fn names_are_looked_up_in_the_table() {
    let network = Network::new().name("db", [10, 0, 0, 2]).name("db", [10, 0, 0, 3]);
    let address = |last| SocketAddr::from(([10, 0, 0, last], 5432));
    assert_eq!(network.look_up("db:5432").unwrap(), [address(2), address(3)]);
    assert_eq!(network.look_up("localhost:1").unwrap(), [SocketAddr::from((CLIENT, 1))]);
    // Upper and lower case are the same, and numbers need no table.
    assert_eq!(network.look_up("DB:5432").unwrap(), [address(2), address(3)]);
    assert_eq!(network.look_up("LocalHost:1").unwrap(), [SocketAddr::from((CLIENT, 1))]);
    assert_eq!(network.look_up("10.0.0.9:5432").unwrap(), [address(9)]);
    let mixed = Network::new().name("Mixed", [10, 0, 0, 9]);
    assert_eq!(mixed.look_up("miXed:5432").unwrap(), [address(9)]);
    // As of the system's resolver: a kind without a stable name.
    let unknown = io::Error::from_raw_os_error(i32::MAX).kind();
    for (wrong, kind, text) in [
        ("web:80", unknown, "\"web:80\": the simulated network knows only db"),
        ("db", ErrorKind::InvalidInput, "no host:port"),
        ("db:http", ErrorKind::InvalidInput, "\"http\" is no port number"),
    ] {
        let error = network.look_up(wrong).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_link_without_end_delivers_nothing_and_overflows_nothing() {
    let endless = Duration::MAX;
    for link in [
        Link::new().latency(endless),
        Link::new().jitter(endless),
        Link::new().latency(endless).jitter(endless).bandwidth(1),
        Link::new().latency(endless - ms(1)).jitter(endless),
        Link::new().reset_after(endless).cut_after(endless).latency(endless),
    ] {
        let mut lab = Lab::over(link);
        let client = lab.tcp.connect(server(), None).unwrap();
        lab.pass(Duration::from_secs(60));
        assert_eq!(refused(lab.tcp.accept(lab.listener)), ErrorKind::WouldBlock);
        assert_eq!(refused(lab.tcp.peer_addr(client)), ErrorKind::NotConnected);
    }
}

#[test]
fn a_connection_is_over_when_both_ends_know_that_both_have_ended() {
    let mut lab = Lab::over(Link::new().latency(ms(10)));
    let (client, end) = lab.connected();
    lab.pass(ms(10));
    lab.tcp.shut_down(client, Shutdown::Write).unwrap();
    lab.pass(ms(20));
    // One direction goes on.
    assert!(lab.tcp.peer_addr(client).is_ok() && lab.tcp.peer_addr(end).is_ok());
    lab.tcp.shut_down(end, Shutdown::Write).unwrap();
    lab.pass(ms(10));
    // The end that closed last does not know yet that the other one knows.
    assert_eq!(refused(lab.tcp.peer_addr(client)), ErrorKind::NotConnected);
    assert!(lab.tcp.peer_addr(end).is_ok());
    lab.pass(ms(10));
    for id in [client, end] {
        assert_eq!(refused(lab.tcp.peer_addr(id)), ErrorKind::NotConnected);
        assert_eq!(refused(lab.tcp.shut_down(id, Shutdown::Both)), ErrorKind::NotConnected);
        assert_eq!(refused(lab.tcp.send(id, b"x")), ErrorKind::BrokenPipe);
        assert_eq!(lab.read(id), (vec![], Ok(())));
    }
    // There is nothing left to break.
    assert_eq!(lab.tcp.reset(route()), 0);
    assert_eq!(refused(lab.tcp.send(client, b"x")), ErrorKind::BrokenPipe);
}

// ===== for all links ============================================================================

prop_compose! {
    fn any_link()(
        latency in 0..50_000u64,
        jitter in prop_oneof![Just(0), 0..50_000u64],
        bandwidth in prop_oneof![Just(None), (500..1_000_000u64).prop_map(Some)],
        window in 1..5_000usize,
    ) -> Link {
        let link = Link::new()
            .latency(Duration::from_micros(latency))
            .jitter(Duration::from_micros(jitter))
            .window(window);
        match bandwidth {
            Some(bandwidth) => link.bandwidth(bandwidth),
            None => link,
        }
    }
}

/// What one side of a conversation does: writes in pieces of these sizes, then ends, and reads
/// with buffers of these sizes.
#[derive(Clone, Debug)]
struct Side {
    writes: Vec<usize>,
    reads: Vec<usize>,
}

fn any_side() -> impl Strategy<Value = Side> {
    let sizes = |most| prop::collection::vec(1..most, 1..12);
    (sizes(3_000usize), sizes(2_000usize)).prop_map(|(writes, reads)| Side { writes, reads })
}

/// One side at work.
struct Talk {
    id: SocketId,
    key: usize,
    side: Side,
    to_write: Vec<u8>,
    written: usize,
    read: Vec<u8>,
    reads: usize,
    is_done: bool,
}

impl Talk {
    fn new(id: SocketId, key: usize, side: Side) -> Talk {
        let length: usize = side.writes.iter().sum();
        let to_write = (0..length).map(|at| (at * 31 + at / 256 + key) as u8).collect();
        Talk { id, key, side, to_write, written: 0, read: vec![], reads: 0, is_done: false }
    }

    /// Does what it can for as long as it can.
    fn go_on(&mut self, tcp: &mut Tcp) {
        while self.written < self.to_write.len() {
            let size = self.side.writes[self.written % self.side.writes.len()];
            let rest = &self.to_write[self.written..];
            match tcp.send(self.id, &rest[..rest.len().min(size)]) {
                Ok(written) => self.written += written,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
            if self.written == self.to_write.len() {
                tcp.shut_down(self.id, Shutdown::Write).unwrap();
            }
        }
        while !self.is_done {
            let mut buffer = vec![0; self.side.reads[self.reads % self.side.reads.len()]];
            match tcp.receive(self.id, &mut buffer) {
                Ok(length) => {
                    self.reads += 1;
                    self.read.extend(&buffer[..length]);
                    self.is_done = length == 0;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
    }
}

/// A conversation from beginning to end; all reports of the network are returned, with their time.
fn converse(links: [Link; 2], sides: [Side; 2], seed: u64) -> ([Talk; 2], Vec<(Duration, Report)>) {
    let [there, back] = links;
    let network = Network::new().link(CLIENT, SERVER, there).link(SERVER, CLIENT, back);
    let mut lab = Lab::new(network);
    lab.tcp.random = Random::new(seed);
    let (client, end) = lab.connected();
    let [first, second] = sides;
    let mut talks = [Talk::new(client, 0, first), Talk::new(end, 1, second)];
    for talk in &talks {
        lab.tcp.watch(talk.id, Some((talk.key, BOTH)));
    }
    let mut all = vec![];
    while let Some(next) = lab.tcp.next_event() {
        let mut reports = vec![];
        lab.tcp.advance(next, &mut reports);
        for report in reports {
            all.push((lab.passed(), report));
            talks[report.key].go_on(&mut lab.tcp);
        }
    }
    (talks, all)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        links in [any_link(), any_link()],
        sides in [any_side(), any_side()],
        seed: u64,
    ) {
        let ([client, server], reports) = converse(links.clone(), sides.clone(), seed);
        prop_assert!(client.is_done && server.is_done);
        prop_assert_eq!(&client.to_write, &server.read);
        prop_assert_eq!(&server.to_write, &client.read);
        let (_, again) = converse(links, sides, seed);
        prop_assert_eq!(reports, again);
    }

    #[test]
    fn bytes_never_come_sooner_than_the_link_allows(
        link in any_link(),
        length in 1..5_000usize,
        seed: u64,
    ) {
        let mut lab = Lab::over(link.clone());
        lab.tcp.random = Random::new(seed);
        let (client, end) = lab.connected();
        let sent_at = lab.passed();
        let length = lab.tcp.send(client, &vec![1; length]).unwrap();
        let mut read = 0;
        while read < length {
            lab.step();
            read += lab.read(end).0.len();
        }
        let shortest = link.latency + link.time_for(length);
        let took = lab.passed() - sent_at;
        // Each packet's time is rounded down to a nanosecond.
        let rounded = Duration::from_nanos(length.div_ceil(PACKET) as u64);
        prop_assert!(took + rounded >= shortest && took <= shortest + link.jitter);
    }

    #[test]
    fn cuts_lose_nothing_and_keep_the_order(
        link in any_link(),
        cuts in prop::collection::vec((0..60_000u64, 0..60_000u64), 0..6),
        seed: u64,
    ) {
        let mut lab = Lab::over(link.window(100_000));
        lab.tcp.random = Random::new(seed);
        let (client, end) = lab.connected();
        let mut written: Vec<u8> = vec![];
        let mut read = vec![];
        for (number, (working, cut)) in cuts.into_iter().enumerate() {
            for (time, is_cut) in [(working, false), (cut, true)] {
                if is_cut {
                    lab.tcp.cut(route());
                } else {
                    lab.tcp.mend(route());
                }
                for _ in 0..3 {
                    let piece = [number as u8, written.len() as u8, is_cut.into()].repeat(500);
                    written.extend(&piece);
                    prop_assert_eq!(lab.tcp.send(client, &piece).unwrap(), piece.len());
                    lab.pass(Duration::from_micros(time / 3));
                    read.extend(lab.read(end).0);
                }
            }
        }
        lab.tcp.mend(route());
        while lab.tcp.next_event().is_some() {
            lab.step();
        }
        read.extend(lab.read(end).0);
        prop_assert_eq!(written, read);
    }
}
