//! What can go wrong: plain data, drawn before the run.

mod draw;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{dice::Span, network::Weather};

/// One thing that goes wrong at a certain time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, since the start of the run.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
}

/// A place in what of a log was synced, in parts of a million.
pub(crate) type Place = u32;

/// What goes wrong, and for how long.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FaultKind {
    /// A peer dies and comes back; a memory peer comes back as another life.
    Crash {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies after some of the effects of its next step, before the others.
    CrashWithin {
        /// Which peer.
        peer: usize,
        /// How many effects it still carries out.
        effects: u64,
        /// How long it is away.
        away: Duration,
    },
    /// A peer's machine panics in the middle of its next command; more than once: also while the
    /// state is made anew, which poisons the group there.
    MachineFailure {
        /// Which peer.
        peer: usize,
        /// How many times.
        times: u32,
        /// How long the peer is away if that is too often for it.
        away: Duration,
    },
    /// A peer stands still, as if stopped by a signal.
    Pause {
        /// Which peer.
        peer: usize,
        /// How long.
        lasts: Duration,
    },
    /// Two sides do not hear each other.
    Partition {
        /// One side; the other one is the rest.
        side: Vec<usize>,
        /// How long.
        lasts: Duration,
    },
    /// One side does not hear the other, which hears it.
    Deaf {
        /// The side that does not hear the rest.
        side: Vec<usize>,
        /// How long.
        lasts: Duration,
    },
    /// Two peers do not hear each other, whatever the others do.
    Apart {
        /// One of them.
        one: usize,
        /// The other.
        other: usize,
        /// How long.
        lasts: Duration,
    },
    /// The link between two peers breaks at once.
    Reset {
        /// One of them.
        one: usize,
        /// The other.
        other: usize,
    },
    /// Frames are lost, doubled, reordered and delayed.
    Storm {
        /// How badly.
        weather: Weather,
        /// How long.
        lasts: Duration,
    },
    /// The way between two peers carries few bytes.
    Narrow {
        /// One of them.
        one: usize,
        /// The other.
        other: usize,
        /// How many bytes a second it carries.
        rate: u64,
        /// How long.
        lasts: Duration,
    },
    /// A peer sends frames that nobody can read.
    GarbledFrames {
        /// Which peer.
        peer: usize,
        /// How many of a million.
        chance: u32,
        /// How long.
        lasts: Duration,
    },
    /// A peer serves chunks that are not of the snapshot that was asked for.
    WrongChunks {
        /// Which peer.
        peer: usize,
        /// How many of a million.
        chance: u32,
        /// How long.
        lasts: Duration,
    },
    /// The power of all machines fails at once.
    Darkness {
        /// How long the first one is away.
        away: Duration,
        /// How much longer each one is away than the one before.
        apart: Duration,
    },
    /// A peer's disk is slow.
    SlowDisk {
        /// Which peer.
        peer: usize,
        /// How long an operation takes.
        delay: Span,
        /// How long the fault lasts.
        lasts: Duration,
    },
    /// A peer has little processor time.
    SlowPeer {
        /// Which peer.
        peer: usize,
        /// How long a step waits for the processor.
        delay: Span,
        /// How long the fault lasts.
        lasts: Duration,
    },
    /// A peer's wall clock jumps.
    WallJump {
        /// Which peer.
        peer: usize,
        /// By how much, in milliseconds.
        by: i64,
    },
    /// The others lose a peer's address, and find it again.
    Forgotten {
        /// Which peer.
        peer: usize,
        /// How long until it is found again.
        lasts: Duration,
    },
    /// Dials fail.
    NoDials {
        /// How many of a million.
        chance: u32,
        /// How long.
        lasts: Duration,
    },
    /// An operator wishes that another peer led.
    Transfer {
        /// Where the operator is.
        peer: usize,
        /// Who is to lead; any voter if nothing.
        to: Option<usize>,
        /// How long the operator waits.
        patience: Duration,
    },
    /// An operator has a peer leave; once it has, it is switched off and comes back.
    Leave {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
        /// How long the operator waits.
        patience: Duration,
    },
    /// A peer stops gracefully, and comes back.
    Stop {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer hears late, and out of order, that its disk has done what it asked for.
    LateReports {
        /// Which peer.
        peer: usize,
        /// How late each report is.
        delay: Span,
        /// How long the fault lasts.
        lasts: Duration,
    },
    /// A peer's disk cannot be read when the peer, which dies, is started again.
    ReadError {
        /// Which peer.
        peer: usize,
        /// How long.
        lasts: Duration,
    },
    /// The next write to a peer's disk fails; its process ends, and comes back.
    WriteError {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// The next sync of a peer's disk fails; its process ends, and comes back.
    SyncError {
        /// Which peer.
        peer: usize,
        /// Whether the power fails, too, so that what was not synced may be lost.
        power: bool,
        /// How long it is away.
        away: Duration,
    },
    /// A peer's disk is full.
    NoSpace {
        /// Which peer.
        peer: usize,
        /// How long.
        lasts: Duration,
    },
    /// A peer's process is killed; what it wrote stays readable, synced or not.
    Kill {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer's power fails: of what was not synced, the last write is torn, the others are there.
    TornWrite {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer's power fails: nothing that was not synced is there.
    LostWrites {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer's power fails: of what was not synced, the later writes are there without the
    /// earlier ones.
    ReorderedWrites {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and a synced bit of its log is another one.
    BitRot {
        /// Which peer.
        peer: usize,
        /// Where.
        place: Place,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and what it had synced for one place of its log is at another one.
    MisdirectedWrite {
        /// Which peer.
        peer: usize,
        /// The place that it was meant for.
        meant: Place,
        /// Where it is.
        place: Place,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and a synced file of its log has lost its end.
    TruncatedFile {
        /// Which peer.
        peer: usize,
        /// From where on.
        place: Place,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and a synced file of its log is gone.
    MissingFile {
        /// Which peer.
        peer: usize,
        /// Somewhere in the file.
        place: Place,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and the newest file of its log is gone: its name was not synced, whatever the
    /// disk said.
    LostName {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and one copy of its superblock is bad.
    BadSuperblock {
        /// Which peer.
        peer: usize,
        /// Whether it is the second copy.
        second: bool,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and both copies of its superblock are bad.
    BadSuperblocks {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer dies, and comes back with an empty disk.
    WipedDisk {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
    },
    /// A peer's disk is copied while it dies; once it has come back and all have heard of that, the
    /// copy is started on another machine.
    CopiedDirectory {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
        /// After how long the copy is started.
        after: Duration,
        /// How long the other machine runs.
        lasts: Duration,
    },
    /// A peer's disk is copied while it dies; once it has come back and all have heard of that, it
    /// dies again and is started from the copy.
    RestoredDirectory {
        /// Which peer.
        peer: usize,
        /// How long it is away.
        away: Duration,
        /// After how long the copy comes back.
        after: Duration,
    },
}

impl FaultKind {
    /// The name of each kind, in order.
    pub const NAMES: [&'static str; 40] = [
        "crash",
        "crash-within",
        "pause",
        "partition",
        "deaf",
        "apart",
        "reset",
        "storm",
        "narrow",
        "slow-disk",
        "slow-peer",
        "wall-jump",
        "forgotten",
        "no-dials",
        "transfer",
        "leave",
        "stop",
        "late-reports",
        "read-error",
        "write-error",
        "sync-error",
        "no-space",
        "kill",
        "torn-write",
        "lost-writes",
        "reordered-writes",
        "bit-rot",
        "misdirected-write",
        "truncated-file",
        "missing-file",
        "lost-name",
        "bad-superblock",
        "bad-superblocks",
        "wiped-disk",
        "copied-directory",
        "restored-directory",
        "machine-failure",
        "garbled-frames",
        "wrong-chunks",
        "darkness",
    ];

    /// Says for people what goes wrong, by the name that it is chosen by.
    pub(crate) fn tell(&self) -> String {
        let fields = format!("{self:?}");
        let fields = fields.split_once(' ').map_or("", |(_, fields)| fields);
        format!("{} {fields}", self.name())
    }

    /// Returns the kind's name.
    pub fn name(&self) -> &'static str {
        let number = match self {
            Self::Crash { .. } => 0,
            Self::CrashWithin { .. } => 1,
            Self::Pause { .. } => 2,
            Self::Partition { .. } => 3,
            Self::Deaf { .. } => 4,
            Self::Apart { .. } => 5,
            Self::Reset { .. } => 6,
            Self::Storm { .. } => 7,
            Self::Narrow { .. } => 8,
            Self::SlowDisk { .. } => 9,
            Self::SlowPeer { .. } => 10,
            Self::WallJump { .. } => 11,
            Self::Forgotten { .. } => 12,
            Self::NoDials { .. } => 13,
            Self::Transfer { .. } => 14,
            Self::Leave { .. } => 15,
            Self::Stop { .. } => 16,
            Self::LateReports { .. } => 17,
            Self::ReadError { .. } => 18,
            Self::WriteError { .. } => 19,
            Self::SyncError { .. } => 20,
            Self::NoSpace { .. } => 21,
            Self::Kill { .. } => 22,
            Self::TornWrite { .. } => 23,
            Self::LostWrites { .. } => 24,
            Self::ReorderedWrites { .. } => 25,
            Self::BitRot { .. } => 26,
            Self::MisdirectedWrite { .. } => 27,
            Self::TruncatedFile { .. } => 28,
            Self::MissingFile { .. } => 29,
            Self::LostName { .. } => 30,
            Self::BadSuperblock { .. } => 31,
            Self::BadSuperblocks { .. } => 32,
            Self::WipedDisk { .. } => 33,
            Self::CopiedDirectory { .. } => 34,
            Self::RestoredDirectory { .. } => 35,
            Self::MachineFailure { .. } => 36,
            Self::GarbledFrames { .. } => 37,
            Self::WrongChunks { .. } => 38,
            Self::Darkness { .. } => 39,
        };
        Self::NAMES[number]
    }
}
