//! The liveness phase: once everything is mended, the cluster must come back by itself, in time.
//!
//! A run that only looks for wrong answers is content with a cluster that answers nothing. So after
//! the safety phase a quorum is healed, and the rest stays broken ([`crate::heal`]): within a bound
//! those who are well must agree on one leader, hold the same state, and have no session and no
//! request left; then each must carry out a fresh write and a linearizable read. After that all are
//! healed, and the same is demanded of all, and as many voters as the profile wants.
//! A group that was founded twice must have one history again, unless both have user commands: then
//! all that holds for each of the two, and every peer says that they are in conflict.
//!
//! Faults have ended once the last frame that they made late has arrived: a second copy of a
//! handshake still costs a link, and what was asked over it is not known.
//!
//! The bound counts election timeouts, plus the waits of the profile that may lawfully be sat out
//! once: an offer that does not come, a dead voter that is replaced.

use std::{collections::BTreeMap, time::Duration};

use quorate_core::{GenesisId, GroupView, Member, Role};

use crate::{
    checkers::{Found, Told},
    operation::Action,
    world::World,
};

/// Election timeouts within which one leader must stand.
const LEADER_TIMEOUTS: u32 = 20;

/// Election timeouts within which all must have converged, beyond the waits of the profile.
const CONVERGED_TIMEOUTS: u32 = 60;

/// How long a client waits in this phase.
const PATIENCE: Duration = Duration::from_secs(3);

/// The key that the fresh writes go to; no drawn operation uses it.
const FRESH_KEY: u32 = 999_999;

impl World {
    /// Heals the cluster, first a quorum alone and then all, and demands each time that those who
    /// are healed come back; a failure is a violation.
    pub fn come_back(&mut self) {
        if self.heal_quorum() {
            self.mark("liveness: a quorum alone");
            self.settle_down();
            if self.violation().is_some() {
                return;
            }
        }
        self.heal();
        self.settle_down();
    }

    /// Demands that those who are healed are led, converge, and serve.
    fn settle_down(&mut self) {
        let astray = self.network.astray_until().saturating_sub(self.at);
        self.run_for(Duration::from_nanos(astray));
        let timeout = self.scenario.profile.election_max;
        let healed = self.at;
        let slowest = Duration::from_nanos(
            self.scenario.network.idle.high
                + self.scenario.network.dial_timeout.high
                + self.scenario.network.discovery.high,
        );
        let leader = timeout * LEADER_TIMEOUTS + slowest * 2;
        if !self.run_until(leader, Self::is_led) {
            return self.missing("one leader", leader);
        }
        let profile = &self.scenario.profile;
        let waits = profile.replace_after * 2 + profile.request_timeout * 2 + profile.fetch_timeout;
        let limit = timeout * CONVERGED_TIMEOUTS + waits + slowest;
        if !self.converges(limit) {
            return self.missing("convergence", limit);
        }
        self.serve(timeout * LEADER_TIMEOUTS + PATIENCE);
        self.serve_clients(timeout * LEADER_TIMEOUTS + PATIENCE * 2);
        if !self.run_until(limit, |world| world.divided().is_none()) {
            return self.missing("convergence after fresh writes", limit);
        }
        self.verify_all();
        let took = Duration::from_nanos(self.at - healed);
        if took > timeout * LEADER_TIMEOUTS {
            self.mark("liveness: slow to come back");
        }
    }

    /// Demands that clients with names are served, too, where there is one history.
    fn serve_clients(&mut self, limit: Duration) {
        if self.tested.is_some() {
            self.serve_registrations(limit);
        } else if self.all_are_healed() && self.sides().len() == 1 {
            self.serve_named(FRESH_KEY, limit);
        }
        if self.sides().len() > 1 {
            self.mark("liveness: two histories go on");
        }
    }

    /// Waits until the peers are one settled group; the operator meanwhile starts one peer after
    /// another anew, each of which may take `limit`: with the newest binary, if it could not be
    /// spared before, or because it has left, which is for the rest of its life.
    ///
    /// While a wish to leave may still be granted nothing is settled, whatever it looks like: who
    /// is let go may come back as a learner whose binary is too old to vote.
    fn converges(&mut self, limit: Duration) -> bool {
        for _ in 0..=self.peers() * 2 {
            let due = |world: &Self| world.old_binary().or_else(|| world.left_over());
            let ready = |world: &Self| {
                let settled = !world.is_anyone_leaving() && world.divided().is_none();
                settled || due(world).is_some()
            };
            if !self.run_until(limit, ready) {
                return false;
            }
            let Some(number) = due(self) else {
                return true;
            };
            self.mark("operator: started anew, later");
            self.end(number, "stops", None);
            self.start(number);
        }
        false
    }

    /// Demands a fresh write and a linearizable read through each peer that is healed.
    ///
    /// A leader whose disk stays slow or full gives the lead up when that shows, at the first
    /// write: of what was on its way to it nobody knows what became, so beside such a peer clients
    /// ask once more.
    fn serve(&mut self, limit: Duration) {
        let write = Action::Insert {
            key: FRESH_KEY,
            size: 16,
        };
        let read = Action::Read {
            key: FRESH_KEY,
            linearizable: true,
        };
        // A user's machine is asked for nothing that its scenario does not hold.
        let write = Some(write).filter(|_| self.tested.is_none());
        for action in write.into_iter().chain([read]) {
            let all: Vec<usize> = self.healed.iter().copied().collect();
            let mut refused = self.ask_through(&all, &action, limit);
            if !self.all_are_healed() && !refused.is_empty() {
                self.mark("liveness: asked once more");
                let again: Vec<usize> = refused.into_iter().map(|(peer, _)| peer).collect();
                refused = self.ask_through(&again, &action, limit);
            }
            for (peer, told) in refused {
                let what = if action.is_read() { "read" } else { "write" };
                let mended = self.mended();
                self.found(
                    "liveness",
                    format!(
                        "a fresh {what} through peer {peer} was answered {told:?} after {mended} \
                         was mended"
                    ),
                );
            }
        }
    }

    /// Asks for one thing through each of these peers; returns through whom it was not done, and
    /// what was told there.
    fn ask_through(
        &mut self,
        peers: &[usize],
        action: &Action,
        limit: Duration,
    ) -> Vec<(usize, Option<Told>)> {
        let ask = |peer: &usize| Some((*peer, self.ask(*peer, action.clone(), PATIENCE)?));
        let asked: Vec<(usize, usize)> = peers.iter().filter_map(ask).collect();
        self.run_until(limit, |world| {
            let told = |(_, number): &(usize, usize)| world.told(*number).is_some();
            asked.iter().all(told)
        });
        let answers = asked
            .iter()
            .map(|(peer, number)| (*peer, self.told(*number)));
        let done = |told: &Option<Told>| matches!(told, Some(Told::Written(_) | Told::Read(_)));
        answers.filter(|(_, told)| !done(told)).collect()
    }

    /// Returns what still keeps the peers from being one settled group.
    pub fn divided(&self) -> Option<String> {
        let sides = self.sides();
        if sides.len() > 1
            && let Some(peer) = self.healed.iter().find(|peer| !self.is_in_conflict(**peer))
        {
            let sides: Vec<_> = sides.keys().collect();
            return Some(format!(
                "histories {sides:?}, and peer {peer} has no conflict"
            ));
        }
        let outstanding = self.outstanding();
        if let Some((number, peer)) = outstanding.first() {
            let others = outstanding.len() - 1;
            return Some(format!(
                "request {number} of peer {peer} without an answer, and {others} others"
            ));
        }
        if self.tries() > 0 {
            return Some(format!(
                "{} questions of named clients without an answer",
                self.tries()
            ));
        }
        if self.errands() > 0 {
            return Some(format!(
                "{} wishes of operators without an answer",
                self.errands()
            ));
        }
        sides.values().find_map(|side| self.divided_side(side))
    }

    /// Returns what keeps the peers of one history from being settled.
    fn divided_side(&self, side: &[usize]) -> Option<String> {
        let Some(leader) = self.leader_of(side) else {
            return Some("no leader that all follow".to_owned());
        };
        let first = self.view(leader)?;
        for peer in side {
            let Some(view) = self.view(*peer) else {
                return Some(format!("peer {peer} has no group"));
            };
            if let Some(what) = differs(&first, &view) {
                return Some(format!("peer {peer} {what}"));
            }
        }
        self.lacks_voters(&first, side.len())
    }

    /// Returns the peers by the history that they are in.
    fn sides(&self) -> BTreeMap<Option<GenesisId>, Vec<usize>> {
        let mut sides: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for peer in &self.healed {
            let genesis = self.view(*peer).and_then(|view| view.genesis);
            sides.entry(genesis).or_default().push(*peer);
        }
        sides
    }

    /// Tells whether a peer says that there is another history that does not mix with its own.
    fn is_in_conflict(&self, peer: usize) -> bool {
        self.view(peer)
            .is_some_and(|view| view.fate().is_used() && !view.conflicts().is_empty())
    }

    /// Tells whether every peer follows a leader of its history.
    fn is_led(&self) -> bool {
        let led = |side: &Vec<usize>| self.leader_of(side).is_some();
        self.sides().values().all(led)
    }

    /// Returns the leader that the peers of one history follow, if it can lead: that one has just
    /// been cut off, say, they do not know yet.
    fn leader_of(&self, side: &[usize]) -> Option<usize> {
        let leader = self.leader_among(side)?;
        (!self.gone.contains(&leader)).then_some(leader)
    }

    /// Tells whether the voters are not yet those that the profile wants, of so many peers.
    ///
    /// While some stay broken nobody is demanded in their place, only that no former life of one
    /// that is healed still votes.
    fn lacks_voters(&self, view: &GroupView<'_>, peers: usize) -> Option<String> {
        let lives = |voter: &Member| match self.numbers.get(&voter.peer) {
            Some(number) if self.healed.contains(number) => self.member(*number) == Some(*voter),
            _ => true,
        };
        let voters = &view.configuration.voters;
        // Where two histories stay side by side, the next life of a dead voter may be in the other
        // one: then its seat waits for a learner.
        let heirs = peers == self.healed.len() || !view.configuration.learners.is_empty();
        let dead = voters.iter().find(|voter| !lives(voter));
        if let Some(dead) = dead.filter(|_| heirs) {
            return Some(format!("{dead:?}, who is gone, still votes"));
        }
        if !self.all_are_healed() {
            return None;
        }
        let wanted = self.scenario.profile.voters.min(peers);
        let wanted = if wanted.is_multiple_of(2) {
            wanted - 1
        } else {
            wanted
        };
        (voters.len() < wanted).then(|| format!("{} voters of {wanted}", voters.len()))
    }

    /// Returns the requests without an answer that can have one, each with its peer: what somebody
    /// was asked who stays broken can not.
    fn outstanding(&self) -> Vec<(usize, usize)> {
        let mut outstanding = self.checkers.clients.outstanding();
        outstanding.retain(|(number, peer)| {
            let mut asked = self.asked_of(*number).chain([*peer]);
            asked.all(|peer| self.healed.contains(&peer))
        });
        outstanding
    }

    /// Says who is healed.
    fn mended(&self) -> &'static str {
        if self.all_are_healed() {
            "everything"
        } else {
            "a quorum"
        }
    }

    fn missing(&mut self, what: &str, limit: Duration) {
        if self.violation().is_some() {
            return;
        }
        let why = self.divided().unwrap_or_default();
        let limit = limit.as_millis();
        let mended = self.mended();
        self.found(
            "liveness",
            format!("no {what} within {limit} ms after {mended} was mended: {why}"),
        );
    }

    /// Compares the whole log and state of every peer.
    pub(crate) fn verify_all(&mut self) {
        for number in 0..self.peers() {
            let spot = self.spot(number);
            let Some(life) = self.nodes[number].life.as_ref() else {
                continue;
            };
            if let Some(view) = life.peer.view(self.group) {
                self.checkers.verify(spot, &view, &life.replica);
            }
        }
    }

    /// Lets the cluster stand idle until no snapshot lives, and looks at what is kept.
    pub fn stand_idle(&mut self) {
        let profile = self.scenario.profile.clone();
        self.run_for(profile.snapshot_ttl * 2 + Duration::from_secs(1));
        for number in 0..self.peers() {
            let spot = self.spot(number);
            if let Some(life) = self.nodes[number].life.as_ref()
                && let Some(view) = life.peer.view(self.group)
            {
                self.checkers.observe_idle(spot, &view, &profile);
            }
        }
    }

    /// Notes something that does not hold and belongs to no single peer.
    pub(crate) fn found(&mut self, invariant: &'static str, detail: String) {
        self.found_at(usize::MAX, invariant, detail);
    }

    /// Notes something that does not hold at one peer.
    pub(crate) fn found_at(&mut self, peer: usize, invariant: &'static str, detail: String) {
        let spot = self.spot(peer);
        self.checkers.note(spot, Err(Found::new(invariant, detail)));
    }
}

/// Says how one peer differs from the leader, if it does.
fn differs(leader: &GroupView<'_>, view: &GroupView<'_>) -> Option<String> {
    if view.genesis != leader.genesis {
        return Some(format!("is in the history {:?}", view.genesis));
    }
    if view.ballot.term != leader.ballot.term {
        return Some(format!("is in {:?}", view.ballot.term));
    }
    if view.role == Role::Leader && view.me != leader.me {
        return Some("leads too".to_owned());
    }
    if view.leader != Some(leader.me) {
        return Some(format!("follows {:?}", view.leader));
    }
    if view.configuration != leader.configuration || view.configuration.is_joint() {
        return Some(format!(
            "has {:?}, the leader {:?}",
            view.configuration, leader.configuration
        ));
    }
    if !view.configuration.contains(view.me) {
        return Some("is not a member".to_owned());
    }
    if let Some(session) = view.session() {
        return Some(format!("catches up: {session:?}"));
    }
    let settled = view.last == leader.last
        && view.commit == view.last.index
        && view.applied == view.last
        && view.durable == view.last.index;
    (!settled).then(|| {
        format!(
            "has last {:?} commit {:?} applied {:?} durable {:?}, the leader's last is {:?}",
            view.last, view.commit, view.applied, view.durable, leader.last
        )
    })
}
