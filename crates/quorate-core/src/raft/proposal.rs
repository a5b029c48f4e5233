//! Commands of clients: where they wait, who is told what became of them.
//!
//! Outcomes, and when each is said:
//!
//! | outcome | said when |
//! |---|---|
//! | committed | the command's own entry (index and term) was applied, here or at the leader |
//! | superseded | another term's entry was applied at its index: no copy can ever commit |
//! | busy | it was never appended: a limit was reached |
//! | unavailable | it was never sent anywhere by the deadline |
//! | unknown | the deadline came, or an installed snapshot passed over it |
//!
//! A command is passed on to the leader of one term and is appended by that leader or not at all;
//! nothing is resent by itself once it may have been appended.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    client::{Reply, RequestId},
    cursor::{Cursor, Index, Term},
    entry::{Body, Command},
    id::Member,
    limits,
    out::Out,
    time::Time,
    wire::{Forward, ForwardOutcome, Outcomes, Replication},
};

use super::{Raft, RoleState, log::Log};

/// The commands that wait on one peer for one group.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    /// Not yet appended or passed on.
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    /// Appended here, by index.
    waiters: VecDeque<Waiter>,
    /// Passed on, by number.
    forwarded: BTreeMap<u64, Forwarded>,
    next_number: u64,
    forwarded_bytes: usize,
    /// Outcomes of others' commands that wait to be sent.
    outcomes: BTreeMap<Member, Vec<(u64, ForwardOutcome)>>,
    /// The number after the last one that each member passed on to this peer.
    taken: BTreeMap<Member, u64>,
}

/// How far behind the last number taken a number is still one of the same process.
///
/// A process starts its numbers at random, so another one's are farther away than this.
const SAME_PROCESS: u64 = 1 << 32;

#[derive(Debug)]
struct Queued {
    origin: Origin,
    command: Command,
    deadline: Time,
}

#[derive(Debug)]
struct Waiter {
    index: Index,
    term: Term,
    origin: Origin,
    deadline: Time,
}

#[derive(Debug)]
struct Forwarded {
    request: RequestId,
    command: Command,
    deadline: Time,
}

/// Whose command it is.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A client of this peer.
    Local(RequestId),
    /// A client of another peer, which passed it on under a number.
    Remote(Member, u64),
}

impl Proposals {
    /// Starts with nothing waiting and with numbers from `number` on.
    pub(super) fn starting_at(number: u64) -> Self {
        Self {
            next_number: number,
            ..Self::default()
        }
    }

    /// Leaves out of `forward` what was taken, or overtaken, before.
    ///
    /// A link that delivers a frame twice must not make two entries of one command, whatever became
    /// of the first copy: its client may have been told already that it was refused.
    fn skip_taken(&mut self, from: Member, forward: &mut Forward) {
        let end = forward.first.saturating_add(forward.commands.len() as u64);
        let next = self.taken.entry(from).or_insert(forward.first);
        let behind = next.wrapping_sub(forward.first);
        if behind >= SAME_PROCESS {
            *next = end;
        } else {
            *next = end.max(*next);
            let seen = usize::try_from(behind).unwrap_or(usize::MAX);
            let seen = seen.min(forward.commands.len());
            forward.commands.drain(..seen);
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

    /// Returns how many commands wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.waiters.len() + self.forwarded.len()
    }

    /// Tells whether somebody waits for the outcome of an entry up to `last`.
    pub(super) fn awaits(&self, last: Index) -> bool {
        self.waiters
            .front()
            .is_some_and(|waiter| waiter.index <= last)
    }

    fn finish(&mut self, origin: Origin, outcome: ForwardOutcome, out: &mut Out) {
        match origin {
            Origin::Local(request) => out.reply(request, reply(outcome)),
            Origin::Remote(member, number) => {
                self.outcomes
                    .entry(member)
                    .or_default()
                    .push((number, outcome));
            }
        }
    }

    /// Notes that the command of `origin` was appended at `cursor`.
    fn appended(&mut self, cursor: Cursor, origin: Origin, deadline: Time) {
        let waiter = Waiter {
            index: cursor.index,
            term: cursor.term,
            origin,
            deadline,
        };
        // Usually the last; earlier only if this peer led before and lost entries since.
        let place = if self
            .waiters
            .back()
            .is_none_or(|last| last.index <= cursor.index)
        {
            self.waiters.len()
        } else {
            self.waiters
                .partition_point(|other| other.index <= cursor.index)
        };
        self.waiters.insert(place, waiter);
    }

    /// Answers those whose entries were applied up to `last`; `outcomes` belong to the entries
    /// that end there.
    pub(super) fn applied(&mut self, last: Cursor, outcomes: &[Bytes], log: &Log, out: &mut Out) {
        let first = last.index.0 + 1 - outcomes.len() as u64;
        while let Some(waiter) = self.waiters.front() {
            if waiter.index > last.index {
                break;
            }
            let Some(waiter) = self.waiters.pop_front() else {
                break;
            };
            let outcome = match log.term_at(waiter.index) {
                Some(term) if term == waiter.term => {
                    let place = waiter
                        .index
                        .0
                        .checked_sub(first)
                        .and_then(|place| outcomes.get(usize::try_from(place).ok()?));
                    match place {
                        Some(outcome) => ForwardOutcome::Committed {
                            cursor: Cursor::new(waiter.term, waiter.index),
                            outcome: outcome.clone(),
                        },
                        None => ForwardOutcome::Unknown,
                    }
                }
                Some(_) => ForwardOutcome::Superseded,
                None => ForwardOutcome::Unknown,
            };
            self.finish(waiter.origin, outcome, out);
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

    /// Passes on what waits to the leader of `term`, as far as the window allows.
    pub(super) fn forward(&mut self, leader: Member, term: Term, out: &mut Out) {
        while !self.queue.is_empty() && self.forwarded_bytes < limits::INFLIGHT_BYTES {
            let first = self.next_number;
            let mut commands = Vec::new();
            let mut bytes = 0;
            while let Some(queued) = self.queue.front() {
                let size = queued.command.bytes.len() + 32;
                if !commands.is_empty()
                    && (bytes + size > limits::APPEND_BYTES
                        || commands.len() == limits::APPEND_ENTRIES)
                {
                    break;
                }
                let Some(queued) = self.dequeue() else {
                    break;
                };
                let Origin::Local(request) = queued.origin else {
                    // Others' commands were for a term in which this peer led.
                    self.finish(queued.origin, ForwardOutcome::NotLeader, out);
                    continue;
                };
                bytes += size;
                commands.push(queued.command.clone());
                let Queued {
                    command, deadline, ..
                } = queued;
                self.forwarded.insert(
                    self.next_number,
                    Forwarded {
                        request,
                        command,
                        deadline,
                    },
                );
                self.next_number += 1;
            }
            if commands.is_empty() {
                break;
            }
            self.forwarded_bytes += bytes;
            out.frame(
                leader,
                Replication::Forward(Forward {
                    term,
                    first,
                    commands,
                }),
            );
        }
        self.flush_outcomes(term, out);
    }

    /// Sends others the outcomes of their commands.
    pub(super) fn flush_outcomes(&mut self, term: Term, out: &mut Out) {
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
                *bytes -= queued.command.bytes.len();
                late.push((queued.origin, Reply::Unavailable));
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
                *bytes = bytes.saturating_sub(forwarded.command.bytes.len() + 32);
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

    fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes += queued.command.bytes.len();
        self.queue.push_back(queued);
    }

    fn dequeue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.command.bytes.len();
        Some(queued)
    }

    /// Answers everybody for the last time; `unsent` is for those whose commands never left the
    /// queue.
    pub(super) fn close(&mut self, unsent: &Reply, out: &mut Out) {
        self.queue_bytes = 0;
        for queued in std::mem::take(&mut self.queue) {
            if let Origin::Local(request) = queued.origin {
                out.reply(request, unsent.clone());
            }
        }
        for waiter in std::mem::take(&mut self.waiters) {
            if let Origin::Local(request) = waiter.origin {
                out.reply(request, Reply::Unknown);
            }
        }
        self.forwarded_bytes = 0;
        for forwarded in std::mem::take(&mut self.forwarded).into_values() {
            out.reply(forwarded.request, Reply::Unknown);
        }
    }
}

impl Raft {
    /// Takes a client's command.
    pub(crate) fn write(
        &mut self,
        request: RequestId,
        command: Command,
        deadline: Time,
        out: &mut Out,
    ) {
        if self.poisoned.is_some() {
            out.reply(request, Reply::Closed);
        } else if command.bytes.len() > limits::COMMAND {
            out.reply(request, Reply::TooLarge);
        } else if self.proposals.len() >= limits::WAITING || self.is_full() {
            out.reply(request, Reply::Busy);
        } else {
            let origin = Origin::Local(request);
            self.proposals.enqueue(Queued {
                origin,
                command,
                deadline,
            });
        }
    }

    /// Tells whether as many bytes wait here for a leader or a commit as may.
    fn is_full(&self) -> bool {
        let waiting = self.proposals.queue_bytes + self.proposals.forwarded_bytes;
        waiting + self.uncommitted_bytes() >= limits::UNCOMMITTED_BYTES
    }

    /// On the leader: appends what waits.
    pub(super) fn order(&mut self, out: &mut Out) {
        if self.proposals.queue.is_empty() {
            return;
        }
        self.proposals.queue_bytes = 0;
        let queue = std::mem::take(&mut self.proposals.queue);
        let term = self.ballot.term;
        let mut index = self.log.last().index;
        let mut bodies = Vec::with_capacity(queue.len());
        for Queued {
            origin,
            command,
            deadline,
        } in queue
        {
            index = index.next();
            self.proposals
                .appended(Cursor::new(term, index), origin, deadline);
            bodies.push(Body::Command(command));
        }
        self.append_own(bodies, out);
    }

    /// On the leader: takes commands that a follower passes on.
    pub(super) fn on_forward(&mut self, from: Member, mut forward: Forward, out: &mut Out) {
        self.proposals.skip_taken(from, &mut forward);
        let refusal = if !self.is_leader() || forward.term != self.ballot.term {
            Some(ForwardOutcome::NotLeader)
        } else if self.is_full() || self.proposals.waiters.len() >= limits::WAITING * 4 {
            Some(ForwardOutcome::Busy)
        } else {
            None
        };
        for (number, command) in (forward.first..).zip(forward.commands) {
            let origin = Origin::Remote(from, number);
            match &refusal {
                Some(refusal) => self.proposals.finish(origin, refusal.clone(), out),
                None if command.bytes.len() > limits::COMMAND => {
                    self.proposals.finish(origin, ForwardOutcome::Busy, out);
                }
                None => {
                    // The client's own peer judges the deadline.
                    let deadline = Time::NEVER;
                    self.proposals.enqueue(Queued {
                        origin,
                        command,
                        deadline,
                    });
                }
            }
        }
        if !self.is_leader() {
            self.proposals.flush_outcomes(self.ballot.term, out);
        }
    }

    /// Takes the outcomes of commands that were passed on.
    pub(super) fn on_outcomes(&mut self, outcomes: Outcomes, out: &mut Out) {
        for (number, outcome) in outcomes.outcomes {
            let Some(forwarded) = self.proposals.forwarded.remove(&number) else {
                continue;
            };
            let size = forwarded.command.bytes.len() + 32;
            self.proposals.forwarded_bytes = self.proposals.forwarded_bytes.saturating_sub(size);
            if outcome == ForwardOutcome::NotLeader {
                // It was surely not appended: it waits for the next leader.
                let Forwarded {
                    request,
                    command,
                    deadline,
                } = forwarded;
                let origin = Origin::Local(request);
                self.proposals.enqueue(Queued {
                    origin,
                    command,
                    deadline,
                });
            } else {
                out.reply(forwarded.request, reply(outcome));
            }
        }
    }

    /// Takes note of what the state has applied.
    pub(crate) fn applied(&mut self, last: Cursor, outcomes: &[Bytes], out: &mut Out) {
        self.proposals.applied(last, outcomes, &self.log, out);
        self.reads.applied(last, out);
    }

    /// Takes note of a snapshot that replaced the state.
    pub(crate) fn passed_over(&mut self, anchor: Cursor, out: &mut Out) {
        self.proposals.passed_over(anchor.index, out);
        self.reads.applied(anchor, out);
    }

    /// Tells whether somebody waits for the outcome of an entry up to `last`.
    pub(crate) fn awaits(&self, last: Index) -> bool {
        self.proposals.awaits(last)
    }

    /// Appends a body of the leader's own; returns where it stands, or nothing without the lead.
    pub(crate) fn propose(&mut self, body: Body, out: &mut Out) -> Option<Cursor> {
        if !self.is_established_leader() {
            return None;
        }
        let index = self.append_own(vec![body], out);
        Some(Cursor::new(self.ballot.term, index))
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

fn reply(outcome: ForwardOutcome) -> Reply {
    match outcome {
        ForwardOutcome::Committed { cursor, outcome } => Reply::Committed { cursor, outcome },
        ForwardOutcome::Busy | ForwardOutcome::NotLeader => Reply::Busy,
        ForwardOutcome::Unknown => Reply::Unknown,
        ForwardOutcome::Superseded => Reply::Superseded,
    }
}
