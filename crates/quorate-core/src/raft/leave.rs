//! Giving up a seat: one peer leaves the group on purpose.
//!
//! A seat is given up by a committed configuration and by nothing else. Whoever leaves asks the
//! leader, again and again (through any peer of the group if it knows no leader), until it is told
//! that it is out, or its deadline comes. Two questions, one message each:
//!
//! | message | from | says |
//! |---|---|---|
//! | `Leave` | the leaver, or a voter that passes it on | take me out; or, later: am I out? |
//! | `Left` | the leader, back the same way | you are not in the committed configuration at i |
//!
//! Both name the wish that they are about: a client may give up waiting, its peer be let in again
//! and wish to leave once more, while the answer to the first wish is still on a slow way. A peer
//! that lags may not have seen either configuration, so the place in the log does not tell.
//!
//! The leader notes the wish and proposes, before any other change: a learner goes by one entry; a
//! voter by a joint change, in which a learner that is ready takes its seat if there is one. Once
//! the configuration without the leaver is committed it says so unasked, once; if that is lost, or
//! that leader dies, the leaver's next question gets the same answer from whoever leads then. So
//! nobody needs to replicate to a peer that is no member, and no leader needs to remember who has
//! left. A leader answers only when it has committed an entry of its own term: before that it may
//! not know the latest committed configuration.
//!
//! **A leader that leaves** hands over first and then asks the next leader like anybody else. The
//! dissertation (section 4.2.2) has it propose its own removal and lead on until that is committed,
//! counting others only, and then step down. Handing over first is better where it succeeds: the
//! group is led all the time by somebody that stays, no election timeout passes, and the removal is
//! the change of an ordinary member, asked for again if its leader dies. It does not always
//! succeed: there may be nobody that may be handed to, or whoever is cannot campaign. So after
//! [`ASIDE`] election timeouts the leader does as the dissertation says:
//!
//! | the leader | counts itself | goes on when |
//! |---|---|---|
//! | proposes the joint configuration that lets it go | in the old half | both halves have it |
//! | proposes the configuration without it | no more | a quorum of the others has it |
//! | says what is committed, calls the one that has most, and is a follower of nobody | | |
//!
//! Nothing else changes for such a leader: its log counts in no half that it is not in, a read or
//! its lead is confirmed by those who are, so it can decide nothing alone. The same happens to a
//! voter of the old half that is elected while somebody else's joint change lets it go, and to the
//! only voter whose seat a learner takes.
//!
//! **What can go wrong.** The leaver dies in the middle: its wish lapses on the leader, unless it
//! is in the log already; then it was removed, as it wanted. The leader dies: the next one is
//! asked; if it has the joint configuration in its log, it completes it. If only the one that goes
//! has the configuration without it, it is elected once more to commit that. No quorum: nothing
//! commits, the client is told `Unavailable` at its deadline, and what is in the log may still
//! take effect; a peer that is removed after all notices that nobody leads it and asks to join, as
//! anybody would that was let go. A learner that dies while it takes the only voter's seat: the
//! change cannot be completed until it is back. A leader proposes to shrink only if a majority of
//! the voters that remain was heard just now, so that a leave does not stop a group whose other
//! voters are gone already; and only if one of those has the state, or it would be gone for good
//! with the last one that had.
//!
//! **Without a history** there is no seat to give up, and the client is told so at once; a peer
//! that has asked to join, or is among founders that expect each other, may have a seat that it
//! does not know of: it waits until it does, and then leaves.
//!
//! **The last voter** is refused, for the group would end with it; unless it is asked to dissolve
//! the group, and then it stops at once: there is nobody left with whom anything could be
//! committed. A peer that has left campaigns no more and asks for no seat in this life, and gives
//! up any seat that it is given by a late wish of its own. Whoever wishes that it left while it has
//! such a seat waits until that is given up, too.

use crate::{
    client::{Reply, RequestId},
    configuration::Configuration,
    cursor::{Index, Term},
    event::GroupEvent,
    id::Member,
    limits,
    out::Out,
    time::Time,
    wire::Message,
};

use super::{
    Raft,
    role::{Cause, RoleState},
};

/// For how many election timeouts a leader that has to go tries to hand over: one handover, the
/// pause after it, and a second one.
const ASIDE: u32 = 3;

/// A client that waits until this peer has left.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Waiting {
    request: RequestId,
    dissolve: bool,
    deadline: Time,
}

/// A member that wants to go, as the leader knows it.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Leaver {
    member: Member,
    wish: u64,
    /// When it last said so.
    asked: Time,
}

impl Raft {
    /// Tells a new leader at once if this peer leaves: one that leaves, too, would hand the lead
    /// over, and get it back before either was asked, over and over.
    pub(super) fn tell_leader_of_leave(&self, leader: Member, out: &mut Out) {
        if self.is_leaving() {
            let (member, wish) = (self.me, self.leave_wish);
            out.send(leader, Message::Leave { member, wish });
        }
    }

    /// Returns the number of this peer's last wish to leave.
    pub(crate) fn leave_wish(&self) -> u64 {
        self.leave_wish
    }

    /// Takes a client's wish that this peer leave.
    pub(crate) fn leave(
        &mut self,
        request: RequestId,
        dissolve: bool,
        deadline: Time,
        out: &mut Out,
    ) {
        if self.poisoned.is_some() {
            out.reply(request, Reply::Closed);
        } else if self.left && !self.is_seated_again() {
            out.reply(request, Reply::Done);
        } else if self.leaving.len() >= limits::WISHES {
            out.reply(request, Reply::Busy);
        } else {
            if self.leaving.is_empty() {
                self.leave_wish = request.0;
            }
            self.leaving.push(Waiting {
                request,
                dissolve,
                deadline,
            });
        }
    }

    /// Tells whether a client waits until this peer has left.
    pub(crate) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Tells whether this peer has left, in this life.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// Tells whether this peer has left and was let in again, as far as it knows.
    fn is_seated_again(&self) -> bool {
        let (index, configuration) = self.configurations.latest();
        self.left && index > self.out_upto && configuration.contains(self.me)
    }

    /// Tells whether the group must be asked to let this peer go.
    pub(crate) fn wants_out(&self) -> bool {
        let led = self.left && self.leader.is_some();
        (self.is_leaving() || led) && !self.is_leader()
    }

    /// On a leader that leaves: hands over, or ends with the group.
    pub(super) fn pursue_leave(&mut self, now: Time, out: &mut Out) {
        if self.leaving.is_empty() || !self.is_established_leader() {
            return;
        }
        let (index, configuration) = self.configurations.latest();
        if configuration.is_joint() || index > self.commit {
            return;
        }
        if configuration.voters != [self.me] {
            let by_itself =
                self.has_tried_to_step_aside(now) && self.without(now, self.me, out).is_some();
            if !by_itself {
                self.step_aside(now, out);
            }
            return;
        }
        if !self.replacements(now).is_empty() {
            // The next change gives one of them the seat.
            return;
        }
        let hopeful = self.someone_may_take_over(now);
        let mut dissolved = false;
        self.leaving.retain(|leaver| {
            dissolved |= leaver.dissolve;
            if !leaver.dissolve && !hopeful {
                out.reply(leaver.request, Reply::LastVoter);
            }
            leaver.dissolve || hopeful
        });
        if dissolved {
            out.mark("leave.dissolved");
            self.be_gone(now, Index(u64::MAX), out);
        }
    }

    /// Tells whether a learner is heard that does not want to go: it may yet be ready.
    fn someone_may_take_over(&self, now: Time) -> bool {
        let RoleState::Leader(leader) = &self.role else {
            return false;
        };
        leader.conversations.iter().any(|(member, conversation)| {
            now.since(conversation.heard) < self.profile.election_min
                && !self.leaves.contains_key(&member.peer)
        })
    }

    /// Ends this peer's part in the group, of which no configuration up to `upto` has it; its
    /// clients are told.
    fn be_gone(&mut self, now: Time, upto: Index, out: &mut Out) {
        self.out_upto = self.out_upto.max(upto);
        let first = !std::mem::replace(&mut self.left, true);
        if self.role() != crate::event::Role::Follower {
            self.become_follower(now, (Cause::Left, self.ballot.term), None, out);
        }
        self.set_leader(None, out);
        for leaver in std::mem::take(&mut self.leaving) {
            out.reply(leaver.request, Reply::Done);
        }
        if first {
            out.event(GroupEvent::Left);
        }
    }

    /// Answers those whose deadline has passed.
    pub(super) fn expire_leaving(&mut self, now: Time, out: &mut Out) {
        self.leaving.retain(|leaver| {
            if leaver.deadline <= now {
                out.reply(leaver.request, Reply::Unavailable);
            }
            leaver.deadline > now
        });
    }

    /// Answers everybody who waits until this peer has left, for the last time.
    pub(super) fn close_leaving(&mut self, reply: &Reply, out: &mut Out) {
        for leaver in std::mem::take(&mut self.leaving) {
            out.reply(leaver.request, reply.clone());
        }
    }

    /// Takes the wish of `member` to go: its own, or one that a voter vouches for.
    ///
    /// A peer that does not lead passes a wish on, but only at first hand.
    pub(super) fn on_leave(
        &mut self,
        now: Time,
        from: Member,
        (member, wish): (Member, u64),
        out: &mut Out,
    ) {
        let first_hand = from == member;
        if !self.is_leader() {
            if let Some(leader) = self.leader.filter(|leader| first_hand && *leader != from) {
                out.send(leader, Message::Leave { member, wish });
            }
            return;
        }
        let (index, configuration) = self.configurations.latest();
        if member == self.me || !(first_hand || configuration.is_voter(from)) {
            return;
        }
        self.joins.retain(|_, other| *other != member);
        if configuration.contains(member) {
            if self.leaves.len() < limits::LEARNERS {
                let asked = now;
                let leaver = Leaver {
                    member,
                    wish,
                    asked,
                };
                self.leaves.insert(member.peer, leaver);
            }
        } else if index <= self.commit && self.is_established_leader() {
            self.leaves.remove(&member.peer);
            say_left(from, (member, wish), (self.ballot.term, index), out);
        }
    }

    /// On the leader: tells those that wanted to go that they are out, once that is committed.
    pub(super) fn release(&mut self, out: &mut Out) {
        let (index, configuration) = self.configurations.latest();
        if index > self.commit || self.leaves.is_empty() {
            return;
        }
        let term = self.ballot.term;
        self.leaves.retain(|_, leaver| {
            let stays = configuration.contains(leaver.member);
            if !stays {
                let Leaver { member, wish, .. } = *leaver;
                say_left(member, (member, wish), (term, index), out);
            }
            stays
        });
    }

    /// Takes a leader's word that `member` is out.
    ///
    /// It counts only if it answers the wish that this peer has now, is about a configuration later
    /// than any that has this peer in it, and comes from a voter, as far as voters are known here.
    /// A configuration of its own without this peer, which only it may have, is none to be later
    /// than, if the word is of a later term.
    /// The word of a leader of an older term, or an answer to an earlier wish, may be about a time
    /// before this peer was let in.
    pub(super) fn on_left(
        &mut self,
        now: Time,
        from: Member,
        (member, wish): (Member, u64),
        (term, index): (Term, Index),
        out: &mut Out,
    ) {
        if member != self.me {
            if self.leader == Some(from) {
                say_left(member, (member, wish), (term, index), out);
            }
            return;
        }
        let (own, configuration) = self.configurations.latest();
        let believed =
            self.leader == Some(from) || configuration.is_voter(from) || self.log.is_empty();
        let alone = self.log.term_at(own).is_some_and(|own| own < term);
        let newer = index > own || (!configuration.contains(self.me) && (index == own || alone));
        let asked = wish == self.leave_wish;
        if !asked || !believed || !newer || term < self.ballot.term {
            out.mark("leave.late_word");
            return;
        }
        if self.left || self.is_leaving() {
            out.mark(if self.left {
                "leave.left_again"
            } else {
                "leave.left"
            });
            self.be_gone(now, index, out);
        }
    }

    /// On the leader: forgets wishes that were not repeated for long, and returns the
    /// configuration that lets the next of the others go.
    pub(super) fn let_go(&mut self, now: Time, out: &mut Out) -> Option<Configuration> {
        let lapse = self.profile.election_max * 4;
        self.leaves
            .retain(|_, leaver| now.since(leaver.asked) < lapse);
        let (_, configuration) = self.configurations.latest();
        let mut wishes = self.leaves.values().map(|leaver| leaver.member);
        let learners = &configuration.learners;
        if wishes.clone().any(|member| learners.contains(&member)) {
            let mut next = configuration.clone();
            next.learners
                .retain(|learner| !wishes.clone().any(|member| member == *learner));
            return Some(next);
        }
        let leaver = wishes.find(|member| configuration.voters.contains(member));
        if let Some(leaver) = leaver {
            return self.without(now, leaver, out);
        }
        let alone = configuration.voters == [self.me] && !self.replacements(now).is_empty();
        let own = self.is_leaving() && (alone || self.has_tried_to_step_aside(now));
        let next = own.then(|| self.without(now, self.me, out)).flatten();
        if next.is_some() && !alone {
            out.mark("leave.leader_lets_itself_go");
        }
        next
    }

    /// Returns the joint configuration that lets a voter go, if those who remain can decide and one
    /// of them has the state; a learner that is ready takes its seat.
    fn without(&self, now: Time, leaver: Member, out: &mut Out) -> Option<Configuration> {
        let (_, configuration) = self.configurations.latest();
        let enter: Vec<Member> = self.replacements(now).into_iter().take(1).collect();
        let next = super::membership::joint(configuration, &[leaver], &enter);
        let lives = |member: &&Member| **member == self.me || self.is_heard(now, **member);
        let living = || next.voters.iter().filter(lives);
        if !living().any(|member| self.has_state(*member)) {
            out.mark("leave.waits_for_a_state");
            return None;
        }
        (living().count() > next.voters.len() / 2).then_some(next)
    }

    /// Returns the learners that may take a voter's seat now, the steadiest first.
    fn replacements(&self, now: Time) -> Vec<Member> {
        let voters = &self.configurations.latest().1.voters;
        let mut ready = self.ready_learners(now);
        ready.retain(|learner| voters.iter().all(|voter| voter.peer != learner.peer));
        ready
    }

    /// On a leader that has to go: hands over to anybody that votes, if anybody may be handed to.
    pub(super) fn step_aside(&mut self, now: Time, out: &mut Out) {
        self.aside_since.get_or_insert(now);
        if self.hand_over(now, None, out).is_err() {
            out.mark("transfer.nobody_else_votes");
        }
    }

    /// Tells whether this leader has tried for long enough to hand over before it goes.
    pub(super) fn has_tried_to_step_aside(&self, now: Time) -> bool {
        let patience = self.profile.election_max * ASIDE;
        self.aside_since
            .is_some_and(|since| now.since(since) >= patience)
    }

    /// On the leader: steps down once a configuration is committed in which it does not vote.
    ///
    /// The others are told of the commit, and the one that has most of the log to campaign at once:
    /// courtesies, without which an election timeout does the same.
    pub(super) fn retire(&mut self, now: Time, out: &mut Out) {
        let (index, configuration) = self.configurations.latest();
        if index > self.commit || self.configurations.votes() {
            return;
        }
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        let matched = |voter: &Member| Some((leader.conversations.get(voter)?.matched, *voter));
        let next = configuration.voters.iter().filter_map(matched).max();
        self.beat(now, true, out);
        let term = self.ballot.term;
        if let Some((_, next)) = next {
            out.send(next, Message::TimeoutNow { term });
        }
        out.mark("raft.removed_leader_steps_down");
        self.become_follower(now, (Cause::Removed, term), None, out);
        if self.is_leaving() {
            self.be_gone(now, index, out);
        }
    }

    /// Tells whether a member has the state of the group, or makes it of its log.
    fn has_state(&self, member: Member) -> bool {
        if member == self.me {
            return !self.lacks_state;
        }
        let RoleState::Leader(leader) = &self.role else {
            return false;
        };
        let other = leader.conversations.get(&member);
        other.is_some_and(|other| !other.stateless)
    }

    /// Tells whether a member was heard from just now.
    fn is_heard(&self, now: Time, member: Member) -> bool {
        let RoleState::Leader(leader) = &self.role else {
            return false;
        };
        leader.conversations.get(&member).is_some_and(|other| {
            other.spoke && now.since(other.heard) <= self.profile.heartbeat * 2
        })
    }
}

fn say_left(
    to: Member,
    (member, wish): (Member, u64),
    (term, index): (Term, Index),
    out: &mut Out,
) {
    let word = Message::Left {
        member,
        wish,
        term,
        index,
    };
    out.send(to, word);
}
