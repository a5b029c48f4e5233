//! Upgrades: which version of the state machine the group's commands are applied by.
//!
//! **The problem.** Replicas agree only while the same code runs on each of them. A new binary
//! whose machine does something else with the same command must not do it before all the others do.
//!
//! **The rule.** The version in effect is part of the replicated state. A history begins at version
//! 1; an entry [`Body::Upgrade`] in the log changes it for every command after it, on every peer
//! at the same place, and never back. A peer runs a command only if its machine reads the version
//! in effect there. So replicas cannot part, whoever was started with whatever; what is left is
//! that nobody be shut out, and that is what the leader's care is for.
//!
//! **Who says what.** Each peer states the range of versions that its machine reads in every ack,
//! and a leader keeps it with the conversation: a follower that was started anew has a new link,
//! which begins a new conversation, in which it has said nothing yet. Nothing of it is durable.
//!
//! **When the leader proposes.** At a heartbeat, once it has committed an entry of its term and its
//! state has been given that entry and every upgrade before it, so that it knows the version in
//! effect: if every member of the committed configuration (voters, learners and itself) has stated
//! its range, was heard just now, and all of them read a version higher than the one in effect, the
//! highest of those. Nobody has to ask. The decision to upgrade is the operator's, and it is made
//! by starting the last peer with the new binary; a second step would be forgotten, and its lack
//! shows nowhere. Whoever wants to keep a way back lets the machine say that it reads no more than
//! it did until the time has come. A member that is gone holds the upgrade up until it is back or
//! let go.
//!
//! | what happens | what follows |
//! |---|---|
//! | the leader is lost before the entry commits | the next one looks anew; a second does no harm |
//! | a member comes back with an older binary | it stops before the first command it cannot run |
//! | a peer joins that cannot run it | it stays a learner, stops, and is told why |
//! | a leader cannot run it | it orders no command, and hands over to a voter that can |
//!
//! A peer that is *too old* keeps its log, acknowledges and votes: the group counts on that. It
//! waits longer before it campaigns, since somebody who can lead to some purpose may be there. It
//! gives no reads. It goes on applying what no machine is needed for, because an upgrade may be
//! what it waits for: a group all of whose members read 2 and 3 begins at 1, and its leader orders
//! no command before it has upgraded.
//!
//! Rejected: to refuse a peer that is too old at the door. It may hold the one copy that a quorum
//! needs. Rejected: to let it drop the entries that it cannot apply. If all members are too old,
//! because somebody has taken the new binary back everywhere, the entries are all there is.
//!
//! What stands in a log must be read by whoever starts from it: a binary that no longer runs a
//! version cannot replay commands of that version, and needs a snapshot of a peer that could.

use crate::{
    canary::Canary,
    client::{Reply, RequestId},
    cursor::Index,
    entry::Body,
    out::Out,
    time::Time,
    versions::Versions,
};

use super::{Raft, conversation::Conversation, role::RoleState};

/// What a peer knows of the version in effect.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct InEffect {
    /// What the machine here reads.
    pub(super) versions: Versions,
    /// The version after the entry at `upto`.
    version: u32,
    /// The last entry that the state was given.
    pub(super) upto: Index,
    /// Where the last upgrade stands that this peer has proposed.
    proposed: Index,
}

impl InEffect {
    /// Starts at the beginning of a history.
    pub(super) fn new(versions: Versions) -> Self {
        Self {
            versions,
            version: Versions::BEGINNING,
            upto: Index(0),
            proposed: Index(0),
        }
    }
}

impl Raft {
    /// Takes note of the version in effect after the last entry that the state was given.
    pub(crate) fn note_version(&mut self, upto: Index, version: u32, out: &mut Out) {
        self.in_effect.upto = upto;
        self.in_effect.version = version;
        if self.is_too_old() {
            self.reads.refuse(&Reply::TooOld, out);
        }
    }

    /// Returns the version in effect, if the state here is of this log: else it is not known.
    fn version_in_effect(&self) -> Option<u32> {
        let known = self.in_effect.upto >= self.log.base().index;
        known.then_some(self.in_effect.version)
    }

    /// Tells whether the machine here cannot run what comes next, for all that is known.
    pub(super) fn is_at_a_loss(&self) -> bool {
        let version = self.version_in_effect();
        version.is_some_and(|version| !self.in_effect.versions.contains(version))
    }

    /// Tells whether the version in effect is newer than all that the machine here reads.
    pub(crate) fn is_too_old(&self) -> bool {
        let version = self.version_in_effect();
        version.is_some_and(|version| version > self.in_effect.versions.last())
    }

    /// Refuses a read of a state that the machine here does not read.
    pub(super) fn refuse_too_old(&self, request: RequestId, out: &mut Out) -> bool {
        let refused = self.is_too_old();
        if refused {
            out.mark("upgrade.read_refused");
            out.reply(request, Reply::TooOld);
        }
        refused
    }

    /// Tells whether a follower has said that it runs the version in effect; any does if nobody
    /// knows which that is.
    pub(super) fn runs_what_is_in_effect(&self, follower: &Conversation) -> bool {
        self.version_in_effect().is_none_or(|version| {
            let stated = follower.versions;
            stated.is_some_and(|versions| versions.contains(version))
        })
    }

    /// On the leader: proposes the next upgrade if it is due, or steps back if it cannot run what
    /// is in effect.
    pub(super) fn tick_upgrade(&mut self, now: Time, out: &mut Out) {
        if !self.is_established_leader() || self.is_handing_over() {
            return;
        }
        if self.is_too_old() {
            out.mark("upgrade.leader_is_too_old");
            if self.hand_over(now, None, out).is_err() {
                out.mark("upgrade.nobody_to_hand_over_to");
            }
            return;
        }
        let Some(version) = self.next_version(now) else {
            return;
        };
        if let Some(cursor) = self.propose(Body::Upgrade { version }, out) {
            out.mark("upgrade.proposed");
            self.in_effect.proposed = cursor.index;
        }
    }

    /// Returns the version to upgrade to, if all members can.
    fn next_version(&self, now: Time) -> Option<u32> {
        let RoleState::Leader(leader) = &self.role else {
            return None;
        };
        let InEffect {
            versions,
            upto,
            proposed,
            ..
        } = self.in_effect;
        let version = self.version_in_effect()?;
        let (changed_at, configuration) = self.configurations.latest();
        if upto < leader.first || upto < proposed || changed_at > self.commit {
            return None;
        }
        if self.planted.has(Canary::UpgradeUnheard) {
            return Some(versions.last()).filter(|last| *last > version);
        }
        let mut common = versions;
        for member in configuration.members() {
            if member != self.me {
                let other = leader.conversations.get(&member)?;
                if now.since(other.heard) >= self.profile.election_min {
                    return None;
                }
                common = common.common_with(other.versions?)?;
            }
        }
        Some(common.last()).filter(|last| *last > version)
    }
}
