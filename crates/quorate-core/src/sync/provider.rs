//! Every peer's side: keeps snapshots for a while, offers them, and serves ranges of them.
//!
//! Invariants: a snapshot is cut exactly where it is told to be; only a fetch that brought a chunk
//! prolongs its life, by the local monotonic clock; whatever a peer asks, the answer is a chunk
//! within the limits or a refusal with its reason, never silence and never a panic. One slice of
//! hashing, one of freeing and a few reads are under way at a time, so that a burst of fetches
//! delays an apply by milliseconds, not by the burst.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::{Leading, SyncOut};
use crate::{
    cursor::{Cursor, Index},
    entry::{Marker, Requester},
    event::{GroupEvent, Refusal},
    id::{Digest, Member, PeerId, SessionId},
    limits,
    profile::GroupProfile,
    state_op::{FetchId, Part, StateOp},
    time::Time,
    wire::Message,
};

/// After this part of its TTL without a fetch a snapshot may give way to a new one.
const IDLE: u32 = 4;

/// A marker that was applied, and what decides whether it is cut for.
#[derive(Clone, Copy, Debug)]
pub struct MarkerApplied<'a> {
    /// The marker's cursor: the last entry handed to the state.
    pub anchor: Cursor,
    /// What it says.
    pub marker: &'a Marker,
    /// This peer.
    pub me: Member,
    /// The commit index at which this peer started.
    pub started_commit: Index,
    /// When the marker was appended here.
    pub appended_at: Time,
}

/// A fetch as it came from another peer: nothing of it is to be trusted but who sent it.
#[derive(Clone, Copy, Hash, Debug)]
pub struct FetchRequest {
    /// Who asks, as its link proves.
    pub from: Member,
    /// Its session.
    pub session: SessionId,
    /// Its name for the fetch.
    pub fetch: u64,
    /// Which snapshot.
    pub anchor: Cursor,
    /// Which part.
    pub part: Part,
    /// At most this many items.
    pub max_items: u64,
    /// At most this many bytes.
    pub max_bytes: u64,
}

/// The snapshots that one peer keeps of one group.
#[derive(Clone, Hash, Debug)]
pub struct Provider {
    ttl: Duration,
    kept: BTreeMap<Cursor, Snapshot>,
    /// Fetches found valid that wait for a read.
    queue: VecDeque<FetchRequest>,
    reading: BTreeMap<FetchId, FetchRequest>,
    next_read: u64,
    /// The snapshot of which a slice is being hashed.
    hashing: Option<Cursor>,
    sweep: Sweep,
}

#[derive(Clone, Hash, Debug)]
struct Snapshot {
    /// Who waits for the offer.
    requesters: Vec<Requester>,
    /// Who was sent it, the latest session of each.
    offered: BTreeMap<Member, SessionId>,
    /// Items and bytes, once the state has said so.
    size: Option<(u64, u64)>,
    digest: Option<Digest>,
    /// When it was last of use.
    used: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Sweep {
    Idle,
    UnderWay,
    /// Something was forgotten after the slice under way was asked for.
    Again,
}

impl Provider {
    /// Starts without any snapshot.
    pub fn new(profile: &GroupProfile) -> Self {
        Self {
            ttl: profile.snapshot_ttl,
            kept: BTreeMap::new(),
            queue: VecDeque::new(),
            reading: BTreeMap::new(),
            next_read: 0,
            hashing: None,
            sweep: Sweep::Idle,
        }
    }

    /// Cuts a snapshot at a marker, unless there is no use in it.
    ///
    /// To be called right after the batch that ends with the marker was handed to the state and
    /// before anything else is. Skipped are a marker that names only this peer, one at or below
    /// the commit index at which this peer started (it was answered long ago), and one that waited
    /// here for longer than a snapshot lives.
    pub fn on_marker_applied(
        &mut self,
        now: Time,
        applied: &MarkerApplied<'_>,
        out: &mut Vec<SyncOut>,
    ) {
        let requesters: Vec<Requester> = applied
            .marker
            .requesters
            .iter()
            .filter(|requester| requester.member.peer != applied.me.peer)
            .take(limits::REQUESTERS)
            .copied()
            .collect();
        if requesters.is_empty() {
            return out.push(SyncOut::Mark("provider.marker_of_its_own"));
        }
        if applied.anchor.index <= applied.started_commit {
            return out.push(SyncOut::Mark("provider.marker_from_before"));
        }
        if now.since(applied.appended_at) > self.ttl {
            return out.push(SyncOut::Mark("provider.marker_too_late"));
        }
        self.cut(now, applied.anchor, &requesters, out);
    }

    /// Offers a snapshot at `applied`, the last cursor handed to the state, re-using one that is
    /// there; false if there is no room for another.
    pub fn offer_own(
        &mut self,
        now: Time,
        applied: Cursor,
        requesters: &[Requester],
        leading: Option<Leading<'_>>,
        out: &mut Vec<SyncOut>,
    ) -> bool {
        if let Some(snapshot) = self.kept.get_mut(&applied) {
            snapshot.used = now;
            let room = limits::PEERS.saturating_sub(snapshot.requesters.len());
            snapshot.requesters.extend(requesters.iter().take(room));
            self.offer(now, applied, leading, out);
            return true;
        }
        self.cut(now, applied, requesters, out)
    }

    /// Takes the size of a snapshot that was cut.
    pub fn on_cut(&mut self, anchor: Cursor, items: u64, bytes: u64, out: &mut Vec<SyncOut>) {
        if let Some(snapshot) = self.kept.get_mut(&anchor) {
            snapshot.size = Some((items, bytes));
            out.push(SyncOut::Event(GroupEvent::SnapshotCut { anchor, items }));
        }
        self.hash(out);
    }

    /// Takes a slice of hashing, and offers the snapshot once its digest is there.
    ///
    /// A leader passes what it adds to its offer.
    pub fn on_hashed(
        &mut self,
        now: Time,
        anchor: Cursor,
        digest: Option<Digest>,
        leading: Option<Leading<'_>>,
        out: &mut Vec<SyncOut>,
    ) {
        self.hashing = None;
        if let Some(snapshot) = self.kept.get_mut(&anchor) {
            snapshot.digest = snapshot.digest.or(digest);
            snapshot.used = now;
        }
        self.offer(now, anchor, leading, out);
        self.hash(out);
    }

    /// Takes a fetch: it is read, or refused with the reason.
    pub fn on_fetch(&mut self, now: Time, request: FetchRequest, out: &mut Vec<SyncOut>) {
        match self.check(now, request) {
            Ok(request) => {
                self.queue.push_back(request);
                self.read(out);
            }
            Err(reason) => refuse(&request, reason, out),
        }
    }

    /// Takes what was read; only this prolongs the snapshot's life.
    pub fn on_read(
        &mut self,
        now: Time,
        fetch: FetchId,
        chunk: Option<Bytes>,
        out: &mut Vec<SyncOut>,
    ) {
        let Some(request) = self.reading.remove(&fetch) else {
            return;
        };
        let snapshot = self.kept.get_mut(&request.anchor);
        match (chunk, snapshot) {
            (Some(chunk), snapshot) => {
                if let Some(snapshot) = snapshot {
                    snapshot.used = now;
                }
                out.push(SyncOut::Chunk {
                    to: request.from,
                    session: request.session,
                    fetch: request.fetch,
                    anchor: request.anchor,
                    chunk,
                });
            }
            (None, Some(_)) => refuse(&request, Refusal::OutOfRange, out),
            (None, None) => refuse(&request, Refusal::UnknownAnchor, out),
        }
        self.read(out);
    }

    /// Takes the answer to a sweep.
    pub fn on_swept(&mut self, more: bool, out: &mut Vec<SyncOut>) {
        let again = more || self.sweep == Sweep::Again;
        self.sweep = Sweep::Idle;
        if again {
            self.start_sweep(out);
        }
    }

    /// Drops the fetches of a peer whose link is gone; offers wait for it to come back.
    pub fn on_peer_down(&mut self, peer: PeerId) {
        self.queue.retain(|request| request.from.peer != peer);
    }

    /// Offers again what was offered to a member over a link that is gone: the offer may have
    /// been lost with it. That prolongs no snapshot's life.
    pub fn on_peer_up(
        &mut self,
        member: Member,
        leading: Option<Leading<'_>>,
        out: &mut Vec<SyncOut>,
    ) {
        for (anchor, snapshot) in &self.kept {
            if let Some(session) = snapshot.offered.get(&member) {
                out.push(SyncOut::Mark("provider.offered_again"));
                snapshot.offer(*anchor, (member, *session), leading, out);
            }
        }
    }

    /// Forgets one snapshot: what follows it costs more log than it is worth.
    pub fn forget(&mut self, anchor: Cursor, out: &mut Vec<SyncOut>) {
        if self.kept.remove(&anchor).is_none() {
            return;
        }
        let (gone, stay): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|request| request.anchor == anchor);
        self.queue = stay;
        for request in gone {
            refuse(&request, Refusal::UnknownAnchor, out);
        }
        out.push(SyncOut::Event(GroupEvent::SnapshotForgotten { anchor }));
        out.push(SyncOut::State(StateOp::Forget { anchor }));
        self.start_sweep(out);
    }

    /// Forgets what nobody has fetched from for its TTL.
    pub fn tick(&mut self, now: Time, out: &mut Vec<SyncOut>) {
        let expired: Vec<Cursor> = self
            .kept
            .keys()
            .filter(|anchor| self.expires(**anchor).is_some_and(|at| at <= now))
            .copied()
            .collect();
        for anchor in expired {
            out.push(SyncOut::Mark("provider.snapshot_expired"));
            self.forget(anchor, out);
        }
    }

    /// Returns when [`Provider::tick`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.kept
            .keys()
            .filter_map(|anchor| self.expires(*anchor))
            .min()
    }

    /// Tells whether no snapshot lives here.
    pub fn is_idle(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the lowest anchor of a live snapshot: the log behind it is needed by whoever
    /// restores from it.
    pub fn oldest_anchor(&self) -> Option<Cursor> {
        self.kept.keys().min_by_key(|anchor| anchor.index).copied()
    }

    /// Returns where live snapshots were cut, in order.
    pub fn anchors(&self) -> impl ExactSizeIterator<Item = Cursor> + '_ {
        self.kept.keys().copied()
    }

    #[cfg(test)]
    pub(super) fn waiting_at(&self, anchor: Cursor) -> Vec<(Member, SessionId)> {
        let requesters = self
            .kept
            .get(&anchor)
            .into_iter()
            .flat_map(|s| &s.requesters);
        requesters.map(|r| (r.member, r.session)).collect()
    }

    /// Keeps a new snapshot; false if there is no room.
    fn cut(
        &mut self,
        now: Time,
        anchor: Cursor,
        requesters: &[Requester],
        out: &mut Vec<SyncOut>,
    ) -> bool {
        if self.kept.len() >= limits::SNAPSHOTS {
            let Some(idle) = self.oldest_idle(now) else {
                out.push(SyncOut::Mark("provider.no_room"));
                return false;
            };
            out.push(SyncOut::Mark("provider.snapshot_evicted"));
            self.forget(idle, out);
        }
        self.kept.insert(
            anchor,
            Snapshot {
                requesters: requesters.to_vec(),
                offered: BTreeMap::new(),
                size: None,
                digest: None,
                used: now,
            },
        );
        out.push(SyncOut::State(StateOp::Cut { anchor }));
        true
    }

    /// Returns the snapshot that was of no use for the longest time, if any is idle.
    fn oldest_idle(&self, now: Time) -> Option<Cursor> {
        let idle = |(anchor, snapshot): &(&Cursor, &Snapshot)| {
            snapshot.digest.is_some()
                && snapshot.used.after(self.ttl / IDLE) <= now
                && !self.is_wanted(**anchor)
        };
        self.kept
            .iter()
            .filter(idle)
            .min_by_key(|(_, snapshot)| snapshot.used)
            .map(|(anchor, _)| *anchor)
    }

    /// Returns when a snapshot expires: not before it was offered, nor while it is read.
    fn expires(&self, anchor: Cursor) -> Option<Time> {
        let snapshot = self.kept.get(&anchor)?;
        let idle = snapshot.digest.is_some() && !self.is_wanted(anchor);
        idle.then(|| snapshot.used.after(self.ttl))
    }

    /// Tells whether a fetch of the snapshot waits or is read.
    fn is_wanted(&self, anchor: Cursor) -> bool {
        let mut fetches = self.queue.iter().chain(self.reading.values());
        fetches.any(|request| request.anchor == anchor)
    }

    /// Checks a fetch and brings it within the limits.
    fn check(&self, now: Time, request: FetchRequest) -> Result<FetchRequest, Refusal> {
        let snapshot = self
            .kept
            .get(&request.anchor)
            .filter(|snapshot| snapshot.digest.is_some() && now < snapshot.used.after(self.ttl))
            .ok_or(Refusal::UnknownAnchor)?;
        let (len, _) = snapshot.size.ok_or(Refusal::UnknownAnchor)?;
        let max_items = request.max_items.clamp(1, limits::FETCH_ITEMS);
        let part = match request.part {
            Part::Items { start, end, .. } if start >= end => return Err(Refusal::EmptyRange),
            Part::Items { start, .. } if start >= len => return Err(Refusal::OutOfRange),
            Part::Items { start, end, offset } => Part::Items {
                start,
                end: end.min(start.saturating_add(max_items)).min(len),
                offset,
            },
            Part::Piece { rank, .. } if rank >= len => return Err(Refusal::OutOfRange),
            piece @ Part::Piece { .. } => piece,
        };
        let fetches = self.queue.iter().chain(self.reading.values());
        let same_peer = fetches.filter(|other| other.from.peer == request.from.peer);
        if same_peer.count() >= limits::FETCHES_PER_PEER {
            return Err(Refusal::Busy);
        }
        Ok(FetchRequest {
            part,
            max_items,
            max_bytes: request.max_bytes.clamp(1, limits::FETCH_BYTES),
            ..request
        })
    }

    /// Hands the next reads to the state.
    fn read(&mut self, out: &mut Vec<SyncOut>) {
        while self.reading.len() < limits::READS
            && let Some(request) = self.queue.pop_front()
        {
            self.next_read += 1;
            let fetch = FetchId(self.next_read);
            self.reading.insert(fetch, request);
            out.push(SyncOut::State(StateOp::Read {
                fetch,
                anchor: request.anchor,
                part: request.part,
                max_items: request.max_items,
                max_bytes: request.max_bytes,
            }));
        }
    }

    /// Asks for the next slice of hashing, oldest anchor first.
    fn hash(&mut self, out: &mut Vec<SyncOut>) {
        if self.hashing.is_some() {
            return;
        }
        let next = self
            .kept
            .iter()
            .find(|(_, snapshot)| snapshot.size.is_some() && snapshot.digest.is_none())
            .map(|(anchor, _)| *anchor);
        if let Some(anchor) = next {
            self.hashing = Some(anchor);
            out.push(SyncOut::State(StateOp::Hash { anchor }));
        }
    }

    /// Sends the offer to everybody who waits for it, once there is a digest.
    fn offer(
        &mut self,
        now: Time,
        anchor: Cursor,
        leading: Option<Leading<'_>>,
        out: &mut Vec<SyncOut>,
    ) {
        let Some(snapshot) = self.kept.get_mut(&anchor) else {
            return;
        };
        if snapshot.digest.is_none() {
            return;
        }
        snapshot.used = now;
        for requester in std::mem::take(&mut snapshot.requesters) {
            let (to, session) = (requester.member, requester.session);
            if snapshot.offered.contains_key(&to) || snapshot.offered.len() < limits::PEERS {
                snapshot.offered.insert(to, session);
            }
            snapshot.offer(anchor, (to, session), leading, out);
        }
    }

    fn start_sweep(&mut self, out: &mut Vec<SyncOut>) {
        if self.sweep == Sweep::Idle {
            self.sweep = Sweep::UnderWay;
            out.push(SyncOut::State(StateOp::Sweep));
        } else {
            self.sweep = Sweep::Again;
        }
    }
}

impl Snapshot {
    /// Sends the offer to one session, with the leader's permission before it.
    fn offer(
        &self,
        anchor: Cursor,
        (to, session): (Member, SessionId),
        leading: Option<Leading<'_>>,
        out: &mut Vec<SyncOut>,
    ) {
        let (Some((items, bytes)), Some(digest)) = (self.size, self.digest) else {
            return;
        };
        if let Some(leading) = leading {
            let message = Message::Authorized {
                term: leading.term,
                session,
                anchor,
                good: true,
                voters: leading.voters.to_vec(),
            };
            out.push(SyncOut::Send { to, message });
        }
        let message = Message::Offer {
            session,
            anchor,
            items,
            bytes,
            digest,
        };
        out.push(SyncOut::Send { to, message });
    }
}

fn refuse(request: &FetchRequest, reason: Refusal, out: &mut Vec<SyncOut>) {
    out.push(SyncOut::Event(GroupEvent::FetchRefused {
        peer: request.from.peer,
        reason,
    }));
    out.push(SyncOut::Send {
        to: request.from,
        message: Message::FetchRefused {
            session: request.session,
            fetch: request.fetch,
            reason,
        },
    });
}

#[cfg(test)]
mod tests;
