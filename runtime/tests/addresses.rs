//! Everything that names an address names the same one: where there is a choice of forms, each of
//! them can be listened on and connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use popleft::net::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};
use popleft::sim::Sim;

/// Listens on `listened` and connects to `connected`, in the simulated world: there every address
/// can be had.
async fn assert_reaches(listened: impl ToSocketAddrs, connected: impl ToSocketAddrs) {
    let listener = TcpListener::bind(listened).await.unwrap();
    let stream = TcpStream::connect(connected).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, stream.local_addr().unwrap());
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[test]
fn an_address_can_be_given_in_every_form() {
    Sim::new().run(async {
        let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        let any = SocketAddr::from(v4);
        assert_reaches(v4, any).await;
        assert_reaches(any, &any).await;
        assert_reaches(&any, v4).await;
        assert_reaches((Ipv4Addr::LOCALHOST, 80), (IpAddr::from(Ipv4Addr::LOCALHOST), 80)).await;
        assert_reaches("127.0.0.1:80", String::from("localhost:80")).await;
        assert_reaches(("127.0.0.1", 80), &String::from("127.0.0.1:80")).await;
    });
}

#[test]
fn an_address_of_version_6_can_be_given_in_every_form() {
    popleft::run(async {
        let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 0);
        let expected = [SocketAddr::from(v6)];
        assert_eq!(lookup_host(v6).await.unwrap(), expected);
        assert_eq!(lookup_host((Ipv6Addr::LOCALHOST, 80)).await.unwrap(), expected);
        assert_eq!(lookup_host("[::1]:80").await.unwrap(), expected);
    });
}
