//! Which peers may lose what they had synced.
//!
//! A cluster survives the loss of a disk as long as, in every configuration that may decide, a
//! majority of voters has all it ever acknowledged: it shares a voter with every quorum that
//! committed something, and can elect a leader by itself. So damage is done to a peer only if such
//! a majority remains without it, and without those that were damaged before and are not whole
//! again, and without one whose directory was copied. A disk that is merely out of reach (its peer
//! is down) is whole.
//!
//! Whoever leaves takes a whole log along, at a moment that the group chooses: a voter that the
//! leader has just heard from may have lost its own since. So among those that stay the whole ones
//! must outnumber the others, from the wish on until it has lapsed. Who is asked first does not
//! matter: damage is left out while somebody leaves, and a leave while somebody is damaged.
//!
//! A learner that is not whole counts like a voter: the leader may have heard from it just before,
//! and give it a vote.
//!
//! While a copy of a directory is at large nobody else loses anything or leaves. It is refused by
//! those who remember a later start of its original, and ends only by their word, which it may not
//! be able to weigh: with a log that has no beginning it knows no voters. A peer that comes back as
//! somebody else would believe it.
//!
//! A log that was restored begins behind a snapshot, and the state is in memory: whoever has such a
//! log is nobody's source of the state once it ends. So a voter that has the state, or a log to
//! make it of, stays, for everybody whose log begins no later than that one ends.

use std::{collections::BTreeSet, time::Duration};

use quorate_core::{Configuration, Form, Genesis, GenesisId, GroupView, Index, Member};

use crate::{rot::Damage, scenario::Storage, world::World};

/// What a machine's disk is known to hold, whether its peer runs or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// The life whose log it is.
    pub(crate) member: Option<Member>,
    /// Its log, when its peer ended.
    log: Option<LastLog>,
    /// Whether it was emptied: its peer has forgotten what it was part of.
    pub(crate) emptied: bool,
    /// What had been committed when it was damaged, until it is there again.
    hurt: Option<Index>,
}

impl Kept {
    /// Takes note that nothing is left.
    pub(crate) fn empty(&mut self) {
        *self = Self {
            emptied: true,
            ..Self::default()
        };
    }

    /// Takes note of what the log ended with; a peer that ends before it has opened the group, of
    /// which nothing is known then, leaves the log as it was.
    pub(crate) fn ended(&mut self, log: Option<LastLog>) {
        if log.is_some() {
            self.log = log;
        }
    }

    /// Returns what had been committed when it was damaged, until it is whole again.
    pub(crate) fn hurt(&self) -> Option<Index> {
        self.hurt
    }

    /// Returns the configuration that its log ended with, when its peer ended.
    pub(crate) fn configuration(&self) -> Option<&Configuration> {
        self.log.as_ref().map(|log| &log.configuration)
    }

    /// Returns where its log ended, and with which configuration, when its peer ended.
    pub(crate) fn last(&self) -> Option<(Index, &Configuration)> {
        let log = self.log.as_ref()?;
        Some((log.last, &log.configuration))
    }

    /// Takes note of the life that a disk was started as; another one has nothing to be made whole.
    pub(crate) fn renew(&mut self, member: Member) {
        if self.member != Some(member) {
            *self = Self {
                member: Some(member),
                emptied: self.emptied,
                ..Self::default()
            };
        }
    }
}

/// Which history a log is of, where it begins and ends, and with which configuration.
#[derive(Clone, Debug)]
pub(crate) struct LastLog {
    genesis: Option<GenesisId>,
    base: Index,
    last: Index,
    configuration: Configuration,
}

impl LastLog {
    /// Returns what a peer's log is now.
    pub(crate) fn of(view: &GroupView<'_>) -> Self {
        Self {
            genesis: view.genesis,
            base: view.base.index,
            last: view.last.index,
            configuration: view.configuration.clone(),
        }
    }
}

/// Who has what it acknowledged, and who may be let go.
struct Standing {
    whole: Vec<Member>,
    hurt: Vec<Member>,
    leaving: Vec<Member>,
}

impl Standing {
    /// Tells whether a configuration can decide, whoever of those that leave is let go.
    fn survives(&self, configuration: &Configuration) -> bool {
        let heirs = configuration
            .learners
            .iter()
            .filter(|one| self.hurt.contains(one))
            .count();
        let half = |voters: &[Member]| {
            let whole = voters.iter().filter(|one| self.whole.contains(one));
            let lost = voters.len() - whole.clone().count() + heirs;
            let stay = whole.filter(|one| !self.leaving.contains(one)).count();
            lost == 0 || stay > lost
        };
        configuration.voters.is_empty()
            || (half(&configuration.voters) && half(&configuration.outgoing))
    }
}

impl World {
    /// Damages a peer's disk while the peer is down, if the cluster survives that.
    pub(crate) fn damage(&mut self, number: usize, damage: Damage, away: Duration) {
        let finds_back = !damage.ends_incarnation() || self.has_one_history();
        let spares = self.spares(number) && self.keeps_state(number, false);
        let fits = self.scenario.storage == Storage::Disk && finds_back && spares;
        if !fits || !self.crash(number, away) {
            self.leave_out("fault left out: not survivable");
            return;
        }
        let committed = self.checkers.committed();
        let node = &mut self.nodes[number];
        if !node.disk.damage(damage) {
            self.leave_out("fault left out: nothing to damage");
            return;
        }
        node.kept.hurt = Some(committed);
        if damage.ends_incarnation() {
            node.kept.member = None;
            node.kept.emptied = true;
        }
        self.checkers.damaged(number);
        let at = self.at;
        self.trace.note(at, number, "is damaged");
    }

    /// Tells whether the cluster survives that a peer loses what it had synced.
    pub(crate) fn spares(&mut self, number: usize) -> bool {
        self.keeps_majority(Some(number), None)
    }

    /// Tells whether the cluster survives that a peer leaves, with what it has synced.
    pub(crate) fn spares_seat(&mut self, number: usize) -> bool {
        self.keeps_majority(None, Some(number))
    }

    /// Tells whether, in every configuration that may decide, those who are whole and stay
    /// outnumber those who are not whole, when one more loses what it had synced or leaves.
    fn keeps_majority(&mut self, loses: Option<usize>, leaves: Option<usize>) -> bool {
        for peer in 0..self.peers() {
            self.note_whole(peer);
        }
        let copied = self.at_large.map(|copy| copy.peer);
        if copied.is_some_and(|copied| loses.or(leaves) != Some(copied)) {
            return false;
        }
        let is_hurt = |peer: usize| {
            [loses, copied].contains(&Some(peer)) || self.nodes[peer].kept.hurt.is_some()
        };
        let leaving =
            |peer: usize| leaves == Some(peer) || self.at < self.nodes[peer].leaving_until;
        let member = |peer: usize| self.nodes[peer].kept.member;
        let peers = || 0..self.peers();
        let standing = Standing {
            whole: peers()
                .filter(|peer| !is_hurt(*peer))
                .filter_map(member)
                .collect(),
            hurt: peers()
                .filter(|peer| is_hurt(*peer))
                .filter_map(member)
                .collect(),
            leaving: peers()
                .filter(|peer| leaving(*peer))
                .filter_map(member)
                .collect(),
        };
        let deciding = |peer: usize| match self.view(peer).filter(|view| view.genesis.is_some()) {
            Some(view) => standing.survives(view.configuration),
            // Down, or started and not yet where it was: paused, say.
            None => {
                let known = self.nodes[peer].kept.configuration();
                known.is_none_or(|known| standing.survives(known))
            }
        };
        let committed = match self.checkers.configuration() {
            Some(known) => standing.survives(known),
            None => loses.is_none(),
        };
        committed && peers().all(deciding)
    }

    /// Tells whether somebody can still bring the state to all of a history when a peer that takes
    /// part in it ends, with its log or without.
    pub(crate) fn keeps_state(&self, number: usize, with_log: bool) -> bool {
        let Some(view) = self.view(number) else {
            return true;
        };
        let voters = view.configuration.all_voters();
        view.genesis.is_none_or(|genesis| {
            let ends = Some((number, with_log));
            self.has_source((genesis, &voters), &self.healed, ends)
        })
    }

    /// Tells whether one of `peers` votes in a history and can bring its state to all the others of
    /// them, if one ends, with its log or without.
    pub(crate) fn has_source(
        &self,
        (genesis, voters): (GenesisId, &[Member]),
        peers: &BTreeSet<usize>,
        ends: Option<(usize, bool)>,
    ) -> bool {
        let logs = self.logs_of(genesis, peers);
        let begins = logs.iter().map(|(_, log)| log.base).max();
        logs.iter().any(|(peer, log)| {
            let node = &self.nodes[*peer];
            let votes = node.kept.member.is_some_and(|one| voters.contains(&one));
            let end = ends.filter(|(end, _)| end == peer);
            let stays = self.at >= node.leaving_until;
            let from_log = log.base == Index(0) && end.is_none_or(|(_, with_log)| with_log);
            let applied = self.view(*peer).map_or(Index(0), |view| view.applied.index);
            let applies = applied > Index(0) && applied >= log.base;
            let stays_up = end.is_none() && !self.is_about_to_end(*peer);
            let has_state = stays_up && applies && !self.lacks_state(*peer);
            let is_copy = self.at_large.is_some_and(|copy| copy.peer == *peer);
            let whole = node.kept.hurt.is_none() && !is_copy;
            let source = from_log || has_state;
            votes && stays && whole && source && Some(log.last) >= begins
        })
    }

    /// Tells whether the state of a history can be made of a voter's log alone, for everybody.
    pub(crate) fn has_whole_log(&self, genesis: GenesisId, voters: &[Member]) -> bool {
        let logs = self.logs_of(genesis, &self.healed);
        let begins = logs.iter().map(|(_, log)| log.base).max();
        logs.iter().any(|(peer, log)| {
            let member = self.nodes[*peer].kept.member;
            let votes = member.is_some_and(|one| voters.contains(&one));
            votes && log.base == Index(0) && Some(log.last) >= begins
        })
    }

    /// Returns the logs of a history that `peers` have, whether they run or not.
    fn logs_of(&self, genesis: GenesisId, peers: &BTreeSet<usize>) -> Vec<(usize, LastLog)> {
        let log = |peer: usize| match self.view(peer) {
            Some(view) => Some(LastLog::of(&view)),
            None => self.nodes[peer].kept.log.clone(),
        };
        let logs = peers.iter().filter_map(|peer| Some((*peer, log(*peer)?)));
        logs.filter(|(_, log)| log.genesis == Some(genesis))
            .collect()
    }

    /// Tells whether those who expect each other could not found the group once more, beside the
    /// history that lives, if this peer ended now and forgot that it takes part in it. One that has
    /// seen that history founds nothing, whether it takes part or not.
    ///
    /// No rule keeps founders in memory from that if so many of them start anew at once that they
    /// are complete before any of them sees a member: then there are two, until they meet.
    pub(crate) fn founders_remember(&self, number: usize) -> bool {
        let Some(living) = self.checkers.living_one() else {
            // Who alone is to found must not forget that before it has.
            let plan = &self.nodes[number].plan;
            let once = plan.form == Form::Alone && plan.again == Form::Join;
            return !once || self.checkers.committed() > Genesis::CURSOR.index;
        };
        let ignorant = |peer: usize| {
            let knows = |view: GroupView<'_>| view.genesis == Some(living) || view.has_met();
            peer == number || !self.view(peer).is_some_and(knows)
        };
        let expecting = |peer: usize| match self.scenario.peers[peer].again {
            Form::Expect(count) if ignorant(peer) => Some(count),
            _ => None,
        };
        let counts: Vec<usize> = (0..self.peers()).filter_map(expecting).collect();
        counts.iter().all(|count| counts.len() < *count)
    }

    /// Tells whether a peer that has forgotten everything can only find the history it was in.
    fn has_one_history(&self) -> bool {
        let started = self.nodes[..self.peers()].iter().all(|node| node.lives > 0);
        let mut histories: Vec<_> = (0..self.peers())
            .filter_map(|peer| self.view(peer)?.genesis)
            .collect();
        histories.sort_unstable();
        histories.dedup();
        started && histories.len() == 1
    }

    /// Takes note of a damaged peer that is whole again.
    pub(crate) fn note_whole(&mut self, number: usize) {
        let Some(hurt) = self.nodes[number].kept.hurt else {
            return;
        };
        // A peer may have found out that its log lacks nothing, and not know that any more after a
        // crash: then nobody can be elected by its vote but who has what it may once have had.
        let member = self.nodes[number].kept.member;
        let limited = member.is_some_and(|member| self.checkers.lacks_its_end(member));
        let whole = !limited
            && self.view(number).is_some_and(|view| {
                view.floor().is_none() && view.commit >= hurt && view.durable >= hurt
            });
        if whole {
            self.nodes[number].kept.hurt = None;
        }
    }
}
