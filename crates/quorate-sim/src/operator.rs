//! What operators do to a cluster: hand the lead over, have a peer leave, stop one gracefully.
//!
//! They ask through the same door as clients, under numbers of their own, and each of them is
//! answered once, or its peer dies first. Who was told that its peer has left may switch it off
//! for good, whatever it kept in memory, so that is what happens here: once it is told, no
//! survivability is asked for, and the cluster must do without it.

use std::time::Duration;

use quorate_core::{ClientOp, CloseCode, Input, Member, Reply, RequestId};

use crate::{inject::Lift, network::nanos, scenario::Storage, world::World};

/// Where the numbers of operators' requests begin; clients' are far below.
pub(crate) const ERRANDS: u64 = 1 << 62;

/// How long a peer that stops gracefully waits for the group.
const STOP_PATIENCE: Duration = Duration::from_millis(1_800);

/// For how long a leader may still act on a wish that nobody repeats.
const LAPSE: Duration = Duration::from_millis(2_500);

/// What an operator waits for.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    peer: usize,
    member: Member,
    what: What,
    /// How many configurations were committed in its peer's history before.
    since: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// Somebody else is to lead.
    Transfer(Option<usize>),
    /// The peer is to leave.
    Leave { dissolve: bool },
    /// The peer is to leave, and is switched off for so long once it has.
    LeaveFor(Duration),
    /// The peer is to stop, for so long, when its time is over or all that could be done is done.
    Stop(Duration),
}

impl Errand {
    /// Tells whether its peer is this one.
    pub(crate) fn is_at(&self, peer: usize) -> bool {
        self.peer == peer
    }
}

impl World {
    /// Has an operator at `peer` wish that another voter led; returns the wish's number, or nothing
    /// if the peer does not run.
    pub fn transfer(&mut self, peer: usize, to: Option<usize>, patience: Duration) -> Option<u64> {
        self.send_errand(peer, What::Transfer(to), patience)
    }

    /// Has an operator wish that `peer` left; returns the wish's number, or nothing if the peer
    /// does not run.
    pub fn leave(&mut self, peer: usize, dissolve: bool, patience: Duration) -> Option<u64> {
        self.send_errand(peer, What::Leave { dissolve }, patience)
    }

    /// Returns what became of a wish, once it is known.
    pub fn granted(&self, number: u64) -> Option<&Reply> {
        self.granted.get(&number)
    }

    /// Has a peer leave, if the cluster survives that, and come back after `away`.
    pub(crate) fn leave_for(&mut self, peer: usize, away: Duration, patience: Duration) {
        if self.may_leave(peer) {
            self.send_errand(peer, What::LeaveFor(away), patience);
        }
    }

    /// Stops a peer gracefully, as a driver does it, and starts it again after `away`.
    ///
    /// A peer with a disk keeps its seat and only hands the lead over.
    pub(crate) fn stop_for(&mut self, peer: usize, away: Duration) {
        if self.scenario.storage == Storage::Disk || self.may_leave(peer) {
            self.send_errand(peer, What::Stop(away), STOP_PATIENCE);
        }
    }

    fn send_errand(&mut self, peer: usize, what: What, patience: Duration) -> Option<u64> {
        let to = match what {
            What::Transfer(to) => to.map(|to| self.nodes[to].peer),
            _ => None,
        };
        let life = self.nodes.get(peer)?.life.as_ref()?;
        let deadline = life.clock.now(self.at).time.after(patience);
        let (member, life) = (life.member, life.number);
        let op = match what {
            What::Transfer(_) => ClientOp::Transfer { to, deadline },
            What::Stop(_) if self.scenario.storage == Storage::Disk => {
                ClientOp::Transfer { to, deadline }
            }
            What::Leave { dissolve } => ClientOp::Leave { dissolve, deadline },
            What::LeaveFor(_) | What::Stop(_) => ClientOp::Leave {
                dissolve: false,
                deadline,
            },
        };
        if matches!(op, ClientOp::Leave { .. }) {
            let lapsed = self.at + nanos(patience + LAPSE);
            let node = &mut self.nodes[peer];
            node.leaving_until = node.leaving_until.max(lapsed);
        }
        let number = ERRANDS + self.next_errand;
        self.next_errand += 1;
        let genesis = self.view(peer).and_then(|view| view.genesis);
        let since = genesis.map_or(0, |one| self.checkers.configurations_in(one).len());
        let errand = Errand {
            peer,
            member,
            what,
            since,
        };
        self.errands.insert(number, errand);
        let input = Input::Client {
            group: self.group,
            request: RequestId(number),
            op,
        };
        self.give(peer, life, input);
        Some(number)
    }

    /// Tells whether the group can do without a peer that leaves now: with memory only, not while
    /// somebody else has just lost its memory and still counts, or is about to.
    fn may_leave(&mut self, peer: usize) -> bool {
        let survives = match self.scenario.storage {
            Storage::Disk => self.spares_seat(peer),
            Storage::Memory => {
                let grace = nanos(self.scenario.profile.election_max * 2);
                let calm = self.at >= self.killed_at.saturating_add(grace)
                    && self.nodes.iter().all(|node| node.doomed.is_none());
                calm && self.survives_without(peer)
            }
        };
        if !survives {
            self.leave_out("fault left out: not survivable");
        }
        survives
    }

    /// Tells whether somebody may still be let go: with memory only, nobody else may die then.
    pub(crate) fn is_shrinking(&self) -> bool {
        self.scenario.storage == Storage::Memory && self.is_anyone_leaving()
    }

    /// Tells whether a wish to leave may still be granted.
    pub(crate) fn is_anyone_leaving(&self) -> bool {
        let mut healed = self.healed.iter();
        healed.any(|peer| self.at < self.nodes[*peer].leaving_until)
    }

    /// Returns how many wishes at peers that are well wait for an answer.
    pub(crate) fn errands(&self) -> usize {
        let peers = self.errands.values().map(|errand| errand.peer);
        peers.filter(|peer| self.healed.contains(peer)).count()
    }

    /// Takes the answer to a wish.
    pub(crate) fn errand_done(&mut self, number: usize, request: u64, reply: Reply) {
        let Some(errand) = self.errands.remove(&request) else {
            let detail = format!("request {request} is answered again: {reply:?}");
            return self.found_at(number, "answered-once", detail);
        };
        let Errand {
            peer,
            member,
            what,
            since,
        } = errand;
        self.mark(match (&what, &reply) {
            (What::Transfer(_), Reply::Done) => "operator: lead handed over",
            (What::Transfer(_), _) => "operator: lead not handed over",
            (_, Reply::Done) => "operator: left",
            (_, Reply::LastVoter) => "operator: last voter",
            _ => "operator: not left",
        });
        let done = reply == Reply::Done;
        self.granted.insert(request, reply);
        let leaves = match what {
            What::Transfer(_) => false,
            What::Stop(_) => self.scenario.storage == Storage::Memory,
            What::Leave { .. } | What::LeaveFor(_) => true,
        };
        if done && leaves && what != (What::Leave { dissolve: true }) {
            self.check_left(peer, member, since);
        }
        match what {
            What::LeaveFor(away) if done => {
                // Not at once: a peer that has left is still there for a moment, and stays out.
                let rest = self.nodes[peer].dice.operator.below(400);
                self.lift_after(Duration::from_millis(rest), Lift::Stop(peer, member, away));
            }
            What::Stop(away) => {
                // With memory only, a peer that goes without having left is one that dies: the
                // leader may just be letting somebody else go.
                let free = match self.scenario.storage {
                    Storage::Memory => done && leaves && self.founders_remember(peer),
                    Storage::Disk => self.outlives(peer),
                };
                if free {
                    self.say_goodbye(peer, away);
                } else {
                    self.leave_out("fault left out: not survivable");
                }
            }
            _ => {}
        }
    }

    /// Whoever is told that it has left must not be in its history's committed configuration.
    ///
    /// A peer that has no history yet gives up no seat; the group may list it as a learner that it
    /// asked to be before it was started again. So may another history which it has asked. And who
    /// has left, or was let go since it wished to, may be a learner again by a late question of its
    /// own, and not know yet: it never votes, and gives that seat up, too.
    fn check_left(&mut self, peer: usize, member: Member, since: usize) {
        let again = self.nodes[peer].left.replace(member) == Some(member);
        let here = self.view(peer).and_then(|view| view.genesis);
        let committed = match here {
            Some(genesis) => self.checkers.configurations_in(genesis),
            None => self.checkers.configuration().into_iter().collect(),
        };
        let let_go = || {
            committed
                .iter()
                .skip(since)
                .any(|one| !one.contains(member))
        };
        let seated = committed.last().is_some_and(|last| {
            let matters = here.is_some() && !again && !let_go();
            last.is_voter(member) || (matters && last.contains(member))
        });
        if seated {
            let detail = format!("{member:?} was told that it has left, and is a member");
            self.found_at(peer, "left-by-configuration", detail);
        }
    }

    /// Ends a peer that was told that it may go, if it is still the same life; it comes back.
    pub(crate) fn stop_left(&mut self, peer: usize, member: Member, away: Duration) {
        if self.member(peer) == Some(member) {
            self.say_goodbye(peer, away);
        }
    }

    /// Ends a peer that says so to all it has links to, and starts it again after `away`.
    fn say_goodbye(&mut self, peer: usize, away: Duration) {
        self.end(peer, "stops", Some(CloseCode::Shutdown));
        let away = if self.calm { Duration::ZERO } else { away };
        self.lift_after(away, Lift::Start(peer));
    }

    /// Stops a peer that was told that it has left; nothing starts it again.
    pub fn stop(&mut self, peer: usize) {
        self.end(peer, "stops", Some(CloseCode::Shutdown));
    }
}
