//! Why a group does not decide, as this peer sees it, in words for people.
//!
//! Nothing is decided from it, and it may be wrong about others: a peer sees its own links and
//! what its log says, not what stands between two others.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use quorate_core::{CloseCode, Form, PeerId, Role};

use crate::{
    progress::SessionPhase,
    sight::{LinkState, PeerStatus},
    status::GroupStatus,
};

/// Why a group does not decide, or this peer does not follow what it decides.
///
/// `Display` says it in one line: why, since when, who is missing, and what would help.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Standstill {
    /// Why.
    pub cause: StandstillCause,
    /// Since when it is so.
    pub since: DateTime<Utc>,
    /// The voters that are missing, if some are.
    pub missing: Vec<PeerStatus>,
    /// The peer that was refused last, if that may be why.
    pub refused: Option<(PeerId, CloseCode)>,
}

/// Why a group does not decide, or this peer does not follow what it decides.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StandstillCause {
    /// The network was closed on this peer.
    Closed,
    /// This peer's own state contradicts itself, and it takes no part any more.
    Poisoned(&'static str),
    /// There is no group here, and no peer is in sight.
    NobodyInSight,
    /// The group is to be founded by several peers, and not all of them are linked.
    Founding {
        /// How many are to found it.
        wanted: usize,
        /// How many are here, this peer included.
        here: usize,
    },
    /// There are peers in sight, but this one has found no group among them.
    NoGroup {
        /// How many peers are in sight.
        in_sight: usize,
    },
    /// The group has not made this peer a member yet.
    NotAdmitted,
    /// Too few of the voters can be reached to decide anything.
    NoQuorum {
        /// How many voters there are.
        voters: usize,
    },
    /// This peer only learns, and can reach no voter.
    OnlyLearner {
        /// How many voters there are.
        voters: usize,
    },
    /// Enough voters can be reached, but none leads yet.
    NoLeader,
    /// The group decides; this peer is being brought up to date.
    CatchingUp {
        /// What the catch-up is about.
        phase: SessionPhase,
        /// Items that are there.
        items: u64,
        /// Items that the snapshot has.
        total: u64,
    },
}

impl StandstillCause {
    /// Looks for what is in the way.
    pub(crate) fn of(status: &GroupStatus) -> Option<Self> {
        if status.closed {
            return Some(Self::Closed);
        }
        if let Some(reason) = status.poisoned {
            return Some(Self::Poisoned(reason));
        }
        if status.genesis.is_none() {
            return Some(Self::without_history(status));
        }
        let voters = status.configuration.all_voters().len();
        let quorum = status.configuration.quorum(|it| status.reaches(it.peer));
        let led = status.leader.is_some() && (quorum || status.role != Role::Leader);
        match &status.progress {
            Some(progress) if led => Some(Self::CatchingUp {
                phase: progress.phase,
                items: progress.items,
                total: progress.items_total,
            }),
            _ if !(status.is_voter() || status.is_learner()) => Some(Self::NotAdmitted),
            _ if led => None,
            _ if quorum => Some(Self::NoLeader),
            _ if status.is_learner() && status.missing().len() == voters => {
                Some(Self::OnlyLearner { voters })
            }
            _ => Some(Self::NoQuorum { voters }),
        }
    }

    fn without_history(status: &GroupStatus) -> Self {
        let count = |holds: fn(&PeerStatus) -> bool| {
            let known = status.peers.iter();
            known.filter(|peer| holds(peer)).count()
        };
        let here = 1 + count(|peer| peer.link == LinkState::Up);
        let in_sight = count(PeerStatus::is_in_sight);
        match status.form {
            Form::Alone => Self::Founding { wanted: 1, here },
            Form::Expect(wanted) if here < wanted => Self::Founding { wanted, here },
            _ if in_sight == 0 => Self::NobodyInSight,
            _ => Self::NoGroup { in_sight },
        }
    }
}

impl Standstill {
    pub(crate) fn new(cause: StandstillCause, since: DateTime<Utc>, status: &GroupStatus) -> Self {
        let missing = match cause {
            StandstillCause::NoQuorum { .. }
            | StandstillCause::OnlyLearner { .. }
            | StandstillCause::NoLeader => status.missing(),
            _ => Vec::new(),
        };
        let refused = match cause {
            StandstillCause::NobodyInSight
            | StandstillCause::Founding { .. }
            | StandstillCause::NoGroup { .. }
            | StandstillCause::NoQuorum { .. } => status.refused,
            _ => None,
        };
        Self {
            cause,
            since,
            missing,
            refused,
        }
    }

    /// Says what would help, in words.
    pub fn help(&self) -> &'static str {
        if self.refused.is_some() {
            return "start all peers with one network name and one group key";
        }
        match self.cause {
            StandstillCause::Closed => "open the network again",
            StandstillCause::Poisoned(_) => {
                "start this peer again: it comes back as a new member and fetches the state"
            }
            StandstillCause::NobodyInSight => {
                "start another peer of this network, or give this one the address or ticket of one"
            }
            StandstillCause::Founding { .. } => {
                "start the others, or found the group with fewer peers"
            }
            StandstillCause::NoGroup { .. } => {
                "it is joined as soon as one of them has it; one peer must be told to found it"
            }
            StandstillCause::NotAdmitted | StandstillCause::CatchingUp { .. } => {
                "this takes care of itself while the group decides"
            }
            StandstillCause::NoQuorum { .. } | StandstillCause::OnlyLearner { .. } => {
                "bring back the network between them, or wake those that hang; a voter whose \
                 process has ended cannot come back as itself, and without a majority of the \
                 others the group must be founded anew"
            }
            StandstillCause::NoLeader => "an election is under way",
        }
    }

    /// Says what is in the way and since when, as of `now`.
    fn describe(&self, f: &mut fmt::Formatter<'_>, now: DateTime<Utc>) -> fmt::Result {
        let ago = Ago(now - self.since);
        match &self.cause {
            StandstillCause::Closed => write!(f, "the network is closed on this peer"),
            StandstillCause::Poisoned(reason) => {
                write!(f, "this peer takes no part for {ago}: {reason}")
            }
            StandstillCause::NobodyInSight => {
                write!(f, "waiting for peers: none in sight for {ago}")
            }
            StandstillCause::Founding { wanted, here } => {
                write!(f, "waiting for founders for {ago}: {here} of {wanted} are here")
            }
            StandstillCause::NoGroup { in_sight } => {
                let peers = Count(*in_sight, "peer");
                write!(f, "no group found for {ago}, with {peers} in sight")
            }
            StandstillCause::NotAdmitted => {
                write!(f, "the group has not admitted this peer for {ago}")
            }
            StandstillCause::NoQuorum { voters } => {
                let (missing, voters) = (self.missing.len(), Count(*voters, "voter"));
                write!(f, "no quorum for {ago}: {missing} of {voters} missing")
            }
            StandstillCause::OnlyLearner { voters } => {
                let voters = Count(*voters, "voter");
                write!(f, "this peer only learns, and {voters} cannot be reached for {ago}")
            }
            StandstillCause::NoLeader => write!(f, "no leader for {ago}"),
            StandstillCause::CatchingUp {
                phase,
                items,
                total,
            } => match phase {
                SessionPhase::Asking => write!(f, "catching up for {ago}: asking for a snapshot"),
                SessionPhase::Restoring => {
                    write!(f, "catching up for {ago}: {items} of {total} items restored")
                }
                SessionPhase::Replaying => {
                    write!(f, "catching up for {ago}: applying what was written since")
                }
            },
        }
    }
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = Utc::now();
        self.describe(f, now)?;
        for (at, peer) in self.missing.iter().enumerate() {
            let before = if at == 0 { " (" } else { ", " };
            let what = match (peer.said_goodbye(), peer.link) {
                (true, _) => "stopped",
                (_, LinkState::Down) => "without a link",
                _ => "out of sight",
            };
            let ago = Ago(now - peer.since);
            write!(f, "{before}{} {what} for {ago}", peer.peer.short())?;
        }
        if !self.missing.is_empty() {
            write!(f, ")")?;
        }
        if let Some((peer, code)) = self.refused {
            write!(f, "; {} was refused: {}", peer.short(), code.reason())?;
        }
        write!(f, "; {}", self.help())
    }
}

/// A time that has passed, to the precision people want.
struct Ago(TimeDelta);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.num_seconds().max(0) {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3_600),
        }
    }
}

struct Count(usize, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        write!(f, "{count} {what}{}", if *count == 1 { "" } else { "s" })
    }
}
