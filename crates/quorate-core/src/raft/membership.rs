//! Changes of the configuration (Raft, section 6, joint consensus).
//!
//! One change is in flight at a time, and none before the leader has committed an entry of its own
//! term (<https://groups.google.com/g/raft-dev/c/t4xj6dJTP6E/m/d2D9LrWRza8J>). Learners come and go
//! by one entry; voters change by a joint configuration and then the one it leads to. Who is
//! reachable never decides who counts; it only decides whom the leader proposes.
//!
//! What the leader proposes, in this order: whoever wants to go goes ([`super::leave`]); a joiner
//! becomes a learner; a voter's new life takes the place of its old one; a voter gone for long is
//! replaced by a healthy learner and asks to join when it is back; the number of voters grows to
//! the next odd one, two at a time, up to the wanted number. Never fewer voters, unless one wants
//! to go. A *reader* is a learner that says in every ack that it never wants to vote: it is its own
//! wish, local like a timeout, so it is stated to each leader anew and stands in no configuration;
//! and since a learner is promoted only after acks, no leader can miss it.
//! Learners that are gone for very long are let go with the next change of learners.
//!
//! A leader that is not in the half being entered hands over to one that is, and completes the
//! change itself if that does not succeed ([`super::leave`]). Nothing is proposed while the lead is
//! being handed over.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    canary::Canary,
    configuration::Configuration,
    entry::{Body, Entry},
    id::Member,
    limits,
    out::Out,
    peer::WhyLearner,
    profile::GroupProfile,
    time::Time,
    wire::Message,
};

use super::{
    Raft,
    conversation::{Conversation, Mode},
    role::RoleState,
};

/// What the leader knows of the members' health.
pub(super) struct Health<'a> {
    /// Learners that are caught up, stable and heard from just now, the steadiest first.
    pub(super) ready: &'a [Member],
    /// Voters that have been gone for longer than the profile allows.
    pub(super) gone: &'a [Member],
}

impl Raft {
    /// Takes the wish of a peer to become a learner: its own, or one that a member vouches for.
    ///
    /// A peer that does not lead passes a wish on, but only at first hand: among peers that take
    /// each other for the leader it would travel for ever.
    pub(super) fn on_join(&mut self, from: Member, member: Member, out: &mut Out) {
        let first_hand = from == member;
        if self.is_leader() {
            let vouched = first_hand || self.configurations.latest().1.contains(from);
            let stays = !self.leaves.contains_key(&member.peer);
            if vouched && stays && self.joins.len() < limits::LEARNERS {
                self.joins.insert(member.peer, member);
            }
        } else if let Some(leader) = self.leader.filter(|leader| first_hand && *leader != from) {
            out.send(leader, Message::Join { member });
        }
    }

    /// Proposes the next change of the configuration, if one is due and none is in flight.
    pub(super) fn tick_membership(&mut self, now: Time, out: &mut Out) {
        self.judge_learners(now, out);
        if self.is_handing_over() {
            out.mark("membership.change_waits_for_handover");
        }
        let (index, configuration) = self.configurations.latest();
        let early = self.planted.has(Canary::RaftSingleServer2015) && self.is_leader();
        let may = self.is_established_leader() || early;
        if !may || self.is_handing_over() || index > self.commit {
            return;
        }
        let next = if !configuration.is_joint() {
            if !self.is_leaving() {
                self.aside_since = None;
            }
            self.next_change(now, out)
        } else if configuration.voters.contains(&self.me) {
            Some(leave_joint(configuration))
        } else if self.has_tried_to_step_aside(now) {
            out.mark("raft.leader_completes_its_removal");
            Some(leave_joint(configuration))
        } else {
            self.step_aside(now, out);
            return;
        };
        let admitted = self.configurations.latest().1.clone();
        self.joins.retain(|_, member| !admitted.contains(*member));
        let next = match next {
            Some(next) if self.planted.has(Canary::RaftSingleServer2015) => {
                Some(self.single_change(&next))
            }
            next => next,
        };
        if let Some(next) = next.filter(Configuration::is_valid) {
            out.mark(self.kind_of_change(&next));
            let body = Body::Configuration(Box::new(next));
            let term = self.ballot.term;
            self.append_own(vec![Entry { term, body }], out);
            self.refresh_conversations(now);
        }
    }

    /// Names the change from the latest configuration to `next`, for simulations.
    fn kind_of_change(&self, next: &Configuration) -> &'static str {
        let (index, now) = self.configurations.latest();
        let older = |one: &Member| {
            let same = |other: &Member| other.peer == one.peer && other != one;
            now.voters.iter().any(same)
        };
        let (before, after) = (now.voters.len(), next.voters.len());
        if now.is_joint() && self.log.term_at(index) != Some(self.ballot.term) {
            "membership.successor_completes_joint"
        } else if now.is_joint() {
            "membership.joint_completed"
        } else if !next.is_joint() && next.learners.len() < now.learners.len() {
            "membership.learners_let_go"
        } else if !next.is_joint() {
            "membership.learners_admitted"
        } else if after == before + 2 {
            "membership.grows_by_two"
        } else if after > before {
            "membership.grows_by_one"
        } else if after < before {
            "membership.shrinks"
        } else if next.voters.iter().any(older) {
            "membership.new_life_takes_its_seat"
        } else {
            "membership.voter_replaced"
        }
    }

    /// Returns the configuration to go to from one that is not joint.
    fn next_change(&mut self, now: Time, out: &mut Out) -> Option<Configuration> {
        if let Some(next) = self.let_go(now, out) {
            return Some(next);
        }
        let configuration = self.configurations.latest().1;
        let forgotten = self.forget_learners(now);
        let joins = self.joins.values().copied();
        admit(forgotten.as_ref().unwrap_or(configuration), joins)
            .or(forgotten)
            .or_else(|| {
                change_voters(
                    configuration,
                    &self.profile,
                    &Health {
                        ready: &self.ready_learners(now),
                        gone: &self.gone_voters(now),
                    },
                )
            })
    }

    /// Returns the configuration without the learners that have been gone for very long, if there
    /// are any: every peer that dies without a word would hold a place among them for ever.
    fn forget_learners(&self, now: Time) -> Option<Configuration> {
        let RoleState::Leader(leader) = &self.role else {
            return None;
        };
        let patience = self.profile.replace_after * FORGET_AFTER;
        let mut next = self.configurations.latest().1.clone();
        next.learners.retain(|learner| {
            let conversation = leader.conversations.get(learner);
            conversation.is_none_or(|learner| now.since(learner.heard) < patience)
        });
        (next != *self.configurations.latest().1).then_some(next)
    }

    /// Tells whether a learner has what its leader has, but for what is on its way.
    fn is_caught_up(&self, learner: &Conversation) -> bool {
        learner.mode == Mode::Replicate && self.log.last().index.since(learner.matched) <= CAUGHT_UP
    }

    /// Tells whether a learner is heard just now, and has been for a while.
    fn is_steady(&self, now: Time, learner: &Conversation) -> bool {
        now.since(learner.heard) <= self.profile.heartbeat * 2
            && now.since(learner.stable_since) >= self.profile.heartbeat * STEADY_BEATS
    }

    /// Returns the learners that may vote, the steadiest first.
    pub(super) fn ready_learners(&self, now: Time) -> Vec<Member> {
        let RoleState::Leader(leader) = &self.role else {
            return Vec::new();
        };
        let mut ready: Vec<(Time, Member)> = leader
            .conversations
            .iter()
            .filter(|(member, conversation)| {
                self.configurations.latest().1.is_learner(**member)
                    && !self.leaves.contains_key(&member.peer)
                    && !conversation.reader
                    && !conversation.stateless
                    && self.runs_what_is_in_effect(conversation)
                    && self.is_caught_up(conversation)
                    && self.is_steady(now, conversation)
            })
            .map(|(member, conversation)| (conversation.stable_since, *member))
            .collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, member)| member).collect()
    }

    /// Notes for people why each learner does not vote.
    fn judge_learners(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        let configuration = self.configurations.latest().1;
        let step = growth(configuration.voters.len());
        let wanted = self.profile.voters.min(limits::VOTERS);
        let enough = configuration.voters.len() + step > wanted;
        let company = self.ready_learners(now).len() >= step;
        let why = |learner: &Member| {
            let conversation = leader.conversations.get(learner)?;
            let why = if self.leaves.contains_key(&learner.peer) {
                WhyLearner::Leaving
            } else if conversation.reader {
                WhyLearner::Reader
            } else if conversation.versions.is_some() && !self.runs_what_is_in_effect(conversation)
            {
                WhyLearner::OtherVersion
            } else if !self.is_caught_up(conversation) {
                WhyLearner::NotCaughtUp
            } else if !self.is_steady(now, conversation) {
                WhyLearner::NotSteady
            } else if enough {
                WhyLearner::Enough
            } else if company {
                WhyLearner::Next
            } else {
                WhyLearner::Odd
            };
            Some((*learner, why))
        };
        let learners: BTreeMap<Member, WhyLearner> =
            configuration.learners.iter().filter_map(why).collect();
        let was_next = |learner: &Member| leader.learners.get(learner) == Some(&WhyLearner::Next);
        for (learner, why) in &learners {
            if was_next(learner) && *why == WhyLearner::NotCaughtUp {
                out.mark("membership.next_voter_starts_to_lag");
            }
        }
        if let RoleState::Leader(leader) = &mut self.role {
            leader.learners = learners;
        }
    }

    fn gone_voters(&self, now: Time) -> Vec<Member> {
        let RoleState::Leader(leader) = &self.role else {
            return Vec::new();
        };
        let gone_for = |member: &Member| -> Option<Duration> {
            let conversation = leader.conversations.get(member)?;
            Some(now.since(conversation.heard))
        };
        let voters = &self.configurations.latest().1.voters;
        voters
            .iter()
            .filter(|voter| gone_for(voter).is_some_and(|gone| gone >= self.profile.replace_after))
            .copied()
            .collect()
    }
}

/// How many entries a learner may lack and still count as caught up: what is on its way.
const CAUGHT_UP: u64 = 1_024;

/// For how many heartbeats a learner must have been heard without a pause.
const STEADY_BEATS: u32 = 4;

/// A learner that is silent this many times as long as a voter that is replaced is let go; when it
/// is back it asks to join.
const FORGET_AFTER: u32 = 4;

/// Returns the configuration that a joint one leads to.
fn leave_joint(configuration: &Configuration) -> Configuration {
    Configuration {
        outgoing: Vec::new(),
        ..configuration.clone()
    }
}

/// Adds the first of `joins` that is not a member yet; an older learner life of it goes.
fn admit(
    configuration: &Configuration,
    joins: impl Iterator<Item = Member>,
) -> Option<Configuration> {
    let mut next = configuration.clone();
    for member in joins {
        if next.contains(member) {
            continue;
        }
        next.learners.retain(|learner| learner.peer != member.peer);
        if next.learners.len() < limits::LEARNERS {
            next.learners.push(member);
        }
    }
    next.learners.sort_unstable();
    (next != *configuration).then_some(next)
}

/// Returns the joint configuration that changes the voters, if a change is due.
pub(super) fn change_voters(
    configuration: &Configuration,
    profile: &GroupProfile,
    health: &Health<'_>,
) -> Option<Configuration> {
    let voters = &configuration.voters;
    // A new life takes the place of its old one.
    let reborn = health.ready.iter().find_map(|new| {
        let old = voters.iter().find(|voter| voter.peer == new.peer)?;
        Some((*old, *new))
    });
    if let Some((old, new)) = reborn {
        return Some(joint(configuration, &[old], &[new]));
    }
    let fresh: Vec<Member> = health
        .ready
        .iter()
        .filter(|learner| voters.iter().all(|voter| voter.peer != learner.peer))
        .copied()
        .collect();
    if let (Some(old), Some(new)) = (health.gone.first(), fresh.first()) {
        return Some(joint(configuration, &[*old], &[*new]));
    }
    let wanted = profile.voters.min(limits::VOTERS);
    let step = growth(voters.len());
    if voters.len() + step <= wanted && fresh.len() >= step {
        return Some(joint(configuration, &[], &fresh[..step]));
    }
    None
}

/// Returns by how many `voters` grow to the next odd number.
fn growth(voters: usize) -> usize {
    if voters.is_multiple_of(2) { 1 } else { 2 }
}

/// Builds the joint configuration that lets `leave` go and `enter` in.
///
/// Who leaves is no member any more once the change is through; when it is back it asks to join.
pub(super) fn joint(
    configuration: &Configuration,
    leave: &[Member],
    enter: &[Member],
) -> Configuration {
    let mut voters: Vec<Member> = configuration
        .voters
        .iter()
        .filter(|voter| !leave.contains(voter))
        .chain(enter)
        .copied()
        .collect();
    voters.sort_unstable();
    let mut learners: Vec<Member> = configuration
        .learners
        .iter()
        .filter(|learner| !enter.contains(learner))
        .copied()
        .collect();
    learners.sort_unstable();
    Configuration {
        voters,
        outgoing: configuration.voters.clone(),
        learners,
    }
}
