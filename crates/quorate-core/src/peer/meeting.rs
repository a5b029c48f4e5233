//! Two histories of one group meet: one is given up for the other, or they refuse to mix.
//!
//! A group that nobody set up may be founded twice, by peers that did not see each other. When they
//! do, writes that were acknowledged in either history must stay, so two histories are never
//! merged; but one in which nobody has written anything yet may be given up.
//!
//! | here | the other one | what happens |
//! |---|---|---|
//! | empty | used | the history here is dissolved into the other one |
//! | empty | empty, lower genesis id | the same |
//! | empty | empty, higher genesis id | nothing: it is up to the other one |
//! | used | empty | nothing: it is up to the other one |
//! | used | used | a conflict: both go on, and both say so |
//!
//! **Who decides.** The log of the history that is given up, and nothing else. Its leader proposes
//! a dissolve entry; that takes effect when it is applied, if no user command precedes it there
//! ([`Fate`]). So a command that is acknowledged has made its history stay, whoever had proposed
//! what; and a command behind the dissolve is answered *superseded*. Who is reachable decides only
//! whether a leader proposes. It does so on the word of any member of the other history, or of its
//! own that has met one, that the other history is established and has a leader just now: one that
//! decides nothing is no refuge. *Alternative, rejected:* proof that the other history exists,
//! signed by a quorum of it. Its membership is in its own log, which nobody here can judge; what
//! is given up on a lie is empty.
//!
//! **Both at once.** Call a history *lower* than another if it is used and the other one is not, or
//! else by its genesis id. A history dissolves only into one that was lower when it was looked at;
//! used ones never dissolve, and a history that becomes used only gets lower. So a chain of
//! dissolved histories (A into B, while B goes into C) descends strictly, is never a circle, and
//! ends at one that lives. That a command makes B used, or that B dissolves, after A was sent there
//! changes nothing for A: its members look for any established history of the group.
//!
//! **Afterwards.** Whoever applies the dissolve buries its history: the log goes, and a *tombstone*
//! (what dissolved into what) becomes durable in the same write. From then on it takes no part in
//! that history, founds none (it knows that one exists), and joins the other one as a learner, in
//! the life it is in. A new life is not needed: what it promised, votes and acks, it promised in
//! one history; every message names the history it is for, and of the buried one it drops them all.
//! In the other one it has promised nothing but, perhaps, to refuse the genesis while that was
//! proposed; a leader there proves that its founders did without it. The ballot on its disk is the
//! buried history's until it votes in the next one: that can make it only more careful.
//!
//! **Late members.** A dissolve entry is committed once a quorum holds it, and some of these may
//! leave before others know that. Those that are left elect only one who has the entry too, since
//! any quorum of theirs has a holder in it: it is applied after all. Or there is no quorum left
//! to elect anybody. So whoever has buried a history answers everything that is said in it,
//! campaigns included, with [`Message::Dissolved`], and says so unasked to those in sight. A member
//! believes a voter of its own configuration (voters are trusted to tell the truth about the log),
//! and nobody if it has itself applied a command; one without any entry believes anybody, since it
//! has nothing to lose.
//!
//! **What can go wrong.** A crash at any point: the entry is committed or it is not, as any other;
//! the tombstone and the end of the log are one write, in front of whatever the peer writes for the
//! next history. A partition: the side that is left campaigns in vain until it hears of it. The
//! other history is lost for ever after this one went there: nobody founds again by itself, because
//! writes may have been acknowledged there; its members wait and say for what. A liar with the
//! right key can send an *empty* group to a history that does not exist, and can keep a joiner out
//! of a history for the rest of its life; it cannot touch one that is used. Members whose fellows
//! all come back without memory stay behind: nobody is left whose word they take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{
    canary::Canary,
    cursor::Cursor,
    disk_op::{DiskId, DiskWrite},
    entry::Body,
    event::GroupEvent,
    fate::Fate,
    id::{GenesisId, Member},
    limits,
    out::Out,
    profile::GroupProfile,
    time::{Now, Time},
    wire::{Message, Standing},
};

use super::{applier::Applier, group::Group, syncing::Syncing};

/// How often members of two histories that see each other say again where they stand.
const SAY_AGAIN: Duration = Duration::from_millis(500);

/// For how long what was said of another history counts.
const NEWS: Duration = Duration::from_secs(2);

/// What one peer knows of other histories of its group.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Meeting {
    /// Histories that are no more, and what each dissolved into.
    tombstones: BTreeMap<GenesisId, GenesisId>,
    /// What the last of them dissolved into.
    went_to: Option<GenesisId>,
    /// Tombstones that are on their way to the disk.
    burying: Vec<(DiskId, GenesisId)>,
    /// Other histories that were heard of lately.
    others: BTreeMap<GenesisId, Other>,
    /// Those among them with which this one is in conflict, and that were reported.
    conflicts: BTreeSet<GenesisId>,
    /// The dissolve entry proposed last.
    proposed: Option<Cursor>,
    /// When to look at the others again.
    look_at: Option<Time>,
}

/// Another history of the group.
#[derive(Clone, Copy, Hash, Debug)]
struct Other {
    /// Whether it has applied user commands; never taken back.
    used: bool,
    /// When it was last said that it has a leader.
    led: Option<Time>,
    heard: Time,
}

impl Meeting {
    /// Starts with the tombstones that the durable log held.
    pub(crate) fn new(tombstones: impl IntoIterator<Item = (GenesisId, GenesisId)>) -> Self {
        let mut meeting = Self::default();
        for (genesis, into) in tombstones {
            meeting.tombstones.insert(genesis, into);
            meeting.went_to = Some(into);
        }
        meeting
    }

    /// Tells whether a history was buried here: then this peer founds none.
    pub(crate) fn has_buried(&self) -> bool {
        !self.tombstones.is_empty()
    }

    /// Tells whether this history is no more, as far as is known here.
    pub(crate) fn is_dissolved(&self, genesis: GenesisId) -> bool {
        self.tombstones.contains_key(&genesis)
    }

    /// Returns the histories that are known to be no more, and what each dissolved into.
    pub(crate) fn tombstones(&self) -> &BTreeMap<GenesisId, GenesisId> {
        &self.tombstones
    }

    /// Returns the history that the last one buried here dissolved into.
    pub(crate) fn went_to(&self) -> Option<GenesisId> {
        self.went_to
    }

    /// Returns the histories with which the one here is in conflict.
    pub(crate) fn conflicts(&self) -> &BTreeSet<GenesisId> {
        &self.conflicts
    }

    /// Returns when the others are looked at next.
    pub(crate) fn deadline(&self) -> Time {
        self.look_at.unwrap_or(Time::NEVER)
    }

    /// Takes note of another history.
    fn note(&mut self, now: Time, genesis: GenesisId, used: bool, led: bool) {
        if self.is_dissolved(genesis) {
            return;
        }
        if self.others.len() >= limits::OTHER_HISTORIES && !self.others.contains_key(&genesis) {
            let oldest = self.others.iter().min_by_key(|(_, other)| other.heard);
            if let Some(oldest) = oldest.map(|(genesis, _)| *genesis) {
                self.others.remove(&oldest);
            }
        }
        let fresh = Other {
            used: false,
            led: None,
            heard: now,
        };
        let mut news = !self.others.contains_key(&genesis);
        let other = self.others.entry(genesis).or_insert(fresh);
        news |= (used && !other.used) || (led && other.led.is_none());
        other.used |= used;
        other.heard = now;
        if led {
            other.led = Some(now);
        }
        if news || self.look_at.is_none() {
            self.look_at = Some(now);
        }
    }

    /// Forgets what was not heard of for long; what remains is looked at again later.
    fn expire(&mut self, now: Time) {
        self.others.retain(|_, other| now.since(other.heard) < NEWS);
        for other in self.others.values_mut() {
            other.led = other.led.filter(|led| now.since(*led) < NEWS);
        }
        let others = &self.others;
        self.conflicts
            .retain(|genesis| others.contains_key(genesis));
        self.look_at = (!self.others.is_empty()).then(|| now.after(SAY_AGAIN));
    }

    /// Returns the history that an empty one called `mine` is to be given up for, if there is one.
    fn better_than(&self, mine: GenesisId) -> Option<GenesisId> {
        let led = self.others.iter().filter(|(_, other)| other.led.is_some());
        let better = led.filter(|(genesis, other)| other.used || **genesis < mine);
        better
            .min_by_key(|(genesis, other)| (!other.used, **genesis))
            .map(|(genesis, _)| *genesis)
    }
}

impl Group {
    /// Takes note of another history in which somebody in sight takes part; members of one that is
    /// no more are told.
    pub(super) fn meet(&mut self, now: Time, from: Member, standing: Standing, out: &mut Out) {
        let Some(genesis) = standing
            .genesis
            .filter(|_| standing.genesis != self.genesis)
        else {
            return;
        };
        if self.tell_of_tombstone(from, genesis, out) || !standing.established {
            return;
        }
        if self.genesis.is_some() {
            let led = standing.leader.is_some();
            self.meeting.note(now, genesis, standing.used, led);
        }
    }

    /// Takes a fellow member's word of another history.
    pub(super) fn on_met(&mut self, now: Time, from: Member, genesis: GenesisId, used: bool) {
        let fellow = self.raft.as_ref();
        let fellow = fellow.is_some_and(|raft| raft.configuration().1.contains(from));
        if fellow && self.genesis != Some(genesis) {
            self.meeting.note(now, genesis, used, true);
        }
    }

    /// Answers what is said in a history that is no more; tells whether it is.
    pub(super) fn tell_of_tombstone(
        &mut self,
        to: Member,
        genesis: GenesisId,
        out: &mut Out,
    ) -> bool {
        let Some(into) = self.meeting.tombstones.get(&genesis).copied() else {
            return false;
        };
        let durable = self.meeting.burying.iter().all(|(_, one)| *one != genesis);
        if durable {
            out.send_to_history(to, genesis, Message::Dissolved { genesis, into });
        }
        true
    }

    /// Looks at the other histories in sight, when that is due.
    pub(super) fn tick_meeting(&mut self, now: Time, out: &mut Out) {
        if self.meeting.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.meeting.expire(now);
        let (Some(mine), Some(raft)) = (self.genesis, &self.raft) else {
            return;
        };
        let standing = self.standing();
        for (member, other) in self.formation.established_peers() {
            if other.genesis != Some(mine) {
                out.send(member, Message::Standing(standing));
            }
        }
        if self.fate.is_used() {
            for (genesis, other) in &self.meeting.others {
                if other.used && self.meeting.conflicts.insert(*genesis) {
                    out.mark("meeting.conflict");
                    out.event(GroupEvent::Conflict { other: *genesis });
                }
            }
            return;
        }
        if self.fate != Fate::Empty {
            return;
        }
        let Some(into) = self.meeting.better_than(mine) else {
            return;
        };
        let used = self.meeting.others.get(&into).is_some_and(|one| one.used);
        if raft.is_leader() {
            self.propose_dissolve(now, into, used, out);
        } else if let Some(leader) = raft.leader() {
            let genesis = into;
            out.send(leader, Message::Met { genesis, used });
        }
    }

    /// On the leader: proposes to give this history up, unless that is under way.
    fn propose_dissolve(&mut self, now: Time, into: GenesisId, used: bool, out: &mut Out) {
        let Some(raft) = &mut self.raft else { return };
        let under_way = self.meeting.proposed.is_some_and(|cursor| {
            // One of an earlier term may have been lost with its leader.
            cursor.term == raft.ballot().term
        });
        if under_way {
            return;
        }
        if let Some(cursor) = raft.propose(Body::Dissolve { into }, out) {
            self.meeting.proposed = Some(cursor);
            out.mark(if used {
                "meeting.dissolve_into_used"
            } else {
                "meeting.dissolve_higher_id"
            });
            if self.planted.has(Canary::DissolvedWhenProposed) {
                self.dissolve(now, into, out);
            }
        }
    }

    /// Takes note of what has become of the history here, as its state says.
    pub(super) fn on_fate(&mut self, now: Now, fate: Fate, out: &mut Out) {
        let applied = self.applier.applied.index;
        let through = |cursor: &mut Cursor| cursor.index <= applied;
        if self.meeting.proposed.take_if(through).is_some() && fate.is_used() {
            out.mark("meeting.dissolve_void");
        }
        if self.fate == fate {
            return;
        }
        self.fate = fate;
        if let Some(into) = fate.dissolved_into() {
            out.mark("meeting.dissolved");
            self.dissolve(now.time, into, out);
        } else if self.meeting.look_at.is_some() {
            self.meeting.look_at = Some(now.time);
        }
    }

    /// Takes the word of `from` that the history here is no more.
    pub(super) fn on_dissolved(
        &mut self,
        now: Time,
        from: Member,
        (genesis, into): (GenesisId, GenesisId),
        out: &mut Out,
    ) {
        let Some(raft) = self.raft.as_ref().filter(|_| self.genesis == Some(genesis)) else {
            return;
        };
        let voter = raft.configuration().1.is_voter(from) || raft.leader() == Some(from);
        if self.fate.is_used() || !(voter || raft.log().is_empty()) || into == genesis {
            out.mark("meeting.tombstone_not_believed");
            return;
        }
        out.mark("meeting.late_member_told");
        self.dissolve(now, into, out);
    }

    /// Buries the history here.
    fn dissolve(&mut self, now: Time, into: GenesisId, out: &mut Out) {
        let (Some(genesis), Some(mut raft)) = (self.genesis.take(), self.raft.take()) else {
            return;
        };
        if raft.is_leaving() || raft.has_left() {
            self.left = true;
            if !raft.has_left() {
                out.event(GroupEvent::Left);
            }
        }
        raft.dissolve(now, out);
        self.bury(genesis, into, out);
    }

    /// Writes a tombstone and forgets all there was of the history.
    fn bury(&mut self, genesis: GenesisId, into: GenesisId, out: &mut Out) {
        // What was on its way out was said in that history.
        out.belongs_to(genesis);
        self.forget_history();
        self.formation.established();
        self.formation.retire();
        self.has_asked = false;
        let tombstones = std::mem::take(&mut self.meeting.tombstones);
        let burying = std::mem::take(&mut self.meeting.burying);
        self.meeting = Meeting {
            tombstones,
            burying,
            went_to: Some(into),
            ..Meeting::default()
        };
        self.meeting.tombstones.insert(genesis, into);
        if self.meeting.tombstones.len() > limits::TOMBSTONES {
            let other = self.meeting.tombstones.keys().find(|one| **one != genesis);
            if let Some(other) = other.copied() {
                self.meeting.tombstones.remove(&other);
            }
        }
        let write = out.write(DiskWrite::Dissolve { genesis, into });
        self.meeting.burying.push((write, genesis));
        out.event(GroupEvent::Dissolved { genesis, into });
    }

    /// Forgets the state, the catch-up and all else that belonged to the history.
    pub(super) fn forget_history(&mut self) {
        let profile: &GroupProfile = &self.profile;
        self.syncing = Syncing::new(profile);
        self.applier = Applier::new(self.applier.versions(), self.planted);
        self.fate = Fate::Empty;
        self.begun = false;
        self.state_lost = None;
        self.markers.clear();
    }

    /// Takes the completion of a write; members in sight are told of a tombstone that is durable.
    pub(super) fn on_buried(&mut self, id: DiskId, out: &mut Out) {
        let place = self.meeting.burying.iter().position(|(one, _)| *one == id);
        let Some(place) = place else { return };
        let (_, genesis) = self.meeting.burying.remove(place);
        for peer in self.peers.clone() {
            self.tell_of_tombstone(peer, genesis, out);
        }
    }
}

/// Orders peers of established histories by whom a joiner asks first.
///
/// Those that know a leader, the leader itself before all; where there are two histories, the one
/// that will stay.
pub(super) fn preference(
    member: Member,
    standing: &Standing,
) -> (bool, bool, Option<GenesisId>, bool) {
    (
        standing.leader.is_none(),
        !standing.used,
        standing.genesis,
        standing.leader != Some(member),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u8) -> GenesisId {
        GenesisId([number; 16])
    }

    fn met(others: &[(u8, bool, bool)]) -> Meeting {
        let mut meeting = Meeting::default();
        for (number, used, led) in others {
            meeting.note(Time(1), id(*number), *used, *led);
        }
        meeting
    }

    #[test]
    fn an_empty_history_goes_to_a_used_one_before_a_lower_one() {
        assert_eq!(met(&[]).better_than(id(5)), None);
        assert_eq!(met(&[(6, false, true)]).better_than(id(5)), None);
        assert_eq!(met(&[(6, true, true)]).better_than(id(5)), Some(id(6)));
        let three = [(3, false, true), (4, false, true), (9, true, true)];
        assert_eq!(met(&three).better_than(id(5)), Some(id(9)));
        assert_eq!(met(&three[..2]).better_than(id(5)), Some(id(3)));
        assert_eq!(
            met(&[(3, true, false)]).better_than(id(5)),
            None,
            "no leader"
        );
    }

    #[test]
    fn what_is_said_of_many_histories_pushes_out_the_oldest_only() {
        let mut meeting = met(&[(1, true, true)]);
        for number in 0..=u8::MAX {
            meeting.note(Time(2 + u64::from(number)), id(number), false, false);
            assert!(meeting.others.len() <= limits::OTHER_HISTORIES);
        }
        assert!(meeting.others.contains_key(&id(u8::MAX)));
    }

    #[test]
    fn of_a_buried_history_nothing_is_noted() {
        let mut meeting = Meeting::new([(id(1), id(2))]);
        meeting.note(Time(1), id(1), true, true);
        assert_eq!(meeting.better_than(id(5)), None);
        assert!(meeting.has_buried() && meeting.is_dissolved(id(1)));
    }

    #[test]
    fn news_grow_old() {
        let mut meeting = met(&[(3, true, true)]);
        let later = Time(1).after(NEWS);
        meeting.note(later, id(3), true, false);
        meeting.expire(later);
        assert_eq!(meeting.better_than(id(5)), None, "its leader may be gone");
        meeting.expire(later.after(NEWS));
        assert_eq!(meeting.deadline(), Time::NEVER);
    }
}
