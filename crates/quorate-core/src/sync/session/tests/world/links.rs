//! What the parts push, carried over links that lose, double and delay it; and what a session asks,
//! checked as it asks it.

use std::time::Duration;

use bytes::Bytes;

use super::{Happening, Kind, ME, World};
use crate::{
    cursor::Cursor,
    event::GroupEvent,
    id::Member,
    limits,
    random::{Purpose, Random},
    state_op::{Part, StateOp},
    sync::{SyncOut, testing::member},
    time::Time,
    wire::Message,
};

impl World {
    pub(super) fn do_own(&mut self, out: Vec<SyncOut>) {
        for out in out {
            match out {
                SyncOut::State(op) => {
                    if let StateOp::Restore { .. } = op {
                        self.owed.clear();
                    }
                    self.later(1, Happening::OwnState(op));
                }
                SyncOut::Send { to, message } => {
                    self.check_fetch(to, &message);
                    let n = usize::from(to.peer.0[0]);
                    self.carry(n, 0, Happening::ToPeer(n, message));
                }
                SyncOut::Event(GroupEvent::ProviderSetAside { peer, .. }) => {
                    self.owed.remove(&member(peer.0[0]));
                }
                SyncOut::Event(GroupEvent::Diverged { .. }) => panic!("nobody differs here"),
                SyncOut::Mark(mark) => {
                    self.marks.insert(mark);
                }
                SyncOut::Event(_) | SyncOut::StageFrom(_) => {}
                other => panic!("not a session's: {other:?}"),
            }
        }
    }

    /// Checks that a fetch is one that its provider can serve, within the credit.
    pub(super) fn check_fetch(&mut self, to: Member, message: &Message) {
        let Message::Fetch {
            fetch,
            anchor,
            part,
            max_items,
            max_bytes,
            ..
        } = message
        else {
            return;
        };
        let len = self.items_at(*anchor);
        match part {
            Part::Items { start, end, .. } => assert!(start < end && *end <= len, "{message:?}"),
            Part::Piece { rank, .. } => assert!(*rank < len, "{message:?}"),
        }
        assert!((1..=limits::FETCH_ITEMS).contains(max_items), "{message:?}");
        assert!((1..=limits::FETCH_BYTES).contains(max_bytes), "{message:?}");
        assert_eq!(self.session.anchor(), Some(*anchor));
        assert!(
            self.offered.contains(&(to, *anchor)),
            "{to:?} never offered it"
        );
        let owed = self.owed.entry(to).or_default();
        assert!(owed.insert(*fetch), "a number used twice");
        assert!(
            owed.len() <= limits::FETCHES_IN_FLIGHT,
            "{owed:?} at {to:?}"
        );
    }

    pub(super) fn do_peer(&mut self, n: usize, out: Vec<SyncOut>) {
        for out in out {
            match out {
                SyncOut::State(op) => self.later(1, Happening::PeerState(n, op)),
                SyncOut::Send { to, message } if to == member(ME) => {
                    self.carry(n, 0, Happening::FromPeer(n, message));
                }
                SyncOut::Send { to, message } => {
                    let leader = usize::from(to.peer.0[0]);
                    self.later(1, Happening::ToPeer(leader, message));
                }
                SyncOut::Chunk {
                    fetch,
                    anchor,
                    chunk,
                    ..
                } => self.send_chunk(n, fetch, anchor, chunk),
                SyncOut::Propose(marker) => self.commit(marker),
                SyncOut::Mark(mark) => {
                    self.marks.insert(mark);
                }
                SyncOut::Event(_) => {}
                other @ (SyncOut::StageFrom(_) | SyncOut::Replay { .. }) => {
                    panic!("not a provider's: {other:?}")
                }
            }
        }
    }

    pub(super) fn send_chunk(&mut self, n: usize, fetch: u64, anchor: Cursor, chunk: Bytes) {
        let plan = &self.peers[n].plan;
        let (kind, bulk) = (plan.kind, plan.bulk);
        let lies = kind == Kind::Liar && self.random.between(Purpose::Provider, 0, 2) == 0;
        let chunk = if lies {
            let mut other = chunk.to_vec();
            other[5] ^= 1;
            Bytes::from(other)
        } else if kind == Kind::Parrot {
            let said = self.peers[n].said.entry(anchor).or_insert(chunk);
            said.clone()
        } else {
            chunk
        };
        if kind != Kind::Silent {
            self.carry(n, bulk, Happening::Chunk(n, fetch, anchor, chunk));
        }
    }

    /// Carries something over the link to `n`: late, twice, or not at all.
    pub(super) fn carry(&mut self, n: usize, extra: u64, what: Happening) {
        let draw = |random: &mut Random, high| random.between(Purpose::Provider, 0, high);
        let calm = self.now >= Time(0).after(Duration::from_millis(self.plan.calm));
        let plan = self.peers[n].plan.clone();
        if !self.peers[n].up || (!calm && draw(&mut self.random, 100) < plan.loss) {
            return;
        }
        let delay = plan.delay + extra + draw(&mut self.random, plan.delay + 1);
        if draw(&mut self.random, 100) < plan.doubled {
            let delay = delay + draw(&mut self.random, 200);
            self.later(delay, what.clone());
        }
        self.later(delay, what);
    }

    pub(super) fn later(&mut self, ms: u64, what: Happening) {
        let at = self.now.after(Duration::from_millis(ms));
        self.count += 1;
        self.queue.insert((at, self.count), what);
    }

    pub(super) fn push(&mut self, at: u64, what: Happening) {
        self.count += 1;
        let at = Time(0).after(Duration::from_millis(at));
        self.queue.insert((at, self.count), what);
    }
}
