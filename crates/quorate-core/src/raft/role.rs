//! Roles, and what moves a peer from one to another (Raft, section 5.1 and figure 4).
//!
//! [`TRANSITIONS`] names every way from one role to another, once, and is what changes roles: code
//! that learns of a cause names the cause, and the table says which role it leads to. A cause that
//! has no row for a role leaves it. What a role keeps begins with the role and ends with it.
//!
//! ```text
//! follower
//!   an election timeout                 -> pre-candidate  dissertation, section 9.6
//!   told to by a leader that hands over -> candidate      dissertation, section 3.10
//! pre-candidate
//!   an election timeout                 -> pre-candidate  dissertation, section 9.6
//!   a quorum would vote for it          -> candidate      dissertation, section 9.6
//!   a leader of its term                -> follower       section 5.2
//!   a higher term                       -> follower       section 5.1
//!   it gives another one its vote       -> follower       section 5.2
//!   it is no voter any more             -> follower       ours
//!   it has left the group               -> follower       ours
//!   its disk has no space               -> follower       ours
//!   its state begins anew               -> follower       ours
//!   its own disk cannot be trusted      -> follower       ours
//! candidate
//!   an election timeout                 -> pre-candidate  ours
//!   votes of a quorum, its own durable  -> leader         section 5.2
//!   a leader of its term                -> follower       section 5.2
//!   a higher term                       -> follower       section 5.1
//!   it is no voter any more             -> follower       ours
//!   it has left the group               -> follower       ours
//!   its disk has no space               -> follower       ours
//!   its state begins anew               -> follower       ours
//!   its own disk cannot be trusted      -> follower       ours
//! leader
//!   a higher term                       -> follower       section 5.1
//!   no quorum heard for so long         -> follower       dissertation, section 6.2
//!   its removal is committed            -> follower       dissertation, section 4.2.2
//!   it has left the group               -> follower       ours
//!   its disk has no space               -> follower       ours
//!   its state begins anew               -> follower       ours
//!   its own disk cannot be trusted      -> follower       ours
//! ```
//!
//! Ours, where the paper has something else or nothing: a candidate whose election timeout passes
//! asks again before it raises its term, so that a peer that cannot win disturbs nobody; whoever
//! learns from its log that it does not vote stops asking for votes, unless it may still be needed
//! ([`super::election`]); and a peer that takes no part any more is a follower of nobody. A joiner,
//! and whoever has an empty log, is a follower to which no election timeout happens.

use crate::{
    cursor::{Index, Term},
    disk_op::Ballot,
    event::{GroupEvent, Role},
    id::Member,
    out::Out,
    time::Time,
};

use super::{Raft, election::Campaign, leader::Leader};

/// A role, and what a peer keeps while it is in it.
#[derive(Clone, Hash, Debug)]
pub(super) enum RoleState {
    Follower,
    PreCandidate(Campaign),
    Candidate(Campaign),
    Leader(Box<Leader>),
}

/// Why a peer changes its role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// Nobody was heard that leads.
    ElectionTimeout,
    /// The leader hands over to this peer.
    ToldTo,
    /// A quorum would vote for it.
    PreVotes,
    /// A quorum has voted for it.
    Votes,
    /// Somebody else leads its term.
    LeaderHeard,
    /// Its term is over.
    HigherTerm,
    /// It votes for another one.
    VoteGiven,
    /// A configuration in its log does not count it.
    NotVoter,
    /// It leads, and could not commit.
    NoQuorum,
    /// It leads, and the configuration without it is committed.
    Removed,
    /// It has given up its seat, or ends the group.
    Left,
    /// There is no space for what it would have to write.
    NoSpace,
    /// The state here is lost, and begins anew.
    StateLost,
    /// It does not know what it has promised.
    Poisoned,
}

/// One way from a role to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transition {
    from: Role,
    cause: Cause,
    to: Role,
    /// Which part of the paper, or of the dissertation, it implements.
    #[cfg_attr(not(test), allow(dead_code, reason = "for readers, and for the test"))]
    source: &'static str,
}

const fn way(from: Role, cause: Cause, to: Role, source: &'static str) -> Transition {
    Transition {
        from,
        cause,
        to,
        source,
    }
}

const OURS: &str = "ours";
const TERMS: &str = "section 5.1";
const ELECTION: &str = "section 5.2";
const PRE_VOTE: &str = "dissertation, section 9.6";
const TRANSFER: &str = "dissertation, section 3.10";
const CHECK_QUORUM: &str = "dissertation, section 6.2";
const REMOVAL: &str = "dissertation, section 4.2.2";

/// Every way from one role to another.
pub(super) const TRANSITIONS: [Transition; 28] = {
    use Cause::*;
    use Role::*;
    [
        way(Follower, ElectionTimeout, PreCandidate, PRE_VOTE),
        way(Follower, ToldTo, Candidate, TRANSFER),
        way(PreCandidate, ElectionTimeout, PreCandidate, PRE_VOTE),
        way(PreCandidate, PreVotes, Candidate, PRE_VOTE),
        way(PreCandidate, LeaderHeard, Follower, ELECTION),
        way(PreCandidate, HigherTerm, Follower, TERMS),
        way(PreCandidate, VoteGiven, Follower, ELECTION),
        way(PreCandidate, NotVoter, Follower, OURS),
        way(PreCandidate, Left, Follower, OURS),
        way(PreCandidate, NoSpace, Follower, OURS),
        way(PreCandidate, StateLost, Follower, OURS),
        way(PreCandidate, Poisoned, Follower, OURS),
        way(Candidate, ElectionTimeout, PreCandidate, OURS),
        way(Candidate, Votes, Leader, ELECTION),
        way(Candidate, LeaderHeard, Follower, ELECTION),
        way(Candidate, HigherTerm, Follower, TERMS),
        way(Candidate, NotVoter, Follower, OURS),
        way(Candidate, Left, Follower, OURS),
        way(Candidate, NoSpace, Follower, OURS),
        way(Candidate, StateLost, Follower, OURS),
        way(Candidate, Poisoned, Follower, OURS),
        way(Leader, HigherTerm, Follower, TERMS),
        way(Leader, NoQuorum, Follower, CHECK_QUORUM),
        way(Leader, Removed, Follower, REMOVAL),
        way(Leader, Left, Follower, OURS),
        way(Leader, NoSpace, Follower, OURS),
        way(Leader, StateLost, Follower, OURS),
        way(Leader, Poisoned, Follower, OURS),
    ]
};

/// Returns where `cause` leads from a role, if it leads anywhere.
pub(super) fn next_role(from: Role, cause: Cause) -> Option<Role> {
    TRANSITIONS
        .iter()
        .find(|way| way.from == from && way.cause == cause)
        .map(|way| way.to)
}

impl Raft {
    /// Changes the role as the table has it; tells whether there is a way.
    pub(super) fn change_role(&mut self, cause: Cause, out: &mut Out) -> bool {
        let was = self.role();
        let Some(to) = next_role(was, cause) else {
            return false;
        };
        self.role = match to {
            Role::Follower => RoleState::Follower,
            Role::PreCandidate => {
                RoleState::PreCandidate(Campaign::asking(self.ballot.term.next(), self.me))
            }
            Role::Candidate => RoleState::Candidate(Campaign::for_votes(self.ballot.term)),
            Role::Leader => RoleState::Leader(Box::new(Leader::new(self.log.last().index.next()))),
        };
        if was == Role::Leader {
            self.proposals.lose_leadership(&self.log, out);
            self.reads.lose_leadership(out);
            self.joins.clear();
            self.leaves.clear();
        }
        if was != to {
            out.event(GroupEvent::RoleChanged {
                term: self.ballot.term,
                role: to,
            });
        }
        true
    }

    /// Follows `term`, under `leader` if it is known, and ends what was of another term or role.
    pub(super) fn become_follower(
        &mut self,
        now: Time,
        (cause, term): (Cause, Term),
        leader: Option<Member>,
        out: &mut Out,
    ) {
        // Who only asked whether it would be elected goes on with the conversation that it was in:
        // its leader knows how far it has got, and says nothing of it again until the next write.
        let goes_on = term == self.ballot.term && self.role() == Role::PreCandidate;
        if term > self.ballot.term {
            let voted_for = None;
            self.ballot = Ballot { term, voted_for };
            self.write_term(out);
        }
        let led = self.is_leader();
        if led && cause == Cause::HigherTerm {
            out.mark("raft.leader_deposed");
        } else if cause == Cause::LeaderHeard {
            out.mark("raft.campaign_lost_to_a_leader");
        }
        self.change_role(cause, out);
        if led {
            self.reset_election(now);
        }
        if !goes_on {
            self.run = 0;
            self.matched = Index(0);
            self.read_seen = 0;
        }
        self.set_leader(leader, out);
    }

    /// Returns what this peer is.
    pub(crate) fn role(&self) -> Role {
        match self.role {
            RoleState::Follower => Role::Follower,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Tells whether this peer leads.
    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.role, RoleState::Leader(_))
    }

    /// Tells whether this peer leads and has committed an entry of its term.
    pub(crate) fn is_established_leader(&self) -> bool {
        match &self.role {
            RoleState::Leader(leader) => self.commit >= leader.first,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [(Role, &str); 4] = [
        (Role::Follower, "follower"),
        (Role::PreCandidate, "pre-candidate"),
        (Role::Candidate, "candidate"),
        (Role::Leader, "leader"),
    ];

    fn name(role: Role) -> &'static str {
        let named = ROLES.iter().find(|(other, _)| *other == role);
        named.expect("all four are there").1
    }

    fn words(cause: Cause) -> &'static str {
        match cause {
            Cause::ElectionTimeout => "an election timeout",
            Cause::ToldTo => "told to by a leader that hands over",
            Cause::PreVotes => "a quorum would vote for it",
            Cause::Votes => "votes of a quorum, its own durable",
            Cause::LeaderHeard => "a leader of its term",
            Cause::HigherTerm => "a higher term",
            Cause::VoteGiven => "it gives another one its vote",
            Cause::NotVoter => "it is no voter any more",
            Cause::NoQuorum => "no quorum heard for so long",
            Cause::Removed => "its removal is committed",
            Cause::Left => "it has left the group",
            Cause::NoSpace => "its disk has no space",
            Cause::StateLost => "its state begins anew",
            Cause::Poisoned => "its own disk cannot be trusted",
        }
    }

    /// Draws the table, role by role.
    fn diagram() -> String {
        let mut lines = Vec::new();
        for (role, title) in ROLES {
            lines.push(title.to_owned());
            for way in TRANSITIONS.iter().filter(|way| way.from == role) {
                let (cause, to) = (words(way.cause), name(way.to));
                lines.push(format!("  {cause:<35} -> {to:<13}  {}", way.source));
            }
        }
        lines.join("\n")
    }

    #[test]
    fn the_header_draws_the_table() {
        let header: Vec<&str> = include_str!("role.rs")
            .lines()
            .skip_while(|line| *line != "//! ```text")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//! "))
            .collect();
        let drawn = diagram();
        assert_eq!(header.join("\n"), drawn, "the diagram is:\n{drawn}");
    }

    #[test]
    fn a_cause_leads_from_a_role_to_one_other_and_all_roles_can_be_reached() {
        for (number, way) in TRANSITIONS.iter().enumerate() {
            let again = |other: &Transition| (other.from, other.cause) == (way.from, way.cause);
            assert!(!TRANSITIONS[number + 1..].iter().any(again), "{way:?}");
        }
        let mut reached = vec![Role::Follower];
        for _ in ROLES {
            for way in TRANSITIONS {
                if reached.contains(&way.from) && !reached.contains(&way.to) {
                    reached.push(way.to);
                }
            }
        }
        assert_eq!(reached.len(), ROLES.len());
    }

    #[test]
    fn only_a_candidate_with_a_quorum_s_votes_begins_to_lead() {
        let ways: Vec<&Transition> = TRANSITIONS
            .iter()
            .filter(|way| way.to == Role::Leader)
            .collect();
        assert_eq!(ways.len(), 1);
        assert_eq!(
            (ways[0].from, ways[0].cause),
            (Role::Candidate, Cause::Votes)
        );
    }
}
