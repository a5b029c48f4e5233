//! Frames on every lane between peers, on real QUIC and within a process.

use bytes::Bytes;
use quorate_net::{Address, Event, GroupId, Lane, LinkId, PeerId, SendError, limits};

use crate::common::{Peer, Wires, both, connect};

const ORDERS: Lane = Lane::Entries(GroupId([1; 16]));
const STOCK: Lane = Lane::Entries(GroupId([2; 16]));

/// A frame that says where it stands, padded to a size that varies with it.
fn numbered(i: u32, sizes: &[usize]) -> Bytes {
    let size = sizes[i as usize % sizes.len()];
    let mut frame = i.to_le_bytes().to_vec();
    frame.resize(size.max(4), i as u8);
    frame.into()
}

fn number(frame: &Bytes) -> u32 {
    u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lane_keeps_its_own_order_both_ways() {
    for wires in both() {
        every_lane_keeps_order(&wires).await;
    }
}

async fn every_lane_keeps_order(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let sizes = [4, 5, 100, 1_400, 1_500, 4_096];
    let large = [4, 3_000, 9_000, 70_000, 200_000];
    const COUNT: u32 = 400;
    for i in 0..COUNT {
        for (peer, link) in [(&a, at_a), (&b, at_b)] {
            peer.send(link, Lane::Control, numbered(i, &sizes));
            if i % 4 == 0 {
                peer.send(link, ORDERS, numbered(i / 4, &large));
            }
            peer.send(link, STOCK, numbered(i, &sizes));
        }
    }
    for (peer, link) in [(&mut a, at_a), (&mut b, at_b)] {
        let mut next = [0; 3];
        while next != [COUNT, COUNT / 4, COUNT] {
            let (lane, frame) = peer.any_frame(link).await;
            let (lane, sizes) = match lane {
                Lane::Control => (0, &sizes[..]),
                ORDERS => (1, &large[..]),
                STOCK => (2, &sizes[..]),
                other => panic!("nothing was sent on {other:?}"),
            };
            assert_eq!(frame, numbered(next[lane], sizes));
            next[lane] += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn introductions_arrive_in_full_beside_frames() {
    for wires in both() {
        introductions_arrive(&wires).await;
    }
}

async fn introductions_arrive(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let peers: Vec<(PeerId, Vec<Address>)> = (0..200)
        .map(|n| {
            let at = Address::Ip(([127, 0, 0, 1], u16::from(n)).into());
            (PeerId([n; 32]), vec![at; usize::from(n % 3)])
        })
        .collect();
    a.transport.introduce(at_a, &peers);
    // Nothing to say is not said, and too much is left out.
    a.transport.introduce(at_a, &[]);
    let many: Vec<_> = (0..3_000).map(|_| peers[1].clone()).collect();
    a.transport.introduce(at_a, &many);
    a.transport.introduce(LinkId(u64::MAX), &peers);
    a.send(at_a, Lane::Control, Bytes::from_static(b"beside"));
    a.transport.introduce(at_a, &peers[..1]);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let introduced = b.wait("an introduction", |event| match event {
            Event::Introduced { link, peers } => Some((*link, peers.clone())),
            _ => None,
        });
        let (link, peers) = introduced.await;
        assert_eq!(link, at_b);
        heard.push(peers);
    }
    heard.sort_by_key(Vec::len);
    assert_eq!(heard, [peers[..1].to_vec(), peers]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_frames_arrive_whole_and_larger_ones_are_not_queued() {
    for wires in both() {
        largest_frames_arrive(&wires).await;
    }
}

async fn largest_frames_arrive(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    for (lane, limit) in [
        (Lane::Control, limits::CONTROL_FRAME),
        (ORDERS, limits::ENTRIES_FRAME),
        (Lane::Bulk, limits::BULK_FRAME),
    ] {
        let frame = Bytes::from((0..limit).map(|i| (i * 31) as u8).collect::<Vec<_>>());
        a.send(at_a, lane, frame.clone());
        assert_eq!(b.frame(at_b, lane).await, frame);
        for len in [0, limit + 1] {
            let refused = a.transport.send(at_a, lane, vec![0; len].into());
            assert_eq!(refused, Err(SendError::BadLength { len, limit }));
        }
    }
    assert_eq!(
        a.transport
            .send(LinkId(u64::MAX), Lane::Control, Bytes::from_static(b"x")),
        Err(SendError::Down)
    );
}

#[test]
fn control_goes_on_while_megabytes_of_bulk_are_under_way() {
    // As a process with several peers on few threads should be: sockets are looked at often.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).event_interval(7).enable_all();
    let runtime = runtime.build().unwrap();
    runtime.block_on(control_beside_bulk());
}

async fn control_beside_bulk() {
    let (mut a, mut b) = (Peer::start(1).await, Peer::start(2).await);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    const FRAME: usize = 1 << 20;
    const FRAMES: u32 = 64;
    for i in 0..FRAMES {
        a.send(at_a, Lane::Bulk, numbered(i, &[FRAME]));
    }
    a.send(at_a, Lane::Control, &b"ping"[..]);
    let mut trips = 0;
    let mut before_first_ping = None;
    let mut trips_before_last_bulk = 0;
    let mut seen = [false; FRAMES as usize];
    while seen.contains(&false) {
        match b.any_frame(at_b).await {
            (Lane::Control, ping) => {
                assert_eq!(ping, "ping");
                before_first_ping.get_or_insert(seen.iter().filter(|seen| **seen).count());
                b.send(at_b, Lane::Control, &b"pong"[..]);
                assert_eq!(a.frame(at_a, Lane::Control).await, "pong");
                trips += 1;
                a.send(at_a, Lane::Control, &b"ping"[..]);
            }
            (Lane::Bulk, frame) => {
                let i = number(&frame);
                assert!(
                    !std::mem::replace(&mut seen[i as usize], true),
                    "{i} came twice"
                );
                assert_eq!(frame, numbered(i, &[FRAME]));
                trips_before_last_bulk = trips;
            }
            other => panic!("nothing was sent on {other:?}"),
        }
    }
    // A ping sent after all the bulk overtakes most of it, and the next ones do too.
    assert!(before_first_ping.is_some_and(|frames| frames < FRAMES as usize / 2));
    assert!(
        trips_before_last_bulk >= 3,
        "only {trips_before_last_bulk} round trips"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_peers_have_a_link_per_pair() {
    for wires in both() {
        a_link_per_pair(&wires).await;
    }
}

async fn a_link_per_pair(wires: &Wires) {
    let (mut a, mut b, mut c) = (
        wires.peer(1).await,
        wires.peer(2).await,
        wires.peer(3).await,
    );
    let (ab, ba) = connect(&mut a, &mut b).await;
    let (bc, cb) = connect(&mut b, &mut c).await;
    let (ca, ac) = connect(&mut c, &mut a).await;
    a.send(ab, ORDERS, &b"a to b"[..]);
    a.send(ac, ORDERS, &b"a to c"[..]);
    b.send(bc, Lane::Bulk, &b"b to c"[..]);
    c.send(ca, Lane::Control, &b"c to a"[..]);
    assert_eq!(b.frame(ba, ORDERS).await, "a to b");
    assert_eq!(c.frame(ca, ORDERS).await, "a to c");
    assert_eq!(c.frame(cb, Lane::Bulk).await, "b to c");
    assert_eq!(a.frame(ac, Lane::Control).await, "c to a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_dial_each_other_at_once_get_two_links() {
    for wires in both() {
        two_links(&wires).await;
    }
}

async fn two_links(wires: &Wires) {
    let (mut a, mut b) = (wires.peer(1).await, wires.peer(2).await);
    a.dial(&b);
    b.dial(&a);
    let mut links = Vec::new();
    for _ in 0..2 {
        let (link, peer, exporter) = a.link_up().await;
        assert_eq!(peer, b.id());
        links.push((link, exporter));
    }
    let mut others = Vec::new();
    for _ in 0..2 {
        let (link, _, exporter) = b.link_up().await;
        others.push((link, exporter));
    }
    // The exporter tells which of the two is which at the other end.
    for (link, exporter) in links {
        let (other, _) = others.iter().find(|(_, e)| *e == exporter).unwrap();
        a.send(link, Lane::Control, exporter.to_vec());
        assert_eq!(b.frame(*other, Lane::Control).await, exporter.to_vec());
    }
}
