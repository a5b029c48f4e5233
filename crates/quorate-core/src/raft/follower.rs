//! The follower's side of replication (Raft, section 5.3).
//!
//! Invariants: an ack covers only what is durable here and known to equal the leader's log in this
//! conversation; the commit index never passes that; nothing committed is ever dropped, whoever
//! asks for it.

use crate::{
    canary::Canary,
    cursor::{Cursor, Index, Term},
    entries::Entries,
    event::{GroupEvent, Role},
    id::Member,
    out::Out,
    time::Time,
    wire::{Append, Message},
};

use super::{
    Raft,
    role::Cause,
    staging::{Stage, Staging},
};

impl Raft {
    /// Takes a message of a leader; returns whether it is the leader of this term.
    ///
    /// Only the current leader's messages put off a campaign.
    pub(super) fn hear_leader(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        run: u64,
        out: &mut Out,
    ) -> bool {
        if term < self.ballot.term {
            // Tells a leader that was deposed so, by the term alone.
            out.mark("raft.deposed_leader_told");
            let last = self.log.last();
            let term = self.ballot.term;
            out.send(
                from,
                Message::Reject {
                    term,
                    run,
                    previous: last,
                    hint: last,
                },
            );
            return false;
        }
        if self.is_leader() && term == self.ballot.term {
            // Two leaders of one term cannot be; whoever says so is not to be followed.
            out.mark("raft.second_leader_of_a_term");
            return false;
        }
        if self.leader.is_some_and(|leader| leader != from) && term == self.ballot.term {
            out.mark("raft.second_leader_of_a_term");
            return false;
        }
        if term > self.ballot.term {
            self.become_follower(now, (Cause::HigherTerm, term), Some(from), out);
        } else if self.role() != Role::Follower {
            self.become_follower(now, (Cause::LeaderHeard, term), Some(from), out);
        }
        self.set_leader(Some(from), out);
        self.leader_heard = now;
        self.put_off_election(now);
        if run != self.run {
            self.run = run;
            self.matched = Index(0);
            self.read_seen = 0;
            self.restage(out);
        }
        true
    }

    /// Takes a heartbeat; it is always answered.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Time,
        from: Member,
        (term, run): (Term, u64),
        (commit, read): (Index, u64),
        out: &mut Out,
    ) {
        if self.hear_leader(now, from, term, run, out) {
            self.read_seen = self.read_seen.max(read);
            self.raise_commit(commit);
            self.lift_doubt(commit, out);
            self.ack_due = true;
        }
    }

    /// Takes the leader's word that it no longer has what is needed here.
    pub(super) fn on_behind(
        &mut self,
        now: Time,
        from: Member,
        (term, run): (Term, u64),
        (first, commit): (Index, Index),
        out: &mut Out,
    ) {
        if self.hear_leader(now, from, term, run, out) {
            self.raise_commit(commit);
            self.behind = Some(super::Behind { first });
        }
    }

    /// Takes entries: stages them behind an anchor, or puts them into the log.
    pub(super) fn on_append(&mut self, now: Time, from: Member, append: Append, out: &mut Out) {
        if !self.hear_leader(now, from, append.term, append.run, out) {
            return;
        }
        self.read_seen = self.read_seen.max(append.read);
        if self.disk.is_full() {
            // They will be sent again; what waits to be written must not grow meanwhile.
            out.mark("disk.no_space_for_entries");
            return;
        }
        let Append {
            previous,
            commit,
            entries,
            ..
        } = append;
        // A log that holds the anchor takes what follows it: only the state is restored.
        let held = |staging: &Staging| self.log.matches(staging.anchor());
        let apart = !self.staging.as_ref().is_some_and(held);
        if let Some(staging) = self.staging.as_mut().filter(|_| apart) {
            match staging.take(previous, &entries) {
                Stage::Taken => {
                    self.ack_due |= self.planted.has(Canary::StagedIsAcked);
                    return;
                }
                Stage::Full => {
                    out.mark("staging.full");
                    self.staging = None;
                    self.behind = Some(super::Behind {
                        first: Index(u64::MAX),
                    });
                    return;
                }
                Stage::NotMine => {}
            }
        }
        let (previous, entries) = self.skip_known(previous, entries);
        if !self.log.matches(previous) {
            self.reject(from, previous, out);
            return;
        }
        let first_new = self.first_new(previous, &entries);
        let end = Index(previous.index.0 + entries.len() as u64);
        if first_new > 0 {
            out.mark("raft.entries_sent_again");
        }
        if self.planted.has(Canary::StaleAppendTruncates) && end < self.log.last().index {
            self.log.truncate(end);
            self.configurations.truncate(end);
        }
        let kept = self.planted.has(Canary::ConflictKept)
            && previous.index.0 + (first_new as u64) < self.log.last().index.0;
        if first_new < entries.len() && !kept {
            let keep = Index(previous.index.0 + first_new as u64);
            if keep < self.log.last().index && !self.drop_after(keep, from, out) {
                return;
            }
            let new = entries.slice(first_new..entries.len());
            if self.configurations.note(keep.next(), &new) {
                self.configuration_changed(out);
            }
            self.log.append(new, out);
        }
        self.matched = self.matched.max(end);
        self.raise_commit(commit);
        self.ack_due = true;
    }

    /// Drops the entries after `keep`, unless something committed is among them.
    fn drop_after(&mut self, keep: Index, from: Member, out: &mut Out) -> bool {
        if keep < self.commit {
            out.mark("raft.committed_truncation_refused");
            out.event(GroupEvent::CommittedTruncationRefused { peer: from.peer });
            out.misbehaved.push(from.peer);
            return false;
        }
        out.mark("raft.truncated");
        self.log.truncate(keep);
        if self.configurations.truncate(keep) {
            out.mark("raft.configuration_rolled_back");
            self.configuration_changed(out);
        }
        true
    }

    /// Returns how many of the entries after `previous` are here already.
    fn first_new(&self, previous: Cursor, entries: &Entries) -> usize {
        if previous.index == self.log.last().index {
            return 0;
        }
        let term_here = |index| self.log.term_at(Index(index));
        (previous.index.0 + 1..)
            .zip(entries)
            .take_while(|(index, entry)| term_here(*index) == Some(entry.term))
            .count()
    }

    /// Skips entries up to the base: they are committed, so the leader's are the same.
    fn skip_known(&self, previous: Cursor, entries: Entries) -> (Cursor, Entries) {
        let base = self.log.base();
        let Some(known) = base
            .index
            .0
            .checked_sub(previous.index.0)
            .filter(|known| *known > 0)
        else {
            return (previous, entries);
        };
        let known = usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(entries.len());
        let rest = entries.slice(known..entries.len());
        if rest.is_empty() && previous.index.0 + (known as u64) < base.index.0 {
            // Everything sent lies below the base: as if nothing had been sent after it.
            return (base, rest);
        }
        (base, rest)
    }

    /// Says where to look for the last common entry: at the end of this log, or before the term
    /// that conflicts (section 5.3, the optimisation at its end).
    fn reject(&mut self, to: Member, previous: Cursor, out: &mut Out) {
        let last = self.log.last();
        let hint = match self.log.term_at(previous.index) {
            Some(conflict) if previous.index <= last.index => {
                let mut index = previous.index;
                while index > self.commit.max(self.log.base().index)
                    && self.log.term_at(index) == Some(conflict)
                {
                    index = index.previous();
                }
                Cursor::new(self.log.term_at(index).unwrap_or_default(), index)
            }
            _ => last,
        };
        out.send(
            to,
            Message::Reject {
                term: self.ballot.term,
                run: self.run,
                previous,
                hint,
            },
        );
    }

    /// Sends the ack that is due, once the term it speaks of is durable, and what is for the
    /// leader to order.
    pub(super) fn settle_follower(
        &mut self,
        now: Time,
        reachable: impl Fn(Member) -> bool,
        out: &mut Out,
    ) {
        if let Some(leader) = self.leader.filter(|leader| reachable(*leader)) {
            if self.ack_due && self.durable_ballot.1.term == self.ballot.term {
                self.ack_due = false;
                let mut matched = self.log.durable().upto(self.matched).index();
                if self.planted.has(Canary::StagedIsAcked) {
                    matched = self
                        .staging
                        .as_ref()
                        .map_or(matched, |staging| staging.last().index);
                }
                let (term, run, read) = (self.ballot.term, self.run, self.read_seen);
                let (reader, versions) = (self.profile.reader, self.in_effect.versions);
                let stateless = self.lacks_state;
                out.send(
                    leader,
                    Message::Ack {
                        term,
                        run,
                        matched,
                        read,
                        reader,
                        stateless,
                        versions,
                    },
                );
            }
            if let Some(staging) = &mut self.staging
                && let Some(upto) = staging.take_due()
            {
                let (term, run) = (self.ballot.term, self.run);
                out.send(leader, Message::Staged { term, run, upto });
            }
            self.proposals.forward(leader, self.ballot.term, out);
            self.reads.ask(now, leader, self.profile.election_min, out);
        }
    }

    /// Tells the user of the configuration that is now in effect.
    pub(super) fn configuration_changed(&mut self, out: &mut Out) {
        let (index, configuration) = self.configurations.latest();
        out.event(GroupEvent::ConfigurationChanged {
            configuration: configuration.clone(),
            committed: index <= self.commit,
        });
        // A member that is out campaigns no more; one that became a voter may.
        if self.role() != Role::Leader && !self.can_be_needed() {
            self.change_role(Cause::NotVoter, out);
        }
    }
}
