//! Commands and registrations of clients: how they become entries, and who is told what.
//!
//! Outcomes, and when each is said:
//!
//! | outcome | said when |
//! |---|---|
//! | committed | the command was applied; a named one by this entry or by an earlier copy |
//! | registered | the registration was applied |
//! | expired, dropped | the entry was applied and the client table refused it |
//! | superseded | another term's entry was applied at its index, or the history was given up for
//! another one: no copy can ever commit |
//! | busy | it was not appended, or not applied, because a limit was reached |
//! | unavailable | it was never sent anywhere by the deadline |
//! | unknown | the deadline came, or an installed snapshot passed over it |
//!
//! An *anonymous* command is passed on to the leader of one term and is appended by that leader or
//! not at all; nothing is resent by itself once it may have been appended.
//!
//! A *named* command is applied once however often it stands in the log, so the peer that took it
//! sends it again, until its deadline, whenever it cannot know any more what becomes of the copy
//! under way: the leader that it was for is another one now, the link to it is new, it was
//! overwritten, or this peer itself led and leads no more. Whoever answers a later copy answers
//! with what came of the first. From the second copy on, nobody says of it that it surely was not
//! applied: not superseded, not busy, not unavailable. An installed snapshot brings the client
//! table, which is asked at once about what is in doubt here.
//!
//! A *registration* may be sent again for another reason: one too many makes a client that nobody
//! uses, and that expires.
//!
//! The alternative, to have the leader look a name up in the table before it appends, would need
//! the table of the future: what is in the log and not yet applied decides too. So copies are
//! appended without a look, and the one place that decides is where entries are applied.

use crate::{
    client::{Reply, RequestId},
    cursor::{Cursor, Index},
    entry::{Body, ClientSequence, Entry, Named},
    id::Member,
    limits,
    out::Out,
    state_op::{Applied, Recalled, StateOp},
    time::Time,
    wire::{Forward, ForwardOutcome, Outcomes, Proposal},
};

use super::{
    Raft,
    proposals::{Origin, Queued},
    role::RoleState,
};

impl Raft {
    /// Takes what a client wants to have ordered.
    pub(crate) fn submit(
        &mut self,
        request: RequestId,
        proposal: Proposal,
        deadline: Time,
        out: &mut Out,
    ) {
        if self.poisoned.is_some() {
            out.reply(request, Reply::Closed);
        } else if is_too_large(&proposal) {
            out.reply(request, Reply::TooLarge);
        } else if self.proposals.len() >= limits::WAITING || self.is_full() {
            out.mark("proposal.busy");
            out.reply(request, Reply::Busy);
        } else {
            self.proposals.enqueue(Queued {
                origin: Origin::Local(request),
                proposal,
                deadline,
                sent: false,
            });
        }
    }

    /// Tells whether as many bytes wait here for a leader or a commit as may.
    fn is_full(&self) -> bool {
        self.proposals.bytes() + self.uncommitted_bytes() >= limits::UNCOMMITTED_BYTES
    }

    /// On the leader: appends what waits.
    pub(super) fn order(&mut self, out: &mut Out) {
        if !self.proposals.has_queued() {
            return;
        }
        let (term, at) = (self.ballot.term, self.wall);
        let first = Cursor::new(term, self.log.last().index.next());
        let entries = self.proposals.append_all(first, |proposal| match proposal {
            Proposal::Command(command) if command.client.is_anonymous() => {
                Body::Command(command.bytes)
            }
            Proposal::Command(command) => Body::Named(Box::new(Named {
                client: command.client,
                at,
                bytes: command.bytes,
            })),
            Proposal::Register => Body::Register { at },
        });
        self.append_own(entries, out);
    }

    /// On the leader: takes proposals that a follower passes on.
    pub(super) fn on_forward(&mut self, from: Member, mut forward: Forward, out: &mut Out) {
        self.proposals.skip_taken(from, &mut forward);
        let refusal = if !self.is_leader() || forward.term != self.ballot.term {
            Some(ForwardOutcome::NotLeader)
        } else if self.is_full() || self.proposals.appended_len() >= limits::WAITING * 4 {
            Some(ForwardOutcome::Busy)
        } else {
            None
        };
        for (number, proposal) in (forward.first..).zip(forward.proposals) {
            let origin = Origin::Remote(from, number);
            match &refusal {
                Some(refusal) => self.proposals.finish(origin, refusal.clone(), out),
                None if is_too_large(&proposal) => {
                    self.proposals.finish(origin, ForwardOutcome::Busy, out);
                }
                // The client's own peer judges the deadline, and what an answer is worth in view
                // of other copies.
                None => self.proposals.enqueue(Queued {
                    origin,
                    proposal,
                    deadline: Time::NEVER,
                    sent: false,
                }),
            }
        }
        if !self.is_leader() {
            self.proposals.flush_outcomes(self.ballot.term, out);
        }
    }

    /// Takes the outcomes of proposals that were passed on.
    pub(super) fn on_outcomes(&mut self, outcomes: Outcomes, out: &mut Out) {
        let again = outcomes
            .outcomes
            .into_iter()
            .filter_map(|(number, outcome)| self.proposals.answered(number, outcome, out))
            .collect();
        self.proposals.put_back(again);
    }

    /// Takes note of what the state has applied.
    pub(crate) fn applied(&mut self, last: Cursor, applied: Vec<Applied>, out: &mut Out) {
        self.proposals.applied(last, applied, &self.log, out);
        self.answer_reads(last, out);
    }

    /// Takes note of a snapshot that replaced the state, and asks its client table what became of
    /// the commands in doubt here.
    pub(crate) fn passed_over(&mut self, anchor: Cursor, out: &mut Out) {
        self.proposals.passed_over(anchor.index, out);
        self.answer_reads(anchor, out);
        let names = self.proposals.in_doubt();
        if !names.is_empty() {
            out.mark("raft.asks_client_table");
            out.state.push(StateOp::Recall { names });
        }
    }

    /// Takes what the client table knows of commands in doubt.
    pub(crate) fn recalled(&mut self, recalled: &[(ClientSequence, Recalled)], out: &mut Out) {
        self.proposals.recalled(recalled, out);
    }

    /// Tells whether somebody waits for the outcome of an entry up to `last`.
    pub(crate) fn awaits(&self, last: Index) -> bool {
        self.proposals.awaits(last)
    }

    /// Appends a body of the leader's own; returns where it stands, or nothing without the lead.
    pub(crate) fn propose(&mut self, body: Body, out: &mut Out) -> Option<Cursor> {
        if !self.is_established_leader() || self.is_handing_over() {
            return None;
        }
        let term = self.ballot.term;
        let index = self.append_own(vec![Entry { term, body }], out);
        Some(Cursor::new(term, index))
    }

    /// Returns how many requests wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.proposals.len() + self.reads.len()
    }

    /// Returns how many bytes this leader holds without a commit.
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        match &self.role {
            RoleState::Leader(leader) => leader.uncommitted,
            _ => 0,
        }
    }
}

fn is_too_large(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Command(command) => command.bytes.len() > limits::COMMAND,
        Proposal::Register => false,
    }
}

/// Tells whether a proposal may be sent again when nobody knows what became of it.
///
/// A named command is applied once however often it stands in the log; one registration too many
/// makes a client that nobody uses, which expires.
pub(super) fn may_repeat(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Command(command) => !command.client.is_anonymous(),
        Proposal::Register => true,
    }
}

/// Returns the name of a command, if it has one.
pub(super) fn name_of(proposal: &Proposal) -> Option<ClientSequence> {
    match proposal {
        Proposal::Command(command) => Some(command.client).filter(|name| !name.is_anonymous()),
        Proposal::Register => None,
    }
}
