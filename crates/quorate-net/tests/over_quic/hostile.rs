//! Peers that break the rules, die, or do not listen: each costs its own link and nothing else.

use std::{future::Future, pin::pin, task::Context, time::Duration};

use bytes::Bytes;
use quorate_net::{
    ALPN, CloseCode, GroupId, Lane, LinkId, SendError, Tuning, bind,
    iroh::{
        Endpoint, EndpointAddr, EndpointId, TransportAddr,
        endpoint::{Connection, ConnectionError, RecvStream, SendStream},
    },
    limits,
    presets::Loopback,
};

use crate::common::{Down, Peer, connect};

const ORDERS: Lane = Lane::Entries(GroupId([1; 16]));

/// A peer that speaks QUIC but not necessarily the protocol.
struct Rogue {
    endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    /// The link at the victim.
    link: LinkId,
}

async fn rogue_endpoint() -> Endpoint {
    bind(Loopback::default(), &[66; 32]).await.unwrap()
}

fn address_of(peer: &Peer) -> EndpointAddr {
    let id = EndpointId::from_bytes(&peer.id().0).unwrap();
    EndpointAddr::from_parts(id, peer.addresses().into_iter().map(TransportAddr::from))
}

impl Rogue {
    /// Connects and opens the control stream.
    async fn stranger(victim: &mut Peer) -> Self {
        let endpoint = rogue_endpoint().await;
        let connection = endpoint.connect(address_of(victim), ALPN).await.unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        let (link, ..) = victim.link_up().await;
        Self {
            endpoint,
            connection,
            send,
            recv,
            link,
        }
    }

    /// Connects, says hello and is taken for a member.
    async fn member(victim: &mut Peer) -> Self {
        let mut rogue = Self::stranger(victim).await;
        rogue.send.write_all(&framed(b"hello")).await.unwrap();
        assert_eq!(victim.frame(rogue.link, Lane::Control).await, "hello");
        victim.transport.authenticate(rogue.link);
        rogue
            .connection
            .set_max_concurrent_uni_streams(64u32.into());
        rogue
            .connection
            .set_receive_window(Tuning::lan().link_window.into());
        rogue
    }

    /// Opens a stream that begins with these bytes.
    async fn open(&self, bytes: &[u8]) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Waits for the close, and returns its code.
    async fn closed(&self) -> Option<CloseCode> {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                CloseCode::from_number(close.error_code.into_inner() as u32)
            }
            other => panic!("expected a close with a code, had {other:?}"),
        }
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_le_bytes(), frame].concat()
}

fn entries_header(group: u8) -> Vec<u8> {
    let mut header = vec![group; 17];
    header[0] = 2;
    header
}

/// A victim, a friend of its, and the links between them.
struct Friends {
    victim: Peer,
    friend: Peer,
    at_victim: LinkId,
    at_friend: LinkId,
}

impl Friends {
    async fn new() -> Self {
        let (mut victim, mut friend) = (Peer::start(1).await, Peer::start(2).await);
        let (at_victim, at_friend) = connect(&mut victim, &mut friend).await;
        Self {
            victim,
            friend,
            at_victim,
            at_friend,
        }
    }

    /// Checks that a link went down with this code, at both ends, and that the friends still hear
    /// each other.
    async fn survive(&mut self, rogue: &Rogue, code: CloseCode, words: &str) {
        assert_eq!(rogue.closed().await, Some(code));
        let down = self.victim.link_down(rogue.link).await;
        assert_eq!(down.code, Some(code), "{down:?}");
        assert!(down.reason.contains(words), "{down:?}");
        let gone = self
            .victim
            .transport
            .send(rogue.link, Lane::Control, Bytes::from_static(b"x"));
        assert_eq!(gone, Err(SendError::Down));
        for lane in [Lane::Control, ORDERS, Lane::Bulk] {
            self.victim.send(self.at_victim, lane, &b"still there?"[..]);
            assert_eq!(
                self.friend.frame(self.at_friend, lane).await,
                "still there?"
            );
            self.friend.send(self.at_friend, lane, &b"yes"[..]);
            assert_eq!(self.victim.frame(self.at_victim, lane).await, "yes");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_larger_than_their_lane_cost_the_link() {
    let mut friends = Friends::new().await;
    let mut rogue = Rogue::member(&mut friends.victim).await;
    let len = (limits::CONTROL_FRAME as u32 + 1).to_le_bytes();
    rogue.send.write_all(&len).await.unwrap();
    friends.survive(&rogue, CloseCode::TooLarge, "4097").await;

    for (header, limit) in [
        (entries_header(1), limits::ENTRIES_FRAME),
        (vec![3], limits::BULK_FRAME),
        (vec![4], limits::INTRODUCTION),
    ] {
        for len in [limit as u32 + 1, u32::MAX] {
            let rogue = Rogue::member(&mut friends.victim).await;
            let _stream = rogue
                .open(&[&header[..], &len.to_le_bytes()].concat())
                .await;
            friends
                .survive(&rogue, CloseCode::TooLarge, &len.to_string())
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_not_the_protocol_cost_the_link() {
    let mut friends = Friends::new().await;
    let cases: [(&str, Vec<u8>, CloseCode, &str); 9] = [
        (
            "a tag that is none",
            vec![9],
            CloseCode::BadFrame,
            "begins with 9",
        ),
        (
            "control on a second stream",
            vec![1],
            CloseCode::BadFrame,
            "begins with 1",
        ),
        ("no tag", vec![], CloseCode::BadFrame, "ended inside"),
        (
            "half a header",
            entries_header(1)[..9].to_vec(),
            CloseCode::BadFrame,
            "ended inside",
        ),
        (
            "half a frame",
            [
                &entries_header(1)[..],
                &framed(b"whole"),
                &framed(b"half")[..6],
            ]
            .concat(),
            CloseCode::BadFrame,
            "ended inside",
        ),
        (
            "an empty frame",
            [&entries_header(1)[..], &[0; 4]].concat(),
            CloseCode::BadFrame,
            "without content",
        ),
        (
            "two frames on a bulk stream",
            [&[3], &framed(b"one")[..], &framed(b"two")].concat(),
            CloseCode::BadFrame,
            "one frame",
        ),
        (
            "an introduction of half a peer",
            [&[4], &framed(&[7; 20])[..]].concat(),
            CloseCode::BadFrame,
            "introduction",
        ),
        (
            "an introduction with an address cut short",
            [
                &[4],
                &framed(&[&[7; 32][..], &[1, 0, 9, b'1']].concat())[..],
            ]
            .concat(),
            CloseCode::BadFrame,
            "introduction",
        ),
    ];
    for (what, bytes, code, words) in cases {
        println!("{what}");
        let rogue = Rogue::member(&mut friends.victim).await;
        let mut stream = rogue.open(&bytes).await;
        stream.finish().unwrap();
        friends.survive(&rogue, code, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_stream_and_a_second_lane_for_one_group_cost_the_link() {
    let mut friends = Friends::new().await;
    let rogue = Rogue::member(&mut friends.victim).await;
    let mut stream = rogue
        .open(&[&entries_header(1)[..], &framed(b"one")].concat())
        .await;
    assert_eq!(friends.victim.frame(rogue.link, ORDERS).await, "one");
    stream.reset(5u32.into()).unwrap();
    friends.survive(&rogue, CloseCode::BadFrame, "reset").await;

    let rogue = Rogue::member(&mut friends.victim).await;
    let _one = rogue
        .open(&[&entries_header(1)[..], &framed(b"one")].concat())
        .await;
    assert_eq!(friends.victim.frame(rogue.link, ORDERS).await, "one");
    let _two = rogue.open(&entries_header(1)).await;
    friends
        .survive(&rogue, CloseCode::Misbehaved, "second")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_may_end_between_frames_and_begin_again() {
    let mut victim = Peer::start(1).await;
    let rogue = Rogue::member(&mut victim).await;
    for round in 0..20 {
        let mut stream = rogue
            .open(&[&entries_header(1)[..], &framed(&[round])].concat())
            .await;
        stream.finish().unwrap();
        assert_eq!(victim.frame(rogue.link, ORDERS).await, [round][..]);
        // Its end has come there; whether it was read before the next begins is not known here.
        stream.stopped().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_handshake_is_heard_and_nothing_else() {
    let mut friends = Friends::new().await;
    let mut rogue = Rogue::stranger(&mut friends.victim).await;
    // What it proves later comes with its next frames, in one piece or in two.
    let framed_more = framed(b"and more");
    let (piece, rest) = framed_more.split_at(7);
    let both = [&framed(b"hello")[..], piece].concat();
    rogue.send.write_all(&both).await.unwrap();
    assert_eq!(
        friends.victim.frame(rogue.link, Lane::Control).await,
        "hello"
    );
    rogue.send.write_all(rest).await.unwrap();
    assert_eq!(
        friends.victim.frame(rogue.link, Lane::Control).await,
        "and more"
    );
    let refused = friends
        .victim
        .transport
        .send(rogue.link, ORDERS, Bytes::from_static(b"x"));
    assert_eq!(refused, Err(SendError::Stranger));
    // It does not go on for ever.
    let sent = limits::HANDSHAKE / 1_000 + 4;
    for number in 0..sent {
        let frame = framed(&[number as u8; 1_000]);
        rogue.send.write_all(&frame).await.unwrap();
    }
    let heard = (limits::HANDSHAKE - both.len() - rest.len()) / 1_004;
    for number in 0..heard {
        let frame = friends.victim.frame(rogue.link, Lane::Control).await;
        assert_eq!(frame[0], number as u8);
    }
    // No other stream, either, before the proof.
    let opening = rogue.connection.clone();
    let mut opening = pin!(opening.open_uni());
    let waker = std::task::Waker::noop();
    assert!(
        opening
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
    );
    friends
        .victim
        .send(rogue.link, Lane::Control, &b"hello yourself"[..]);
    let mut answer = [0; 18];
    rogue.recv.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..], framed(b"hello yourself"));
    assert!(friends.victim.poll_frame().is_none(), "the rest waits");
    friends.victim.transport.authenticate(rogue.link);
    for number in heard..sent {
        let frame = friends.victim.frame(rogue.link, Lane::Control).await;
        assert!(frame == vec![number as u8; 1_000]);
    }
    opening.await.unwrap();

    let mut rogue = Rogue::stranger(&mut friends.victim).await;
    let len = (limits::HELLO_FRAME as u32 + 1).to_le_bytes();
    rogue.send.write_all(&len).await.unwrap();
    friends.survive(&rogue, CloseCode::TooLarge, "1025").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_proves_nothing_is_turned_away() {
    let mut friends = Friends::new().await;
    // One says nothing, one says hello and is not believed.
    let silent = Rogue::stranger(&mut friends.victim).await;
    let mut talks = Rogue::stranger(&mut friends.victim).await;
    talks.send.write_all(&framed(b"hello")).await.unwrap();
    // One does not even open its stream; it never was a link.
    let endpoint = rogue_endpoint().await;
    let connection = endpoint
        .connect(address_of(&friends.victim), ALPN)
        .await
        .unwrap();
    for rogue in [silent, talks] {
        friends.survive(&rogue, CloseCode::Stranger, "prove").await;
    }
    let ConnectionError::ApplicationClosed(close) = connection.closed().await else {
        panic!("closed without a code")
    };
    assert_eq!(close.error_code.into_inner(), CloseCode::Stranger as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_begins_otherwise_is_none() {
    let victim = Peer::start(1).await;
    let endpoint = rogue_endpoint().await;
    let connection = endpoint.connect(address_of(&victim), ALPN).await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let ConnectionError::ApplicationClosed(close) = connection.closed().await else {
        panic!()
    };
    assert_eq!(close.error_code.into_inner(), CloseCode::BadFrame as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_bounded_and_members_are_not_among_them() {
    let mut friends = Friends::new().await;
    let endpoint = rogue_endpoint().await;
    let mut crowd = Vec::new();
    // All of them come well within the time that the first ones have.
    let turned_away = loop {
        crowd.push(
            endpoint
                .connect(address_of(&friends.victim), ALPN)
                .await
                .unwrap(),
        );
        if let Some(close) = crowd.iter().find_map(Connection::close_reason) {
            break close;
        }
        assert!(
            crowd.len() <= limits::STRANGERS + 64,
            "nobody was turned away"
        );
    };
    let ConnectionError::ApplicationClosed(close) = turned_away else {
        panic!("{turned_away:?}")
    };
    assert_eq!(close.reason, "too many strangers");
    assert!(crowd.len() > limits::STRANGERS, "{} came", crowd.len());
    friends
        .victim
        .send(friends.at_victim, ORDERS, &b"still there?"[..]);
    assert_eq!(
        friends.friend.frame(friends.at_friend, ORDERS).await,
        "still there?"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_loses_its_link_and_no_other() {
    for lane in [Lane::Control, ORDERS, Lane::Bulk] {
        let mut friends = Friends::new().await;
        let rogue = Rogue::member(&mut friends.victim).await;
        let frame = Bytes::from(vec![7; 4_000]);
        let mut sent = 0;
        let refused = loop {
            match friends
                .victim
                .transport
                .send(rogue.link, lane, frame.clone())
            {
                Ok(()) => sent += frame.len(),
                Err(error) => break error,
            }
            assert!(sent < 1 << 30, "nothing bounds lane {lane:?}");
        };
        assert_eq!(refused, SendError::Slow);
        friends
            .survive(&rogue, CloseCode::Slow, "does not read")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_dies_without_a_word_is_missed() {
    let tuning = Tuning {
        idle: Duration::from_millis(1_500),
        keep_alive: Duration::from_millis(300),
        ..Tuning::lan()
    };
    let mut alive = Peer::start_with(1, tuning.clone()).await;
    let (tell, at_alive) = tokio::sync::oneshot::channel();
    let (kill, killed) = std::sync::mpsc::sync_channel::<()>(1);
    let (id, addresses) = (alive.id(), alive.addresses());
    // A runtime that ends at once is the closest a process has to a crash.
    let mortal = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let peer = runtime.block_on(async {
            let mut peer = Peer::start_with(2, tuning).await;
            peer.transport.dial(id, addresses).unwrap();
            let (link, ..) = peer.link_up().await;
            peer.send(link, Lane::Control, &b"hello"[..]);
            tell.send(peer.id()).unwrap();
            peer
        });
        killed.recv().unwrap();
        std::mem::forget(peer);
        runtime.shutdown_background();
    });
    let peer = at_alive.await.unwrap();
    let (link, met, _) = alive.link_up().await;
    assert_eq!(met, peer);
    assert_eq!(alive.frame(link, Lane::Control).await, "hello");
    alive.transport.authenticate(link);
    kill.send(()).unwrap();
    let Down { code, reason } = alive.link_down(link).await;
    assert_eq!(code, None);
    assert!(reason.contains("not been heard"), "{reason}");
    mortal.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rogue_that_vanishes_is_told_as_an_endpoint_gone() {
    let mut victim = Peer::start(1).await;
    let rogue = Rogue::member(&mut victim).await;
    rogue.endpoint.close().await;
    let down = victim.link_down(rogue.link).await;
    assert_eq!(
        down,
        Down {
            code: None,
            reason: "the peer's endpoint is gone".to_owned()
        }
    );
}
