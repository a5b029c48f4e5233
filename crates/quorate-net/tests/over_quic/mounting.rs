//! Dialing, stopping, and living beside other protocols.

use bytes::Bytes;
use quorate_net::{
    CloseCode, Event, Lane, PeerId, Transport, Tuning, bind,
    iroh::{
        Endpoint, SecretKey,
        endpoint::Connection,
        protocol::{AcceptError, ProtocolHandler, Router},
    },
    presets::Loopback,
};

use crate::common::{Peer, Wires, both, connect};

/// The application's own protocol.
#[derive(Debug, Clone)]
struct Echo;

const ECHO: &[u8] = b"/echo/1";

impl ProtocolHandler for Echo {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let (mut send, mut recv) = connection.accept_bi().await?;
        let said = recv.read_to_end(100).await.map_err(AcceptError::from_err)?;
        send.write_all(&said).await.map_err(AcceptError::from_err)?;
        send.finish()?;
        connection.closed().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_lives_on_the_applications_router_beside_its_protocol() {
    // The application's endpoint, with parameters of its own.
    let builder = Endpoint::builder(Loopback::default());
    let endpoint = builder
        .transport_config(Default::default())
        .bind()
        .await
        .unwrap();
    let (transport, mut events) = Transport::new(endpoint.clone(), Tuning::lan());
    let router = transport
        .install(Router::builder(endpoint.clone()).accept(ECHO, Echo))
        .spawn();

    let mut guest = Peer::start(2).await;
    guest
        .transport
        .dial(transport.peer(), transport.addresses())
        .unwrap();
    let (at_guest, host, _) = guest.link_up().await;
    assert_eq!(host, transport.peer());
    let Some(Event::LinkUp {
        link,
        peer,
        dialed: false,
        ..
    }) = events.recv().await
    else {
        panic!("the host has a link")
    };
    assert_eq!(peer, guest.id());
    transport
        .send(link, Lane::Control, Bytes::from_static(b"welcome"))
        .unwrap();
    assert_eq!(guest.frame(at_guest, Lane::Control).await, "welcome");

    let other = bind(Loopback::default(), &[9; 32]).await.unwrap();
    let connection = other.connect(endpoint.addr(), ECHO).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    send.finish().unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"hello");
    connection.close(0u32.into(), b"");

    router.shutdown().await.unwrap();
    let down = guest.link_down(at_guest).await;
    assert_eq!(down.code, Some(CloseCode::Shutdown));
    // All events of the link come, then the end of the events, since nothing is left of it.
    drop((router, transport));
    while let Some(event) = events.recv().await {
        assert!(
            matches!(event, Event::LinkDown { .. } | Event::Frame { .. }),
            "{event:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_shutdown_delivers_the_last_control_frames() {
    for wires in both() {
        shutdown_delivers(&wires).await;
    }
}

async fn shutdown_delivers(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    for i in 0..200u8 {
        a.send(at_a, Lane::Control, vec![i; 3_000]);
    }
    match &a.router {
        Some(router) => router.shutdown().await.unwrap(),
        None => a.transport.shutdown().await,
    }
    for i in 0..200u8 {
        assert_eq!(b.frame(at_b, Lane::Control).await, vec![i; 3_000]);
    }
    assert_eq!(b.link_down(at_b).await.code, Some(CloseCode::Shutdown));
    assert_eq!(a.link_down(at_a).await.code, Some(CloseCode::Shutdown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_tells_both_sides_its_code_and_words() {
    for wires in both() {
        close_tells(&wires).await;
    }
}

async fn close_tells(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    a.transport
        .close(at_a, CloseCode::WrongKey, "group orders has another key");
    a.transport
        .close(at_a, CloseCode::Shutdown, "a later reason does not count");
    let down = a.link_down(at_a).await;
    assert_eq!(down.code, Some(CloseCode::WrongKey));
    assert_eq!(down.reason, "group orders has another key");
    let down = b.link_down(at_b).await;
    assert_eq!(down.code, Some(CloseCode::WrongKey));
    assert!(
        down.reason.ends_with("group orders has another key"),
        "{}",
        down.reason
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_come_to_nothing_say_so() {
    let (mut a, b) = (Peer::start(1).await, Peer::start(2).await);
    let nobody = PeerId(*SecretKey::from_bytes(&[77; 32]).public().as_bytes());
    // Without an address, with the address of somebody else, and to no key at all.
    a.transport.dial(nobody, Vec::new()).unwrap();
    assert_eq!(a.dial_failed().await.0, nobody);
    a.transport.dial(nobody, b.addresses()).unwrap();
    assert_eq!(a.dial_failed().await.0, nobody);
    let (me, addresses) = (a.id(), a.addresses());
    a.transport.dial(me, addresses).unwrap();
    assert_eq!(a.dial_failed().await.0, me);
    let no_key = PeerId([2; 32]);
    a.transport.dial(no_key, b.addresses()).unwrap();
    assert_eq!(a.dial_failed().await.0, no_key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_driver_is_gone_lets_its_links_go() {
    for wires in both() {
        deaf_lets_go(&wires).await;
    }
}

async fn deaf_lets_go(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let (deaf, _router) = b.into_deaf();
    a.send(at_a, Lane::Control, &b"anybody there?"[..]);
    assert_eq!(a.link_down(at_a).await.code, Some(CloseCode::Shutdown));
    drop((deaf, at_b));
}
