//! How a peer is started, and how it and the others find each other.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use quorate_core::{Form, Input, Member, NetworkId, OpenGroup, Peer, PeerConfig, Recovered};

use quorate_store::{RecoveryError, Report};

use crate::{
    clock::Clock,
    dice::Dice,
    inject::Lift,
    machine::{self, Failures},
    network::nanos,
    node::Life,
    world::{MACHINE, World},
};

/// How long a machine waits before it tries again to start a peer whose disk cannot be used.
const RESTART: Duration = Duration::from_millis(300);

impl World {
    /// Starts a peer that does not run.
    pub fn start(&mut self, number: usize) {
        if self.nodes[number].life.is_some() {
            return;
        }
        let at = self.at;
        let (seed, machine) = (self.scenario.seed, self.scenario.machine(number));
        let node = &mut self.nodes[number];
        node.lives += 1;
        node.fails_for = None;
        let lives = node.lives;
        let nonce = Dice::new(seed, "boot nonce", machine * 1_000_000 + lives).draw();
        let Some(recovered) = self.recover(number, nonce) else {
            return;
        };
        let node = &mut self.nodes[number];
        let member = Member {
            peer: node.peer,
            incarnation: recovered.incarnation,
        };
        let spot = self.spot(number);
        let versions = self.scenario.versions(number, lives, self.calm);
        self.checkers.started(spot, (member, versions), &recovered);
        self.trace.note(at, number, "starts");
        let node = &mut self.nodes[number];
        let clock = Clock::new(
            node.dice.lives.below(1 << 40),
            at,
            node.plan.drift,
            node.plan.skew,
        );
        let config = PeerConfig {
            peer: node.peer,
            network: NetworkId::from_name("simulated"),
            seed: Dice::new(seed, "peer seed", machine * 1_000_000 + lives).draw(),
            planted: self.scenario.bug.into(),
        };
        node.kept.renew(member);
        let form = self.form_at_start(number);
        let node = &mut self.nodes[number];
        let failures = Failures::default();
        let (limits, bug) = (self.scenario.client_limits, self.scenario.bug.into());
        let replica = machine::replica_of_peer(self.tested.as_ref(), limits, bug, &failures);
        node.life = Some(Life {
            number: lives,
            member,
            versions,
            peer: Peer::new(config, recovered),
            clock,
            inbox: VecDeque::new(),
            awake: false,
            wake: u64::MAX,
            idle_turns: 0,
            next_link: 1,
            links: BTreeMap::new(),
            replica,
            failures,
            asked: VecDeque::new(),
            writing: false,
            sealing: false,
            full: false,
        });
        self.open(number, lives, form);
        self.find(number, lives);
        self.want_lock(number, form);
    }

    /// Returns how the present start of a peer opens the group.
    fn form_at_start(&self, number: usize) -> Form {
        let node = &self.nodes[number];
        if node.lives == 1 {
            node.plan.form
        } else if node.kept.emptied || !self.founders_remember(number) {
            // Whoever puts a new disk in knows that there is a group to join; and whoever starts
            // the last founder that knows of nothing, all others having left, say, does, too.
            Form::Join
        } else {
            node.plan.again
        }
    }

    /// Starts the store of a peer's disk; if that cannot be used just now, somebody will try again.
    fn recover(&mut self, number: usize, nonce: u64) -> Option<Recovered> {
        let node = &mut self.nodes[number];
        match node.disk.open(nonce, &mut node.dice.lives) {
            Ok((recovered, report)) => {
                self.mark_report(&report);
                Some(recovered)
            }
            Err(RecoveryError::File(_)) => {
                self.mark("disk: cannot be used at a start");
                self.lift_after(RESTART, Lift::Start(number));
                None
            }
            Err(error) => {
                self.found_at(number, "synced-is-recovered", error.to_string());
                None
            }
        }
    }

    /// Counts what recovery found.
    fn mark_report(&mut self, report: &Report) {
        if report.torn.is_some() {
            self.mark("disk: torn tail repaired");
        }
        if !report.damage.is_empty() {
            self.mark("disk: damage found");
        }
        if report.ended {
            self.mark("disk: incarnation ended");
        } else if report.bad_copies > 0 {
            self.mark("disk: superblock copy bad");
        }
    }

    fn open(&mut self, number: usize, life: u64, form: Form) {
        let Some(versions) = self.nodes[number].life.as_ref().map(|life| life.versions) else {
            return;
        };
        let open = Box::new(OpenGroup {
            key: self.key.clone(),
            machine: MACHINE.to_owned(),
            versions,
            form,
            profile: self.scenario.profile.clone(),
        });
        self.give(number, life, Input::Open(open));
    }

    /// Lets a peer that was just started and the others find each other.
    fn find(&mut self, number: usize, life: u64) {
        let span = self.scenario.network.discovery;
        for other in 0..self.nodes.len() {
            if other == number || self.nodes[other].lives == 0 {
                continue;
            }
            let known = self.nodes[other].peer;
            let delay = nanos(self.nodes[number].dice.finding.span(span));
            self.tell(self.at + delay, number, life, Input::Found(known));
            let Some(life) = self.nodes[other].life.as_ref().map(|life| life.number) else {
                continue;
            };
            let known = self.nodes[number].peer;
            let delay = nanos(self.nodes[other].dice.finding.span(span));
            self.tell(self.at + delay, other, life, Input::Found(known));
        }
    }
}
