//! Handing the lead over (Raft dissertation, section 3.10).
//!
//! A client of any peer may wish that another voter led, a certain one or any. Its peer keeps the
//! wish and tells the leader of it, again and again, until it sees the wish fulfilled (the peer
//! that was named leads; or, if none was named, another one than at first), is told that it cannot
//! be, or its deadline comes. The leader keeps nothing of it, so nothing is lost with a leader.
//!
//! The leader, told of a wish, begins a *handover*, one at a time:
//!
//! | step | the leader | goes on when |
//! |---|---|---|
//! | stop | appends nothing any more: what clients write waits in the queue | at once |
//! | level | replicates as always | the target has all of the log, durably |
//! | call | sends `TimeoutNow`, again with every heartbeat | a higher term is seen: it is over |
//!
//! The target campaigns at once and without a pre-vote, which those that hear the leader would
//! refuse. If an election timeout passes first, the handover is called off, what waited goes on,
//! and for as long again no other one begins, so that a target that is dead costs a pause and not
//! the group. A target must be a voter of the configuration that is being entered, streaming, heard
//! from and not without a state; a leader that nobody can follow just goes on.
//!
//! **Reads.** There are no leases: a read is confirmed by voters that answer in this leader's term
//! after the read arrived. Had another leader been elected by then, one of its voters would be
//! among any quorum that answers, in a higher term, which is no confirmation. So even a deposed
//! leader never confirms a stale read. All the same it confirms none during a handover, whose
//! purpose is that somebody else is about to be right: a round under way is put back and issued
//! anew, with a new sequence, here if the handover is called off, else by the next leader. Nothing
//! rests on it; it keeps the argument short should leases ever come, where others went wrong
//! (<https://github.com/databendlabs/openraft/pull/1747>).
//!
//! Rejected: the leader refuses writes meanwhile. A handover takes a round or two; clients would
//! only come back later, at the wrong peer.

use crate::{
    client::{Reply, RequestId},
    cursor::Term,
    id::{Member, PeerId},
    limits,
    out::Out,
    time::Time,
    wire::Message,
};

use super::{Raft, conversation::Mode, role::RoleState};

/// A handover under way, on the leader.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Handover {
    target: Member,
    /// When it is called off.
    until: Time,
    /// When the target is told to campaign, again.
    call_at: Time,
}

/// A client's wish that somebody else lead.
#[derive(Clone, Hash, Debug)]
pub(super) struct Wish {
    request: RequestId,
    to: Option<PeerId>,
    deadline: Time,
    /// The first leader that was known while the client waited.
    from: Option<Member>,
    /// When the leader is told of the wish, again.
    ask_at: Time,
}

/// Why a wish cannot be fulfilled.
pub(super) enum Impossible {
    /// Whoever was named is no voter.
    NotVoter,
    /// There is no other voter.
    LastVoter,
}

impl Raft {
    /// Takes a client's wish that somebody else lead.
    pub(crate) fn transfer(
        &mut self,
        request: RequestId,
        to: Option<PeerId>,
        deadline: Time,
        out: &mut Out,
    ) {
        if self.poisoned.is_some() {
            out.reply(request, Reply::Closed);
        } else if self.wishes.len() >= limits::WISHES {
            out.reply(request, Reply::Busy);
        } else {
            self.wishes.push(Wish {
                request,
                to,
                deadline,
                from: None,
                ask_at: Time(0),
            });
        }
    }

    /// Answers the wishes that are fulfilled, or cannot be; has the leader told of the others.
    pub(super) fn pursue_wishes(&mut self, now: Time, out: &mut Out) {
        let Some(leader) = self.leader.filter(|_| !self.wishes.is_empty()) else {
            return;
        };
        let every = self.patience();
        let mut wishes = std::mem::take(&mut self.wishes);
        wishes.retain_mut(|wish| {
            let from = *wish.from.get_or_insert(leader);
            let fulfilled = match wish.to {
                Some(to) => leader.peer == to,
                None => leader != from,
            };
            if fulfilled {
                out.mark("transfer.fulfilled");
                out.reply(wish.request, Reply::Done);
                return false;
            }
            if leader == self.me {
                return match self.hand_over(now, wish.to, out) {
                    Ok(()) => true,
                    Err(why) => {
                        out.reply(wish.request, why.reply());
                        false
                    }
                };
            }
            if now >= wish.ask_at {
                wish.ask_at = now.after(every);
                let (term, to) = (self.ballot.term, wish.to);
                out.send(leader, Message::Transfer { term, to });
            }
            true
        });
        self.wishes = wishes;
    }

    /// Answers those whose deadline has passed.
    pub(super) fn expire_wishes(&mut self, now: Time, out: &mut Out) {
        self.wishes.retain(|wish| {
            if wish.deadline <= now {
                out.reply(wish.request, Reply::Unavailable);
            }
            wish.deadline > now
        });
    }

    /// Answers everybody who wishes, for the last time.
    pub(super) fn close_wishes(&mut self, reply: &Reply, out: &mut Out) {
        for wish in std::mem::take(&mut self.wishes) {
            out.reply(wish.request, reply.clone());
        }
    }

    /// On the leader: takes the wish of a client of another peer.
    pub(super) fn on_transfer(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        to: Option<PeerId>,
        out: &mut Out,
    ) {
        // A wish that was about the leader of another term is not about this one.
        let current = self.is_leader() && term == self.ballot.term && to != Some(self.me.peer);
        if !current || !self.configurations.latest().1.contains(from) {
            return;
        }
        if let Err(why) = self.hand_over(now, to, out) {
            let last_voter = matches!(why, Impossible::LastVoter);
            out.send(from, Message::TransferRefused { to, last_voter });
        }
    }

    /// Takes the leader's word that a wish cannot be fulfilled.
    pub(super) fn on_transfer_refused(
        &mut self,
        from: Member,
        to: Option<PeerId>,
        last_voter: bool,
        out: &mut Out,
    ) {
        if self.leader != Some(from) {
            return;
        }
        let why = if last_voter {
            Impossible::LastVoter
        } else {
            Impossible::NotVoter
        };
        self.wishes.retain(|wish| {
            if wish.to == to {
                out.reply(wish.request, why.reply());
            }
            wish.to != to
        });
    }

    /// On the leader: begins to hand over, if nothing speaks against it just now.
    pub(super) fn hand_over(
        &mut self,
        now: Time,
        to: Option<PeerId>,
        out: &mut Out,
    ) -> Result<(), Impossible> {
        let voters = &self.configurations.latest().1.voters;
        let wanted = |voter: &Member| *voter != self.me && to.is_none_or(|to| to == voter.peer);
        if !voters.iter().any(wanted) {
            return Err(match to {
                Some(_) => Impossible::NotVoter,
                None => Impossible::LastVoter,
            });
        }
        let established = self.is_established_leader();
        let RoleState::Leader(leader) = &self.role else {
            return Ok(());
        };
        if !established || leader.handover.is_some() || now < leader.handover_after {
            return Ok(());
        }
        let fit = |voter: &Member| {
            let conversation = leader.conversations.get(voter)?;
            // Who wants to go itself is of use only to whoever names it, or has no state to give.
            let needed = to.is_some() || self.lacks_state;
            let stays = needed || !self.leaves.contains_key(&voter.peer);
            let heard = now.since(conversation.heard) < self.profile.election_min;
            let runs = to.is_some() || self.runs_what_is_in_effect(conversation);
            let able = runs && !conversation.stateless;
            let fit = stays && heard && able && conversation.mode == Mode::Replicate;
            fit.then_some((conversation.matched, std::cmp::Reverse(*voter)))
        };
        let best = voters.iter().filter(|voter| wanted(voter)).filter_map(fit);
        let Some((_, std::cmp::Reverse(target))) = best.max() else {
            return Ok(());
        };
        if leader.conversations.get(&target).map(|one| one.matched) != Some(self.log.last().index) {
            out.mark("transfer.target_lags");
        }
        if self.configurations.latest().1.is_joint() {
            out.mark("transfer.while_joint");
        }
        let handover = Handover {
            target,
            until: now.after(self.profile.election_max),
            call_at: now,
        };
        if let RoleState::Leader(leader) = &mut self.role {
            leader.handover = Some(handover);
        }
        if self.reads.put_back() {
            out.mark("read.round_put_back");
        }
        out.mark("transfer.begun");
        Ok(())
    }

    /// On the leader: moves a handover on; tells whether one is under way.
    pub(super) fn drive_handover(&mut self, now: Time, out: &mut Out) -> bool {
        let term = self.ballot.term;
        let last = self.log.last().index;
        let pause = self.profile.election_max;
        let every = self.profile.heartbeat;
        let voters = &self.configurations.latest().1.voters;
        let RoleState::Leader(leader) = &mut self.role else {
            return false;
        };
        let Some(handover) = &mut leader.handover else {
            return false;
        };
        let target = handover.target;
        if now >= handover.until || !voters.contains(&target) {
            leader.handover = None;
            leader.handover_after = now.after(pause);
            out.mark("transfer.called_off");
            return false;
        }
        let level = leader
            .conversations
            .get(&target)
            .is_some_and(|conversation| conversation.matched == last);
        if level && now >= handover.call_at {
            handover.call_at = now.after(every);
            out.send(target, Message::TimeoutNow { term });
        }
        true
    }

    /// Tells whether this peer leads and is handing over: it appends nothing then.
    pub(super) fn is_handing_over(&self) -> bool {
        self.handover_to().is_some()
    }

    /// Returns to whom this leader is handing over.
    pub(crate) fn handover_to(&self) -> Option<Member> {
        match &self.role {
            RoleState::Leader(leader) => leader.handover.as_ref().map(|one| one.target),
            _ => None,
        }
    }
}

impl Handover {
    /// Returns when [`Raft::drive_handover`] has something to do.
    pub(super) fn deadline(&self) -> Time {
        self.until
    }
}

impl Impossible {
    fn reply(&self) -> Reply {
        match self {
            Self::NotVoter => Reply::NotVoter,
            Self::LastVoter => Reply::LastVoter,
        }
    }
}
