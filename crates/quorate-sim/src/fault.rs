//! What can go wrong: plain data, drawn before the run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    dice::{Dice, MILLION, Span},
    network::Weather,
};

/// One thing that goes wrong at a certain time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, since the start of the run.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
}

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
    /// A peer dies, and comes back to a disk that lost what it had synced.
    Damage {
        /// Which peer.
        peer: usize,
        /// What happened to the disk.
        damage: Damage,
        /// How long it is away.
        away: Duration,
    },
}

/// What happens to synced bytes of a peer's disk.
///
/// Places are parts of a million of what can be damaged: the log up to its seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Damage {
    /// A bit is another one.
    Rot {
        /// Where.
        place: u32,
    },
    /// What was meant for one place is at another one.
    Misdirected {
        /// The place that it was meant for.
        from: u32,
        /// Where it is.
        to: u32,
    },
    /// A file has lost its end.
    Truncated {
        /// From where on.
        place: u32,
    },
    /// A file is gone.
    Missing {
        /// Somewhere in it.
        place: u32,
    },
    /// A name was not synced, whatever the disk said: the newest file of the log is gone.
    LostName,
    /// One copy of the superblock is bad.
    Superblock {
        /// Which.
        second: bool,
    },
    /// Both copies of the superblock are bad.
    Superblocks,
    /// Nothing is left.
    Wiped,
}

impl Damage {
    /// Tells whether the peer comes back as another incarnation.
    pub(crate) fn ends_incarnation(self) -> bool {
        matches!(self, Self::Superblocks | Self::Wiped)
    }
}

impl FaultKind {
    /// The name of each kind, in order.
    pub const NAMES: [&'static str; 30] = [
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
        "bit-rot",
        "misdirected-write",
        "truncated-file",
        "missing-file",
        "lost-name",
        "bad-superblock",
        "bad-superblocks",
        "wiped-disk",
    ];

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
            Self::Damage { damage, .. } => match damage {
                Damage::Rot { .. } => 22,
                Damage::Misdirected { .. } => 23,
                Damage::Truncated { .. } => 24,
                Damage::Missing { .. } => 25,
                Damage::LostName => 26,
                Damage::Superblock { .. } => 27,
                Damage::Superblocks => 28,
                Damage::Wiped => 29,
            },
        };
        Self::NAMES[number]
    }

    /// Draws a fault of the kind called `name` for a cluster of `peers`.
    ///
    /// Magnitudes are drawn on a log scale: most bugs hide either in the short disturbance that
    /// nobody notices or in the long one that everybody does.
    pub(crate) fn draw(name: &str, peers: usize, dice: &mut Dice) -> Self {
        let peer = dice.index(peers);
        let other = (peer + 1 + dice.index(peers.saturating_sub(1).max(1))) % peers;
        let lasts = dice.span(Span::micros(5_000, 8_000_000));
        match name {
            "crash-within" => Self::CrashWithin {
                peer,
                effects: dice.below(6),
                away: lasts,
            },
            "pause" => Self::Pause { peer, lasts },
            "partition" => Self::Partition {
                side: draw_side(peers, dice),
                lasts,
            },
            "deaf" => Self::Deaf {
                side: draw_side(peers, dice),
                lasts,
            },
            "apart" => Self::Apart {
                one: peer,
                other,
                lasts,
            },
            "reset" => Self::Reset { one: peer, other },
            "storm" => Self::Storm {
                weather: Weather::draw(dice),
                lasts,
            },
            "narrow" => Self::Narrow {
                one: peer,
                other,
                rate: dice.scaled(4 << 10, 4 << 20),
                lasts,
            },
            "slow-disk" => Self::SlowDisk {
                peer,
                delay: Span::micros(1_000, dice.scaled(2_000, 1_000_000)),
                lasts,
            },
            "slow-peer" => Self::SlowPeer {
                peer,
                delay: Span::micros(100, dice.scaled(200, 300_000)),
                lasts,
            },
            "wall-jump" => Self::WallJump {
                peer,
                by: dice.scaled(1, 100_000_000) as i64 * if dice.coin() { 1 } else { -1 },
            },
            "forgotten" => Self::Forgotten { peer, lasts },
            "no-dials" => Self::NoDials {
                chance: dice.scaled(100_000, u64::from(MILLION)) as u32,
                lasts,
            },
            "late-reports" => Self::LateReports {
                peer,
                delay: Span::micros(1, dice.scaled(1_000, 200_000)),
                lasts,
            },
            name => Self::draw_stop(name, peer, other, lasts, dice),
        }
    }

    /// Draws what an operator does, or a crash.
    fn draw_stop(name: &str, peer: usize, other: usize, lasts: Duration, dice: &mut Dice) -> Self {
        match name {
            "transfer" => Self::Transfer {
                peer,
                to: dice.coin().then_some(other),
                patience: dice.span(Span::micros(50_000, 5_000_000)),
            },
            "leave" => Self::Leave {
                peer,
                away: lasts,
                patience: dice.span(Span::micros(50_000, 5_000_000)),
            },
            "stop" => Self::Stop { peer, away: lasts },
            name => Self::draw_disk(name, peer, lasts, dice),
        }
    }

    /// Draws what a disk does wrong, or a crash.
    fn draw_disk(name: &str, peer: usize, lasts: Duration, dice: &mut Dice) -> Self {
        match name {
            "read-error" => Self::ReadError { peer, lasts },
            "write-error" => Self::WriteError { peer, away: lasts },
            "sync-error" => Self::SyncError {
                peer,
                power: dice.coin(),
                away: lasts,
            },
            "no-space" => Self::NoSpace { peer, lasts },
            _ => match Damage::draw(name, dice) {
                Some(damage) => Self::Damage {
                    peer,
                    damage,
                    away: lasts,
                },
                None => Self::Crash { peer, away: lasts },
            },
        }
    }
}

impl Damage {
    fn draw(name: &str, dice: &mut Dice) -> Option<Self> {
        let mut place = || dice.below(u64::from(MILLION)) as u32;
        Some(match name {
            "bit-rot" => Self::Rot { place: place() },
            "misdirected-write" => Self::Misdirected {
                from: place(),
                to: place(),
            },
            "truncated-file" => Self::Truncated { place: place() },
            "missing-file" => Self::Missing { place: place() },
            "lost-name" => Self::LostName,
            "bad-superblock" => Self::Superblock {
                second: dice.coin(),
            },
            "bad-superblocks" => Self::Superblocks,
            "wiped-disk" => Self::Wiped,
            _ => return None,
        })
    }
}

/// Draws one side of a partition: half the time a single peer, else any that leaves somebody out.
fn draw_side(peers: usize, dice: &mut Dice) -> Vec<usize> {
    let mut order: Vec<usize> = (0..peers).collect();
    dice.shuffle(&mut order);
    let size = if dice.coin() {
        1
    } else {
        1 + dice.index(peers.saturating_sub(1).max(1))
    };
    order.truncate(size);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_fault_has_the_name_it_was_drawn_by_and_names_peers_that_exist() {
        let mut dice = Dice::new(1, "faults", 0);
        for name in FaultKind::NAMES {
            for peers in 1..6 {
                let fault = FaultKind::draw(name, peers, &mut dice);
                assert_eq!(fault.name(), name);
                if let FaultKind::Apart { one, other, .. } = fault {
                    assert!(one < peers && other < peers);
                    assert!(peers == 1 || one != other, "a peer apart from itself");
                }
            }
        }
    }
}
