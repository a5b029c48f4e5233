//! Entries after an anchor, kept aside while the state at the anchor is being fetched.
//!
//! Staged entries above the hole are not the log: they are never acked, never counted, and play no
//! part in votes. They become log when the snapshot is installed, in the same critical section.

use crate::{
    canary::Canary,
    configuration::Configuration,
    cursor::{Cursor, Index, Term},
    disk_op::DiskWrite,
    entries::Entries,
    entry::Entry,
    id::Member,
    limits,
    out::Out,
    time::Time,
    wire::{Message, entry_size},
};

use super::{Raft, role::RoleState};

/// The entries after one anchor, from one conversation.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Staging {
    anchor: Cursor,
    run: u64,
    entries: Vec<Entry>,
    bytes: usize,
    due: bool,
}

/// What became of entries that were offered for staging.
pub(crate) enum Stage {
    /// They are staged, or were before, or leave a gap that will be sent again.
    Taken,
    /// There is no room: a newer anchor is needed.
    Full,
    /// They do not belong behind the anchor.
    NotMine,
}

impl Staging {
    fn new(anchor: Cursor, run: u64) -> Self {
        Self {
            anchor,
            run,
            entries: Vec::new(),
            bytes: 0,
            due: false,
        }
    }

    /// Returns the anchor.
    pub(super) fn anchor(&self) -> Cursor {
        self.anchor
    }

    pub(super) fn last(&self) -> Cursor {
        self.entries.last().map_or(self.anchor, |entry| {
            Cursor::new(
                entry.term,
                Index(self.anchor.index.0 + self.entries.len() as u64),
            )
        })
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        match index.0.checked_sub(self.anchor.index.0)? {
            0 => Some(self.anchor.term),
            offset => {
                let entry = self.entries.get(usize::try_from(offset - 1).ok()?)?;
                Some(entry.term)
            }
        }
    }

    /// Takes `entries`, which follow `previous`, if they follow the anchor.
    pub(super) fn take(&mut self, previous: Cursor, entries: &[Entry]) -> Stage {
        if previous.index < self.anchor.index {
            return Stage::NotMine;
        }
        self.due = true;
        if self.term_at(previous.index) != Some(previous.term) {
            return Stage::Taken;
        }
        let known = usize::try_from(self.last().index.since(previous.index)).unwrap_or(usize::MAX);
        for entry in entries.iter().skip(known) {
            self.bytes += entry_size(entry);
            self.entries.push(entry.clone());
        }
        if self.bytes > limits::STAGED_BYTES {
            Stage::Full
        } else {
            Stage::Taken
        }
    }

    /// Returns up to where entries are staged, if that is to be said.
    pub(super) fn take_due(&mut self) -> Option<Index> {
        std::mem::take(&mut self.due).then(|| self.last().index)
    }
}

impl Raft {
    /// Stages what follows `anchor` from now on, and asks the leader for it.
    pub(crate) fn stage_from(&mut self, anchor: Cursor, out: &mut Out) {
        if self
            .staging
            .as_ref()
            .is_none_or(|staging| staging.anchor != anchor || staging.run != self.run)
        {
            self.staging = Some(Staging::new(anchor, self.run));
        }
        if let Some(leader) = self.leader.filter(|leader| *leader != self.me) {
            out.send(
                leader,
                Message::StageFrom {
                    term: self.ballot.term,
                    run: self.run,
                    anchor,
                },
            );
        }
    }

    /// Stops staging: the restore was given up.
    pub(crate) fn stop_staging(&mut self) {
        self.staging = None;
    }

    /// Returns the anchor behind which entries are staged, and how many are.
    pub(crate) fn staged(&self) -> Option<(Cursor, u64)> {
        self.staging
            .as_ref()
            .map(|staging| (staging.anchor, staging.entries.len() as u64))
    }

    /// Starts staging anew: another conversation may order other entries after the anchor.
    pub(super) fn restage(&mut self, out: &mut Out) {
        if let Some(anchor) = self.staging.as_ref().map(|staging| staging.anchor) {
            self.staging = None;
            self.stage_from(anchor, out);
        }
    }

    /// Puts a restored snapshot under the log: one critical section.
    ///
    /// If the log holds the anchor, what follows it stays; otherwise the log is dropped and the
    /// staged entries become it. Returns false, and changes nothing, if the anchor is not ahead of
    /// the log's base.
    pub(crate) fn install(
        &mut self,
        anchor: Cursor,
        configuration: Configuration,
        out: &mut Out,
    ) -> bool {
        let staging = self
            .staging
            .take()
            .filter(|staging| staging.anchor == anchor);
        if anchor.index <= self.log.base().index {
            return false;
        }
        let keep = self.log.matches(anchor);
        let id = out.write(DiskWrite::Base {
            base: anchor,
            configuration: Box::new(configuration.clone()),
            genesis: self.genesis,
            keep,
        });
        if keep {
            out.mark("install.log_kept");
            self.log.prune(anchor);
            self.log.rebase(id);
            self.configurations.prune(anchor.index);
        } else {
            out.mark("install.log_dropped");
            self.log.reset(anchor, id);
            if !self.planted.has(Canary::InstallKeepsConfiguration) {
                self.configurations.reset(anchor.index, configuration);
            }
            self.matched = self.matched.min(anchor.index);
        }
        if self.run != 0 {
            self.matched = self.matched.max(anchor.index);
        }
        self.commit = self.commit.max(anchor.index);
        if let Some(staging) = staging.filter(|staging| !keep && staging.run == self.run) {
            out.mark("install.staged_entries");
            let last = staging.last().index;
            let entries = Entries::from(staging.entries);
            self.configurations.note(anchor.index.next(), &entries);
            self.log.append(entries, out);
            self.matched = self.matched.max(last);
        }
        self.ack_due = true;
        self.configuration_changed(out);
        true
    }

    /// On the leader: streams what follows `anchor` to a follower that restores from it.
    pub(super) fn on_stage_from(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        run: u64,
        anchor: Cursor,
        out: &mut Out,
    ) {
        if self.hear_follower(now, from, term, run, out).is_none() {
            return;
        }
        // Whether the anchor is committed is not known to every leader at once; whoever restores
        // asks for that apart.
        let good = self.log.matches(anchor);
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(conversation) = leader.conversations.get_mut(&from) else {
            return;
        };
        if good {
            conversation.stage(anchor);
        } else {
            out.mark("staging.tail_gone");
            conversation.fall_behind(self.log.last().index);
            self.say_behind(from, run, out);
        }
    }

    /// On the leader: entries up to `upto` are staged; that is flow control, not an ack.
    pub(super) fn on_staged(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        run: u64,
        upto: Index,
        out: &mut Out,
    ) {
        if self.hear_follower(now, from, term, run, out).is_none() {
            return;
        }
        let last = self.log.last().index;
        let patience = self.patience();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if let Some(conversation) = leader.conversations.get_mut(&from)
            && upto <= last
        {
            conversation.staged(upto, now, patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        canary::Planted,
        disk_op::Ballot,
        entry::Body,
        event::Role,
        id::{GenesisId, Incarnation, PeerId},
        profile::GroupProfile,
        raft::RaftStart,
        random::Random,
        versions::Versions,
    };

    use super::*;

    fn member(number: u8) -> Member {
        Member {
            peer: PeerId([number; 32]),
            incarnation: Incarnation(1),
        }
    }

    fn configuration(voters: [u8; 3], learners: &[u8]) -> Configuration {
        Configuration {
            voters: voters.map(member).to_vec(),
            outgoing: Vec::new(),
            learners: learners.iter().copied().map(member).collect(),
        }
    }

    #[test]
    fn who_installs_that_it_votes_no_more_campaigns_no_more() {
        let first = Entry {
            term: Term(1),
            body: Body::Configuration(Box::new(configuration([1, 2, 3], &[]))),
        };
        let start = RaftStart {
            me: member(1),
            planted: Planted::default(),
            genesis: GenesisId([7; 16]),
            profile: GroupProfile::default(),
            versions: Versions::ONLY_THE_FIRST,
            random: Random::new(7, PeerId([1; 32])),
            ballot: Ballot::default(),
            base: Cursor::ZERO,
            configuration: Configuration::default(),
            entries: vec![first],
            floor: None,
        };
        let mut out = Out::default();
        let mut raft = Raft::new(start, Time(0));
        raft.tick(raft.deadline(), &mut out);
        assert_eq!(raft.role(), Role::PreCandidate);
        let anchor = Cursor::new(Term(2), Index(9));
        assert!(raft.install(anchor, configuration([2, 3, 4], &[1]), &mut out));
        assert_eq!(raft.role(), Role::Follower);
        assert_eq!(raft.deadline(), Time::NEVER, "there is nothing to ask for");
    }
}
