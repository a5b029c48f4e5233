//! How far a catch-up is, for people.

use super::session::Phase;
use crate::{cursor::Cursor, id::Member, time::Time};

/// How far a catch-up is, for people.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Progress {
    /// Where it stands.
    pub phase: Phase,
    /// The anchor it restores, once one is chosen.
    pub anchor: Option<Cursor>,
    /// Whether enough voters state the digest.
    pub confirmed: bool,
    /// Items verified.
    pub verified: u64,
    /// Items the snapshot has.
    pub total: u64,
    /// Bytes of keys and values verified, of this and earlier anchors.
    pub bytes: u64,
    /// Bytes of keys and values the snapshot has.
    pub total_bytes: u64,
    /// Answers that belonged to nothing.
    pub strays: u64,
    /// Everybody who offered something.
    pub sources: Vec<SourceProgress>,
}

/// What one provider brought so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SourceProgress {
    /// Who.
    pub member: Member,
    /// Items it brought.
    pub items: u64,
    /// Bytes of keys and values it brought.
    pub bytes: u64,
    /// Bytes per second of one fetch, smoothed.
    pub rate: u64,
    /// Fetches under way there.
    pub busy: usize,
    /// Until when it is set aside.
    pub aside_until: Option<Time>,
}
