//! The transfer of one chosen snapshot from all who state it.
//!
//! Ranges are handed out to whoever is free, several to each, sized by how fast its answers come;
//! the leader comes last, since it has writes to order. Once nothing is left to hand out, a fast
//! idle provider is asked again for what a slow one still owes, so that the end of the transfer
//! does not wait for the slowest link. All of it is safe because the state verifies each chunk
//! against the digest, and doubles bring nothing new.
//!
//! A fetch holds its place in the provider's credit until the state has verified the answer: a
//! session that verifies more slowly than it receives asks more slowly.

use std::{collections::BTreeMap, time::Duration};

use super::{
    SyncOut,
    missing::{Kept, Missing},
    offers::Terms,
    sources::{Source, Sources},
};
use crate::{
    cursor::Cursor,
    event::Refusal,
    id::{Member, SessionId},
    limits,
    state_op::Part,
    time::Time,
    wire::Message,
};

/// Fetches at a leader while others can be asked: its writes go first.
const LEADER_CREDIT: usize = 1;

/// The smallest share of the rest that is asked for at once; smaller ones cost more than they
/// spread.
const LEAST_SHARE: u64 = 64;

/// How long an answer may take, in fetch timeouts, as long as others of the same provider come.
const PATIENCE: u32 = 4;

/// One chosen snapshot and what is still missing of it.
#[derive(Clone, Hash, Debug)]
pub(super) struct Restore {
    pub(super) anchor: Cursor,
    pub(super) terms: Terms,
    /// Whether enough voters state the digest.
    pub(super) confirmed: bool,
    missing: Missing,
    under_way: BTreeMap<u64, Fetch>,
    late: BTreeMap<u64, Fetch>,
    /// When the next idle provider may take over work, if nothing else happens first.
    steal_at: Option<Time>,
}

#[derive(Clone, Copy, Hash, Debug)]
struct Fetch {
    from: Member,
    part: Part,
    bytes: u64,
    asked: Time,
    verifying: bool,
}

/// What the session knows that the schedule depends on.
pub(super) struct Around<'a> {
    pub(super) session: SessionId,
    pub(super) leader: Option<Member>,
    pub(super) providers: &'a [Member],
    pub(super) fetch_timeout: Duration,
}

impl Restore {
    pub(super) fn new(anchor: Cursor, terms: Terms, confirmed: bool) -> Self {
        Self {
            anchor,
            terms,
            confirmed,
            missing: Missing::new(terms.items),
            under_way: BTreeMap::new(),
            late: BTreeMap::new(),
            steal_at: None,
        }
    }

    /// Returns how many items are verified.
    pub(super) fn verified(&self) -> u64 {
        self.missing.verified()
    }

    /// Tells whether everything is verified.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_complete()
    }

    /// Tells whether any answer is awaited or being verified.
    pub(super) fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Returns how many fetches `member` works on.
    pub(super) fn busy(&self, member: Member) -> usize {
        self.under_way.values().filter(|f| f.from == member).count()
    }

    /// Hands out work until all credit is used or nothing is left.
    pub(super) fn schedule(
        &mut self,
        now: Time,
        around: &Around<'_>,
        sources: &mut Sources,
        next: &mut u64,
        out: &mut Vec<SyncOut>,
    ) {
        self.steal_at = None;
        while self.missing.has_work() && self.asked_bytes() < limits::ASKED_BYTES {
            let Some((member, source)) = self.free(now, around, sources).into_iter().next() else {
                return;
            };
            let Some(part) = self.missing.take(self.share(now, around, sources, source)) else {
                return;
            };
            let batch = source.batch;
            self.ask(now, (member, part, batch), around, next, out);
        }
        while self.asked_bytes() < limits::ASKED_BYTES {
            let Some((member, part, batch)) = self.steal(now, around, sources) else {
                return;
            };
            out.push(SyncOut::Mark("session.stole_work"));
            self.ask(now, (member, part, batch), around, next, out);
        }
    }

    /// Takes a chunk that came; returns what was asked for if it belongs to a fetch of ours and is
    /// to be verified.
    pub(super) fn on_chunk(
        &mut self,
        from: Member,
        fetch: u64,
        out: &mut Vec<SyncOut>,
    ) -> Option<Part> {
        if let Some(known) = self.under_way.get_mut(&fetch) {
            let fresh = known.from == from && !known.verifying;
            known.verifying |= fresh;
            return fresh.then_some(known.part);
        }
        match self.late.get(&fetch) {
            Some(known) if known.from == from => {
                let known = Fetch {
                    verifying: true,
                    ..*known
                };
                self.late.remove(&fetch);
                self.under_way.insert(fetch, known);
                out.push(SyncOut::Mark("session.late_answer"));
                Some(known.part)
            }
            _ => None,
        }
    }

    /// Ends a fetch whose chunk was verified; returns from whom it was and when it was asked.
    pub(super) fn end(&mut self, fetch: u64) -> Option<(Member, Part, Time)> {
        let ended = self.under_way.get(&fetch).filter(|f| f.verifying)?;
        let ended = (ended.from, ended.part, ended.asked);
        self.under_way.remove(&fetch);
        Some(ended)
    }

    /// Takes in what was kept of the answer to `part`; returns how many items were new, and whether
    /// it is an answer at all.
    pub(super) fn keep(&mut self, part: Part, kept: &Kept) -> (u64, bool) {
        let before = self.missing.verified();
        self.missing.keep(part, kept, &self.elsewhere());
        let answers = self.missing.is_answered(part, kept.unfinished);
        (self.missing.verified() - before, answers)
    }

    /// Takes note that what came for `part` brought nothing new; returns whether it is an answer
    /// that somebody else gave before.
    pub(super) fn known(&mut self, part: Part) -> bool {
        self.missing.known(part, &self.elsewhere());
        self.missing.is_answered(part, None)
    }

    /// Puts `part` back: it has to be asked for again.
    pub(super) fn put_back(&mut self, part: Part) {
        self.missing.put_back(part, &self.elsewhere());
    }

    /// Ends a fetch that was refused; false if it is not `from`'s.
    pub(super) fn on_refused(&mut self, from: Member, fetch: u64) -> bool {
        if self.late.get(&fetch).is_some_and(|f| f.from == from) {
            self.late.remove(&fetch);
            return true;
        }
        match self.under_way.get(&fetch) {
            Some(f) if f.from == from && !f.verifying => {
                let part = f.part;
                self.under_way.remove(&fetch);
                self.put_back(part);
                true
            }
            _ => false,
        }
    }

    /// Puts back everything that `member` still owes; its late answers stay welcome.
    pub(super) fn release(&mut self, member: Member) {
        let owed: Vec<u64> = self
            .under_way
            .iter()
            .filter(|(_, f)| f.from == member && !f.verifying)
            .map(|(fetch, _)| *fetch)
            .collect();
        for fetch in owed {
            if let Some(owed) = self.under_way.remove(&fetch) {
                self.put_back(owed.part);
                self.late.insert(fetch, owed);
            }
        }
        while self.late.len() > limits::LATE_FETCHES {
            self.late.pop_first();
        }
    }

    /// Returns those who owe an answer for too long.
    pub(super) fn overdue(
        &self,
        now: Time,
        sources: &Sources,
        fetch_timeout: Duration,
    ) -> Vec<Member> {
        let mut overdue: Vec<Member> = self
            .under_way
            .values()
            .filter(|f| !f.verifying && f.due(sources, fetch_timeout) <= now)
            .map(|f| f.from)
            .collect();
        overdue.sort_unstable();
        overdue.dedup();
        overdue
    }

    /// Returns when the next answer is overdue or work may be taken over.
    pub(super) fn deadline(&self, sources: &Sources, fetch_timeout: Duration) -> Option<Time> {
        self.under_way
            .values()
            .filter(|f| !f.verifying)
            .map(|f| f.due(sources, fetch_timeout))
            .chain(self.steal_at)
            .min()
    }

    fn ask(
        &mut self,
        now: Time,
        (to, part, batch): (Member, Part, (u64, u64)),
        around: &Around<'_>,
        next: &mut u64,
        out: &mut Vec<SyncOut>,
    ) {
        *next += 1;
        let (items, bytes) = batch;
        let max_items = match part {
            Part::Items { start, end, .. } => items.min(end.saturating_sub(start)),
            Part::Piece { .. } => 1,
        };
        let fetch = Fetch {
            from: to,
            part,
            bytes,
            asked: now,
            verifying: false,
        };
        self.under_way.insert(*next, fetch);
        out.push(SyncOut::Send {
            to,
            message: Message::Fetch {
                session: around.session,
                fetch: *next,
                anchor: self.anchor,
                part,
                max_items,
                max_bytes: bytes,
            },
        });
    }

    /// Returns those who may be asked now, the best first: not the leader, few fetches, quick.
    fn free<'s>(
        &self,
        now: Time,
        around: &Around<'_>,
        sources: &'s Sources,
    ) -> Vec<(Member, &'s Source)> {
        let open = |member: &Member| sources.get(*member).filter(|s| s.is_open(now));
        let leads = |member: &Member| around.leader == Some(*member);
        let others = around
            .providers
            .iter()
            .any(|m| !leads(m) && open(m).is_some());
        let first = around.session.0;
        let mut free: Vec<_> = around
            .providers
            .iter()
            .enumerate()
            .filter_map(|(at, member)| {
                let source = open(member)?;
                let busy = self.busy(*member);
                let credit = if leads(member) && others {
                    LEADER_CREDIT
                } else {
                    limits::FETCHES_IN_FLIGHT
                };
                // Sessions start with different providers.
                let turn = (at as u64).wrapping_add(first) % around.providers.len() as u64;
                let order = (leads(member), busy, source.typical, turn);
                (busy < credit).then_some((order, *member, source))
            })
            .collect();
        free.sort_by_key(|(order, ..)| *order);
        free.into_iter()
            .map(|(_, member, source)| (member, source))
            .collect()
    }

    /// Returns how many items to ask `source` for: what fits its batch, but no more than leaves
    /// something for everybody else.
    fn share(&self, now: Time, around: &Around<'_>, sources: &Sources, source: &Source) -> u64 {
        let open = |member: &&Member| sources.get(**member).is_some_and(|s| s.is_open(now));
        let helpers = around.providers.iter().filter(open).count().max(1) as u64;
        let fair = (self.missing.waiting() / (2 * helpers)).max(LEAST_SHARE);
        let average = (self.terms.bytes / self.terms.items.max(1)).max(1);
        let (items, bytes) = source.batch;
        items.min((bytes / average).max(1)).min(fair)
    }

    /// Finds work for somebody idle: the oldest fetch of somebody slower.
    fn steal(
        &mut self,
        now: Time,
        around: &Around<'_>,
        sources: &Sources,
    ) -> Option<(Member, Part, (u64, u64))> {
        let mut soonest: Option<Time> = None;
        for (thief, source) in self.free(now, around, sources) {
            if self.busy(thief) > 0 {
                continue;
            }
            for owed in self.under_way.values() {
                let rest = self
                    .missing
                    .rest_of(owed.part)
                    .filter(|rest| self.is_lone(*rest));
                let Some(rest) = rest.filter(|_| !owed.verifying) else {
                    continue;
                };
                let at = owed.asked.after(patience(source, around.fetch_timeout));
                if at <= now {
                    return Some((thief, rest, source.batch));
                }
                soonest = Some(soonest.map_or(at, |other| other.min(at)));
            }
        }
        self.steal_at = soonest;
        None
    }

    /// Tells whether one fetch at most is under way for what `rest` begins with.
    ///
    /// Together with asking only for what is missing, this is what makes each double bring
    /// something, or find that somebody else just brought it: without it two slow providers could
    /// be asked in turn for the half that is there already, for ever.
    fn is_lone(&self, rest: Part) -> bool {
        let copies = self.under_way.values().filter(|f| match (f.part, rest) {
            (Part::Items { start, end, .. }, Part::Items { start: rank, .. }) => {
                (start..end).contains(&rank)
            }
            (part, rest) => part == rest,
        });
        copies.count() <= 1
    }

    fn asked_bytes(&self) -> u64 {
        self.under_way.values().map(|f| f.bytes).sum()
    }

    fn elsewhere(&self) -> Vec<Part> {
        self.under_way.values().map(|f| f.part).collect()
    }
}

impl Fetch {
    /// Returns when the answer is overdue. A provider that answers others meanwhile works through
    /// what it was asked, and has more time.
    fn due(&self, sources: &Sources, fetch_timeout: Duration) -> Time {
        let answered = sources.get(self.from).map_or(Time(0), |s| s.answered);
        let most = self.asked.after(fetch_timeout.saturating_mul(PATIENCE));
        self.asked.max(answered).after(fetch_timeout).min(most)
    }
}

/// Returns how old a fetch must be before `thief` is asked for it too: twice what the thief's own
/// answers take.
fn patience(thief: &Source, fetch_timeout: Duration) -> Duration {
    let own = match thief.typical {
        0 => fetch_timeout / 4,
        typical => Duration::from_nanos(typical.saturating_mul(2)),
    };
    own.clamp(
        Duration::from_millis(20).min(fetch_timeout / 2),
        fetch_timeout / 2,
    )
}

/// Names why a provider was set aside.
pub(super) fn set_aside(
    now: Time,
    member: Member,
    reason: Refusal,
    sources: &mut Sources,
    out: &mut Vec<SyncOut>,
) {
    if let Some(source) = sources.get_mut(member) {
        source.set_aside(now, reason);
        if reason == Refusal::Busy {
            out.push(SyncOut::Mark("session.provider_busy"));
        } else {
            out.push(SyncOut::Event(crate::event::GroupEvent::ProviderSetAside {
                peer: member.peer,
                reason,
            }));
        }
    }
}
