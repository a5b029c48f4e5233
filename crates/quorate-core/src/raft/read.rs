//! Linearizable reads by read-index, at any peer (dissertation, section 6.4).
//!
//! A read that arrives is answered by a round: the leader notes its commit index, issues a new
//! sequence, and waits until a quorum has confirmed that sequence, or a later one, in this term.
//! The sequence is issued after the read arrived, never shared with a round that was under way
//! then: a confirmation that left before the read arrived proves nothing about it
//! (<https://github.com/etcd-io/etcd/issues/20418>). No leases.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    canary::{Canary, Planted},
    client::{Freshness, Reply, RequestId},
    cursor::{Cursor, Index},
    id::Member,
    limits,
    out::Out,
    time::Time,
    wire::Message,
};

use super::{Raft, planted::Contexts, role::RoleState};

/// The reads that wait on one peer for one group.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Reads {
    /// On the leader: reads that wait for the next round.
    arrived: Vec<Asker>,
    /// On the leader: the round under way.
    round: Option<Round>,
    sequence: u64,
    /// For a planted bug.
    contexts: Contexts,
    /// Reads of clients here that no leader has been asked for.
    unasked: Vec<Local>,
    /// Questions sent to the leader.
    asked: BTreeMap<u64, Question>,
    next_question: u64,
    /// Reads that wait until the state has applied an index.
    until: BTreeMap<Index, Vec<Local>>,
    waiting: usize,
}

#[derive(Clone, Hash, Debug)]
struct Round {
    sequence: u64,
    index: Index,
    askers: Vec<Asker>,
}

#[derive(Clone, Hash, Debug)]
enum Asker {
    Local(Local),
    Remote(Member, u64),
}

#[derive(Clone, Copy, Hash, Debug)]
struct Local {
    request: RequestId,
    deadline: Time,
}

#[derive(Clone, Hash, Debug)]
struct Question {
    sent: Time,
    reads: Vec<Local>,
}

impl Reads {
    /// Starts with nothing waiting and with questions numbered from `number` on.
    ///
    /// A process that was started again must not use the numbers of the one before: a leader may
    /// still hold one of its questions, and the answer would be older than the new read.
    pub(super) fn starting_at(number: u64, planted: Planted) -> Self {
        let mut contexts = Contexts::default();
        contexts.planted = planted;
        Self {
            next_question: number,
            contexts,
            ..Self::default()
        }
    }

    /// Tells whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Returns how many reads of clients here wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Returns the latest sequence that was issued.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Starts a round if reads wait and none is under way; the leader must have committed an entry
    /// of its own term.
    pub(super) fn start_round(&mut self, established: bool, commit: Index) -> bool {
        if !established || self.arrived.is_empty() || self.round.is_some() {
            return false;
        }
        self.sequence += 1;
        let askers = std::mem::take(&mut self.arrived);
        let remote = askers.iter().filter_map(|asker| match asker {
            Asker::Local(_) => None,
            Asker::Remote(member, id) => Some((*member, *id)),
        });
        let sequence = self.contexts.number(remote, self.sequence);
        self.round = Some(Round {
            sequence,
            index: commit,
            askers,
        });
        true
    }

    /// Puts the round under way back: its reads wait for the next one, with a new sequence.
    ///
    /// Tells whether there was one.
    pub(super) fn put_back(&mut self) -> bool {
        let Some(round) = self.round.take() else {
            return false;
        };
        let later = std::mem::replace(&mut self.arrived, round.askers);
        self.arrived.extend(later);
        true
    }

    /// Asks the leader on behalf of the reads that wait, one question for all of them; a question
    /// without an answer is put again.
    pub(super) fn ask(&mut self, now: Time, leader: Member, patience: Duration, out: &mut Out) {
        if self.asked.is_empty() && self.unasked.is_empty() {
            return;
        }
        let stale: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, question)| now.since(question.sent) > patience)
            .map(|(id, _)| *id)
            .collect();
        for id in stale {
            if self.contexts.on() {
                self.asked
                    .entry(id)
                    .and_modify(|question| question.sent = now);
                out.send(leader, Message::ReadIndex { id });
            } else if let Some(question) = self.asked.remove(&id) {
                self.unasked.extend(question.reads);
            }
        }
        if self.unasked.is_empty() {
            return;
        }
        self.next_question += 1;
        let reads = std::mem::take(&mut self.unasked);
        self.asked
            .insert(self.next_question, Question { sent: now, reads });
        out.send(
            leader,
            Message::ReadIndex {
                id: self.next_question,
            },
        );
    }

    /// Puts all questions again, to whoever leads now.
    pub(super) fn ask_again(&mut self) {
        for question in std::mem::take(&mut self.asked).into_values() {
            self.unasked.extend(question.reads);
        }
    }

    /// Answers reads for which the state is fresh enough now.
    pub(super) fn applied(&mut self, applied: Cursor, out: &mut Out) {
        while let Some(entry) = self.until.first_entry() {
            if *entry.key() > applied.index {
                break;
            }
            for read in entry.remove() {
                self.waiting -= 1;
                out.reply(read.request, Reply::Fresh { applied });
            }
        }
    }

    /// Answers those whose deadline has passed.
    pub(super) fn expire(&mut self, now: Time, out: &mut Out) {
        self.end(|read| read.deadline <= now, &Reply::Unavailable, out);
    }

    /// Answers all clients here; what other peers ask goes on.
    pub(super) fn refuse(&mut self, reply: &Reply, out: &mut Out) {
        if !self.is_empty() {
            self.end(|_| true, reply, out);
        }
    }

    /// Answers the clients here whose reads are over.
    fn end(&mut self, over: impl Fn(&Local) -> bool, reply: &Reply, out: &mut Out) {
        let mut ended = Vec::new();
        let mut keep = |read: &Local| {
            let stays = !over(read);
            if !stays {
                ended.push(read.request);
            }
            stays
        };
        self.unasked.retain(&mut keep);
        self.asked
            .values_mut()
            .for_each(|question| question.reads.retain(&mut keep));
        self.until
            .values_mut()
            .for_each(|reads| reads.retain(&mut keep));
        let round = self.round.as_mut().map(|round| &mut round.askers);
        for askers in [Some(&mut self.arrived), round].into_iter().flatten() {
            askers.retain(|asker| match asker {
                Asker::Local(read) => keep(read),
                Asker::Remote(..) => true,
            });
        }
        self.asked.retain(|_, question| !question.reads.is_empty());
        self.until.retain(|_, reads| !reads.is_empty());
        for request in ended {
            self.waiting -= 1;
            out.reply(request, reply.clone());
        }
    }

    /// Gives the reads of clients here to the next leader; tells others that this one is none.
    pub(super) fn lose_leadership(&mut self, out: &mut Out) {
        let round = self
            .round
            .take()
            .map(|round| round.askers)
            .unwrap_or_default();
        for asker in std::mem::take(&mut self.arrived).into_iter().chain(round) {
            match asker {
                Asker::Local(read) => self.unasked.push(read),
                Asker::Remote(member, id) => {
                    out.send(member, Message::ReadAt { id, index: None });
                }
            }
        }
    }

    /// Answers everybody for the last time.
    pub(super) fn close(&mut self, reply: &Reply, out: &mut Out) {
        self.ask_again();
        self.lose_leadership(out);
        let until = std::mem::take(&mut self.until).into_values().flatten();
        for read in std::mem::take(&mut self.unasked).into_iter().chain(until) {
            out.reply(read.request, reply.clone());
        }
        self.waiting = 0;
    }
}

impl Raft {
    /// Takes a client's read; `applied` is what the state has applied, if it is of this history.
    pub(crate) fn read(
        &mut self,
        request: RequestId,
        freshness: Freshness,
        deadline: Time,
        applied: Option<Cursor>,
        out: &mut Out,
    ) {
        if self.poisoned.is_some() {
            out.reply(request, Reply::Closed);
            return;
        }
        if self.refuse_too_old(request, out) {
            return;
        }
        if self.reads.len() >= limits::WAITING {
            out.reply(request, Reply::Busy);
            return;
        }
        let read = Local { request, deadline };
        let applied = applied.filter(|_| !self.is_at_a_loss());
        match freshness {
            Freshness::AtLeast(cursor) => {
                if let Some(applied) = applied.filter(|applied| cursor.index <= applied.index) {
                    out.reply(request, Reply::Fresh { applied });
                    return;
                }
                self.reads.until.entry(cursor.index).or_default().push(read);
            }
            Freshness::Linearizable if self.is_leader() => {
                self.reads.arrived.push(Asker::Local(read));
            }
            Freshness::Linearizable => self.reads.unasked.push(read),
        }
        self.reads.waiting += 1;
    }

    /// On the leader: takes a question of another peer.
    pub(super) fn on_read_index(&mut self, from: Member, id: u64, out: &mut Out) {
        if self.is_leader() && !self.is_established_leader() {
            out.mark("read.waits_for_own_term");
        }
        if self.is_leader() && self.reads.arrived.len() < limits::WAITING {
            self.reads.arrived.push(Asker::Remote(from, id));
        } else {
            out.send(from, Message::ReadAt { id, index: None });
        }
    }

    /// Takes the answer to a question; who does not lead leaves it open.
    pub(super) fn on_read_at(&mut self, id: u64, index: Option<Index>) {
        let Some(index) = index else { return };
        if let Some(question) = self.reads.asked.remove(&id) {
            self.reads
                .until
                .entry(index)
                .or_default()
                .extend(question.reads);
        }
    }

    /// Answers reads whose index the state has reached.
    pub(crate) fn answer_reads(&mut self, applied: Cursor, out: &mut Out) {
        if !self.reads.until.is_empty() && !self.is_at_a_loss() {
            self.reads.applied(applied, out);
        }
    }

    /// On the leader: ends the round if a quorum has confirmed its sequence.
    pub(super) fn confirm_reads(&mut self, out: &mut Out) {
        let Some(round) = &self.reads.round else {
            return;
        };
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        let confirmed = self.configurations.latest().1.quorum(|voter| {
            voter == self.me
                || self.planted.has(Canary::ReadWithoutRound)
                || leader
                    .conversations
                    .get(&voter)
                    .is_some_and(|conversation| conversation.read >= round.sequence)
        });
        if !confirmed {
            return;
        }
        let Some(Round { index, askers, .. }) = self.reads.round.take() else {
            return;
        };
        for asker in askers {
            match asker {
                Asker::Local(read) => self.reads.until.entry(index).or_default().push(read),
                Asker::Remote(member, id) => {
                    out.send(
                        member,
                        Message::ReadAt {
                            id,
                            index: Some(index),
                        },
                    );
                }
            }
        }
    }

    /// On the leader: moves reads that arrived before the lead was won to the next round.
    pub(super) fn adopt_reads(&mut self) {
        if !self.reads.unasked.is_empty() {
            let mine = std::mem::take(&mut self.reads.unasked);
            let mine = mine.into_iter().map(Asker::Local);
            self.reads.arrived.extend(mine);
        }
    }
}
