//! Peers of one process at a switchboard: who meets whom, and what costs a link.
//!
//! What holds over QUIC too is tested over both, in `lanes` and `mounting`.

use bytes::Bytes;
use quorate_net::{
    AlreadyPluggedIn, Carrier, CloseCode, Event, GroupId, Lane, LinkId, NetworkId, PeerId,
    SendError, Switchboard, limits,
    rendezvous::{Sighting, Sightings},
};

use crate::common::{Down, Peer, connect, network, strangers};

const ORDERS: Lane = Lane::Entries(GroupId([1; 16]));

fn two(switchboard: &Switchboard) -> (Peer, Peer) {
    (Peer::plug_in(switchboard, 1), Peer::plug_in(switchboard, 2))
}

/// Checks that a link is alive, in both directions.
async fn alive((a, at_a): (&mut Peer, LinkId), (b, at_b): (&mut Peer, LinkId)) {
    a.send(at_a, ORDERS, &b"still there?"[..]);
    assert_eq!(b.frame(at_b, ORDERS).await, "still there?");
    b.send(at_b, Lane::Control, &b"yes"[..]);
    assert_eq!(a.frame(at_a, Lane::Control).await, "yes");
}

#[tokio::test]
async fn a_frame_is_handed_over_and_not_copied() {
    let (mut a, mut b) = two(&Switchboard::new());
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let frame = Bytes::from(vec![7; 100]);
    a.send(at_a, ORDERS, frame.clone());
    assert_eq!(b.frame(at_b, ORDERS).await.as_ptr(), frame.as_ptr());
}

#[tokio::test]
async fn a_strangers_handshake_is_heard_and_nothing_else() {
    let switchboard = Switchboard::new();
    let (mut a, mut b) = two(&switchboard);
    let (at_a, at_b) = strangers(&mut a, &mut b).await;
    for said in ["hello", "and more"] {
        a.send(at_a, Lane::Control, said);
        assert_eq!(b.frame(at_b, Lane::Control).await, said);
    }
    let refused = a.transport.send(at_a, ORDERS, Bytes::from_static(b"x"));
    assert_eq!(refused, Err(SendError::Stranger));
    // The other side has no such doubts; what it sends waits for the proof all the same.
    a.transport.authenticate(at_a);
    a.send(at_a, ORDERS, &b"an entry"[..]);
    a.send(at_a, Lane::Control, &b"one more"[..]);
    let large = vec![1; limits::CONTROL_FRAME];
    // The small ones before are less than what is left beside whole large ones.
    let heard = limits::HANDSHAKE / (large.len() + 4);
    for _ in 0..=heard {
        a.send(at_a, Lane::Control, large.clone());
    }
    b.send(at_b, Lane::Control, &b"hello yourself"[..]);
    assert_eq!(a.frame(at_a, Lane::Control).await, "hello yourself");
    assert_eq!(b.any_frame(at_b).await, (Lane::Control, "one more".into()));
    for _ in 0..heard {
        assert!(b.frame(at_b, Lane::Control).await == large);
    }
    assert!(
        b.poll_frame().is_none(),
        "the entry waits, and what is too much"
    );
    b.transport.authenticate(at_b);
    assert_eq!(b.frame(at_b, ORDERS).await, "an entry");
    assert!(b.frame(at_b, Lane::Control).await == large);

    let mut c = Peer::plug_in(&switchboard, 3);
    let (at_c, at_b) = strangers(&mut c, &mut b).await;
    c.send(at_c, Lane::Control, vec![0; limits::HELLO_FRAME + 1]);
    assert_eq!(b.link_down(at_b).await.code, Some(CloseCode::TooLarge));
    let down = c.link_down(at_c).await;
    assert_eq!(down.code, Some(CloseCode::TooLarge));
    assert!(down.reason.contains("1025"), "{}", down.reason);
}

#[tokio::test]
async fn a_stranger_that_proves_nothing_is_turned_away() {
    let (mut a, mut b) = two(&Switchboard::new());
    let (at_a, at_b) = strangers(&mut a, &mut b).await;
    a.send(at_a, Lane::Control, &b"hello"[..]);
    // One side believes the other; it takes two.
    a.transport.authenticate(at_a);
    for (peer, link) in [(&mut b, at_b), (&mut a, at_a)] {
        assert_eq!(peer.link_down(link).await.code, Some(CloseCode::Stranger));
    }
}

#[tokio::test]
async fn strangers_are_bounded_and_members_are_not_among_them() {
    let switchboard = Switchboard::new();
    let (mut a, mut b) = two(&switchboard);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let mut crowd = Vec::new();
    for n in 0..limits::STRANGERS {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        let (plug, events) = switchboard.plug_in(network(), &key).unwrap();
        plug.dial(a.id()).unwrap();
        a.link_up().await;
        crowd.push((plug, events));
    }
    let mut late = Peer::plug_in(&switchboard, 3);
    late.dial(&a);
    let (peer, why) = late.dial_failed().await;
    assert_eq!(peer, a.id());
    assert!(why.contains("too many strangers"), "{why}");
    alive((&mut a, at_a), (&mut b, at_b)).await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_loses_its_link_and_no_other() {
    for (lane, bound) in [
        (Lane::Control, limits::CONTROL_QUEUE),
        (ORDERS, limits::ENTRIES_QUEUE),
        (Lane::Bulk, limits::BULK_QUEUE),
    ] {
        let switchboard = Switchboard::new();
        let (mut a, mut b) = two(&switchboard);
        let mut hung = Peer::plug_in(&switchboard, 3);
        let (at_a, at_b) = connect(&mut a, &mut b).await;
        let (to_hung, at_hung) = connect(&mut a, &mut hung).await;
        let frame = Bytes::from(vec![7; 4_000]);
        let cost = frame.len() + limits::FRAME_OVERHEAD;
        let mut sent = 0;
        let refused = loop {
            match a.transport.send(to_hung, lane, frame.clone()) {
                Ok(()) => sent += cost,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, SendError::Slow);
        assert!(sent <= bound && sent + cost > bound, "{sent} of {bound}");
        for (peer, link) in [(&mut a, to_hung), (&mut hung, at_hung)] {
            let Down { code, reason } = peer.link_down(link).await;
            assert_eq!(code, Some(CloseCode::Slow));
            assert!(reason.contains("does not read"), "{reason}");
        }
        assert_eq!(a.transport.send(to_hung, lane, frame), Err(SendError::Down));
        alive((&mut a, at_a), (&mut b, at_b)).await;
    }
}

#[tokio::test]
async fn what_is_taken_makes_room() {
    let (mut a, mut b) = two(&Switchboard::new());
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    for lane in [Lane::Control, ORDERS, Lane::Bulk] {
        let size = if lane == Lane::Control {
            4_000
        } else {
            1 << 20
        };
        let frame = Bytes::from(vec![7; size]);
        // Several times what any lane keeps.
        for _ in 0..600 {
            a.send(at_a, lane, frame.clone());
            assert_eq!(b.frame(at_b, lane).await.len(), size);
        }
    }
    let figures = a.transport.figures();
    assert_eq!(figures.len(), 1);
    assert_eq!((figures[0].queued, figures[0].proven), (0, true));
}

#[tokio::test]
async fn a_link_has_as_many_entries_lanes_as_there_may_be_groups() {
    let (mut a, mut b) = two(&Switchboard::new());
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let lane = |n: usize| {
        let mut group = [0; 16];
        group[..8].copy_from_slice(&n.to_le_bytes());
        Lane::Entries(GroupId(group))
    };
    for n in 0..limits::ENTRIES_LANES {
        a.send(at_a, lane(n), &b"x"[..]);
    }
    let one_more = a
        .transport
        .send(at_a, lane(limits::ENTRIES_LANES), Bytes::from_static(b"x"));
    assert_eq!(one_more, Err(SendError::TooManyLanes));
    assert_eq!(b.frame(at_b, lane(limits::ENTRIES_LANES - 1)).await, "x");
}

#[tokio::test]
async fn a_peer_that_is_gone_closes_its_links_and_its_key_is_free() {
    let switchboard = Switchboard::new();
    let (mut a, mut b) = two(&switchboard);
    let (at_a, _) = connect(&mut a, &mut b).await;
    b.transport.crash();
    assert_eq!(a.link_down(at_a).await.code, None);
    a.dial(&b);
    assert_eq!(a.dial_failed().await.0, b.id());
    // It comes back under the same key while what is left of its old self still goes away.
    let mut again = Peer::plug_in(&switchboard, 2);
    drop(b);
    let (at_a, at_again) = connect(&mut a, &mut again).await;
    alive((&mut a, at_a), (&mut again, at_again)).await;
    // Nobody says goodbye for a driver that was dropped.
    let id = again.id();
    drop(again);
    a.send(at_a, ORDERS, &b"anybody there?"[..]);
    a.link_down(at_a).await;
    a.transport.dial(id, Vec::new()).unwrap();
    assert_eq!(a.dial_failed().await.0, id);
}

#[tokio::test]
async fn a_key_is_plugged_in_once_in_a_network() {
    let switchboard = Switchboard::new();
    let (mut a, b) = two(&switchboard);
    let twice = switchboard.plug_in(network(), &[1; 32]);
    assert_eq!(twice.map(drop), Err(AlreadyPluggedIn(a.id())));
    // Another network is another matter, and nobody of it can be reached.
    let elsewhere = NetworkId::from_name("elsewhere");
    let (other, _events) = switchboard.plug_in(elsewhere, &[1; 32]).unwrap();
    let (stranger, _their_events) = switchboard.plug_in(elsewhere, &[5; 32]).unwrap();
    assert_eq!(other.peer(), a.id());
    for nobody in [stranger.peer(), PeerId([7; 32]), a.id()] {
        a.transport.dial(nobody, b.addresses()).unwrap();
        assert_eq!(a.dial_failed().await.0, nobody);
    }
}

#[tokio::test]
async fn a_barred_peer_is_not_reached_from_either_side() {
    let (mut a, mut b) = two(&Switchboard::new());
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    a.transport.bar([b.id()].into());
    for (peer, link) in [(&mut a, at_a), (&mut b, at_b)] {
        assert_eq!(peer.link_down(link).await.code, None);
    }
    a.dial(&b);
    assert_eq!(a.dial_failed().await.0, b.id());
    b.dial(&a);
    assert_eq!(b.dial_failed().await.0, a.id());
    a.transport.bar([].into());
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    alive((&mut a, at_a), (&mut b, at_b)).await;
}

#[tokio::test]
async fn peers_of_one_network_see_each_other_come_and_go() {
    let switchboard = Switchboard::new();
    let (a, b) = two(&switchboard);
    let elsewhere = NetworkId::from_name("elsewhere");
    let _other = switchboard.plug_in(elsewhere, &[5; 32]).unwrap();
    let mut seen = switchboard.watch(network(), a.id());
    assert_eq!(next(&mut seen).await, (b.id(), true));
    let c = Peer::plug_in(&switchboard, 3);
    assert_eq!(next(&mut seen).await, (c.id(), true));
    b.transport.shutdown().await;
    assert_eq!(next(&mut seen).await, (b.id(), false));
    let id = c.id();
    drop(c);
    assert_eq!(next(&mut seen).await, (id, false));
}

/// Who came, or went.
async fn next(seen: &mut Sightings) -> (PeerId, bool) {
    let sighting = tokio::time::timeout(crate::common::PATIENCE, seen.recv()).await;
    match sighting.unwrap().unwrap() {
        Sighting::Found(found) => (found.peer, true),
        Sighting::Lost(peer) => (peer, false),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_of_a_link_comes_before_its_first_or_after_its_last() {
    let switchboard = Switchboard::new();
    for round in 0..200 {
        let (a, mut from_a) = switchboard.plug_in(network(), &[1; 32]).unwrap();
        let (b, mut from_b) = switchboard.plug_in(network(), &[2; 32]).unwrap();
        a.dial(b.peer()).unwrap();
        let other = Carrier::from(b.clone());
        let told = tokio::spawn(async move {
            let mut names = Vec::new();
            while let Some(event) = from_b.recv().await {
                if let Event::LinkUp { link, .. } = event {
                    other.authenticate(link);
                    let said = Bytes::from_static(b"said");
                    for _ in 0..round % 7 {
                        other
                            .send(link, Lane::Bulk, said.clone())
                            .unwrap_or_default();
                    }
                }
                names.push(name(&event));
                if names.last() == Some(&"down") {
                    break;
                }
            }
            names
        });
        let mut names = Vec::new();
        while let Some(event) = from_a.recv().await {
            if let Event::LinkUp { link, .. } = event {
                a.authenticate(link);
                let said = Bytes::from_static(b"said");
                for _ in 0..round % 5 {
                    a.send(link, Lane::Bulk, said.clone()).unwrap_or_default();
                }
                a.close(link, CloseCode::Shutdown, "enough");
            }
            names.push(name(&event));
            if names.last() == Some(&"down") {
                break;
            }
        }
        for names in [names, told.await.unwrap()] {
            assert_eq!(names.first(), Some(&"up"), "{names:?}");
            let inner = &names[1..names.len() - 1];
            assert!(inner.iter().all(|name| *name == "frame"), "{names:?}");
        }
        assert!(from_a.try_recv().is_none());
        a.crash();
        b.crash();
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::LinkUp { .. } => "up",
        Event::LinkDown { .. } => "down",
        Event::Frame { .. } => "frame",
        _ => "other",
    }
}
