//! Why a group does not decide, as this peer sees it, in words for people.
//!
//! Nothing is decided from it, and it may be wrong about others: a peer sees its own links and
//! what its log says, not what stands between two others.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use quorate_core::{CloseCode, Form, GenesisId, PeerId, Role, Versions};

use crate::{
    driver::clock,
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
    /// The state machine here cannot run the version in effect: this peer keeps its log and votes,
    /// and applies no command.
    OtherVersion {
        /// The version in effect.
        version: u32,
        /// What the machine here runs.
        runs: Versions,
    },
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
    /// The history here was given up for another one, and no member of that is in sight.
    Dissolved {
        /// The history that this peer waits for.
        into: GenesisId,
    },
    /// The group has not made this peer a member yet.
    NotAdmitted,
    /// This peer has given up its seat.
    Left,
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
        if !status.versions.contains(status.version) {
            return Some(Self::OtherVersion {
                version: status.version,
                runs: status.versions,
            });
        }
        let quorum = || status.configuration.quorum(|it| status.reaches(it.peer));
        let led = status.leader.is_some() && (status.role != Role::Leader || quorum());
        match &status.progress {
            Some(progress) if led => Some(Self::CatchingUp {
                phase: progress.phase,
                items: progress.items,
                total: progress.items_total,
            }),
            _ if status.left => Some(Self::Left),
            _ if !(status.is_voter() || status.is_learner()) => Some(Self::NotAdmitted),
            _ if led => None,
            _ if quorum() => Some(Self::NoLeader),
            _ => {
                let voters = status.configuration.all_voters().len();
                let alone = status.is_learner() && status.missing().len() == voters;
                Some(match alone {
                    true => Self::OnlyLearner { voters },
                    false => Self::NoQuorum { voters },
                })
            }
        }
    }

    fn without_history(status: &GroupStatus) -> Self {
        let count = |holds: fn(&PeerStatus) -> bool| {
            let known = status.peers.iter();
            known.filter(|peer| holds(peer)).count()
        };
        let here = 1 + count(|peer| peer.link == LinkState::Up);
        let in_sight = count(PeerStatus::is_in_sight);
        if let Some(into) = status.awaits {
            return Self::Dissolved { into };
        }
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
            | StandstillCause::NoQuorum { .. } => {
                let refused = status.refused;
                refused.filter(|(peer, _)| !status.reaches(*peer))
            }
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
            StandstillCause::Left => "start this peer again to come back as a new member",
            StandstillCause::Poisoned(_) => {
                "start this peer again: it comes back as a new member and fetches the state"
            }
            StandstillCause::OtherVersion { version, runs } if version > runs.last() => {
                "start this peer again with the program that the other members run"
            }
            StandstillCause::OtherVersion { .. } => {
                "the group upgrades once all of its members can run a version that this one can"
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
            StandstillCause::Dissolved { .. } => {
                "bring back the network to its members, or wake them; it is joined as soon as one \
                 of them is in sight"
            }
            StandstillCause::NotAdmitted | StandstillCause::CatchingUp { .. } => {
                "this takes care of itself while the group decides"
            }
            StandstillCause::NoQuorum { .. } | StandstillCause::OnlyLearner { .. } => {
                "bring back the network between them, wake those that hang, and start those that \
                 have stopped again with their data directories; a voter without one cannot come \
                 back as itself, and without a majority of the others the group must be founded \
                 anew"
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
            StandstillCause::OtherVersion { version, runs } => {
                let old = *version > runs.last();
                let how = if old { "old" } else { "new" };
                write!(
                    f,
                    "too {how} for {ago}: the group's machine is at version {version}, this \
                     program runs {runs}"
                )
            }
            StandstillCause::NobodyInSight => {
                write!(f, "waiting for peers: none in sight for {ago}")
            }
            StandstillCause::Founding { wanted, here } => {
                write!(
                    f,
                    "waiting for founders for {ago}: {here} of {wanted} are here"
                )
            }
            StandstillCause::NoGroup { in_sight } => {
                let peers = Count(*in_sight, "peer");
                write!(f, "no group found for {ago}, with {peers} in sight")
            }
            StandstillCause::Dissolved { into } => {
                write!(
                    f,
                    "the group was founded twice; waiting for the history {into} for {ago}"
                )
            }
            StandstillCause::Left => write!(f, "this peer gave up its seat {ago} ago"),
            StandstillCause::NotAdmitted => {
                write!(f, "the group has not admitted this peer for {ago}")
            }
            StandstillCause::NoQuorum { voters } => {
                let (missing, voters) = (self.missing.len(), Count(*voters, "voter"));
                write!(f, "no quorum for {ago}: {missing} of {voters} missing")
            }
            StandstillCause::OnlyLearner { voters } => {
                let voters = Count(*voters, "voter");
                write!(
                    f,
                    "this peer only learns, and {voters} cannot be reached for {ago}"
                )
            }
            StandstillCause::NoLeader => write!(f, "no leader for {ago}"),
            StandstillCause::CatchingUp {
                phase,
                items,
                total,
            } => match phase {
                SessionPhase::Asking => write!(f, "catching up for {ago}: asking for a snapshot"),
                SessionPhase::Restoring => {
                    write!(
                        f,
                        "catching up for {ago}: {items} of {total} items restored"
                    )
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
        let now = clock::today();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_core::{Configuration, GroupId, Incarnation, Member};

    use super::*;

    fn member(number: u8) -> Member {
        Member {
            peer: PeerId([number; 32]),
            incarnation: Incarnation(1),
        }
    }

    fn seen(number: u8, link: LinkState, ended: Option<CloseCode>) -> PeerStatus {
        PeerStatus {
            peer: PeerId([number; 32]),
            link,
            since: Utc::now() - TimeDelta::seconds(30),
            ended,
            refused: None,
        }
    }

    /// Peer 1 in a group of the voters 1, 2 and 3.
    fn status(peers: &[PeerStatus]) -> GroupStatus {
        let mut status = GroupStatus::new(PeerId([1; 32]), GroupId([9; 16]), Form::Join);
        status.genesis = Some(GenesisId([8; 16]));
        status.me = Some(member(1));
        status.configuration = Arc::new(Configuration::of_voters(vec![
            member(1),
            member(2),
            member(3),
        ]));
        status.peers = peers.into();
        status
    }

    fn said(status: &GroupStatus, seconds: i64) -> Option<String> {
        let since = Utc::now() - TimeDelta::seconds(seconds);
        let cause = StandstillCause::of(status)?;
        Some(Standstill::new(cause, since, status).to_string())
    }

    #[track_caller]
    fn assert_said(status: &GroupStatus, seconds: i64, words: &[&str]) {
        let said = said(status, seconds).expect("it stands still");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }

    const UP: LinkState = LinkState::Up;
    const GONE: LinkState = LinkState::OutOfSight;

    #[test]
    fn a_group_that_decides_does_not_stand_still() {
        let mut led = status(&[seen(2, UP, None), seen(3, GONE, None)]);
        led.leader = Some(member(2));
        assert_eq!(said(&led, 0), None);
        led.leader = Some(member(1));
        led.role = Role::Leader;
        assert_eq!(said(&led, 0), None);
    }

    #[test]
    fn whoever_waits_for_a_group_is_told_what_it_waits_for() {
        let mut alone = status(&[seen(2, GONE, None)]);
        alone.genesis = None;
        assert_said(
            &alone,
            12,
            &["waiting for peers: none in sight for 12 s; start another"],
        );
        alone.peers = [seen(2, UP, None), seen(3, LinkState::Down, None)].into();
        assert_said(
            &alone,
            150,
            &["no group found for 2 min, with 2 peers in sight"],
        );
        alone.awaits = Some(GenesisId([7; 16]));
        assert_said(
            &alone,
            5,
            &["founded twice; waiting for the history 0707", "for 5 s"],
        );
        alone.awaits = None;
        alone.form = Form::Expect(3);
        assert_said(
            &alone,
            1,
            &["waiting for founders for 1 s: 2 of 3 are here"],
        );
        alone.refused = Some((PeerId([3; 32]), CloseCode::WrongKey));
        assert_said(
            &alone,
            1,
            &["0303030303 was refused: the peer has another key"],
        );
        alone.refused = Some((PeerId([2; 32]), CloseCode::WrongKey));
        let said = said(&alone, 1).unwrap();
        assert!(!said.contains("refused"), "it was let in later: {said}");
    }

    #[test]
    fn who_is_missing_is_named_with_what_became_of_it() {
        let goodbye = seen(2, GONE, Some(CloseCode::Shutdown));
        let mut lost = status(&[goodbye, seen(3, LinkState::Down, None)]);
        let words = [
            "no quorum for 3 h: 2 of 3 voters missing",
            "(0202020202 stopped for 30 s, 0303030303 without a link for 30 s)",
        ];
        assert_said(&lost, 3 * 3_600, &words);
        // A leader that has lost its followers says so before it steps down.
        lost.leader = Some(member(1));
        lost.role = Role::Leader;
        assert_said(&lost, 0, &["no quorum"]);
        lost.left = true;
        assert_said(
            &lost,
            4,
            &["this peer gave up its seat 4 s ago; start this peer again"],
        );
        lost.left = false;
        lost.me = Some(member(4));
        lost.role = Role::Follower;
        lost.leader = None;
        lost.peer = PeerId([4; 32]);
        assert_said(&lost, 0, &["has not admitted this peer"]);
        let mut with_learner = Configuration::clone(&lost.configuration);
        with_learner.learners = vec![member(4)];
        lost.configuration = Arc::new(with_learner);
        lost.peers = [seen(1, GONE, None), goodbye, seen(3, GONE, None)].into();
        assert_said(
            &lost,
            5,
            &["this peer only learns, and 3 voters cannot be reached for 5 s"],
        );
    }

    #[test]
    fn a_peer_whose_program_is_too_old_says_which_version_it_lacks() {
        let mut status = status(&[seen(2, UP, None), seen(3, UP, None)]);
        status.version = 3;
        status.versions = Versions::new(1..=2).unwrap();
        let words = ["too old for 7 s", "at version 3, this program runs 1..=2"];
        assert_said(&status, 7, &words);
        status.versions = Versions::new(4..=4).unwrap();
        assert_said(&status, 7, &["too new for 7 s", "upgrades once all"]);
    }

    #[test]
    fn an_election_a_poisoning_and_the_end_are_told_apart() {
        let mut status = status(&[seen(2, UP, None), seen(3, GONE, None)]);
        assert_said(
            &status,
            0,
            &["no leader for 0 s (0303030303 out of sight", "election"],
        );
        status.poisoned = Some("two entries at one place");
        assert_said(
            &status,
            9,
            &[
                "no part for 9 s: two entries at one place",
                "start this peer",
            ],
        );
        status.closed = true;
        assert_said(&status, 0, &["the network is closed on this peer"]);
    }
}
