//! Peers on real QUIC, on this machine only, and at a switchboard.
// It is nobody's public interface.
#![allow(unreachable_pub)]

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use quorate_net::{
    Address, Carrier, CloseCode, Event, Events, Lane, LinkId, NetworkId, PeerId, Switchboard,
    Transport, Tuning, bind, iroh::protocol::Router, presets::Loopback,
};

/// Longer than anything here takes, so that what hangs fails and says where.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What links peers.
pub enum Wires {
    Quic,
    Memory(Switchboard),
}

/// Both kinds, for what holds over either.
pub fn both() -> [Wires; 2] {
    [Wires::Quic, Wires::Memory(Switchboard::new())]
}

impl Wires {
    pub async fn peer(&self, seed: u8) -> Peer {
        match self {
            Self::Quic => Peer::start(seed).await,
            Self::Memory(switchboard) => Peer::plug_in(switchboard, seed),
        }
    }
}

/// The network of the peers at switchboards.
pub fn network() -> NetworkId {
    NetworkId::from_name("test")
}

/// A peer whose events the test reads.
pub struct Peer {
    pub transport: Carrier,
    pub router: Option<Router>,
    events: Events,
    /// Events that a wait for another one passed over.
    passed: VecDeque<Event>,
}

/// What a link's end said.
#[derive(Debug, PartialEq, Eq)]
pub struct Down {
    pub code: Option<CloseCode>,
    pub reason: String,
}

impl Peer {
    pub async fn start(seed: u8) -> Self {
        Self::start_with(seed, Tuning::lan()).await
    }

    pub async fn start_with(seed: u8, tuning: Tuning) -> Self {
        let preset = Loopback {
            tuning: tuning.clone(),
            ..Loopback::default()
        };
        let endpoint = bind(preset, &[seed; 32]).await.unwrap();
        let (transport, events) = Transport::new(endpoint, tuning);
        let router = transport.serve();
        Self {
            transport: transport.into(),
            router: Some(router),
            events,
            passed: VecDeque::new(),
        }
    }

    pub fn plug_in(switchboard: &Switchboard, seed: u8) -> Self {
        let (plug, events) = switchboard.plug_in(network(), &[seed; 32]).unwrap();
        Self {
            transport: plug.into(),
            router: None,
            events,
            passed: VecDeque::new(),
        }
    }

    /// Drops what reads the events, and nothing else.
    pub fn into_deaf(self) -> (Carrier, Option<Router>) {
        (self.transport, self.router)
    }

    pub fn id(&self) -> PeerId {
        self.transport.peer()
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.transport.addresses()
    }

    /// Returns the first event, past or future, that `pick` makes something of; the others stay.
    pub async fn wait<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        for i in 0..self.passed.len() {
            if let Some(found) = pick(&self.passed[i]) {
                self.passed.remove(i);
                return found;
            }
        }
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event =
                event.unwrap_or_else(|_| panic!("waited for {what}, have {:?}", self.passed));
            let event = event.unwrap_or_else(|| panic!("waited for {what}, the events ended"));
            match pick(&event) {
                Some(found) => return found,
                None => self.passed.push_back(event),
            }
        }
    }

    pub async fn link_up(&mut self) -> (LinkId, PeerId, [u8; 32]) {
        self.wait("a link", |event| match event {
            Event::LinkUp {
                link,
                peer,
                exporter,
                ..
            } => Some((*link, *peer, *exporter)),
            _ => None,
        })
        .await
    }

    pub async fn link_down(&mut self, link: LinkId) -> Down {
        self.wait("a link's end", |event| match event {
            Event::LinkDown {
                link: l,
                code,
                reason,
                ..
            } if *l == link => Some(Down {
                code: *code,
                reason: reason.clone(),
            }),
            _ => None,
        })
        .await
    }

    pub async fn frame(&mut self, link: LinkId, lane: Lane) -> Bytes {
        self.wait("a frame", |event| match event {
            Event::Frame {
                link: l,
                lane: on,
                bytes,
            } if *l == link && *on == lane => Some(bytes.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for a frame whatever its lane.
    pub async fn any_frame(&mut self, link: LinkId) -> (Lane, Bytes) {
        self.wait("any frame", |event| match event {
            Event::Frame {
                link: l,
                lane,
                bytes,
            } if *l == link => Some((*lane, bytes.clone())),
            _ => None,
        })
        .await
    }

    /// Takes a frame that is there now, if there is one.
    pub fn poll_frame(&mut self) -> Option<(Lane, Bytes)> {
        while let Some(event) = self.events.try_recv() {
            self.passed.push_back(event);
        }
        self.passed.iter().find_map(|event| match event {
            Event::Frame { lane, bytes, .. } => Some((*lane, bytes.clone())),
            _ => None,
        })
    }

    pub async fn dial_failed(&mut self) -> (PeerId, String) {
        self.wait("a failed dial", |event| match event {
            Event::DialFailed { peer, error } => Some((*peer, error.clone())),
            _ => None,
        })
        .await
    }

    pub fn send(&self, link: LinkId, lane: Lane, frame: impl Into<Bytes>) {
        self.transport.send(link, lane, frame.into()).unwrap();
    }

    pub fn dial(&self, other: &Self) {
        self.transport.dial(other.id(), other.addresses()).unwrap();
    }
}

/// Connects two peers and lets them prove themselves to each other; returns each one's link.
pub async fn connect(a: &mut Peer, b: &mut Peer) -> (LinkId, LinkId) {
    let (at_a, at_b) = strangers(a, b).await;
    a.send(at_a, Lane::Control, &b"hello from a"[..]);
    b.send(at_b, Lane::Control, &b"hello from b"[..]);
    assert_eq!(a.frame(at_a, Lane::Control).await, "hello from b");
    assert_eq!(b.frame(at_b, Lane::Control).await, "hello from a");
    a.transport.authenticate(at_a);
    b.transport.authenticate(at_b);
    (at_a, at_b)
}

/// Connects two peers that have not proven anything.
pub async fn strangers(a: &mut Peer, b: &mut Peer) -> (LinkId, LinkId) {
    a.dial(b);
    let (at_a, peer_of_a, exporter_a) = a.link_up().await;
    let (at_b, peer_of_b, exporter_b) = b.link_up().await;
    assert_eq!((peer_of_a, peer_of_b), (b.id(), a.id()));
    assert_eq!(
        exporter_a, exporter_b,
        "both ends have the same keying material"
    );
    (at_a, at_b)
}
