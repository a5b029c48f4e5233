//! Ends faults: for a quorum alone, while the rest stays broken, and then for all.
//!
//! Who may stay broken is judged as the atlas judges damage: those who are healed must be able to
//! decide by themselves. So in the last configuration that was committed, and in every one that is
//! the last in a log that has all that is committed, a majority of each half is *fit*: healed, with
//! all that it ever acknowledged (on its disk, or in the memory of a process that lives), not about
//! to leave, and able to run what is in effect. And one of them has the state, or a log to make it
//! of. Then every committed entry is on a fit voter's log, one of them has the longest log among
//! those whose votes are needed, and nothing of the rest is. It stays so if the group grows by
//! learners that break just when they are to vote, or that have no space for what makes them
//! voters, or if such a learner takes the place of a voter that has only just come back: leaders do
//! not know.
//!
//! Peers that are in no history are down when they are broken: cut off together they might found a
//! second one, as in any partition. Groups that were founded apart are healed as a whole, for what
//! must become of them depends on all.

use std::collections::BTreeSet;

use quorate_core::{Configuration, Form, Genesis, GenesisId, Member, Role};

use crate::{
    broken::{Ailment, StaysBroken},
    dice::Span,
    inject::Lift,
    node::Life,
    scenario::Storage,
    world::World,
};

/// How long a disk that stays slow takes.
const SLOW: Span = Span::micros(200_000, 2_000_000);

impl World {
    /// Ends every fault for good and starts whoever does not run.
    pub fn heal(&mut self) {
        self.healed = (0..self.peers()).collect();
        self.gone.clear();
        self.trace
            .fault(self.at, || "everything is mended".to_owned());
        self.mend_healed();
    }

    /// Ends the faults of all peers but those that the scenario has stay broken, as far as the
    /// others can do without them; tells whether any does.
    pub(crate) fn heal_quorum(&mut self) -> bool {
        // Whose disk is lost has nothing any more that could be counted on.
        let lost = |_: &u64, lift: &mut Lift| matches!(lift, Lift::DiskLost(..));
        for (_, lift) in self.lifts.extract_if(.., lost).collect::<Vec<_>>() {
            self.carry_out_lift(lift);
        }
        let broken = self.stay_broken();
        if broken.is_empty() {
            return false;
        }
        let stays = |peer: &usize| broken.iter().any(|one| one.peer == *peer);
        self.healed = (0..self.peers()).filter(|peer| !stays(peer)).collect();
        self.trace.fault(self.at, || {
            let broken: Vec<String> = broken
                .iter()
                .map(|one| format!("peer {} {:?}", one.peer, one.how))
                .collect();
            format!("mended, but for {}", broken.join(", "))
        });
        self.mend_healed();
        for one in broken {
            self.break_for_good(one);
        }
        true
    }

    /// Tells whether nobody stays broken.
    pub(crate) fn all_are_healed(&self) -> bool {
        self.healed.len() == self.peers()
    }

    /// Returns who stays broken: of those that the scenario names each without which the others can
    /// decide.
    fn stay_broken(&mut self) -> Vec<StaysBroken> {
        let mut broken = Vec::new();
        let Some(living) = self.checkers.living_one() else {
            return broken;
        };
        if self.scenario.apart || self.at_large.is_some() {
            return broken;
        }
        for peer in 0..self.peers() {
            self.note_whole(peer);
        }
        let mut healed: BTreeSet<usize> = (0..self.peers()).collect();
        for one in self.scenario.broken.clone() {
            healed.remove(&one.peer);
            if self.decide(&healed, living) {
                broken.push(one);
            } else {
                self.mark("liveness: too many to stay broken");
                healed.insert(one.peer);
            }
        }
        broken
    }

    /// Tells whether these peers can decide without the others.
    fn decide(&self, healed: &BTreeSet<usize>, living: GenesisId) -> bool {
        let fit: Vec<Member> = healed
            .iter()
            .filter(|peer| self.is_fit(**peer))
            .filter_map(|peer| self.nodes[*peer].kept.member)
            .collect();
        let decided = |one: &Configuration| {
            one.voters.is_empty() || one.quorum(|member| fit.contains(&member))
        };
        let Some(committed) = self.checkers.configuration_in(living) else {
            return false;
        };
        decided(committed)
            && self.logs_that_count(living).iter().all(decided)
            && self.outlives_growth(committed, &fit, healed)
            && self.outlives_replacement(committed, &fit, healed)
            && self.has_source((living, &committed.all_voters()), healed, None)
    }

    /// Returns the last configuration of each log that has all that is committed: of the others'
    /// nothing comes, for nobody votes for them. Also of logs that are to stay broken: what they
    /// have sent may still arrive.
    fn logs_that_count(&self, living: GenesisId) -> Vec<Configuration> {
        let committed = self.checkers.committed();
        let disk = self.scenario.storage == Storage::Disk;
        let of = |peer: usize| match self.view(peer) {
            Some(view) => {
                let counts = view.genesis == Some(living) && view.last.index >= committed;
                counts.then(|| view.configuration.clone())
            }
            None if disk => {
                let (last, configuration) = self.nodes[peer].kept.last()?;
                (last >= committed).then(|| configuration.clone())
            }
            None => None,
        };
        (0..self.peers()).filter_map(of).collect()
    }

    /// Tells whether the fit voters decide also once the voters have grown by learners that were
    /// heard until just now, and stay broken.
    fn outlives_growth(
        &self,
        committed: &Configuration,
        fit: &[Member],
        healed: &BTreeSet<usize>,
    ) -> bool {
        let voters = &committed.voters;
        let enter = 1 + voters.len() % 2;
        let grows = voters.len() + enter <= self.scenario.profile.voters;
        let fit = voters.iter().filter(|voter| fit.contains(voter)).count();
        !grows || self.broken_learners(committed, healed) == 0 || fit > (voters.len() + enter) / 2
    }

    /// Tells whether the fit voters decide also once a leader has put learners that stay broken in
    /// the places of those that it has missed for long, and that are only just healed.
    fn outlives_replacement(
        &self,
        committed: &Configuration,
        fit: &[Member],
        healed: &BTreeSet<usize>,
    ) -> bool {
        let patience = self.scenario.profile.replace_after / 2;
        let missed_by = |leader: usize| -> Option<usize> {
            let life = self.nodes[leader].life.as_ref()?;
            let view = life.peer.view(self.group)?;
            if view.role != Role::Leader {
                return None;
            }
            let now = life.clock.now(self.at).time;
            let members = view.members().into_iter();
            let missed = members.filter(|one| {
                let heard = one.heard.is_some_and(|heard| now.since(heard) < patience);
                one.member != view.me && fit.contains(&one.member) && !heard
            });
            Some(missed.filter(|one| committed.is_voter(one.member)).count())
        };
        let missed = (0..self.peers()).filter_map(missed_by).max().unwrap_or(0);
        let replaced = missed.min(self.broken_learners(committed, healed));
        let voters = &committed.voters;
        let fit = voters.iter().filter(|voter| fit.contains(voter)).count();
        replaced == 0 || fit - replaced > voters.len() / 2
    }

    /// Counts the peers that stay broken and do not vote: a leader may have heard them until now.
    fn broken_learners(&self, committed: &Configuration, healed: &BTreeSet<usize>) -> usize {
        let learns = |peer: &usize| {
            let member = self.member(*peer);
            member.is_some_and(|member| !committed.is_voter(member))
        };
        let broken = (0..self.peers()).filter(|peer| !healed.contains(peer));
        broken.filter(learns).count()
    }

    /// Tells whether a peer, once healed, can help to decide.
    fn is_fit(&self, peer: usize) -> bool {
        let node = &self.nodes[peer];
        let in_effect = (0..self.peers()).filter_map(|peer| Some(self.view(peer)?.version()));
        let in_effect = in_effect.max().unwrap_or(1);
        let whole = match self.scenario.storage {
            Storage::Disk => node.kept.hurt().is_none(),
            Storage::Memory => {
                let runs = |life: &Life| life.versions.contains(in_effect);
                node.life.as_ref().is_some_and(runs) && !self.lacks_state(peer)
            }
        };
        whole && self.at >= node.leaving_until
    }

    /// Ends the faults of those who are healed, and starts whoever of them does not run.
    fn mend_healed(&mut self) {
        self.calm = true;
        for number in self.healed.clone() {
            let node = &mut self.nodes[number];
            node.disk.mend();
            if let Some(living) = &node.life {
                living.failures.end();
            }
        }
        let lifts = std::mem::take(&mut self.lifts);
        for (_, lift) in lifts {
            if lift.peer().is_none_or(|peer| self.healed.contains(&peer)) {
                self.carry_out_lift(lift);
            }
        }
        self.network.heal(self.at, &mut self.later);
        self.schedule_network();
        self.clear_copies();
        for number in self.healed.clone() {
            let node = &mut self.nodes[number];
            node.doomed = None;
            node.slow_disk = None;
            node.late_reports = None;
            node.slow_steps = None;
            node.hostile.end();
            if node.paused > 0 {
                node.paused = 1;
                self.resume(number);
            }
            if self.view(number).is_some_and(|view| view.has_left()) {
                // It is out for this life; it comes back as the next one.
                self.stop(number);
            }
            self.renew_binary(number);
        }
        for number in self.healed.clone() {
            self.start(number);
        }
    }

    /// Has a peer be broken from now on, whatever else was wrong with it.
    fn break_for_good(&mut self, StaysBroken { peer, how }: StaysBroken) {
        // Only those who are healed are asked for anything, and they may need it.
        self.nodes[peer].hostile.end();
        let here = self.view(peer).is_some_and(|view| view.genesis.is_some());
        let disk = self.scenario.storage == Storage::Disk;
        let how = match how {
            _ if !here => Ailment::Down,
            _ if self.nodes[peer].paused > 0 => Ailment::Paused,
            Ailment::NoSpace if !disk => Ailment::Down,
            how => how,
        };
        if !matches!(how, Ailment::NoSpace | Ailment::SlowDisk) {
            self.gone.insert(peer);
        }
        let into = self.ways_into(&[peer]);
        match how {
            Ailment::Down => self.end(peer, "dies", None),
            Ailment::Paused => self.pause(peer),
            Ailment::Apart => {
                let ways = self.ways_of(peer);
                self.cut(&ways);
            }
            Ailment::Deaf => self.cut(&into),
            Ailment::Mute => {
                let from: Vec<_> = into.iter().map(|(from, to)| (*to, *from)).collect();
                self.cut(&from);
            }
            Ailment::NoSpace => self.nodes[peer].disk.set_full(true),
            Ailment::SlowDisk => self.nodes[peer].slow_disk = Some(SLOW),
        }
        self.mark(match how {
            Ailment::Down => "liveness: without one that is down",
            Ailment::Paused => "liveness: without one that stands still",
            Ailment::Apart => "liveness: without one that is cut off",
            Ailment::Deaf => "liveness: without one that hears nobody",
            Ailment::Mute => "liveness: without one that nobody hears",
            Ailment::NoSpace => "liveness: beside one without space",
            Ailment::SlowDisk => "liveness: beside one whose disk is slow",
        });
    }

    /// Ends a peer that is to start with the newest binary, if it runs an older one and nothing
    /// hangs on what it would forget: some peers would stay too old for ever.
    fn renew_binary(&mut self, number: usize) {
        if self.runs_old_binary(number) && self.is_renewable(number) {
            self.mark("operator: newest binary");
            self.end(number, "stops", None);
        }
    }

    /// Returns a peer that still runs an older binary, for the others would have lost too much with
    /// it, and that they can do without by now.
    pub(crate) fn old_binary(&self) -> Option<usize> {
        let mut peers = self.healed.iter().copied();
        peers.find(|peer| {
            let spared = || self.is_orderly() && self.outlives(*peer);
            self.runs_old_binary(*peer) && (self.is_renewable(*peer) || spared())
        })
    }

    /// Returns a peer that was told meanwhile that it has left, and that nothing else starts anew.
    pub(crate) fn left_over(&self) -> Option<usize> {
        let started = |peer: usize| {
            let mut lifts = self.lifts.values();
            lifts.any(|lift| lift.peer() == Some(peer))
        };
        let left = |peer: &usize| self.view(*peer).is_some_and(|view| view.has_left());
        let mut peers = self.healed.iter().copied();
        peers.find(|peer| left(peer) && !started(*peer))
    }

    fn runs_old_binary(&self, number: usize) -> bool {
        let newest = self.scenario.all_versions();
        let life = self.nodes[number].life.as_ref();
        life.is_some_and(|life| life.versions != newest)
    }

    /// Tells whether every voter lives and none is being let go: then one may be restarted.
    fn is_orderly(&self) -> bool {
        let living: Vec<Member> = (0..self.peers())
            .filter_map(|peer| self.member(peer))
            .collect();
        let configuration = self.checkers.configuration();
        let lives = |one: &Configuration| one.voters.iter().all(|voter| living.contains(voter));
        !self.is_shrinking() && configuration.is_some_and(lives)
    }

    fn is_renewable(&self, number: usize) -> bool {
        if self.scenario.storage == Storage::Disk {
            let mut others = self.healed.iter().filter(|peer| **peer != number);
            let mut all_know = || others.all(|peer| self.comes_back(*peer));
            return self.outlives(number) || (all_know() && self.keeps_state(number, true));
        }
        // Who has founded nothing yet must not forget what it has agreed to.
        let founded = self.checkers.committed() > Genesis::CURSOR.index;
        let joins = self.nodes[number].plan.form == Form::Join;
        let here = self.view(number).is_some_and(|view| view.genesis.is_some());
        let member = self.member(number);
        let votes = |peer| {
            let view = self.view(peer);
            view.is_some_and(|view| member.is_some_and(|one| view.configuration.is_voter(one)))
        };
        (joins || here || founded) && !(0..self.peers()).any(votes)
    }

    /// Tells whether a peer takes part in a history, or will once it is started.
    pub(crate) fn comes_back(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        match &node.life {
            Some(_) => self.view(number).is_some_and(|view| view.genesis.is_some()),
            None => {
                let configuration = node.kept.configuration();
                !node.kept.emptied && configuration.is_some_and(|one| !one.voters.is_empty())
            }
        }
    }
}
