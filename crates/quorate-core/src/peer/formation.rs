//! How a group comes to be: one genesis, durably accepted, by a quorum of its members.
//!
//! | form | here nothing is known | a history is seen |
//! |---|---|---|
//! | alone | founds with itself as the only voter | joins it |
//! | expect n | the lowest of n peers in sight proposes a genesis of those n | joins it |
//! | join | waits | joins it |
//! | auto | one of them looks around for a moment, then founds alone; the others wait | joins it |
//!
//! Nobody is asked before a genesis is proposed: everybody says unasked where it stands, and again
//! whenever that changes, so the last word of each of the n is the answer.
//!
//! Messages: `Standing` says where a peer stands, to everybody who has proven the key; `Propose`,
//! `Accept`, `Refuse`. A peer accepts at most one genesis, durably, before it says so; its log
//! starts with it, and elections do the rest: the group exists once a quorum of the genesis'
//! members holds it, because only then can a leader be elected. Whoever holds a genesis proposes it
//! to the members that have not answered, so the proposer may die at any moment.
//!
//! What can go wrong: two proposers with different peers in sight. Each peer holds at most one of
//! the two; those that hold the other one refuse, and a refusal is durable. Once refusals (or newer
//! lives of members) leave a genesis without a quorum, and nothing follows it in the log, its
//! holders drop it, durably, and are free again. Two that hold nothing after their genesis do not
//! drop it so easily: one whose log lost its end to damage never does, for it may have held
//! everything; and one that has voted may have made a leader, with whom those who refused took part
//! after all. It drops only while each of those is in sight and says that it takes no part. And
//! whoever comes back to a genesis that it dropped does so with the ballot it had.
//!
//! A peer that sees an established history, one with entries after its genesis, never founds and
//! accepts nothing else from then on, in this life, also when that peer is out of sight again:
//! founders in memory that come back one after the other, and are cut off together, would found the
//! group a second time beside the one that goes on. It says so, or those who expect it would go on
//! proposing.
//!
//! What no rule here prevents: founders in memory who come back so many at once that they are
//! complete before any of them sees a member of the history that they have forgotten. They found
//! once more, and the two histories meet like those of a network that was split.
//!
//! **Nobody said how** (auto). Peers that are started without a word must not each found a group.
//! On one machine a lock picks the one that may: its holder, told so by [`crate::Input::Founder`],
//! *looks around*: for half a second without a break there must be nothing in its way, and then it
//! founds alone. In the way is an established history, a genesis that somebody holds, somebody who
//! founds by another form, and any peer whose address is known and that has neither answered nor
//! failed to; on a slow machine that may take longer than half a second. If the holder dies, the
//! lock passes on and the next one looks around anew, so at most one peer founds at a time. Without
//! a lock the lowest of those in sight that could found does so after the same look; that is a
//! guess, as good as what is in sight: a network that is split may found twice.
//!
//! What the lock does not cover: a founder that dies before anybody has seen its genesis, and comes
//! back with it. In memory it comes back without; once logs are durable, the directory that has
//! the lock must remember that there is a genesis.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{
    canary::{Canary, Planted},
    disk_op::{DiskId, DiskWrite},
    entry::Genesis,
    id::{GenesisId, GroupId, Member, PeerId},
    input::Form,
    limits,
    out::Out,
    random::{Purpose, Random},
    time::Time,
    wire::{Founding, Message, Standing},
};

/// How often an unestablished genesis is proposed again, and a joiner asks again.
const REPEAT: Duration = Duration::from_millis(200);

/// For how long nothing may be in the way of a founder that nobody named.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The formation of one group on one peer.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Formation {
    group: GroupId,
    me: Member,
    form: Form,
    /// Where the peers in sight stand, and which life each is in.
    sight: BTreeMap<PeerId, (Member, Standing)>,
    refused: BTreeSet<GenesisId>,
    /// The first established history that was seen.
    met: Option<GenesisId>,
    held: Option<Held>,
    /// Refusals that wait to be durable.
    refusals: Vec<(DiskId, Member, GenesisId)>,
    repeat_at: Time,
    /// Whether this peer holds the lock that picks the founder.
    founder: bool,
    /// Whether a peer with a known address has neither answered nor failed to.
    unanswered: bool,
    /// Since when nothing is in the way.
    clear_since: Option<Time>,
    planted: Planted,
}

/// A genesis that this peer has accepted and that is not established yet.
#[derive(Clone, Hash, Debug)]
struct Held {
    genesis: Genesis,
    id: GenesisId,
    /// The write that makes the acceptance durable, until it is done.
    write: Option<DiskId>,
    accepted: BTreeSet<Member>,
    /// Who said that it never will.
    refused: BTreeSet<Member>,
    /// Of whose peers another life was seen since they were.
    renewed: BTreeSet<Member>,
    /// Who proposed it and waits for an answer.
    proposers: BTreeSet<Member>,
    mine: bool,
}

/// What formation wants done with the group.
#[derive(Clone, Hash, Debug)]
pub(crate) enum Step {
    /// Start the consensus with this genesis, which is durable; `first` if it is this peer's own.
    Start {
        /// The genesis.
        genesis: Genesis,
        /// Whether this peer proposed it, so that it campaigns first.
        first: bool,
    },
    /// Forget the consensus of this genesis: it was dropped.
    Drop(GenesisId),
}

impl Formation {
    pub(crate) fn new(
        group: GroupId,
        me: Member,
        (form, planted): (Form, Planted),
        refused: impl IntoIterator<Item = GenesisId>,
    ) -> Self {
        Self {
            group,
            me,
            form,
            sight: BTreeMap::new(),
            refused: refused.into_iter().collect(),
            met: None,
            held: None,
            refusals: Vec::new(),
            repeat_at: Time(0),
            founder: false,
            unanswered: false,
            clear_since: None,
            planted,
        }
    }

    /// Returns whether and how this peer founds, if it sees nothing to join.
    pub(crate) fn founding(&self) -> Founding {
        let by_sight = self.planted.has(Canary::FounderBySight);
        match self.form {
            _ if self.met.is_some() => Founding::Never,
            Form::Alone => Founding::Alone,
            Form::Expect(count) => Founding::Together(u16::try_from(count).unwrap_or(u16::MAX)),
            Form::Auto { locked } if self.founder || !locked || by_sight => Founding::Perhaps,
            Form::Auto { .. } | Form::Join => Founding::Never,
        }
    }

    /// Tells whether an established history was seen.
    pub(crate) fn has_met(&self) -> bool {
        self.met.is_some()
    }

    /// Takes note that this peer holds the lock that picks the founder.
    pub(crate) fn on_founder(&mut self) {
        self.founder = true;
    }

    /// Never founds from now on: this peer has left, or its history was given up for another one.
    pub(crate) fn retire(&mut self) {
        self.form = Form::Join;
        self.clear_since = None;
    }

    /// Tells whether this peer looks around, or will.
    pub(crate) fn looks_around(&self) -> bool {
        self.held.is_none() && matches!(self.form, Form::Auto { .. })
    }

    /// Takes note of whether a peer with a known address has neither answered nor failed to.
    pub(crate) fn note_unanswered(&mut self, unanswered: bool) {
        self.unanswered = unanswered;
    }

    /// Tells whether the genesis was refused here while it was proposed.
    pub(crate) fn has_refused(&self, genesis: GenesisId) -> bool {
        self.refused.contains(&genesis)
    }

    /// Takes over a genesis that the durable log held, with nothing after it.
    pub(crate) fn resume(&mut self, genesis: Genesis) {
        let id = genesis.id();
        self.held = Some(Held {
            genesis,
            id,
            write: None,
            accepted: BTreeSet::from([self.me]),
            refused: BTreeSet::new(),
            renewed: BTreeSet::new(),
            proposers: BTreeSet::new(),
            mine: false,
        });
    }

    /// Stops proposing: the history is established.
    pub(crate) fn established(&mut self) {
        self.held = None;
    }

    /// Takes note of where a peer stands.
    pub(crate) fn on_standing(&mut self, from: Member, standing: Standing) {
        self.sight.insert(from.peer, (from, standing));
        let Some(held) = &mut self.held else {
            return;
        };
        let mut members = held.genesis.voters.iter();
        let Some(member) = members.find(|member| member.peer == from.peer) else {
            return;
        };
        if *member != from {
            // A newer life of a member cannot keep the word of the older one.
            held.renewed.insert(*member);
            return;
        }
        // What was heard of another life was old news.
        held.renewed.remove(member);
        if standing.genesis == Some(held.id) {
            // A leader had it join, though it had refused.
            held.refused.remove(member);
        }
    }

    /// Takes note of an established history that is not this peer's.
    pub(crate) fn on_met(&mut self, genesis: GenesisId, out: &mut Out) {
        if self.met.is_none() {
            out.mark("formation.met_a_history");
            self.met = Some(genesis);
        }
    }

    /// Takes note that a peer is out of sight.
    pub(crate) fn on_gone(&mut self, peer: PeerId) {
        self.sight.remove(&peer);
    }

    /// Returns a peer in sight that takes part in an established history.
    pub(crate) fn established_peers(&self) -> impl Iterator<Item = (Member, Standing)> + '_ {
        self.sight
            .values()
            .filter(|(_, standing)| standing.established)
            .copied()
    }

    /// Takes a proposed genesis; `holds` is what the log here holds, and whether durably so.
    pub(crate) fn on_propose(
        &mut self,
        from: Member,
        genesis: Genesis,
        holds: Option<(GenesisId, bool)>,
        out: &mut Out,
    ) {
        let id = genesis.id();
        if genesis.group != self.group || !genesis.voters.contains(&self.me) {
            return;
        }
        // What is on its way to the disk counts as held: a proposal that comes twice, or comes
        // again once others are seen to be further, must not be taken for a new one.
        let held = self.held.as_ref().map(|held| (held.id, false));
        let holds = holds.or(held);
        if let Some((_, durable)) = holds.filter(|(held, _)| *held == id) {
            match &mut self.held {
                Some(held) if held.write.is_some() => {
                    held.proposers.insert(from);
                }
                // Who joined the history without its genesis says nothing before it has it.
                _ if durable => out.send(from, Message::Accept(id)),
                _ => {}
            }
        } else if holds.is_some() || self.refused.contains(&id) || self.sees_another(id) {
            self.refuse(from, id, out);
        } else {
            self.accept(genesis, false, out);
            if let Some(held) = &mut self.held {
                held.proposers.insert(from);
            }
        }
    }

    /// Tells whether `from` says that it takes part in this history, and that it is established.
    pub(crate) fn sees_established_at(&self, from: Member, genesis: GenesisId) -> bool {
        self.established_peers()
            .any(|(member, standing)| member == from && standing.genesis == Some(genesis))
    }

    /// Tells whether an established history other than `id` was seen.
    fn sees_another(&self, id: GenesisId) -> bool {
        self.met.is_some_and(|met| met != id)
            || self
                .established_peers()
                .any(|(_, standing)| standing.genesis != Some(id))
    }

    fn refuse(&mut self, to: Member, id: GenesisId, out: &mut Out) {
        if self.refused.insert(id) {
            let write = out.write(DiskWrite::Refuse(id));
            self.refusals.push((write, to, id));
        } else if self.refusals.iter().all(|(_, _, refused)| *refused != id) {
            out.send(to, Message::Refuse(id));
        }
    }

    fn accept(&mut self, genesis: Genesis, mine: bool, out: &mut Out) {
        let id = genesis.id();
        let write = out.write(DiskWrite::Genesis(genesis.clone()));
        self.held = Some(Held {
            genesis,
            id,
            write: Some(write),
            accepted: BTreeSet::from([self.me]),
            refused: BTreeSet::new(),
            renewed: BTreeSet::new(),
            proposers: BTreeSet::new(),
            mine,
        });
    }

    /// Takes note that a member holds the genesis.
    pub(crate) fn on_accept(&mut self, from: Member, id: GenesisId) {
        if let Some(held) = self.held.as_mut().filter(|held| held.id == id) {
            held.accepted.insert(from);
        }
    }

    /// Takes note that a member never will.
    pub(crate) fn on_refuse(&mut self, from: Member, id: GenesisId) {
        if let Some(held) = self.held.as_mut().filter(|held| held.id == id) {
            held.refused.insert(from);
        }
    }

    /// Takes the completion of a write; returns what the group is to do.
    pub(crate) fn on_disk(&mut self, id: DiskId, out: &mut Out) -> Option<Step> {
        self.refusals.retain(|(write, to, genesis)| {
            if *write == id {
                out.send(*to, Message::Refuse(*genesis));
            }
            *write != id
        });
        let held = self.held.as_mut().filter(|held| held.write == Some(id))?;
        held.write = None;
        for proposer in std::mem::take(&mut held.proposers) {
            out.send(proposer, Message::Accept(held.id));
        }
        self.repeat_at = Time(0);
        Some(Step::Start {
            genesis: held.genesis.clone(),
            first: held.mine,
        })
    }

    /// Does what is due: founds, proposes again, drops a genesis that can have no quorum.
    ///
    /// `holds` is what the log here holds, `bare` whether it holds nothing after its genesis, and
    /// `voted` whether a vote was given, or may have been, to whoever was to lead it.
    pub(crate) fn tick(
        &mut self,
        now: Time,
        holds: Option<GenesisId>,
        (bare, voted): (bool, bool),
        random: &mut Random,
        out: &mut Out,
    ) -> Option<Step> {
        if holds.is_none() && self.held.is_none() && self.met.is_none() {
            self.found(now, random, out);
        } else {
            self.clear_since = None;
        }
        let held = self.held.as_ref()?;
        let configuration = held.genesis.configuration();
        let planted = self.planted.has(Canary::FollowedGenesisDropped);
        let voted = voted && !planted;
        let is_out = |member: Member| {
            let gone = held.refused.contains(&member) || held.renewed.contains(&member);
            gone && (!voted || self.is_seen_outside(member, held.id))
        };
        if !configuration.quorum(|member| !is_out(member)) && (bare || planted) {
            let id = held.id;
            let started = held.write.is_none();
            out.mark("formation.genesis_dropped");
            self.refused.insert(id);
            out.write(DiskWrite::Refuse(id));
            self.held = None;
            return started.then_some(Step::Drop(id));
        }
        if now >= self.repeat_at && held.write.is_none() {
            self.repeat_at = now.after(REPEAT);
            for member in &held.genesis.voters {
                let silent = !held.accepted.contains(member) && !held.refused.contains(member);
                if *member != self.me && silent {
                    out.send(*member, Message::Propose(held.genesis.clone()));
                }
            }
        }
        None
    }

    /// Tells whether a member's peer is in sight and says that it takes no part in a history.
    fn is_seen_outside(&self, member: Member, id: GenesisId) -> bool {
        let seen = self.sight.get(&member.peer);
        seen.is_some_and(|(_, standing)| standing.genesis != Some(id))
    }

    /// Tells whether nobody can have given this peer a seat that it did not ask for: founders that
    /// expect each other may be in a genesis that has not reached them.
    pub(crate) fn is_unbound(&self) -> bool {
        self.held.is_none() && !matches!(self.form, Form::Expect(_))
    }

    /// Tells whether a genesis is accepted here, or on its way to the disk.
    pub(crate) fn holds_one(&self) -> bool {
        self.held.is_some()
    }

    /// Returns when [`Formation::tick`] is due; never while a write is under way, which ends by
    /// itself.
    pub(crate) fn deadline(&self) -> Time {
        match &self.held {
            Some(held) if held.write.is_none() => self.repeat_at,
            Some(_) => Time::NEVER,
            None => self
                .clear_since
                .map_or(Time::NEVER, |since| since.after(LOOK_AROUND)),
        }
    }

    /// Tells whether nothing has been in the way for long enough.
    fn has_looked_around(&mut self, now: Time) -> bool {
        let in_the_way = |(member, standing): &(Member, Standing)| {
            let founds = match standing.founding {
                Founding::Never => false,
                Founding::Alone | Founding::Together(_) => true,
                Founding::Perhaps => member.peer < self.me.peer,
            };
            standing.genesis.is_some() || founds
        };
        let may = self.founding() == Founding::Perhaps && !self.unanswered;
        if !may || self.sight.values().any(in_the_way) {
            self.clear_since = None;
            return false;
        }
        now.since(*self.clear_since.get_or_insert(now)) >= LOOK_AROUND
    }

    /// Accepts a genesis of its own, if it is this peer's turn to found.
    fn found(&mut self, now: Time, random: &mut Random, out: &mut Out) {
        let voters = match self.form {
            Form::Join => return,
            Form::Alone => vec![self.me],
            Form::Auto { .. } => {
                if !self.has_looked_around(now) {
                    return;
                }
                vec![self.me]
            }
            Form::Expect(count) => {
                let founders = self.sight.values().filter(|(_, standing)| {
                    standing.genesis.is_none() && matches!(standing.founding, Founding::Together(_))
                });
                let mut voters: Vec<Member> = founders
                    .map(|(member, _)| *member)
                    .chain([self.me])
                    .collect();
                voters.sort_unstable();
                if voters.len() < count || voters.first() != Some(&self.me) {
                    return;
                }
                voters.truncate(count.clamp(1, limits::VOTERS));
                voters
            }
        };
        let nonce = random.draw(Purpose::Genesis);
        self.accept(
            Genesis {
                group: self.group,
                nonce,
                voters,
            },
            true,
            out,
        );
    }
}

#[cfg(test)]
mod tests;
