//! A session among real providers and a real leader's requests, over links that misbehave.
//!
//! Everything happens in one queue by model time. What the session asks is checked as it asks it;
//! the state is a toy that counts what was verified.

mod links;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;

use super::toy::{self, Assembly};
use crate::{
    cursor::{Cursor, Index, Term},
    entry::{Marker, Requester},
    event::Refusal,
    id::{Digest, GenesisId, Member, SessionId},
    profile::GroupProfile,
    random::Random,
    state_op::{Restored, StateOp},
    sync::{
        FetchRequest, Leading, MarkerApplied, Phase, Provider, Requests, Session, SessionStart,
        SyncOut, Terms, authorize, pass_on,
        testing::{member, now as clocks},
    },
    time::Time,
    wire::Message,
};

pub(super) const ME: u8 = 99;
const NAME: SessionId = SessionId(7);

/// One run: who is there, and what goes wrong until when.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) items: u64,
    pub(super) batch: u64,
    pub(super) peers: Vec<PeerPlan>,
    /// At which millisecond what happens.
    pub(super) troubles: Vec<(u64, Trouble)>,
    /// From when on nothing new goes wrong.
    pub(super) calm: u64,
    pub(super) seed: u64,
}

/// How one provider and the link to it behave.
#[derive(Clone, Debug)]
pub(super) struct PeerPlan {
    pub(super) delay: u64,
    /// How much longer a chunk takes.
    pub(super) bulk: u64,
    /// Of a hundred messages, how many are lost until it is calm, and how many come twice.
    pub(super) loss: u64,
    pub(super) doubled: u64,
    pub(super) kind: Kind,
    /// How many leaves it joins in one answer.
    pub(super) generous: u64,
    /// How much later than the leader it applies.
    pub(super) lag: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Honest,
    /// Every other chunk is of something else.
    Liar,
    /// Every chunk is the first one it ever sent: true, and never what was asked for.
    Parrot,
    /// No chunk ever leaves it.
    Silent,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Lead(usize),
    NoLeader,
    Down(usize),
    Up(usize),
    ExpireAll,
    Commits(bool),
    StagingLost,
    /// The leader prunes what follows every anchor.
    Pruned,
    InstallFails,
}

#[derive(Clone, Debug)]
enum Happening {
    ToPeer(usize, Message),
    FromPeer(usize, Message),
    Chunk(usize, u64, Cursor, Bytes),
    Applied(usize, Marker, Cursor, Time),
    PeerState(usize, StateOp),
    OwnState(StateOp),
    Trouble(Trouble),
}

struct Peer {
    plan: PeerPlan,
    provider: Provider,
    up: bool,
    hashed: BTreeMap<Cursor, u32>,
    said: BTreeMap<Cursor, Bytes>,
}

pub(super) struct World {
    plan: Plan,
    now: Time,
    queue: BTreeMap<(Time, u64), Happening>,
    count: u64,
    random: Random,
    peers: Vec<Peer>,
    voters: Vec<Member>,
    leader: Option<usize>,
    term: Term,
    requests: Requests,
    commits: bool,
    pending: Vec<Marker>,
    last: u64,
    committed: BTreeSet<Cursor>,
    pub(super) session: Session,
    assembly: Option<(Cursor, Assembly)>,
    install_fails: bool,
    owed: BTreeMap<Member, BTreeSet<u64>>,
    offered: BTreeSet<(Member, Cursor)>,
    pub(super) marks: BTreeSet<&'static str>,
    pub(super) restores: u64,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let profile = GroupProfile {
            batch_items: plan.batch,
            ..GroupProfile::lan()
        };
        let start = SessionStart {
            session: NAME,
            genesis: GenesisId([3; 16]),
            me: member(ME),
            have: Cursor::ZERO,
            leader: Some(member(0)),
            term: Term(2),
        };
        let mut out = Vec::new();
        let session = Session::new(Time(0), start, &profile, &mut out);
        let peer = |plan: &PeerPlan| Peer {
            plan: plan.clone(),
            provider: Provider::new(&profile),
            up: true,
            hashed: BTreeMap::new(),
            said: BTreeMap::new(),
        };
        let mut world = Self {
            now: Time(0),
            queue: BTreeMap::new(),
            count: 0,
            random: Random::new(plan.seed, member(ME).peer),
            peers: plan.peers.iter().map(peer).collect(),
            voters: (0..plan.peers.len() as u8).map(member).collect(),
            leader: Some(0),
            term: Term(2),
            requests: Requests::new(&profile),
            commits: true,
            pending: Vec::new(),
            last: 10,
            committed: BTreeSet::new(),
            session,
            assembly: None,
            install_fails: false,
            owed: BTreeMap::new(),
            offered: BTreeSet::new(),
            marks: BTreeSet::new(),
            restores: 0,
            plan,
        };
        world.do_own(out);
        for (at, trouble) in world.plan.troubles.clone() {
            let at = at.min(world.plan.calm);
            world.push(at, Happening::Trouble(trouble));
        }
        for n in 0..world.peers.len() {
            world.push(world.plan.calm, Happening::Trouble(Trouble::Up(n)));
        }
        for calm in [Trouble::Commits(true), Trouble::Lead(0)] {
            world.push(world.plan.calm, Happening::Trouble(calm));
        }
        world
    }

    /// Runs until the session follows; returns at which millisecond that was.
    pub(super) fn run(&mut self, end: u64) -> u64 {
        let mut at_once = 0;
        while self.session.phase() != Phase::Following {
            let next = self.next_time().max(self.now);
            at_once = if next == self.now { at_once + 1 } else { 0 };
            assert!(at_once < 100_000, "time stands still at {:?}", self.now);
            let late = next > Time(0).after(Duration::from_millis(end));
            assert!(!late, "never ends: {:?}", self.session.progress());
            self.now = next;
            self.tick();
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                let happening = entry.remove();
                self.happen(happening);
            }
        }
        self.now.0 / 1_000_000
    }

    fn next_time(&self) -> Time {
        let providers = self
            .peers
            .iter()
            .filter_map(|peer| peer.provider.deadline());
        let first = self.queue.keys().next().map(|(at, _)| *at);
        providers
            .chain(first)
            .chain(self.session.deadline())
            .chain(self.requests.deadline())
            .min()
            .expect("the session waits for something")
    }

    fn tick(&mut self) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= self.now);
        if due(self.session.deadline()) {
            let mut out = Vec::new();
            self.session.tick(self.now, &mut out);
            assert!(
                self.session.deadline().is_none_or(|at| at > self.now),
                "due at once"
            );
            self.do_own(out);
        }
        for n in 0..self.peers.len() {
            let mut out = Vec::new();
            self.peers[n].provider.tick(self.now, &mut out);
            self.do_peer(n, out);
        }
        if let Some(leader) = self.leader
            && self.requests.deadline().is_some_and(|at| at <= self.now)
        {
            // Writes go on: whatever is cut, is cut somewhere else.
            self.last += 1;
            let applied = Cursor::new(self.term, Index(self.last));
            self.committed.insert(applied);
            let (mut out, now) = (Vec::new(), clocks(self.now));
            let leading = Leading {
                term: self.term,
                voters: &self.voters,
            };
            let provider = &mut self.peers[leader].provider;
            self.requests
                .tick(now, applied, leading, provider, &mut out);
            self.do_peer(leader, out);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToPeer(n, message) => self.at_peer(n, message),
            Happening::FromPeer(n, message) => self.on_message(n, message),
            Happening::Chunk(n, fetch, anchor, chunk) => {
                let named = (NAME, fetch, anchor);
                self.own(|s, now, out| s.on_chunk(now, member(n as u8), named, chunk, out));
            }
            Happening::Applied(n, marker, anchor, appended_at) => {
                let applied = MarkerApplied {
                    anchor,
                    marker: &marker,
                    me: member(n as u8),
                    started_commit: Index(0),
                    appended_at,
                };
                if self.leader == Some(n) {
                    self.requests.on_applied(&marker);
                }
                let mut out = Vec::new();
                let provider = &mut self.peers[n].provider;
                provider.on_marker_applied(self.now, &applied, &mut out);
                self.do_peer(n, out);
            }
            Happening::PeerState(n, op) => self.peer_state(n, op),
            Happening::OwnState(op) => self.own_state(op),
            Happening::Trouble(trouble) => self.trouble(trouble),
        }
    }

    fn at_peer(&mut self, n: usize, message: Message) {
        let (from, mut out) = (member(ME), Vec::new());
        match message {
            Message::SnapshotRequest {
                member,
                session,
                have,
            } => {
                let requester = Requester {
                    member,
                    session,
                    have,
                };
                if self.leader == Some(n) {
                    self.requests.on_request(self.now, requester, &mut out);
                } else {
                    let leader = self.leader.map(|n| self.voters[n]);
                    let profile = GroupProfile::lan();
                    pass_on(from, requester, leader, &profile, &mut out);
                }
            }
            Message::Authorize { session, anchor } if self.leader == Some(n) => {
                let term = self.committed.contains(&anchor).then_some(anchor.term);
                let leading = Leading {
                    term: self.term,
                    voters: &self.voters,
                };
                let commit = Index(self.last);
                authorize(from, (session, anchor), term, commit, leading, &mut out);
            }
            Message::Fetch {
                session,
                fetch,
                anchor,
                part,
                max_items,
                max_bytes,
            } => {
                let request = FetchRequest {
                    from,
                    session,
                    fetch,
                    anchor,
                    part,
                    max_items,
                    max_bytes,
                };
                self.peers[n].provider.on_fetch(self.now, request, &mut out);
            }
            _ => {}
        }
        self.do_peer(n, out);
    }

    fn on_message(&mut self, n: usize, message: Message) {
        let from = member(n as u8);
        match message {
            Message::Offer {
                session,
                anchor,
                items,
                bytes,
                digest,
            } => {
                self.offered.insert((from, anchor));
                let terms = Terms {
                    items,
                    bytes,
                    digest,
                };
                self.own(|s, now, out| s.on_offer(now, from, session, (anchor, terms), out));
            }
            Message::Authorized {
                term,
                session,
                anchor,
                good,
                voters,
            } => {
                let word = (term, good, &voters[..]);
                self.own(|s, now, out| s.on_authorized(now, from, session, anchor, word, out));
            }
            Message::SnapshotRefused {
                session,
                retry_after_ms,
                ..
            } => {
                let wait = Duration::from_millis(u64::from(retry_after_ms));
                self.own(|s, now, out| s.on_refused(now, from, session, wait, out));
            }
            Message::FetchRefused {
                session,
                fetch,
                reason,
            } => {
                let owed = self.owed.entry(from).or_default();
                if owed.remove(&fetch) && reason != Refusal::Busy
                    || reason == Refusal::UnknownAnchor
                {
                    owed.clear();
                }
                let named = (session, fetch);
                self.own(|s, now, out| s.on_fetch_refused(now, from, named, reason, out));
            }
            _ => {}
        }
    }

    fn peer_state(&mut self, n: usize, op: StateOp) {
        let (now, mut out) = (self.now, Vec::new());
        let generous = self.peers[n].plan.generous;
        let content = |anchor| (self.items_at(anchor), digest_of(anchor));
        let leading = (self.leader == Some(n)).then_some(Leading {
            term: self.term,
            voters: &self.voters,
        });
        match op {
            StateOp::Cut { anchor } => {
                let (items, _) = content(anchor);
                self.peers[n]
                    .provider
                    .on_cut(anchor, items, items * 10, &mut out);
            }
            StateOp::Hash { anchor } => {
                let digest = digest_of(anchor);
                let peer = &mut self.peers[n];
                let slices = peer.hashed.entry(anchor).or_default();
                *slices += 1;
                let digest = (*slices > 3).then_some(digest);
                peer.provider
                    .on_hashed(now, anchor, digest, leading, &mut out);
            }
            StateOp::Read {
                fetch,
                anchor,
                part,
                max_items,
                ..
            } => {
                let read = toy::read(content(anchor), part, max_items, generous);
                let chunk = read.map(|(chunk, _)| chunk);
                self.peers[n].provider.on_read(now, fetch, chunk, &mut out);
            }
            StateOp::Forget { anchor } => {
                self.peers[n].hashed.remove(&anchor);
            }
            StateOp::Sweep => self.peers[n].provider.on_swept(false, &mut out),
            other => panic!("not a provider's: {other:?}"),
        }
        self.do_peer(n, out);
    }

    fn own_state(&mut self, op: StateOp) {
        match op {
            StateOp::Restore {
                anchor,
                items,
                digest,
                ..
            } => {
                assert_eq!((items, digest), (self.items_at(anchor), digest_of(anchor)));
                self.assembly = Some((anchor, Assembly::new(digest, items)));
                self.restores += 1;
            }
            StateOp::Verify {
                fetch, part, chunk, ..
            } => {
                let (_, assembly) = self.assembly.as_mut().expect("restores before it verifies");
                let verdict = assembly.verify(part, &chunk);
                for owed in self.owed.values_mut() {
                    owed.remove(&fetch.0);
                }
                self.own(|s, now, out| s.on_verified(now, fetch, verdict, out));
            }
            StateOp::Install { .. } => {
                let (anchor, assembly) = self.assembly.as_ref().expect("restores first");
                assert!(assembly.is_whole(), "installs {assembly:?}");
                let restored = Restored {
                    anchor: *anchor,
                    configuration: Default::default(),
                    fate: crate::Fate::Empty,
                    version: 1,
                    items: 0,
                    bytes: 0,
                };
                let fails = std::mem::take(&mut self.install_fails);
                let restored = (!fails).then_some(&restored);
                self.own(|s, now, out| s.on_installed(now, restored, out));
            }
            other => panic!("not a session's: {other:?}"),
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Lead(n) => {
                self.term = self.term.next();
                self.leader = Some(n);
                self.requests.on_leadership_lost();
                self.pending.clear();
                let (leader, term) = (Some(member(n as u8)), self.term);
                self.own(|s, now, out| s.on_leader(now, leader, term, out));
            }
            Trouble::NoLeader => {
                self.leader = None;
                self.requests.on_leadership_lost();
                let term = self.term;
                self.own(|s, now, out| s.on_leader(now, None, term, out));
            }
            Trouble::Down(n) => {
                self.peers[n].up = false;
                self.owed.remove(&member(n as u8));
                self.peers[n].provider.on_peer_down(member(ME).peer);
                self.own(|s, now, out| s.on_peer_down(now, member(n as u8), out));
            }
            Trouble::Up(n) => {
                self.peers[n].up = true;
                self.own(|s, now, out| s.on_peer_up(now, member(n as u8), out));
            }
            Trouble::ExpireAll => {
                for n in 0..self.peers.len() {
                    let mut out = Vec::new();
                    let anchors: Vec<Cursor> = self.peers[n].provider.anchors().collect();
                    for anchor in anchors {
                        self.peers[n].provider.forget(anchor, &mut out);
                    }
                    self.do_peer(n, out);
                }
            }
            Trouble::Commits(commits) => {
                self.commits = commits;
                for marker in std::mem::take(&mut self.pending) {
                    self.commit(marker);
                }
            }
            Trouble::StagingLost => {
                self.own(|s, now, out| s.on_staging_lost(now, out));
            }
            Trouble::Pruned => self.committed.clear(),
            Trouble::InstallFails => self.install_fails = true,
        }
    }

    fn commit(&mut self, marker: Marker) {
        if !self.commits {
            return self.pending.push(marker);
        }
        self.last += 1;
        let anchor = Cursor::new(self.term, Index(self.last));
        self.committed.insert(anchor);
        for n in 0..self.peers.len() {
            let lag = if self.leader == Some(n) {
                0
            } else {
                self.peers[n].plan.lag + 1
            };
            let applied = Happening::Applied(n, marker.clone(), anchor, self.now);
            self.later(lag, applied);
        }
    }

    /// Gives the session an input and does what it wants.
    fn own(&mut self, input: impl FnOnce(&mut Session, Time, &mut Vec<SyncOut>)) {
        let mut out = Vec::new();
        input(&mut self.session, self.now, &mut out);
        self.do_own(out);
    }

    /// Returns how many items the state has at an index: it grows with every entry.
    fn items_at(&self, anchor: Cursor) -> u64 {
        match self.plan.items {
            0 => 0,
            items => items + anchor.index.0 - 10,
        }
    }
}

fn digest_of(anchor: Cursor) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&anchor.index.0.to_le_bytes());
    digest[8..16].copy_from_slice(&anchor.term.0.to_le_bytes());
    Digest(digest)
}
