//! Whose directory was copied: what peers remember of each other's boots, and what they do when one
//! states a boot that the remembered one rules out.
//!
//! A voter whose directory came back in an older state would break promises that it no longer
//! knows. So each peer remembers, durably, the latest boot of every member of its groups, and a
//! link to a member whose boot does not continue that one carries nothing: the other side is told
//! which boot is known ([`Control::Disowned`]), and what it sends is not read. Nothing that a copy
//! says is ever counted by a peer that remembers.
//!
//! | here | on | does |
//! |---|---|---|
//! | a peer | a boot that continues what is remembered | takes the link |
//! | a peer | a member that talks to its own boot | makes durable that it is taken, tells all |
//! | a peer | a member's boot that is taken | remembers it |
//! | a peer | one that does not | bars the link, tells the other side, closes it later |
//! | the other side | being told, by who has proven a key | counts the word, closes the link |
//! | the other side | the word of enough | ends its incarnation, durably; the next one joins |
//!
//! **Whose word is enough.** One member that lies must not make healthy peers throw their memory
//! away. A word counts only from a voter, only if it names a boot that this one does not continue,
//! and only until the same voter talks to this peer again. The incarnation ends when, in each group
//! open here in which it is a member, a quorum that this peer is no part of has given its word. So
//! liars need a quorum, which could remove the peer anyway; and nobody ends who could not be
//! replaced: of two voters neither ends the other, since then nothing could be decided any more.
//! Short of that a disowned peer waits, and says by whom it was refused; its operator may empty the
//! directory. What one liar can do is not to talk to somebody, as it always could.
//!
//! What this does not cover, beside what [`crate::boot`] says: nobody waits until a boot is taken
//! and remembered, which takes a write here, a message, and a write there; and a voter that never
//! met the later boot believes the copy. It detects; copying the directory of a peer that goes on
//! stays forbidden.

use std::collections::BTreeMap;

use crate::{
    boot::{Boot, Lineage},
    canary::Canary,
    configuration::Configuration,
    disk_op::{DiskId, DiskWrite},
    effect::{CloseCode, Effect, Effects},
    event::Event,
    id::{GroupId, LinkId, Member},
    limits,
    raft::Raft,
    time::Now,
    wire::Control,
};

use super::{Peer, group::Group};

/// The boots of this peer and of others.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Boots {
    lineage: Lineage,
    remembered: BTreeMap<Member, Boot>,
    /// Which boot of this incarnation others say they know, if this one does not continue it.
    words: BTreeMap<Member, Boot>,
    /// The write by which the present boot is taken.
    taking: Option<DiskId>,
    /// Whether somebody has come whose boot is not remembered yet.
    pub(super) due: bool,
    /// Whether this incarnation is over.
    pub(super) ended: bool,
}

impl Boots {
    pub(crate) fn new(lineage: Lineage, remembered: Vec<(Member, Boot)>) -> Self {
        Self {
            lineage,
            remembered: remembered.into_iter().collect(),
            words: BTreeMap::new(),
            taking: None,
            due: false,
            ended: false,
        }
    }

    /// Returns the boot that rules out the one that `member` states, if there is one.
    fn rules_out(&self, member: Member, stated: &Lineage) -> Option<Boot> {
        let known = *self.remembered.get(&member)?;
        (!stated.continues(known)).then_some(known)
    }

    /// Takes note that a member talks to this peer, whatever it said before.
    pub(super) fn is_talked_to(&mut self, from: Member) {
        if !self.words.is_empty() {
            self.words.remove(&from);
        }
    }

    /// Takes note of a link that carries messages.
    fn has_come(&mut self) {
        self.due = true;
    }

    /// Tells whether those who have given their word could decide without `me`.
    fn is_disowned_in(&self, me: Member, configuration: &Configuration) -> bool {
        configuration.quorum(|voter| voter != me && self.words.contains_key(&voter))
    }
}

impl Peer {
    /// Returns the boot of this peer.
    pub fn boot(&self) -> Boot {
        self.boots.lineage.present()
    }

    /// Returns the latest boot of `member` that this peer remembers.
    pub fn remembers(&self, member: Member) -> Option<Boot> {
        self.boots.remembered.get(&member).copied()
    }

    /// Tells whether this incarnation is over: the peer does nothing any more.
    pub fn has_ended(&self) -> bool {
        self.boots.ended
    }

    /// Has the present boot taken, if it is not, once a member of a group talks to this peer.
    #[inline]
    pub(super) fn take_boot(&mut self, now: Now, id: GroupId, from: Member, effects: &mut Effects) {
        if self.boots.lineage.is_taken() || self.boots.taking.is_some() {
            return;
        }
        let group = self.groups.get(&id);
        let raft = group.and_then(|group| group.raft.as_ref());
        if raft.is_some_and(|raft| raft.configuration().1.contains(from)) {
            let mut write = None;
            self.with_group(now, id, effects, |_, out| {
                write = Some(out.write(DiskWrite::Taken));
            });
            self.boots.taking = write;
        }
    }

    /// Tells the others that the present boot is taken, if that is what was written.
    pub(super) fn boot_is_taken(&mut self, id: DiskId) {
        if self.boots.taking == Some(id) {
            self.boots.lineage.take();
            self.links.say_taken();
        }
    }

    /// Takes the word of the other side of a link that its boot is taken.
    pub(super) fn on_taken(&mut self, id: LinkId) -> Result<(), CloseCode> {
        if !self.links.on_taken(id) {
            return Err(CloseCode::Misbehaved);
        }
        self.boots.has_come();
        Ok(())
    }

    /// Bars a link whose other side is a copy; tells whether it did.
    pub(super) fn bars(&mut self, id: LinkId, effects: &mut Effects) -> bool {
        let stated = self.links.stated(id);
        let known = stated.and_then(|(member, stated)| self.boots.rules_out(member, stated));
        let known = known.filter(|_| !self.planted.has(Canary::CopyBelieved));
        let Some(known) = known else {
            self.boots.has_come();
            return false;
        };
        effects.push(Effect::Mark("boots.link_barred"));
        if let Some(peer) = self.links.bar(id, Control::Disowned(known)) {
            let code = CloseCode::Disowned;
            effects.push(Effect::Event(Event::PeerRefused { peer, code }));
        }
        true
    }

    /// Takes the word of the other side of a link that this boot is not the latest.
    pub(super) fn on_disowned(
        &mut self,
        now: Now,
        id: LinkId,
        known: Boot,
        effects: &mut Effects,
    ) -> Result<(), CloseCode> {
        let Some(link) = self.links.get(id) else {
            return Ok(());
        };
        let (Some(incarnation), false) = (link.incarnation, link.proven.is_empty()) else {
            return Err(CloseCode::Misbehaved);
        };
        if link.is_barred() {
            // Nothing that a copy says is ever counted.
            return Ok(());
        }
        if self.boots.lineage.continues(known) {
            // No correct peer bars a link for a boot that its other side continues.
            return Err(CloseCode::Misbehaved);
        }
        let from = Member {
            peer: link.peer,
            incarnation,
        };
        effects.push(Effect::Mark("boots.disowned"));
        self.refuse(now, id, CloseCode::Disowned, effects);
        let members = self.groups.values().filter_map(|group| group.raft.as_ref());
        let mut members = members.map(|raft| raft.configuration().1);
        if members.any(|configuration| configuration.is_voter(from)) {
            self.boots.words.insert(from, known);
            self.judge_words(effects);
        }
        Ok(())
    }

    /// Ends this incarnation, if enough have given their word.
    fn judge_words(&mut self, effects: &mut Effects) {
        let me = self.me;
        let of_mine = |raft: &Raft| {
            let configuration = raft.configuration().1;
            let mine = configuration.contains(me);
            mine.then(|| self.boots.is_disowned_in(me, configuration))
        };
        let rafts = self.groups.values().filter_map(|group| group.raft.as_ref());
        let judged: Vec<bool> = rafts.filter_map(of_mine).collect();
        if judged.is_empty() || !judged.into_iter().all(|disowned| disowned) {
            return;
        }
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.close(&mut self.out);
                let genesis = group.genesis;
                self.flush(id, genesis, effects);
            }
        }
        self.boots.ended = true;
        effects.push(Effect::Event(Event::IncarnationEnded));
        effects.push(Effect::EndIncarnation);
    }

    /// Has the boots of members remembered, if some are new.
    pub(super) fn remember_boots(&mut self, effects: &mut Effects) {
        if !std::mem::take(&mut self.boots.due) {
            return;
        }
        let rafts = self.groups.values().filter_map(|group| group.raft.as_ref());
        let configurations: Vec<&Configuration> =
            rafts.map(|raft| raft.configuration().1).collect();
        let voters = configurations.iter().flat_map(|one| one.all_voters());
        let learners = configurations.iter().flat_map(|one| &one.learners).copied();
        let mut next = BTreeMap::new();
        for member in voters.chain(learners).filter(|member| *member != self.me) {
            let known = self.boots.remembered.get(&member).copied();
            let boot = self.links.boot_of(member).or(known);
            if let Some(boot) = boot.filter(|_| next.len() < limits::BOOTS) {
                next.insert(member, boot);
            }
        }
        // Nor is anybody forgotten without need: a copy of a voter that was let go could be counted
        // by whoever has not heard of that.
        for (member, boot) in &self.boots.remembered {
            if next.len() < limits::BOOTS {
                next.entry(*member).or_insert(*boot);
            }
        }
        if next != self.boots.remembered {
            let list = next.iter().map(|(member, boot)| (*member, *boot)).collect();
            self.boots.remembered = next;
            effects.push(Effect::Remember(list));
        }
    }
}

impl Group {
    /// Tells whether the members have changed since this was last asked.
    pub(super) fn has_new_members(&mut self) -> bool {
        let seen = self.raft.as_ref().map(|raft| raft.configuration().0);
        let news = seen.is_some() && seen != self.seen;
        if news {
            self.seen = seen;
        }
        news
    }
}
