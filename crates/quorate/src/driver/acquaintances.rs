//! Whom this peer tells where somebody else can be reached.
//!
//! Peers of one rendezvous directory see each other there, and nothing is told. Whoever came by a
//! ticket or an address knows one peer, and only that one has a link to it: the rest of the group
//! could not vote with it once that one is gone. So everybody says of itself where it can be
//! reached, and passes on what others have said of themselves:
//!
//! | when | to whom | what |
//! |---|---|---|
//! | a peer has proven a group's key | that peer | where I am, and where my other peers are |
//! | a peer says where it is itself | all my other peers | where it is |
//!
//! Nothing is passed on at second hand, so nothing circles; and nothing is told of one peer of this
//! directory to another. What a peer says of itself replaces what was known; what it says of others
//! does not. Somebody who was only told of and cannot be reached many times in a row is forgotten:
//! memory peers come back under other keys, and would otherwise be dialed for ever.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::{LinkId, PeerId, limits::PEERS};
use quorate_net::Address;

use crate::limits::FORGET_DIALS;

/// Where a peer can be reached.
pub(super) type Whereabouts = (PeerId, Vec<Address>);

/// Who knows whom, as far as this peer is concerned.
#[derive(Debug, Default)]
pub(super) struct Acquaintances {
    /// Links that stand, and whether their peers have proven a group's key.
    links: BTreeMap<LinkId, (PeerId, bool)>,
    /// Where peers with a link say that they are.
    said: BTreeMap<PeerId, Vec<Address>>,
    /// Peers of this peer's directory.
    sighted: BTreeSet<PeerId>,
    /// Peers that are known by being told of, and how often in a row they were not reached.
    told: BTreeMap<PeerId, u32>,
}

/// What follows from an introduction.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct News {
    /// Where peers can be reached, in the place of what was known.
    pub(super) found: Vec<Whereabouts>,
    /// What to pass on, and to whom.
    pub(super) pass_on: Option<(Whereabouts, Vec<LinkId>)>,
}

impl Acquaintances {
    /// A link to a peer stands.
    pub(super) fn up(&mut self, link: LinkId, peer: PeerId) {
        self.links.insert(link, (peer, false));
        if let Some(failed) = self.told.get_mut(&peer) {
            *failed = 0;
        }
    }

    /// A link is gone.
    pub(super) fn down(&mut self, link: LinkId) {
        if let Some((peer, _)) = self.links.remove(&link)
            && self.links.values().all(|(other, _)| *other != peer)
        {
            self.said.remove(&peer);
        }
    }

    /// A peer is in the same directory.
    pub(super) fn sighted(&mut self, peer: PeerId) {
        self.sighted.insert(peer);
        self.told.remove(&peer);
    }

    /// A peer is not in the same directory any more.
    pub(super) fn lost(&mut self, peer: PeerId) {
        self.sighted.remove(&peer);
    }

    /// The peer of a link has proven a group's key; returns what to tell it.
    pub(super) fn proven(&mut self, link: LinkId, me: Whereabouts) -> Vec<Whereabouts> {
        let Some((peer, proven)) = self.links.get_mut(&link) else {
            return Vec::new();
        };
        *proven = true;
        let peer = *peer;
        let sighted = self.sighted.contains(&peer);
        let others = self
            .said
            .iter()
            .filter(|(other, _)| **other != peer && !(sighted && self.sighted.contains(other)))
            .map(|(other, addresses)| (*other, addresses.clone()));
        let me = (!sighted).then_some(me);
        me.into_iter().chain(others).collect()
    }

    /// The peer of a link says where peers can be reached; `knows` tells whose addresses this peer
    /// has.
    pub(super) fn hear(
        &mut self,
        link: LinkId,
        me: PeerId,
        peers: Vec<Whereabouts>,
        knows: impl Fn(PeerId) -> bool,
    ) -> News {
        let mut news = News::default();
        let Some((by, true)) = self.links.get(&link).copied() else {
            return news;
        };
        for (peer, addresses) in peers {
            let first_hand = peer == by;
            if first_hand {
                self.said.insert(peer, addresses.clone());
                let to = self.to_be_told_of(peer);
                news.pass_on = Some(((peer, addresses.clone()), to));
            }
            let known = self.sighted.contains(&peer) || (knows(peer) && !first_hand);
            let room = self.told.len() < PEERS || self.told.contains_key(&peer);
            if peer == me || known || addresses.is_empty() || !room {
                continue;
            }
            if !knows(peer) {
                self.told.insert(peer, 0);
            }
            news.found.push((peer, addresses));
        }
        news
    }

    /// A dial of a peer failed; tells whether it is to be forgotten.
    pub(super) fn failed(&mut self, peer: PeerId) -> bool {
        let Some(failed) = self.told.get_mut(&peer) else {
            return false;
        };
        *failed += 1;
        let forget = *failed >= FORGET_DIALS;
        if forget {
            self.told.remove(&peer);
        }
        forget
    }

    /// The links to those who should know where `peer` is.
    fn to_be_told_of(&self, peer: PeerId) -> Vec<LinkId> {
        let sighted = self.sighted.contains(&peer);
        let wants = |other: &PeerId| *other != peer && !(sighted && self.sighted.contains(other));
        let proven = self.links.iter().filter(|(_, (_, proven))| *proven);
        proven
            .filter(|(_, (other, _))| wants(other))
            .map(|(link, _)| *link)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: PeerId = PeerId([0; 32]);

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn at(n: u8) -> Whereabouts {
        (peer(n), vec![Address::Ip(([127, 0, 0, n], 9).into())])
    }

    /// Peers 1 to `n` on links of their numbers, all of them proven.
    fn met(n: u8) -> Acquaintances {
        let mut met = Acquaintances::default();
        for i in 1..=n {
            met.up(LinkId(i.into()), peer(i));
            met.proven(LinkId(i.into()), at(0));
        }
        met
    }

    fn hear(met: &mut Acquaintances, link: u64, said: Vec<Whereabouts>) -> News {
        met.hear(LinkId(link), ME, said, |_| false)
    }

    #[test]
    fn whoever_comes_is_told_of_the_others_and_they_of_it() {
        let mut met = met(2);
        let news = hear(&mut met, 1, vec![at(1)]);
        assert_eq!(news.found, [at(1)]);
        assert_eq!(news.pass_on, Some((at(1), vec![LinkId(2)])));
        met.up(LinkId(3), peer(3));
        assert_eq!(met.proven(LinkId(3), at(0)), [at(0), at(1)]);
        let news = hear(&mut met, 3, vec![at(3)]);
        assert_eq!(news.pass_on, Some((at(3), vec![LinkId(1), LinkId(2)])));
        // What is said of others goes no further.
        let news = hear(&mut met, 2, vec![at(7), at(0)]);
        assert_eq!(
            news,
            News {
                found: vec![at(7)],
                pass_on: None
            }
        );
    }

    #[test]
    fn peers_of_one_directory_are_told_nothing_of_each_other() {
        let mut met = met(0);
        for n in [1, 2] {
            met.sighted(peer(n));
            met.up(LinkId(n.into()), peer(n));
            assert_eq!(met.proven(LinkId(n.into()), at(0)), []);
        }
        let news = hear(&mut met, 1, vec![at(1), at(2)]);
        assert_eq!(
            news,
            News {
                found: vec![],
                pass_on: Some((at(1), vec![]))
            }
        );
        // A stranger to the directory is told of all, and all of it.
        met.up(LinkId(3), peer(3));
        assert_eq!(met.proven(LinkId(3), at(0)), [at(0), at(1)]);
        let news = hear(&mut met, 3, vec![at(3)]);
        assert_eq!(news.pass_on, Some((at(3), vec![LinkId(1), LinkId(2)])));
    }

    #[test]
    fn what_a_peer_says_of_itself_replaces_what_was_known_and_nothing_else_does() {
        let mut met = met(1);
        let news = met.hear(LinkId(1), ME, vec![at(1), at(2)], |_| true);
        assert_eq!(news.found, [at(1)]);
        // From whom nothing was proven, nothing is heard.
        met.up(LinkId(5), peer(5));
        assert_eq!(hear(&mut met, 5, vec![at(5)]), News::default());
        assert_eq!(hear(&mut met, 9, vec![at(9)]), News::default());
    }

    #[test]
    fn whoever_cannot_be_reached_is_forgotten_unless_somebody_else_knows_it() {
        let mut met = met(1);
        hear(&mut met, 1, vec![at(2)]);
        for _ in 1..FORGET_DIALS {
            assert!(!met.failed(peer(2)));
        }
        met.up(LinkId(2), peer(2));
        met.down(LinkId(2));
        for _ in 1..FORGET_DIALS {
            assert!(!met.failed(peer(2)));
        }
        assert!(met.failed(peer(2)));
        assert!(!met.failed(peer(2)), "once");
        assert!(!met.failed(peer(8)), "known by other means");
    }

    #[test]
    fn those_who_are_told_of_are_bounded() {
        let mut met = met(1);
        for n in 0..PEERS as u64 + 10 {
            let mut id = [7; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            hear(&mut met, 1, vec![(PeerId(id), at(1).1)]);
        }
        assert_eq!(met.told.len(), PEERS);
    }
}
