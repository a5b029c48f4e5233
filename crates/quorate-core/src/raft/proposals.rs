//! Where proposals of clients wait: in the queue, for their entry, for another peer's answer.
//!
//! Invariant: every request that was taken is in exactly one of the three places, and is answered
//! once, when it leaves the last of them. What was on its way when a leader changed or a link was
//! lost may go back to the queue, to its front, only if it may be sent again; it then remembers
//! that a copy of it may stand in a log somewhere, because from then on nobody can say that it
//! surely was not applied.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    canary::{Canary, Planted},
    client::{Reply, RequestId},
    cursor::{Cursor, Index, Term},
    entry::{Body, ClientSequence, Command, Entry},
    id::Member,
    limits,
    out::Out,
    state_op::{Applied, Recalled},
    time::Time,
    wire::{Forward, ForwardOutcome, Outcomes, Proposal, Replication},
};

use super::{
    log::Log,
    outcome,
    proposal::{may_repeat, name_of},
};

#[cfg(test)]
mod tests;

/// The proposals that wait on one peer for one group.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Proposals {
    /// Not yet appended or passed on.
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    /// Appended here, by index.
    waiters: VecDeque<Waiter>,
    /// The term of the last applied entry, as of the last look at those who wait beyond it.
    settled: Term,
    /// Passed on, by number.
    forwarded: BTreeMap<u64, Forwarded>,
    next_number: u64,
    forwarded_bytes: usize,
    /// Outcomes of others' proposals that wait to be sent.
    outcomes: BTreeMap<Member, Vec<(u64, ForwardOutcome)>>,
    /// The number after the last one that each member passed on to this peer.
    taken: BTreeMap<Member, u64>,
    planted: Planted,
}

/// How far behind the last number taken a number is still one of the same process.
///
/// A process starts its numbers at random, so another one's are farther away than this.
const SAME_PROCESS: u64 = 1 << 32;

/// A proposal that waits for a leader.
#[derive(Clone, Hash, Debug)]
pub(super) struct Queued {
    pub(super) origin: Origin,
    pub(super) proposal: Proposal,
    pub(super) deadline: Time,
    /// Whether a copy of it may stand in a log.
    pub(super) sent: bool,
}

#[derive(Clone, Hash, Debug)]
struct Waiter {
    index: Index,
    term: Term,
    origin: Origin,
    deadline: Time,
    /// Whether another copy may stand in a log.
    sent: bool,
}

#[derive(Clone, Hash, Debug)]
struct Forwarded {
    request: RequestId,
    proposal: Proposal,
    deadline: Time,
    /// Whether another copy may stand in a log.
    sent: bool,
}

/// Whose proposal it is.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) enum Origin {
    /// A client of this peer.
    Local(RequestId),
    /// A client of another peer, which passed it on under a number.
    Remote(Member, u64),
}

impl Proposals {
    /// Starts with nothing waiting and with numbers from `number` on.
    pub(super) fn starting_at(number: u64, planted: Planted) -> Self {
        Self {
            next_number: number,
            planted,
            ..Self::default()
        }
    }

    /// Leaves out of `forward` what was taken, or overtaken, before.
    ///
    /// A link that delivers a frame twice must not make two entries of one command, whatever became
    /// of the first copy: its client may have been told already that it was refused.
    pub(super) fn skip_taken(&mut self, from: Member, forward: &mut Forward) {
        let end = forward.first.saturating_add(forward.proposals.len() as u64);
        let next = self.taken.entry(from).or_insert(forward.first);
        let behind = next.wrapping_sub(forward.first);
        if behind >= SAME_PROCESS {
            *next = end;
        } else {
            *next = end.max(*next);
            let seen = usize::try_from(behind).unwrap_or(usize::MAX);
            let seen = seen.min(forward.proposals.len());
            forward.proposals.drain(..seen);
            forward.first += seen as u64;
        }
        if self.taken.len() > limits::PEERS {
            self.taken.retain(|member, _| *member == from);
        }
    }

    /// Tells whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.waiters.is_empty() && self.forwarded.is_empty()
    }

    /// Tells whether some wait for a leader.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns how many proposals wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.waiters.len() + self.forwarded.len()
    }

    /// Returns how many wait for their entry.
    pub(super) fn appended_len(&self) -> usize {
        self.waiters.len()
    }

    /// Returns how many bytes wait for a leader or for one's answer.
    pub(super) fn bytes(&self) -> usize {
        self.queue_bytes + self.forwarded_bytes
    }

    /// Tells whether somebody waits for the outcome of an entry up to `last`.
    pub(super) fn awaits(&self, last: Index) -> bool {
        self.waiters
            .front()
            .is_some_and(|waiter| waiter.index <= last)
    }

    #[inline]
    pub(super) fn finish(&mut self, origin: Origin, outcome: ForwardOutcome, out: &mut Out) {
        match origin {
            Origin::Local(request) => out.reply(request, outcome::reply(outcome)),
            Origin::Remote(member, number) => {
                self.outcomes
                    .entry(member)
                    .or_default()
                    .push((number, outcome));
            }
        }
    }

    /// Puts a proposal at the end of the queue.
    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes += queued.proposal.size();
        self.queue.push_back(queued);
    }

    /// Puts proposals back at the front of the queue, in their order.
    pub(super) fn put_back(&mut self, queued: Vec<Queued>) {
        for queued in queued.into_iter().rev() {
            self.queue_bytes += queued.proposal.size();
            self.queue.push_front(queued);
        }
    }

    fn dequeue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.proposal.size();
        Some(queued)
    }

    /// Takes the whole queue.
    fn take_queue(&mut self) -> VecDeque<Queued> {
        self.queue_bytes = 0;
        std::mem::take(&mut self.queue)
    }

    /// Makes entries of the whole queue, on the leader, to be appended from `first` on; from now on
    /// each proposal waits for its entry.
    pub(super) fn append_all(
        &mut self,
        first: Cursor,
        body: impl Fn(Proposal) -> Body,
    ) -> Vec<Entry> {
        let Cursor { term, index } = first;
        let in_order = self.waiters.back().is_none_or(|last| last.index < index);
        self.queue_bytes = 0;
        let mut entries = Vec::with_capacity(self.queue.len());
        for (index, queued) in (index.0..).map(Index).zip(self.queue.drain(..)) {
            self.waiters.push_back(Waiter {
                index,
                term,
                origin: queued.origin,
                deadline: queued.deadline,
                sent: queued.sent,
            });
            let body = body(queued.proposal);
            entries.push(Entry { term, body });
        }
        if !in_order {
            // This peer led before, and lost entries since that somebody waits for.
            let waiters = self.waiters.make_contiguous();
            waiters.sort_by_key(|waiter| waiter.index);
        }
        entries
    }

    /// Answers those whose entries were applied up to `last`; `applied` says what came of the
    /// entries that end there.
    pub(super) fn applied(
        &mut self,
        last: Cursor,
        mut applied: Vec<Applied>,
        log: &Log,
        out: &mut Out,
    ) {
        let Some(front) = self.waiters.front() else {
            return;
        };
        // Terms never fall along a log: between two entries of one term all are of that term.
        let term = log.term_at(front.index);
        let one_term = term.filter(|_| log.term_at(last.index) == term);
        let first = last.index.0 + 1 - applied.len() as u64;
        while let Some(waiter) = self.waiters.pop_front() {
            if waiter.index > last.index {
                self.waiters.push_front(waiter);
                break;
            }
            let place = waiter
                .index
                .0
                .checked_sub(first)
                .and_then(|place| applied.get_mut(usize::try_from(place).ok()?));
            let outcome = match (one_term.or_else(|| log.term_at(waiter.index)), place) {
                (Some(term), Some(applied)) if term == waiter.term => {
                    // There is one entry of this term at the index, and one who waits for it.
                    let applied = std::mem::replace(applied, Applied::Silent);
                    outcome::of_entry(Cursor::new(term, waiter.index), waiter.sent, applied)
                }
                (Some(term), _) if term != waiter.term => ForwardOutcome::Superseded,
                _ => ForwardOutcome::Unknown,
            };
            self.finish(waiter.origin, outcome, out);
        }
        self.supersede(last.term, out);
    }

    /// Answers those who wait for an entry beyond what is applied, of an earlier term than that: in
    /// no log that holds the applied entry does such a one follow. Else they would wait for the
    /// group's next writes.
    fn supersede(&mut self, term: Term, out: &mut Out) {
        if term <= self.settled {
            return;
        }
        self.settled = term;
        let mut gone = Vec::new();
        self.waiters.retain(|waiter| {
            let stays = waiter.term >= term;
            if !stays {
                gone.push(waiter.origin);
            }
            stays
        });
        for origin in gone {
            self.finish(origin, ForwardOutcome::Superseded, out);
        }
    }

    /// Answers those whose entries an installed snapshot passed over.
    pub(super) fn passed_over(&mut self, anchor: Index, out: &mut Out) {
        while self
            .waiters
            .front()
            .is_some_and(|waiter| waiter.index <= anchor)
        {
            if let Some(waiter) = self.waiters.pop_front() {
                self.finish(waiter.origin, ForwardOutcome::Unknown, out);
            }
        }
    }

    /// Returns the names of the commands of this peer's clients that may have been applied.
    pub(super) fn in_doubt(&self) -> Vec<ClientSequence> {
        let queued = self.queue.iter().filter(|queued| queued.sent);
        let queued = queued.map(|queued| &queued.proposal);
        let forwarded = self.forwarded.values().map(|forwarded| &forwarded.proposal);
        queued.chain(forwarded).filter_map(name_of).collect()
    }

    /// Answers those whose commands the client table knows.
    pub(super) fn recalled(&mut self, recalled: &[(ClientSequence, Recalled)], out: &mut Out) {
        let known: BTreeMap<ClientSequence, ForwardOutcome> = recalled
            .iter()
            .filter_map(|(name, recalled)| Some((*name, outcome::known(recalled)?)))
            .collect();
        let outcome = |proposal: &Proposal| known.get(&name_of(proposal)?).cloned();
        let bytes = &mut self.queue_bytes;
        self.queue.retain(|queued| {
            let Origin::Local(request) = queued.origin else {
                return true;
            };
            let Some(outcome) = outcome(&queued.proposal) else {
                return true;
            };
            *bytes -= queued.proposal.size();
            out.reply(request, outcome::reply(outcome));
            false
        });
        let bytes = &mut self.forwarded_bytes;
        self.forwarded.retain(|_, forwarded| {
            let Some(outcome) = outcome(&forwarded.proposal) else {
                return true;
            };
            *bytes -= forwarded.proposal.size();
            out.reply(forwarded.request, outcome::reply(outcome));
            false
        });
    }

    /// Puts back what was passed on and may be sent again: it may have been lost on the way, or
    /// with the leader it was for.
    pub(super) fn resend(&mut self) {
        let all = self.planted.has(Canary::UnnamedResent);
        let numbers: Vec<u64> = self
            .forwarded
            .iter()
            .filter(|(_, forwarded)| all || may_repeat(&forwarded.proposal))
            .map(|(number, _)| *number)
            .collect();
        let again = numbers
            .into_iter()
            .filter_map(|number| Some(self.take_forwarded(number)?.again(true)))
            .collect();
        self.put_back(again);
    }

    /// On a leader that leads no more: puts back what may be sent again.
    ///
    /// The others' proposals are theirs to send again.
    pub(super) fn lose_leadership(&mut self, log: &Log, out: &mut Out) {
        let mut again = Vec::new();
        if self.planted.has(Canary::DeposedMeansSuperseded) {
            for waiter in std::mem::take(&mut self.waiters) {
                self.finish(waiter.origin, ForwardOutcome::Superseded, out);
            }
            return;
        }
        self.waiters.retain(|waiter| {
            let proposal = match waiter.origin {
                Origin::Local(_) => proposal_at(log, Cursor::new(waiter.term, waiter.index)),
                Origin::Remote(..) => None,
            };
            let stays = proposal.is_none();
            again.extend(proposal.map(|proposal| Queued {
                origin: waiter.origin,
                proposal,
                deadline: waiter.deadline,
                sent: true,
            }));
            stays
        });
        self.put_back(again);
    }

    fn take_forwarded(&mut self, number: u64) -> Option<Forwarded> {
        let forwarded = self.forwarded.remove(&number)?;
        self.forwarded_bytes -= forwarded.proposal.size();
        Some(forwarded)
    }

    /// Takes what became of a proposal that was passed on; returns it if it is to be put back.
    pub(super) fn answered(
        &mut self,
        number: u64,
        outcome: ForwardOutcome,
        out: &mut Out,
    ) -> Option<Queued> {
        let forwarded = self.take_forwarded(number)?;
        let sent = forwarded.sent;
        match outcome {
            // It was surely not appended: it waits for the next leader.
            ForwardOutcome::NotLeader => Some(forwarded.again(sent)),
            ForwardOutcome::Unknown | ForwardOutcome::Superseded
                if may_repeat(&forwarded.proposal) =>
            {
                Some(forwarded.again(true))
            }
            outcome => {
                out.reply(
                    forwarded.request,
                    outcome::reply(outcome::in_view_of(sent, outcome)),
                );
                None
            }
        }
    }

    /// Passes on what waits to the leader of `term`, as far as the window allows.
    pub(super) fn forward(&mut self, leader: Member, term: Term, out: &mut Out) {
        while !self.queue.is_empty() && self.forwarded_bytes < limits::INFLIGHT_BYTES {
            let first = self.next_number;
            let mut proposals = Vec::new();
            let mut bytes = 0;
            while let Some(queued) = self.queue.front() {
                let size = queued.proposal.size();
                if !proposals.is_empty()
                    && (bytes + size > limits::APPEND_BYTES
                        || proposals.len() == limits::APPEND_ENTRIES)
                {
                    break;
                }
                let Some(queued) = self.dequeue() else {
                    break;
                };
                let Origin::Local(request) = queued.origin else {
                    // Others' proposals were for a term in which this peer led.
                    self.finish(queued.origin, ForwardOutcome::NotLeader, out);
                    continue;
                };
                bytes += size;
                proposals.push(queued.proposal.clone());
                let forwarded = Forwarded {
                    request,
                    proposal: queued.proposal,
                    deadline: queued.deadline,
                    sent: queued.sent,
                };
                self.forwarded.insert(self.next_number, forwarded);
                self.next_number += 1;
            }
            if proposals.is_empty() {
                break;
            }
            self.forwarded_bytes += bytes;
            out.frame(
                leader,
                Replication::Forward(Forward {
                    term,
                    first,
                    proposals,
                }),
            );
        }
        self.flush_outcomes(term, out);
    }

    /// Sends others the outcomes of their proposals.
    pub(super) fn flush_outcomes(&mut self, term: Term, out: &mut Out) {
        if self.outcomes.is_empty() {
            return;
        }
        for (member, outcomes) in std::mem::take(&mut self.outcomes) {
            let mut rest = outcomes.into_iter().peekable();
            while rest.peek().is_some() {
                let mut bytes = 0;
                let mut part = Vec::new();
                while let Some((_, outcome)) = rest.peek() {
                    let size = 32
                        + match outcome {
                            ForwardOutcome::Committed { outcome, .. } => outcome.len(),
                            _ => 0,
                        };
                    if !part.is_empty()
                        && (bytes + size > limits::APPEND_BYTES
                            || part.len() == limits::APPEND_ENTRIES)
                    {
                        break;
                    }
                    bytes += size;
                    part.extend(rest.next());
                }
                out.frame(
                    member,
                    Replication::Outcomes(Outcomes {
                        term,
                        outcomes: part,
                    }),
                );
            }
        }
    }

    /// Answers those whose deadline has passed.
    pub(super) fn expire(&mut self, now: Time, out: &mut Out) {
        let mut late = Vec::new();
        let bytes = &mut self.queue_bytes;
        self.queue.retain(|queued| {
            let stays = queued.deadline > now;
            if !stays {
                *bytes -= queued.proposal.size();
                let answer = if queued.sent {
                    Reply::Unknown
                } else {
                    Reply::Unavailable
                };
                late.push((queued.origin, answer));
            }
            stays
        });
        self.waiters.retain(|waiter| {
            let stays = waiter.deadline > now;
            if !stays {
                late.push((waiter.origin, Reply::Unknown));
            }
            stays
        });
        let bytes = &mut self.forwarded_bytes;
        self.forwarded.retain(|_, forwarded| {
            let stays = forwarded.deadline > now;
            if !stays {
                *bytes -= forwarded.proposal.size();
                late.push((Origin::Local(forwarded.request), Reply::Unknown));
            }
            stays
        });
        for (origin, answer) in late {
            // A client of another peer has its own deadline there.
            if let Origin::Local(request) = origin {
                out.reply(request, answer);
            }
        }
    }

    /// Answers everybody for the last time; `unsent` is for those whose proposals never left the
    /// queue, `sent` for the others.
    pub(super) fn close(&mut self, unsent: &Reply, sent: &Reply, out: &mut Out) {
        for queued in self.take_queue() {
            if let Origin::Local(request) = queued.origin {
                let answer = if queued.sent { sent } else { unsent };
                out.reply(request, answer.clone());
            }
        }
        for waiter in std::mem::take(&mut self.waiters) {
            if let Origin::Local(request) = waiter.origin {
                out.reply(request, sent.clone());
            }
        }
        self.forwarded_bytes = 0;
        for forwarded in std::mem::take(&mut self.forwarded).into_values() {
            out.reply(forwarded.request, sent.clone());
        }
    }
}

impl Forwarded {
    /// Makes it wait for a leader again.
    fn again(self, sent: bool) -> Queued {
        Queued {
            origin: Origin::Local(self.request),
            proposal: self.proposal,
            deadline: self.deadline,
            sent,
        }
    }
}

/// Returns what was proposed at `cursor`, if it may be sent again.
fn proposal_at(log: &Log, cursor: Cursor) -> Option<Proposal> {
    let entry = log.get(cursor.index)?;
    if entry.term != cursor.term {
        return None;
    }
    match &entry.body {
        Body::Named(named) => Some(Proposal::Command(Command {
            client: named.client,
            bytes: named.bytes.clone(),
        })),
        Body::Register { .. } => Some(Proposal::Register),
        _ => None,
    }
}
