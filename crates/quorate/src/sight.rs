//! Who is in sight: the peers that this one knows of, and how its links to them stand.
//!
//! For people who look at a status: nothing is decided from it. Times are wall-clock times of this
//! peer, stamped by its driver.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use quorate_core::{CloseCode, PeerId};

use crate::limits::REMEMBERED_PEERS;

/// What this peer knows of another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Which peer.
    pub peer: PeerId,
    /// How the link to it stands.
    pub link: LinkState,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why the last link to it ended, if there was one and a side said why.
    pub ended: Option<CloseCode>,
    /// Why it was refused, if it was since the last link that stood.
    pub refused: Option<CloseCode>,
}

/// How the link to a peer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkState {
    /// It stands, and the peer has proven a group's key.
    Up,
    /// The peer is in sight (it can be dialed), but there is no link to it.
    Down,
    /// There is no link, and where the peer is, is not known.
    OutOfSight,
}

impl PeerStatus {
    /// Tells whether the peer can be dialed or is linked.
    pub fn is_in_sight(&self) -> bool {
        self.link != LinkState::OutOfSight
    }

    /// Tells whether the link is gone because the peer stopped in good order.
    pub fn said_goodbye(&self) -> bool {
        self.link != LinkState::Up && self.ended == Some(CloseCode::Shutdown)
    }
}

/// The peers that this one knows of.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    known: BTreeMap<PeerId, Known>,
    /// What is shown, unless it has changed since.
    shown: Option<Arc<[PeerStatus]>>,
}

#[derive(Debug)]
struct Known {
    found: bool,
    linked: bool,
    since: DateTime<Utc>,
    ended: Option<CloseCode>,
    refused: Option<CloseCode>,
}

impl Sight {
    /// A peer can be dialed.
    pub(crate) fn found(&mut self, peer: PeerId, now: DateTime<Utc>) {
        self.change(peer, now, |known| known.found = true);
    }

    /// Where a peer is, is not known any more.
    pub(crate) fn lost(&mut self, peer: PeerId, now: DateTime<Utc>) {
        self.change(peer, now, |known| known.found = false);
    }

    /// A link to a peer stands.
    pub(crate) fn up(&mut self, peer: PeerId, now: DateTime<Utc>) {
        self.change(peer, now, |known| {
            known.linked = true;
            known.refused = None;
        });
    }

    /// A peer was refused; returns whether that is news.
    pub(crate) fn refused(&mut self, peer: PeerId, code: CloseCode, now: DateTime<Utc>) -> bool {
        let mut before = None;
        self.change(peer, now, |known| before = known.refused.replace(code));
        before != Some(code)
    }

    /// The link to a peer is gone.
    pub(crate) fn down(&mut self, peer: PeerId, code: Option<CloseCode>, now: DateTime<Utc>) {
        self.change(peer, now, |known| {
            known.linked = false;
            known.ended = code;
        });
    }

    /// A peer is a member of a group here, whether it was ever in sight or not.
    pub(crate) fn expect(&mut self, peer: PeerId, now: DateTime<Utc>) {
        if !self.known.contains_key(&peer) {
            self.change(peer, now, |_| {});
        }
    }

    /// Returns all known peers, in order.
    pub(crate) fn show(&mut self) -> Arc<[PeerStatus]> {
        let known = &self.known;
        let shown = self.shown.get_or_insert_with(|| {
            let status = |(peer, known): (&PeerId, &Known)| PeerStatus {
                peer: *peer,
                link: known.link(),
                since: known.since,
                ended: known.ended,
                refused: known.refused,
            };
            known.iter().map(status).collect()
        });
        Arc::clone(shown)
    }

    fn change(&mut self, peer: PeerId, now: DateTime<Utc>, change: impl FnOnce(&mut Known)) {
        let known = self.known.entry(peer).or_insert(Known {
            found: false,
            linked: false,
            since: now,
            ended: None,
            refused: None,
        });
        let before = known.link();
        change(known);
        if known.link() != before {
            known.since = now;
        }
        self.shown = None;
        self.forget();
    }

    /// Forgets a peer once there are too many: of those without a link the one that has been out
    /// of sight for longest, or else without a link.
    fn forget(&mut self) {
        if self.known.len() <= REMEMBERED_PEERS {
            return;
        }
        let unlinked = self.known.iter().filter(|(_, known)| !known.linked);
        let oldest = unlinked.min_by_key(|(_, known)| (known.found, known.since));
        if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
            self.known.remove(&oldest);
        }
    }
}

impl Known {
    fn link(&self) -> LinkState {
        match (self.linked, self.found) {
            (true, _) => LinkState::Up,
            (false, true) => LinkState::Down,
            (false, false) => LinkState::OutOfSight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn peer(number: u16) -> PeerId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn a_peer_is_shown_as_it_stands_and_since_when() {
        let mut sight = Sight::default();
        let one = peer(1);
        let is = |sight: &mut Sight, link, since, goodbye| {
            let status = sight.show()[0];
            let shown = (status.link, status.since, status.said_goodbye());
            assert_eq!(shown, (link, at(since), goodbye));
        };
        sight.expect(one, at(1));
        is(&mut sight, LinkState::OutOfSight, 1, false);
        sight.found(one, at(2));
        is(&mut sight, LinkState::Down, 2, false);
        sight.found(one, at(3));
        is(&mut sight, LinkState::Down, 2, false);
        sight.up(one, at(4));
        is(&mut sight, LinkState::Up, 4, false);
        sight.lost(one, at(5));
        is(&mut sight, LinkState::Up, 4, false);
        sight.down(one, Some(CloseCode::Shutdown), at(6));
        is(&mut sight, LinkState::OutOfSight, 6, true);
        sight.up(one, at(7));
        is(&mut sight, LinkState::Up, 7, false);
        sight.down(one, None, at(8));
        is(&mut sight, LinkState::OutOfSight, 8, false);
    }

    #[test]
    fn a_refusal_is_news_once_until_a_link_stands() {
        let mut sight = Sight::default();
        let (one, wrong) = (peer(1), CloseCode::WrongKey);
        let refused = |sight: &mut Sight| sight.refused(one, wrong, at(1));
        assert!(refused(&mut sight));
        assert!(!refused(&mut sight));
        assert!(sight.refused(one, CloseCode::WrongNetwork, at(2)));
        assert!(refused(&mut sight));
        assert_eq!(sight.show()[0].refused, Some(wrong));
        sight.up(one, at(3));
        assert_eq!(sight.show()[0].refused, None);
        assert!(refused(&mut sight));
    }

    #[test]
    fn those_gone_for_longest_are_forgotten_first() {
        let mut sight = Sight::default();
        sight.up(peer(0), at(0));
        for number in 1..=REMEMBERED_PEERS as u16 + 5 {
            sight.expect(peer(number), at(i64::from(number)));
        }
        let shown = sight.show();
        assert_eq!(shown.len(), REMEMBERED_PEERS);
        assert_eq!(shown[0].peer, peer(0), "a link stands to it");
        assert_eq!(shown[1].peer, peer(7));
        for number in 5_000..5_000 + REMEMBERED_PEERS as u16 {
            sight.found(peer(number), at(9_000));
        }
        let shown = sight.show();
        assert_eq!(shown.len(), REMEMBERED_PEERS);
        assert!(shown[1..].iter().all(|it| it.link == LinkState::Down));
    }
}
