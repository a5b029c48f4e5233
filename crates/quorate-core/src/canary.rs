//! Planted bugs, which measure the simulator: it must find each of them.
//!
//! A simulator that finds nothing proves little until one knows what it would have found. A canary
//! is a bug with a story, re-created at the very place where the code does it right: a core that is
//! started with one planted has it, and the simulator must notice within a stated number of seeds.
//! Several are published bugs of other systems, under their own names.
//!
//! Without the feature `canary` none can be planted: [`Planted`] is empty, and each test for it is
//! constantly false, so that what is shipped is the code without it. Only the simulator turns the
//! feature on, and only a run that is told to plants one.

/// A bug that can be planted.
///
/// Each variant is documented where it is planted; what it tells is at [`Canary::story`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[allow(missing_docs, reason = "the stories are below, once")]
pub enum Canary {
    AckBeforeSync,
    VoteBeforeSync,
    TermNotWritten,
    SecondVote,
    VoteByTermAlone,
    FigureEight,
    QuorumOffByOne,
    VisibleQuorum,
    LearnersCount,
    JointAsUnion,
    InstallKeepsConfiguration,
    ConflictKept,
    StaleAppendTruncates,
    CommitPastMatch,
    ReadWithoutRound,
    ReadBeforeOwnEntry,
    DeposedMeansSuperseded,
    UnnamedResent,
    StagedIsAcked,
    CutPastTheMarker,
    ClientTableDropped,
    MixedAnchors,
    FounderBySight,
    FollowedGenesisDropped,
    UsedDissolves,
    DissolvedWhenProposed,
    TombstoneForgotten,
    KeyIsIdentity,
    FailedSyncSwallowed,
    OneSuperblockCopy,
    DamageIsTornTail,
    LimitedVoteIgnored,
    CopyBelieved,
    UpgradeUnheard,
    RemovedIsSilent,
    AllMustHaveIt,
    Openraft1802,
    Openraft1220,
    Openraft1960,
    RaftRs571,
    Etcd20418,
    Cockroach87581,
    RaftSingleServer2015,
    NatsLazyFsync,
}

/// What is planted in one peer: nothing, or one canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Planted(#[cfg(feature = "canary")] Option<Canary>);

impl Planted {
    /// Tells whether this canary is planted; never without the feature `canary`.
    #[cfg(feature = "canary")]
    pub fn has(self, canary: Canary) -> bool {
        self.0 == Some(canary)
    }

    /// Tells whether this canary is planted; never without the feature `canary`.
    #[cfg(not(feature = "canary"))]
    pub const fn has(self, _: Canary) -> bool {
        false
    }
}

#[cfg(feature = "canary")]
impl From<Option<Canary>> for Planted {
    fn from(canary: Option<Canary>) -> Self {
        Self(canary)
    }
}

#[cfg(feature = "canary")]
impl Canary {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 44] = [
        Self::AckBeforeSync,
        Self::VoteBeforeSync,
        Self::TermNotWritten,
        Self::SecondVote,
        Self::VoteByTermAlone,
        Self::FigureEight,
        Self::QuorumOffByOne,
        Self::VisibleQuorum,
        Self::LearnersCount,
        Self::JointAsUnion,
        Self::InstallKeepsConfiguration,
        Self::ConflictKept,
        Self::StaleAppendTruncates,
        Self::CommitPastMatch,
        Self::ReadWithoutRound,
        Self::ReadBeforeOwnEntry,
        Self::DeposedMeansSuperseded,
        Self::UnnamedResent,
        Self::StagedIsAcked,
        Self::CutPastTheMarker,
        Self::ClientTableDropped,
        Self::MixedAnchors,
        Self::FounderBySight,
        Self::FollowedGenesisDropped,
        Self::UsedDissolves,
        Self::DissolvedWhenProposed,
        Self::TombstoneForgotten,
        Self::KeyIsIdentity,
        Self::FailedSyncSwallowed,
        Self::OneSuperblockCopy,
        Self::DamageIsTornTail,
        Self::LimitedVoteIgnored,
        Self::CopyBelieved,
        Self::UpgradeUnheard,
        Self::RemovedIsSilent,
        Self::AllMustHaveIt,
        Self::Openraft1802,
        Self::Openraft1220,
        Self::Openraft1960,
        Self::RaftRs571,
        Self::Etcd20418,
        Self::Cockroach87581,
        Self::RaftSingleServer2015,
        Self::NatsLazyFsync,
    ];

    /// Returns the canary called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|canary| canary.name() == name)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        self.about().0
    }

    /// Returns what goes wrong, in a sentence or two.
    pub fn story(self) -> &'static str {
        self.about().1
    }

    /// Returns where the bug was published, if it was one of another system.
    pub fn link(self) -> Option<&'static str> {
        Some(self.about().2).filter(|link| !link.is_empty())
    }

    fn about(self) -> (&'static str, &'static str, &'static str) {
        let row = ABOUT.iter().find(|row| row.0 == self);
        row.map_or(("", "", ""), |row| (row.1, row.2, row.3))
    }
}

/// What there is to say of each: its name, its story, and where it was published, if it was.
#[cfg(feature = "canary")]
const ABOUT: [(Canary, &str, &str, &str); 44] = [
    (
        Canary::AckBeforeSync,
        "ack-before-sync",
        "A follower acknowledges entries, and a leader counts its own, while \
         they are on their way to the disk.",
        "",
    ),
    (
        Canary::VoteBeforeSync,
        "vote-before-sync",
        "A vote leaves while the ballot that holds it is on its way to the \
         disk: after a crash the peer votes again.",
        "",
    ),
    (
        Canary::TermNotWritten,
        "term-not-written",
        "A peer that hears of a higher term follows it without writing it down: \
         after a crash it is back in the older one.",
        "",
    ),
    (
        Canary::SecondVote,
        "second-vote",
        "A peer that has voted in a term votes for whoever else asks in it.",
        "",
    ),
    (
        Canary::VoteByTermAlone,
        "vote-by-term-alone",
        "A vote is granted by the term alone, to candidates that lack what is \
         committed.",
        "",
    ),
    (
        Canary::FigureEight,
        "figure-eight",
        "A leader commits entries of an earlier term by counting copies; \
         another leader may still replace them (figure 8 of the Raft paper).",
        "",
    ),
    (
        Canary::QuorumOffByOne,
        "quorum-off-by-one",
        "One voter fewer than a majority is enough for a leader to commit.",
        "",
    ),
    (
        Canary::VisibleQuorum,
        "visible-quorum",
        "A majority of the voters in sight decides, instead of one of all \
         voters: in a partition both sides do.",
        "",
    ),
    (
        Canary::LearnersCount,
        "learners-count",
        "The copies of learners count toward a commit.",
        "",
    ),
    (
        Canary::JointAsUnion,
        "joint-as-union",
        "While a configuration is joint, a majority of both halves together \
         commits, instead of one of each.",
        "",
    ),
    (
        Canary::InstallKeepsConfiguration,
        "install-keeps-configuration",
        "A peer that installs a snapshot goes on with the configuration that it \
         had, not the snapshot's.",
        "",
    ),
    (
        Canary::ConflictKept,
        "conflict-kept",
        "A follower whose entries differ from the leader's keeps them and \
         acknowledges the leader's.",
        "",
    ),
    (
        Canary::StaleAppendTruncates,
        "stale-append-truncates",
        "A follower cuts its log where an append ends, also when it is a late \
         one that it has passed long ago.",
        "",
    ),
    (
        Canary::CommitPastMatch,
        "commit-past-match",
        "A follower takes the leader's commit index for its own log up to its \
         end, also where that was never compared with the leader's.",
        "",
    ),
    (
        Canary::ReadWithoutRound,
        "read-without-round",
        "A leader answers linearizable reads at once: it may have been deposed \
         without having heard of it.",
        "",
    ),
    (
        Canary::ReadBeforeOwnEntry,
        "read-before-own-entry",
        "A new leader answers reads before it has committed an entry of its own \
         term: it does not know yet what is committed.",
        "",
    ),
    (
        Canary::DeposedMeansSuperseded,
        "deposed-means-superseded",
        "A leader that is deposed tells its clients that their writes will \
         never take effect; the next leader may have them.",
        "",
    ),
    (
        Canary::UnnamedResent,
        "unnamed-resent",
        "A command without a name is sent again when its answer is missing, and \
         applied twice.",
        "",
    ),
    (
        Canary::StagedIsAcked,
        "staged-is-acked",
        "Entries behind the hole of a restore are acknowledged when they are \
         staged.",
        "",
    ),
    (
        Canary::CutPastTheMarker,
        "cut-past-the-marker",
        "A batch goes on past a marker, so that snapshots under one anchor hold \
         different states.",
        "",
    ),
    (
        Canary::ClientTableDropped,
        "client-table-dropped",
        "A restored snapshot comes without the client table: what was applied \
         before is applied again.",
        "",
    ),
    (
        Canary::MixedAnchors,
        "mixed-anchors",
        "A restore that moves to a newer anchor keeps what it has fetched of \
         the older one by its ranks, unverified.",
        "",
    ),
    (
        Canary::FounderBySight,
        "founder-by-sight",
        "Whoever has seen nobody for a while founds the group, without the lock that \
         picks one founder: peers that find each other late found it twice.",
        "",
    ),
    (
        Canary::FollowedGenesisDropped,
        "followed-genesis-dropped",
        "A genesis is dropped when refusals leave it no quorum, although \
         entries follow it.",
        "",
    ),
    (
        Canary::UsedDissolves,
        "used-dissolves",
        "A history is given up for another one although a command precedes the \
         dissolve: a write that was acknowledged goes with it.",
        "",
    ),
    (
        Canary::DissolvedWhenProposed,
        "dissolved-when-proposed",
        "A leader buries its history as soon as it has proposed to give it up: \
         what it has proposed may never be committed.",
        "",
    ),
    (
        Canary::TombstoneForgotten,
        "tombstone-forgotten",
        "A peer that starts again no longer knows that it has buried a history: \
         it founds another one, or goes back to it.",
        "",
    ),
    (
        Canary::KeyIsIdentity,
        "key-is-identity",
        "A peer is known by its key alone: one that has lost its memory answers \
         and counts as its former self.",
        "",
    ),
    (
        Canary::FailedSyncSwallowed,
        "failed-sync-swallowed",
        "A sync that fails passes for one that does not: the system has marked \
         what it should have covered clean, so that no later sync covers it either.",
        "",
    ),
    (
        Canary::OneSuperblockCopy,
        "one-superblock-copy",
        "A ballot counts as durable when one copy of the superblock has it, and \
         the other one is left as it was: one bad copy brings the older ballot back.",
        "",
    ),
    (
        Canary::DamageIsTornTail,
        "damage-is-torn-tail",
        "Bad bytes below the seal are taken for the pieces that a crash leaves: \
         the log is cut there, and nobody learns that it once went on.",
        "",
    ),
    (
        Canary::LimitedVoteIgnored,
        "limited-vote-ignored",
        "A peer that knows that damage has taken the end of its log votes by \
         what is left of it.",
        "",
    ),
    (
        Canary::CopyBelieved,
        "copy-believed",
        "Nobody remembers how often a peer was started: a copied or restored \
         directory acknowledges and votes as the peer that it was taken from.",
        "",
    ),
    (
        Canary::UpgradeUnheard,
        "upgrade-unheard",
        "A leader upgrades the group to what its own machine can run, without \
         having heard that the machines of all other members can.",
        "",
    ),
    (
        Canary::RemovedIsSilent,
        "removed-is-silent",
        "A peer that reads in its own log that it was let go asks for no votes, \
         although nobody else may have that log: those who lack its end need a \
         vote that it must not give them.",
        "",
    ),
    (
        Canary::AllMustHaveIt,
        "all-must-have-it",
        "A leader commits what every voter has, instead of a majority: one that \
         stays down stops the group.",
        "",
    ),
    (
        Canary::Openraft1802,
        "openraft-1802",
        "The match indexes are kept in order, but a voter that was ahead \
         already is not moved when it advances; a prefix that is no longer \
         sorted is taken for a quorum, and entries are committed without one.",
        "https://github.com/databendlabs/openraft/issues/1802",
    ),
    (
        Canary::Openraft1220,
        "openraft-1220",
        "A leader that hears of a higher vote adopts it and steps down; that \
         counts as its vote, although it has not compared the logs. (That \
         system has no pre-vote by default; nor has this core with the bug.)",
        "https://github.com/databendlabs/openraft/pull/1220",
    ),
    (
        Canary::Openraft1960,
        "openraft-1960",
        "The last write that was reported finished is taken for how far the log \
         is durable, so that reports that come out of order move it past what \
         is not and back before what is.",
        "https://github.com/databendlabs/openraft/issues/1960",
    ),
    (
        Canary::RaftRs571,
        "raft-rs-571",
        "Answers carry nothing that names the conversation: one that a peer \
         sent before it left counts for the conversation after it came back.",
        "https://github.com/tikv/raft-rs/issues/571",
    ),
    (
        Canary::Etcd20418,
        "etcd-20418",
        "A question for a read index that is asked again goes under its old \
         number; answers to the first round that are still on their way, as \
         after a pause, confirm the second one and all reads that wait with it.",
        "https://github.com/etcd-io/etcd/issues/20418",
    ),
    (
        Canary::Cockroach87581,
        "cockroach-87581",
        "A follower restores from another peer's snapshot, and the leader takes \
         it to have what the leader wanted it to have, although that snapshot \
         may be an older one.",
        "https://github.com/cockroachdb/cockroach/issues/87581",
    ),
    (
        Canary::RaftSingleServer2015,
        "raft-single-server-2015",
        "Voters change one at a time without a joint configuration, and a \
         leader may begin a change before it has committed an entry of its own \
         term: two changes of two leaders make majorities that do not meet.",
        "https://groups.google.com/g/raft-dev/c/t4xj6dJTP6E/m/d2D9LrWRza8J",
    ),
    (
        Canary::NatsLazyFsync,
        "nats-lazy-fsync",
        "Writes are acknowledged when the operating system has them; the disk \
         has them when the store is next idle.",
        "https://github.com/nats-io/nats-server/issues/7564",
    ),
];

/// A canary is written as its name.
#[cfg(feature = "canary")]
impl serde::Serialize for Canary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "canary")]
impl<'de> serde::Deserialize<'de> for Canary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("no planted bug is called {name:?}"));
        Self::named(&name).ok_or_else(unknown)
    }
}

#[cfg(all(test, feature = "canary"))]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_two_words_and_a_story_of_its_own() {
        for (place, canary) in Canary::ALL.into_iter().enumerate() {
            assert_eq!(canary as usize, place, "{canary:?} is out of order");
            assert_eq!(Canary::named(canary.name()), Some(canary));
            let words: Vec<&str> = canary.name().split('-').collect();
            assert!(words.len() >= 2, "{canary:?}");
            let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
            assert!(
                words
                    .iter()
                    .all(|word| !word.is_empty() && word.chars().all(plain))
            );
            assert!(
                canary.story().trim_end_matches(')').ends_with('.'),
                "{canary:?}"
            );
            assert!(
                canary
                    .link()
                    .is_none_or(|link| link.starts_with("https://"))
            );
        }
        assert_eq!(Canary::named("no-such-bug"), None);
    }
}
