//! Directories that are copied, or brought back in an older state.
//!
//! Which such faults a cluster survives: the copy has forgotten what its original promised since,
//! so nobody may count what it says. A peer believes it if it has not heard, or has forgotten, of a
//! later boot of the original. So a disk is copied while its peer dies, and the copy is started
//! only once the peer is back and every other one runs and remembers, durably, that it is; and only
//! where a quorum stands without it, since the peer comes back as somebody else; and none of them
//! may forget until it has ended (see [`crate::atlas`]). What is left out is what the protocol does
//! not claim to survive.

use std::time::Duration;

use quorate_core::{Boot, Configuration, Member};
use quorate_store::MemoryFiles;

use crate::{checkers::Synced, inject::Lift, scenario::Storage, world::World};

/// A disk as it once was.
#[derive(Debug)]
pub(crate) struct Image {
    peer: usize,
    member: Member,
    boot: Boot,
    files: MemoryFiles,
    /// What it held for sure.
    book: Synced,
    /// The members that the peer knew.
    configuration: Configuration,
    /// How long the copy runs on another machine; in the peer's place if nothing.
    beside: Option<Duration>,
}

/// A copy that was started, or is about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtLarge {
    pub(crate) peer: usize,
    member: Member,
}

impl World {
    /// Copies the disk of a peer, has it die and come back, and starts the copy later: on another
    /// machine for a while, or in the peer's place.
    pub fn copy_directory(
        &mut self,
        peer: usize,
        away: Duration,
        after: Duration,
        beside: Option<Duration>,
    ) {
        let life = self.nodes[peer].life.as_ref();
        let boot = life.map(|life| (life.member, life.peer.boot()));
        let configuration = self.view(peer).map(|view| view.configuration.clone());
        let (Storage::Disk, Some((member, boot)), Some(configuration)) =
            (self.scenario.storage, boot, configuration)
        else {
            return self.leave_out("fault left out: not survivable");
        };
        let image = Image {
            peer,
            member,
            boot,
            files: self.nodes[peer].disk.copy(),
            book: self.checkers.copy_book(member),
            configuration,
            beside,
        };
        if self.crash(peer, away) {
            let number = self.next_lift;
            self.images.insert(number, image);
            self.lift_after(away + after, Lift::Copy(number));
        }
    }

    /// Starts a copy, if the cluster survives that.
    pub(crate) fn start_copy(&mut self, number: u64) {
        let Some(image) = self.images.remove(&number).filter(|_| !self.calm) else {
            return;
        };
        let spares = self.spares(image.peer) && self.keeps_state(image.peer, false);
        if !self.disowns(&image) || !spares {
            return self.leave_out("fault left out: not survivable");
        }
        let Image { peer, member, .. } = image;
        self.at_large = Some(AtLarge { peer, member });
        let machine = match image.beside {
            None => {
                self.mark("copy: started in the place of its original");
                self.end(
                    peer,
                    "dies, and an older state of its disk comes back",
                    None,
                );
                peer
            }
            Some(lasts) => {
                self.mark("copy: started beside its original");
                self.lift_after(lasts, Lift::Unplug);
                let twin = self.nodes.len() - 1;
                self.nodes[twin].peer = self.nodes[peer].peer;
                twin
            }
        };
        self.nodes[machine].disk.replace(image.files);
        self.checkers.put_book_back(machine, member, image.book);
        self.start(machine);
    }

    /// Tells whether everybody knows of a later boot of a copy's original, and can do without it.
    fn disowns(&self, image: &Image) -> bool {
        let Some(life) = self.nodes[image.peer].life.as_ref() else {
            return false;
        };
        let boot = life.peer.boot();
        let later = life.member == image.member && boot.number > image.boot.number;
        let known = (0..self.peers()).filter(|peer| *peer != image.peer);
        let known = known.map(|peer| self.nodes[peer].disk.remembers(image.member));
        let replaceable = |configuration: &Configuration| {
            configuration.quorum(|member| {
                let runs = (0..self.peers()).any(|peer| self.member(peer) == Some(member));
                runs && member.peer != image.member.peer
            })
        };
        let views = (0..self.peers()).filter_map(|peer| self.view(peer));
        later
            && self.at_large.is_none()
            && !self.is_shrinking()
            && known.into_iter().all(|known| known == Some(boot))
            && replaceable(&image.configuration)
            && self.checkers.configuration().is_some_and(replaceable)
            && views
                .filter(|view| view.genesis.is_some())
                .all(|view| replaceable(view.configuration))
    }

    /// Starts a peer anew whose incarnation has ended.
    pub(crate) fn begin_anew(&mut self, number: usize) {
        self.mark("copy: its incarnation has ended");
        self.end(number, "ends its incarnation", None);
        if self.at_large.is_some_and(|copy| copy.peer == number) {
            self.at_large = None;
        }
        self.start(number);
    }

    /// Takes the machine beside the others away.
    pub(crate) fn unplug(&mut self) {
        let twin = self.nodes.len() - 1;
        self.end(twin, "is unplugged", None);
        self.nodes[twin].disk.wipe();
        self.at_large = None;
    }

    /// Has an operator take the machine beside the others away, and empty a directory that was
    /// brought back and has not found out that it is disowned.
    pub(crate) fn clear_copies(&mut self) {
        let Some(copy) = self.at_large else {
            return;
        };
        let twin = self.nodes.len() - 1;
        if self.nodes[twin].life.is_some() {
            return self.unplug();
        }
        self.at_large = None;
        if self.nodes[copy.peer].life.is_none() || self.member(copy.peer) == Some(copy.member) {
            self.mark("copy: emptied by an operator");
            self.end(copy.peer, "is emptied", None);
            self.nodes[copy.peer].disk.wipe();
            self.nodes[copy.peer].kept.empty();
        }
    }
}
