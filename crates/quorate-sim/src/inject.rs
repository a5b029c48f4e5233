//! Carries faults out, and ends them.
//!
//! A fault that the cluster could not survive is left out and counted: a run in which a majority of
//! voters has lost its memory proves nothing. Whether it is survivable is judged from outside, by
//! every configuration that any living log holds.

use std::time::Duration;

use quorate_core::{CloseCode, Configuration, Input, Member, Role};

use crate::{
    atlas::LastLog,
    disk::{Fails, Loses},
    fault::FaultKind,
    network::{Later, nanos},
    rot::Damage,
    scenario::Storage,
    world::{Happening, World},
};

/// What ends a fault.
#[derive(Clone, Debug)]
pub(crate) enum Lift {
    Start(usize),
    Stop(usize, Member, Duration),
    Resume(usize),
    Mend(Vec<(usize, usize)>),
    Weather,
    Widen(usize, usize),
    Disk(usize),
    Reports(usize),
    Steps(usize),
    Found(usize),
    Dials,
    Full(usize),
    Unreadable(usize),
    DiskLost(usize, u64),
    Copy(u64),
    Unplug,
    Hostile(usize),
}

impl Lift {
    /// Returns the peer that stays as it is while this is not carried out, if it is about one.
    pub(crate) fn peer(&self) -> Option<usize> {
        match self {
            Self::Start(peer)
            | Self::Stop(peer, ..)
            | Self::Resume(peer)
            | Self::Disk(peer)
            | Self::Reports(peer)
            | Self::Steps(peer)
            | Self::Full(peer)
            | Self::Unreadable(peer)
            | Self::Hostile(peer) => Some(*peer),
            // Whose disk is lost has ended; only that it starts again is left out.
            Self::DiskLost(..) => None,
            Self::Mend(_)
            | Self::Weather
            | Self::Widen(..)
            | Self::Found(_)
            | Self::Dials
            | Self::Copy(_)
            | Self::Unplug => None,
        }
    }
}

impl Lift {
    /// Says for people what is over.
    fn tell(&self) -> String {
        match self {
            Self::Start(peer) => format!("peer {peer} starts"),
            Self::Stop(peer, ..) => format!("peer {peer} stops if it has left"),
            Self::Resume(peer) => format!("peer {peer} goes on"),
            Self::Mend(ways) => format!("ways are mended {ways:?}"),
            Self::Weather => "the storm is over".to_owned(),
            Self::Widen(one, other) => format!("{one} and {other} are at full speed again"),
            Self::Disk(peer) => format!("the disk of peer {peer} is fast again"),
            Self::Reports(peer) => format!("the disk of peer {peer} reports at once again"),
            Self::Steps(peer) => format!("peer {peer} is fast again"),
            Self::Found(peer) => format!("peer {peer} is found again"),
            Self::Dials => "dials succeed again".to_owned(),
            Self::Full(peer) => format!("peer {peer} has space again"),
            Self::Unreadable(peer) => format!("the disk of peer {peer} can be read again"),
            Self::DiskLost(peer, _) => format!("peer {peer} ends, for its disk has failed"),
            Self::Copy(_) => "a copied directory is started".to_owned(),
            Self::Unplug => "the machine with the copy is gone".to_owned(),
            Self::Hostile(peer) => format!("peer {peer} is hostile no more"),
        }
    }
}

impl World {
    /// Makes something go wrong now.
    pub fn inject(&mut self, kind: FaultKind) {
        let (name, left_out) = (kind.name(), self.left_out);
        self.trace.fault(self.at, || kind.tell());
        self.carry_out_fault(kind);
        if self.left_out == left_out {
            *self.faults.entry(name).or_insert(0) += 1;
        }
    }

    /// Takes note that a fault is not carried out, and why.
    pub(crate) fn leave_out(&mut self, why: &'static str) {
        self.left_out += 1;
        self.trace.fault(self.at, || why.replace(": ", ", "));
        self.mark(why);
    }

    fn carry_out_fault(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Crash { peer, away } => {
                self.crash(peer, away);
            }
            FaultKind::CrashWithin {
                peer,
                effects,
                away,
            } => self.nodes[peer].doomed = Some((effects, away)),
            FaultKind::Pause { peer, lasts } => {
                self.pause(peer);
                self.lift_after(lasts, Lift::Resume(peer));
            }
            FaultKind::Partition { side, lasts } => {
                let mut ways = self.ways_into(&side);
                ways.extend(ways.clone().into_iter().map(|(from, to)| (to, from)));
                self.cut(&ways);
                self.lift_after(lasts, Lift::Mend(ways));
            }
            FaultKind::Deaf { side, lasts } => {
                let ways = self.ways_into(&side);
                self.cut(&ways);
                self.lift_after(lasts, Lift::Mend(ways));
            }
            FaultKind::Apart { one, other, lasts } => {
                let ways = vec![(one, other), (other, one)];
                self.cut(&ways);
                self.lift_after(lasts, Lift::Mend(ways));
            }
            FaultKind::Reset { one, other } => {
                self.network.reset(self.at, one, other, &mut self.later);
                self.schedule_network();
            }
            FaultKind::Storm { weather, lasts } => {
                self.network.set_weather(Some(weather));
                self.lift_after(lasts, Lift::Weather);
            }
            FaultKind::Narrow {
                one,
                other,
                rate,
                lasts,
            } => self.narrow((one, other), rate, lasts),
            FaultKind::WallJump { peer, by } => {
                if let Some(life) = &mut self.nodes[peer].life {
                    life.clock.jump(by);
                }
            }
            FaultKind::Forgotten { peer, lasts } => {
                self.tell_others(peer, Input::Lost);
                self.lift_after(lasts, Lift::Found(peer));
            }
            FaultKind::NoDials { chance, lasts } => {
                self.network.set_no_dials(chance);
                self.lift_after(lasts, Lift::Dials);
            }
            kind => self.slow_down(kind),
        }
    }

    /// Slows a machine down; else an operator does something.
    fn slow_down(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::SlowDisk { peer, delay, lasts } => {
                self.nodes[peer].slow_disk = Some(delay);
                self.lift_after(lasts, Lift::Disk(peer));
            }
            FaultKind::LateReports { peer, delay, lasts } => {
                self.nodes[peer].late_reports = Some(delay);
                self.lift_after(lasts, Lift::Reports(peer));
            }
            FaultKind::SlowPeer { peer, delay, lasts } => {
                self.nodes[peer].slow_steps = Some(delay);
                self.lift_after(lasts, Lift::Steps(peer));
            }
            FaultKind::MachineFailure { peer, times, away } => {
                self.fail_machine(peer, times, away);
            }
            FaultKind::GarbledFrames {
                peer,
                chance,
                lasts,
            } => {
                self.nodes[peer].hostile.garble(chance);
                self.lift_after(lasts, Lift::Hostile(peer));
            }
            FaultKind::WrongChunks {
                peer,
                chance,
                lasts,
            } => {
                self.nodes[peer].hostile.lie(chance);
                self.lift_after(lasts, Lift::Hostile(peer));
            }
            FaultKind::Darkness { away, apart } => self.fail_power(away, apart),
            kind => self.have_operator(kind),
        }
    }

    /// Has an operator do something.
    fn have_operator(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Transfer { peer, to, patience } => {
                self.transfer(peer, to, patience);
            }
            FaultKind::Leave {
                peer,
                away,
                patience,
            } => self.leave_for(peer, away, patience),
            FaultKind::Stop { peer, away } => self.stop_for(peer, away),
            FaultKind::CopiedDirectory {
                peer,
                away,
                after,
                lasts,
            } => self.copy_directory(peer, away, after, Some(lasts)),
            FaultKind::RestoredDirectory { peer, away, after } => {
                self.copy_directory(peer, away, after, None);
            }
            kind => self.harm_disk(kind),
        }
    }

    /// Has something go wrong with a disk.
    fn harm_disk(&mut self, kind: FaultKind) {
        if self.scenario.storage == Storage::Memory {
            return self.leave_out("fault left out: no disk");
        }
        match kind {
            FaultKind::ReadError { peer, lasts } => {
                if self.crash(peer, lasts / 2) {
                    self.nodes[peer].disk.set_unreadable(true);
                    self.lift_after(lasts, Lift::Unreadable(peer));
                }
            }
            FaultKind::NoSpace { peer, lasts } => {
                self.nodes[peer].disk.set_full(true);
                self.lift_after(lasts, Lift::Full(peer));
            }
            FaultKind::WriteError { peer, away } => self.fail_disk(peer, Fails::Write, true, away),
            FaultKind::SyncError { peer, power, away } => {
                self.fail_disk(peer, Fails::Sync, power, away);
            }
            FaultKind::Kill { peer, away } => self.crash_with(peer, Loses::Nothing, away),
            FaultKind::TornWrite { peer, away } => self.crash_with(peer, Loses::PartOfLast, away),
            FaultKind::LostWrites { peer, away } => self.crash_with(peer, Loses::All, away),
            FaultKind::ReorderedWrites { peer, away } => {
                self.crash_with(peer, Loses::Earlier, away);
            }
            kind => {
                if let Some((peer, damage, away)) = Damage::of(&kind) {
                    self.damage(peer, damage, away);
                }
            }
        }
    }

    /// Kills a peer, if the cluster survives that; what was not synced is lost as `loses` says.
    fn crash_with(&mut self, number: usize, loses: Loses, away: Duration) {
        self.nodes[number].loses = loses;
        self.crash(number, away);
        self.nodes[number].loses = Loses::default();
    }

    fn fail_disk(&mut self, number: usize, fails: Fails, power: bool, away: Duration) {
        if self.nodes[number].life.is_none() || !self.outlives(number) {
            return self.leave_out("fault left out: not survivable");
        }
        self.nodes[number].failing = Some((power, away));
        self.nodes[number].disk.fail(fails);
    }

    /// Has a peer's machine fail, if the cluster can do without that peer's state; with a disk also
    /// so often that the peer is poisoned.
    fn fail_machine(&mut self, number: usize, times: u32, away: Duration) {
        let memory = self.scenario.storage == Storage::Memory;
        // Armed before there is a group, all machines could fail at its first entry.
        let here = self.view(number).is_some_and(|view| view.genesis.is_some());
        // Whoever is let go meanwhile may be the last one that has the state.
        let spared = self.lacks_state(number) || self.is_shrinking();
        if !here || spared || !self.outlives(number) {
            return self.leave_out("fault left out: not survivable");
        }
        let times = if memory { 1 } else { times };
        if times > 1 {
            self.nodes[number].fails_for = Some(away);
            self.checkers.machine_fails(number);
        }
        if let Some(living) = self.nodes[number].life.as_ref() {
            living.failures.add(times);
        }
    }

    /// Has a process end that is poisoned because its machine fails, and start again.
    pub(crate) fn poisoned(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(away) = node.fails_for.take() else {
            return;
        };
        let Some(life) = node.life.as_ref().map(|life| life.number) else {
            return;
        };
        node.failing = Some((false, away));
        self.mark("machine: poisons a group");
        self.lift_after(Duration::from_millis(1), Lift::DiskLost(number, life));
    }

    /// Tells whether a peer has lost its state, or is about to.
    pub(crate) fn lacks_state(&self, number: usize) -> bool {
        let failing = self.nodes[number].life.as_ref();
        failing.is_some_and(|life| life.failures.are_due())
            || self
                .view(number)
                .is_some_and(|view| view.state_lost.is_some())
    }

    /// Tells whether a peer's process will end by itself, sooner or later, because its disk or its
    /// machine fails.
    pub(crate) fn is_about_to_end(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        node.disk.fails() || node.fails_for.is_some()
    }

    /// Ends a process whose disk has failed under it, and starts it again some time later.
    fn disk_lost(&mut self, number: usize, life: u64) {
        if self.nodes[number].living(life).is_none() {
            return;
        }
        let (power, away) = self.nodes[number].failing.take().unwrap_or_default();
        if !power {
            self.nodes[number].loses = Loses::Nothing;
        }
        self.end(number, "ends: it is poisoned", None);
        self.lift_after(away, Lift::Start(number));
    }

    /// Makes the way between two peers slow, both ways.
    fn narrow(&mut self, (one, other): (usize, usize), rate: u64, lasts: Duration) {
        self.network.set_rate(self.at, one, other, Some(rate));
        self.network.set_rate(self.at, other, one, Some(rate));
        self.lift_after(lasts, Lift::Widen(one, other));
    }

    /// Kills a peer, if the cluster survives that, and starts it again after `away`; tells whether
    /// it did.
    ///
    /// Not while another peer is being let go: what remains may not survive both.
    pub fn crash(&mut self, number: usize, away: Duration) -> bool {
        self.nodes[number].doomed = None;
        if self.is_shrinking() {
            self.leave_out("fault left out: not survivable");
            return false;
        }
        let killed = self.kill(number);
        if killed {
            self.lift_after(away, Lift::Start(number));
        }
        killed
    }

    /// Kills a peer, if the cluster survives that; tells whether it did.
    ///
    /// Nothing starts it again.
    pub fn kill(&mut self, number: usize) -> bool {
        if self.nodes[number].life.is_none() {
            self.leave_out("fault left out: nothing runs there");
            return false;
        }
        if !self.outlives(number) {
            self.leave_out("fault left out: not survivable");
            return false;
        }
        self.killed_at = self.at;
        self.end(number, "dies", None);
        true
    }

    /// Tells whether the cluster can do without what a peer forgets when it ends now.
    pub(crate) fn outlives(&self, number: usize) -> bool {
        match self.scenario.storage {
            Storage::Memory => self.survives_without(number) && self.founders_remember(number),
            Storage::Disk => !self.alone_with_genesis(number) && self.keeps_state(number, true),
        }
    }

    /// Ends a process; its links are closed with `code`, or silently.
    pub(crate) fn end(&mut self, number: usize, how: &'static str, code: Option<CloseCode>) {
        let at = self.at;
        let view = self.view(number);
        let leads = view.as_ref().is_some_and(|view| view.role == Role::Leader);
        let log = view.map(|view| LastLog::of(&view));
        if leads && self.nodes[number].disk.is_busy() {
            self.mark("crash: a leader between an append and its sync");
        }
        let node = &mut self.nodes[number];
        node.doomed = None;
        let Some(life) = node.life.take() else {
            return;
        };
        self.trace.note(at, number, how);
        self.network
            .died(at, number, life.number, code, &mut self.later);
        let node = &mut self.nodes[number];
        node.kept.ended(log);
        let loses = std::mem::take(&mut node.loses);
        node.disk.crash(loses, &mut node.dice.crash);
        self.checkers.died(number);
        self.named_died(number);
        self.errands.retain(|_, errand| !errand.is_at(number));
        self.free_lock(number);
        self.schedule_network();
    }

    /// Stops a peer without killing it; its process answers nobody.
    pub(crate) fn pause(&mut self, number: usize) {
        self.nodes[number].paused += 1;
        let ways = self.ways_of(number);
        self.cut(&ways);
    }

    /// Tells whether a majority of voters, in every configuration that may decide, keeps its
    /// memory when this peer dies.
    pub(crate) fn survives_without(&self, number: usize) -> bool {
        let kept: Vec<Member> = self
            .healed
            .iter()
            .filter(|peer| **peer != number && !self.lacks_state(**peer))
            .filter_map(|peer| self.member(*peer))
            .collect();
        let survives =
            |configuration: &Configuration| configuration.quorum(|member| kept.contains(&member));
        let committed = self.checkers.configuration().is_none_or(survives);
        committed
            && self
                .healed
                .iter()
                .filter_map(|peer| self.view(*peer))
                .filter(|view| view.genesis.is_some())
                .all(|view| view.configuration.voters.is_empty() || survives(view.configuration))
    }

    /// Cuts ways between peers; nothing mends them by itself.
    pub fn cut(&mut self, ways: &[(usize, usize)]) {
        let mut later = Later::new();
        for (from, to) in ways {
            self.network.cut(self.at, *from, *to, &mut later);
        }
        self.later.append(&mut later);
        self.schedule_network();
    }

    /// Mends ways between peers.
    pub fn mend(&mut self, ways: &[(usize, usize)]) {
        let mut later = Later::new();
        for (from, to) in ways {
            self.network.mend(self.at, *from, *to, &mut later);
        }
        self.later.append(&mut later);
        self.schedule_network();
    }

    /// Returns all ways that begin or end at a peer.
    pub fn ways_of(&self, number: usize) -> Vec<(usize, usize)> {
        let mut ways = self.ways_into(&[number]);
        ways.extend(ways.clone().into_iter().map(|(from, to)| (to, from)));
        ways
    }

    /// Returns the ways from the rest to one side.
    pub(crate) fn ways_into(&self, side: &[usize]) -> Vec<(usize, usize)> {
        let rest = (0..self.peers()).filter(|peer| !side.contains(peer));
        rest.flat_map(|from| side.iter().map(move |to| (from, *to)))
            .collect()
    }

    pub(crate) fn lift_after(&mut self, time: Duration, lift: Lift) {
        let number = self.next_lift;
        self.next_lift += 1;
        self.lifts.insert(number, lift);
        let at = self.at.saturating_add(nanos(time));
        self.schedule(at, Happening::Lift(number));
    }

    /// Ends a fault, if it was not ended before.
    pub(crate) fn lift(&mut self, number: u64) {
        if let Some(lift) = self.lifts.remove(&number) {
            self.trace.fault(self.at, || lift.tell());
            self.carry_out_lift(lift);
        }
    }

    pub(crate) fn carry_out_lift(&mut self, lift: Lift) {
        match lift {
            Lift::Start(peer) => {
                if self.healed.contains(&peer) {
                    self.start(peer);
                }
            }
            Lift::Stop(peer, member, away) => self.stop_left(peer, member, away),
            Lift::Resume(peer) => {
                let ways = self.ways_of(peer);
                self.mend(&ways);
                self.resume(peer);
            }
            Lift::Mend(ways) => self.mend(&ways),
            Lift::Weather => self.network.set_weather(None),
            Lift::Widen(one, other) => {
                self.network.set_rate(self.at, one, other, None);
                self.network.set_rate(self.at, other, one, None);
            }
            Lift::Disk(peer) => self.nodes[peer].slow_disk = None,
            Lift::Reports(peer) => self.nodes[peer].late_reports = None,
            Lift::Steps(peer) => self.nodes[peer].slow_steps = None,
            Lift::Found(peer) => self.tell_others(peer, Input::Found),
            Lift::Dials => self.network.set_no_dials(0),
            Lift::Full(peer) => self.nodes[peer].disk.set_full(false),
            Lift::Unreadable(peer) => self.nodes[peer].disk.set_unreadable(false),
            Lift::DiskLost(peer, life) => self.disk_lost(peer, life),
            Lift::Copy(image) => self.start_copy(image),
            Lift::Unplug => self.unplug(),
            Lift::Hostile(peer) => self.nodes[peer].hostile.end(),
        }
    }

    /// Tells every other peer something of this one.
    fn tell_others(&mut self, number: usize, input: impl Fn(quorate_core::PeerId) -> Input) {
        let peer = self.nodes[number].peer;
        for other in 0..self.peers() {
            let life = self.nodes[other].life.as_ref().map(|life| life.number);
            if let Some(life) = life
                && other != number
            {
                self.give(other, life, input(peer));
            }
        }
    }
}
