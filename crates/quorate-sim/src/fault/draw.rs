//! Draws faults: magnitudes on a log scale, since most bugs hide either in the short disturbance
//! that nobody notices or in the long one that everybody does.

use std::time::Duration;

use crate::{
    dice::{Dice, MILLION, Span},
    network::Weather,
};

use super::{FaultKind, Place};

impl FaultKind {
    /// Draws a fault of the kind called `name` for a cluster of `peers`.
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
            "machine-failure" => Self::MachineFailure {
                peer,
                times: 1 + u32::from(dice.below(4) == 0),
                away: lasts,
            },
            name => Self::draw_hostile(name, peer, lasts, dice),
        }
    }

    /// Draws what a hostile peer sends, or what befalls all.
    fn draw_hostile(name: &str, peer: usize, lasts: Duration, dice: &mut Dice) -> Self {
        match name {
            "garbled-frames" => Self::GarbledFrames {
                peer,
                chance: dice.scaled(500, u64::from(MILLION)) as u32,
                lasts,
            },
            "wrong-chunks" => Self::WrongChunks {
                peer,
                chance: dice.scaled(50_000, u64::from(MILLION)) as u32,
                lasts,
            },
            "darkness" => Self::Darkness {
                away: lasts,
                apart: dice.span(Span::micros(1, 500_000)),
            },
            name => Self::draw_disk(name, peer, lasts, dice),
        }
    }

    /// Draws what a disk does wrong.
    fn draw_disk(name: &str, peer: usize, lasts: Duration, dice: &mut Dice) -> Self {
        let away = lasts;
        match name {
            "read-error" => Self::ReadError { peer, lasts },
            "write-error" => Self::WriteError { peer, away },
            "sync-error" => Self::SyncError {
                peer,
                power: dice.coin(),
                away,
            },
            "no-space" => Self::NoSpace { peer, lasts },
            "kill" => Self::Kill { peer, away },
            "torn-write" => Self::TornWrite { peer, away },
            "lost-writes" => Self::LostWrites { peer, away },
            "reordered-writes" => Self::ReorderedWrites { peer, away },
            name => Self::draw_damage(name, peer, away, dice),
        }
    }

    /// Draws what becomes of synced bytes, or a crash.
    fn draw_damage(name: &str, peer: usize, away: Duration, dice: &mut Dice) -> Self {
        let mut place = || dice.below(u64::from(MILLION)) as Place;
        match name {
            "bit-rot" => Self::BitRot {
                peer,
                place: place(),
                away,
            },
            "misdirected-write" => Self::MisdirectedWrite {
                peer,
                meant: place(),
                place: place(),
                away,
            },
            "truncated-file" => Self::TruncatedFile {
                peer,
                place: place(),
                away,
            },
            "missing-file" => Self::MissingFile {
                peer,
                place: place(),
                away,
            },
            "lost-name" => Self::LostName { peer, away },
            "bad-superblock" => Self::BadSuperblock {
                peer,
                second: dice.coin(),
                away,
            },
            "bad-superblocks" => Self::BadSuperblocks { peer, away },
            "wiped-disk" => Self::WipedDisk { peer, away },
            "copied-directory" => Self::CopiedDirectory {
                peer,
                away: dice.span(Span::micros(5_000, 1_000_000)),
                after: dice.span(Span::micros(1_000_000, 4_000_000)),
                lasts: away,
            },
            "restored-directory" => Self::RestoredDirectory {
                peer,
                away: dice.span(Span::micros(5_000, 1_000_000)),
                after: dice.span(Span::micros(1_000_000, 4_000_000)),
            },
            _ => Self::Crash { peer, away },
        }
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
    fn the_book_tells_of_every_kind() {
        let page = include_str!("../../../../book/src/simulator.md");
        for name in FaultKind::NAMES {
            assert!(page.contains(&format!("`{name}`")), "{name} is missing");
        }
    }

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
