//! The lock in the rendezvous directory that picks the founder of a group that nobody was told how
//! to form.
//!
//! One process at a time holds it, and whoever ends lets go of it. A process that was opened that
//! way tries for it until it has it; which of several gets it is a matter of chance. The directory
//! also shows who lives and whether it has a genesis: the holder is told that it may found only
//! once it knows of all that live, and while none of them has a genesis.

use quorate_core::{Form, Input};

use crate::{
    dice::Dice,
    world::{Happening, World},
};

/// How often a process looks whether the lock is free, at most, in nanoseconds.
const EVERY: u64 = 100_000_000;

/// The lock of the one machine that all peers are on.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Who tries for it: peer and life.
    wanted: Vec<(usize, u64)>,
    holder: Option<(usize, u64)>,
    /// Whether the holder was told that it may found.
    told: bool,
    scheduled: bool,
    dice: Dice,
}

impl Lock {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            wanted: Vec::new(),
            holder: None,
            told: false,
            scheduled: false,
            dice: Dice::new(seed, "lock", 0),
        }
    }
}

impl World {
    /// Lets a process that was just started try for the lock, if it was opened that way.
    pub(crate) fn want_lock(&mut self, number: usize, form: Form) {
        if form == (Form::Auto { locked: true })
            && let Some(life) = &self.nodes[number].life
        {
            self.lock.wanted.push((number, life.number));
            self.look_for_lock();
        }
    }

    /// Takes the lock from a process that has ended.
    pub(crate) fn free_lock(&mut self, number: usize) {
        self.lock.wanted.retain(|(peer, _)| *peer != number);
        if self.lock.holder.is_some_and(|(peer, _)| peer == number) {
            self.lock.holder = None;
            self.lock.told = false;
        }
        self.look_for_lock();
    }

    /// Returns who holds the lock and was told that it may found.
    pub fn founder(&self) -> Option<usize> {
        let told = self.lock.told;
        self.lock.holder.map(|(peer, _)| peer).filter(|_| told)
    }

    fn look_for_lock(&mut self) {
        let waits = self.lock.holder.is_none() && !self.lock.wanted.is_empty();
        let undecided = self.lock.holder.is_some() && !self.lock.told;
        if (waits || undecided) && !self.lock.scheduled {
            self.lock.scheduled = true;
            let wait = self.lock.dice.between(1_000, EVERY);
            self.schedule(self.at + wait, Happening::Lock);
        }
    }

    /// Lets one of those that try have the lock, and tells the holder what it may do.
    pub(crate) fn try_lock(&mut self) {
        self.lock.scheduled = false;
        // Not to one that ends at what it writes next: it would come back with a genesis that
        // nobody saw, after another one has founded.
        let lasts = |(number, _): &&(usize, u64)| !self.is_about_to_end(*number);
        let able: Vec<(usize, u64)> = self.lock.wanted.iter().filter(lasts).copied().collect();
        if self.lock.holder.is_none() && !able.is_empty() {
            let place = self.lock.dice.index(able.len());
            self.lock.wanted.retain(|one| *one != able[place]);
            self.lock.holder = Some(able[place]);
        }
        let formed = (0..self.peers())
            .filter_map(|peer| self.view(peer))
            .any(|view| view.genesis.is_some());
        if let Some((number, life)) = self.lock.holder
            && !self.lock.told
            && !formed
        {
            self.lock.told = true;
            for other in 0..self.peers() {
                if other != number && self.nodes[other].life.is_some() {
                    let known = self.nodes[other].peer;
                    self.give(number, life, Input::Found(known));
                }
            }
            self.give(number, life, Input::Founder(self.group));
        }
        self.look_for_lock();
    }

    /// Tells whether a peer has a genesis, or may have, that no other one that runs has: if it
    /// came back with it after others had founded anew, there would be two.
    pub(crate) fn alone_with_genesis(&self, number: usize) -> bool {
        let mine = self.view(number).and_then(|view| view.genesis);
        let elsewhere = (0..self.peers())
            .filter(|peer| *peer != number && !self.is_about_to_end(*peer))
            .filter_map(|peer| self.view(peer)?.genesis)
            .any(|genesis| mine.is_none_or(|mine| mine == genesis));
        let founds = self.founder() == Some(number);
        let picked = self.scenario.peers[number].form == (Form::Auto { locked: true });
        picked && (mine.is_some() || founds) && !elsewhere
    }
}
