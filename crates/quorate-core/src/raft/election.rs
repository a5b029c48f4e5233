//! Elections (Raft, section 5.2) with pre-vote (dissertation, section 9.6).
//!
//! Who grants a vote: whoever is asked, by term and last cursor only. Who counts: the latest
//! configuration in the candidate's own log, both halves while it is joint. A vote leaves only
//! after the ballot that holds it is durable.
//!
//! Who campaigns: a voter, and whoever is let go by the last configuration in its log, as long as
//! it does not know that this is committed (dissertation, section 4.2.2). Others may still have the
//! joint configuration, need its vote, and not get it, for their logs are shorter: then nobody else
//! can lead. It does not count itself; those who stay elect it, and once they have what its log
//! ends with it is out.

use std::collections::BTreeSet;

use crate::{
    canary::Canary,
    cursor::{Cursor, Term},
    disk_op::{Ballot, DiskId},
    event::GroupEvent,
    id::Member,
    out::Out,
    random::Purpose,
    time::Time,
    wire::Message,
};

use super::{
    Raft,
    role::{Cause, RoleState},
};

/// A campaign under way.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Campaign {
    /// The term that is campaigned for.
    pub(crate) term: Term,
    /// Who grants, this peer included once its own ballot is durable.
    granted: BTreeSet<Member>,
    /// Who has answered.
    answered: BTreeSet<Member>,
    /// When those who have not answered are asked again.
    pub(crate) ask_again_at: Time,
}

/// A vote that waits for its ballot to be durable.
#[derive(Clone, Hash, Debug)]
pub(crate) struct VoteDue {
    write: DiskId,
    to: Member,
    term: Term,
}

/// A ballot that a finished disk operation made durable; nothing else makes one.
struct DurableBallot(Ballot);

impl DurableBallot {
    /// Builds the answer that grants the vote the ballot holds.
    fn grant(&self) -> Message {
        Message::Voted {
            term: self.0.term,
            granted: true,
        }
    }
}

impl Raft {
    /// Campaigns when the time for it has come, and asks again while a campaign is under way.
    pub(super) fn tick_campaign(&mut self, now: Time, out: &mut Out) {
        if !self.may_campaign() {
            if matches!(
                self.role,
                RoleState::PreCandidate(_) | RoleState::Candidate(_)
            ) {
                self.change_role(Cause::NotVoter, out);
            }
            // A learner calls no election. It only notices that nobody leads it any more, so that
            // it asks to be let in: it may have been let go while it was away.
            if self.leader.is_some() && !self.is_leader() && now >= self.election_at {
                self.reset_election(now);
                self.set_leader(None, out);
            }
            return;
        }
        if now >= self.election_at {
            self.pre_campaign(now, out);
            return;
        }
        if let RoleState::PreCandidate(campaign) | RoleState::Candidate(campaign) = &self.role
            && now >= campaign.ask_again_at
        {
            self.ask(now, out);
        }
    }

    /// Asks whether a campaign would be won, without disturbing anybody's term.
    fn pre_campaign(&mut self, now: Time, out: &mut Out) {
        if self.planted.has(Canary::Openraft1220) {
            self.change_role(Cause::ElectionTimeout, out);
            return self.campaign(now, Cause::PreVotes, out);
        }
        self.reset_election(now);
        self.set_leader(None, out);
        if matches!(self.role, RoleState::Candidate(_)) {
            out.mark("raft.election_without_a_winner");
        }
        self.change_role(Cause::ElectionTimeout, out);
        if self.won() {
            self.campaign(now, Cause::PreVotes, out);
        } else {
            self.ask(now, out);
        }
    }

    /// Campaigns in the next term; the vote for oneself counts once it is durable.
    fn campaign(&mut self, now: Time, cause: Cause, out: &mut Out) {
        let term = self.ballot.term.next();
        self.ballot = Ballot {
            term,
            voted_for: Some(self.me),
        };
        self.write_ballot(out);
        self.reset_election(now);
        self.set_leader(None, out);
        self.change_role(cause, out);
    }

    /// Campaigns at once: the leader hands over.
    pub(super) fn on_timeout_now(&mut self, now: Time, from: Member, term: Term, out: &mut Out) {
        if term == self.ballot.term && self.leader == Some(from) && self.may_campaign() {
            out.mark("raft.told_to_campaign");
            self.campaign(now, Cause::ToldTo, out);
        }
    }

    /// Asks those voters that have not answered.
    fn ask(&mut self, now: Time, out: &mut Out) {
        let last = self.log.last();
        let voters = self.configurations.latest().1.all_voters();
        let again = now.after(self.profile.heartbeat * 2);
        let (campaign, pre) = match &mut self.role {
            RoleState::PreCandidate(campaign) => (campaign, true),
            RoleState::Candidate(campaign) => (campaign, false),
            _ => return,
        };
        campaign.ask_again_at = again;
        let term = campaign.term;
        for voter in voters {
            if voter != self.me && !campaign.answered.contains(&voter) {
                let message = if pre {
                    Message::PreVote { term, last }
                } else {
                    Message::Vote { term, last }
                };
                out.send(voter, message);
            }
        }
    }

    /// Answers whether a vote would be granted: not while a leader is heard from.
    pub(super) fn on_pre_vote(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        last: Cursor,
        out: &mut Out,
    ) {
        let hears_leader = self.is_leader()
            || (self.leader.is_some_and(|leader| leader != from)
                && now.since(self.leader_heard) < self.profile.election_min);
        let whole = self.is_level(last, out) || self.planted.has(Canary::VoteByTermAlone);
        let granted = term > self.ballot.term && whole && !hears_leader;
        if hears_leader {
            out.mark("raft.pre_vote_refused_under_a_leader");
        } else if !whole {
            out.mark("raft.pre_vote_refused_to_a_shorter_log");
        }
        out.send(
            from,
            Message::PreVoted {
                asked: term,
                term: self.ballot.term,
                granted,
            },
        );
    }

    /// Counts an answer to a pre-vote; a refusal from a higher term ends it.
    pub(super) fn on_pre_voted(
        &mut self,
        now: Time,
        from: Member,
        asked: Term,
        term: Term,
        granted: bool,
        out: &mut Out,
    ) {
        if term > self.ballot.term {
            out.mark("raft.term_learned_from_a_refusal");
            self.become_follower(now, (Cause::HigherTerm, term), None, out);
            return;
        }
        let from = self.answer_of(from);
        let RoleState::PreCandidate(campaign) = &mut self.role else {
            return;
        };
        if campaign.term != asked {
            return;
        }
        campaign.answered.insert(from);
        if granted {
            campaign.granted.insert(from);
        }
        if self.won() {
            self.campaign(now, Cause::PreVotes, out);
        }
    }

    /// Votes, if this term's vote is free and the candidate's log is not behind (section 5.4.1).
    pub(super) fn on_vote(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        last: Cursor,
        out: &mut Out,
    ) {
        let unread = (self.is_leader() && self.planted.has(Canary::Openraft1220))
            || self.planted.has(Canary::VoteByTermAlone);
        if term > self.ballot.term {
            self.become_follower(now, (Cause::HigherTerm, term), None, out);
        }
        let free = self.ballot.voted_for.is_none_or(|voted| voted == from)
            || self.planted.has(Canary::SecondVote);
        let granted = term == self.ballot.term
            && free
            && matches!(self.role, RoleState::Follower | RoleState::PreCandidate(_))
            && (unread || self.is_level(last, out));
        if !granted {
            if term == self.ballot.term && !free {
                out.mark("raft.vote_was_given_away");
            } else if term == self.ballot.term && last < self.log.last() {
                out.mark("raft.vote_refused_to_a_shorter_log");
            }
            out.send(
                from,
                Message::Voted {
                    term: self.ballot.term,
                    granted: false,
                },
            );
            return;
        }
        if !self.configurations.latest().1.is_voter(self.me) {
            out.mark("raft.vote_of_a_non_voter");
        }
        self.change_role(Cause::VoteGiven, out);
        self.reset_election(now);
        let write = if self.ballot.voted_for != Some(from) {
            self.ballot.voted_for = Some(from);
            self.write_ballot(out)
        } else {
            // The vote was given before; its ballot may still be on its way.
            out.mark("raft.vote_asked_for_again");
            self.ballots
                .keys()
                .next_back()
                .copied()
                .unwrap_or(self.durable_ballot.0)
        };
        self.votes_due.push(VoteDue {
            write,
            to: from,
            term,
        });
    }

    /// Sends the votes whose ballots are durable.
    pub(super) fn flush_votes(&mut self, out: &mut Out) {
        if self.votes_due.is_empty() {
            return;
        }
        let (durable_id, durable) = self.durable_ballot;
        let ballot = self.ballot;
        self.votes_due.retain(|due| {
            if self.planted.has(Canary::VoteBeforeSync) {
                out.send(due.to, DurableBallot(ballot).grant());
                return false;
            }
            if due.write > durable_id {
                return true;
            }
            let token = DurableBallot(durable);
            if durable == ballot && due.term == durable.term && durable.voted_for == Some(due.to) {
                out.send(due.to, token.grant());
            }
            false
        });
    }

    /// Takes note of a durable ballot; a candidate now counts its own vote and asks for others'.
    pub(super) fn ballot_is_durable(
        &mut self,
        now: Time,
        id: DiskId,
        ballot: Ballot,
        out: &mut Out,
    ) {
        if id < self.durable_ballot.0 {
            return;
        }
        self.durable_ballot = (id, ballot);
        let me = self.me;
        if let RoleState::Candidate(campaign) = &mut self.role
            && campaign.term == ballot.term
            && ballot.voted_for == Some(me)
            && campaign.granted.insert(me)
        {
            campaign.answered.insert(me);
            if self.won() {
                self.lead(now, out);
            } else {
                self.ask(now, out);
            }
        }
    }

    /// Counts a vote.
    pub(super) fn on_voted(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        granted: bool,
        out: &mut Out,
    ) {
        if term > self.ballot.term {
            self.become_follower(now, (Cause::HigherTerm, term), None, out);
            return;
        }
        let from = self.answer_of(from);
        let RoleState::Candidate(campaign) = &mut self.role else {
            return;
        };
        if campaign.term != term {
            return;
        }
        campaign.answered.insert(from);
        if granted {
            campaign.granted.insert(from);
        }
        if self.won() {
            self.lead(now, out);
        }
    }

    /// Tells whether those who grant are a quorum, this peer among them.
    fn won(&self) -> bool {
        let (RoleState::PreCandidate(campaign) | RoleState::Candidate(campaign)) = &self.role
        else {
            return false;
        };
        campaign.granted.contains(&self.me)
            && self
                .configurations
                .latest()
                .1
                .quorum(|voter| campaign.granted.contains(&voter))
    }

    /// Draws the time of the next campaign.
    pub(super) fn reset_election(&mut self, now: Time) {
        let nanos =
            |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let wait = self.random.between(
            Purpose::Election,
            nanos(self.profile.election_min),
            nanos(self.profile.election_max),
        );
        self.election_wait = wait;
        self.put_off_election(now);
    }

    /// Puts the next campaign off, by the wait drawn last.
    ///
    /// A new draw for each message of a leader would be more random than needed: what keeps two
    /// peers from campaigning together is that each draws anew for each campaign.
    pub(super) fn put_off_election(&mut self, now: Time) {
        let start = if self.is_too_old() {
            // Those that can lead to some purpose go first.
            now.after(self.profile.election_max)
        } else {
            now
        };
        self.election_at = Time(start.0.saturating_add(self.election_wait));
    }

    /// Starts to lead: an entry of the new term first, whose commit commits all before it.
    fn lead(&mut self, now: Time, out: &mut Out) {
        let term = self.ballot.term;
        self.election_at = Time::NEVER;
        if self.configurations.latest().1.is_joint() {
            out.mark("raft.elected_while_joint");
        }
        self.change_role(Cause::Votes, out);
        self.count_uncommitted();
        self.staging = None;
        self.leader = Some(self.me);
        self.reads.ask_again();
        out.event(GroupEvent::LeaderChanged {
            term,
            leader: self.leader,
        });
        self.append_noop(out);
        self.refresh_conversations(now);
    }
}

impl Campaign {
    /// Begins to ask who would vote in `term`; this peer would.
    pub(super) fn asking(term: Term, me: Member) -> Self {
        Self {
            term,
            granted: BTreeSet::from([me]),
            answered: BTreeSet::from([me]),
            ask_again_at: Time::NEVER,
        }
    }

    /// Begins to ask for votes in `term`, once the own one is durable.
    pub(super) fn for_votes(term: Term) -> Self {
        Self {
            term,
            granted: BTreeSet::new(),
            answered: BTreeSet::new(),
            ask_again_at: Time::NEVER,
        }
    }
}
