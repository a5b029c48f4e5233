//! Peers that send what no correct one does.
//!
//! Members that vote are trusted with the order of entries: a leader that lies about what is
//! committed is outside of what any such group survives. But no peer may crash, block or corrupt
//! another one with bytes: what cannot be read costs the link it came over, and what a provider
//! says of a snapshot is believed only as far as it proves itself. So what a hostile peer sends is
//! either unreadable, or a chunk that is not of the snapshot. What an alteration happens to leave
//! readable, and another message, is lost instead.
//!
//! And nobody else pays: a link is closed for what was sent over it, and a provider set aside for a
//! wrong chunk, only if that peer was hostile.

use bytes::Bytes;
use quorate_core::{
    CloseCode, Event, GroupEvent, Lane, LinkId, Refusal,
    wire::{BulkChunk, decode_bulk, decode_control, decode_replication, encode_bulk},
};

use crate::{dice::Dice, network::Sent, world::World};

/// Bytes of nonsense in a frame, at most.
const NONSENSE: u64 = 2_048;

/// What a hostile peer makes of what it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hostile {
    /// How many frames of a million are garbled.
    pub(crate) garbles: u32,
    /// How many chunks of a million are others than were asked for.
    pub(crate) lies: u32,
    /// Whether it ever was.
    pub(crate) was: bool,
}

impl Hostile {
    /// Begins to garble this many frames of a million.
    pub(crate) fn garble(&mut self, chance: u32) {
        (self.garbles, self.was) = (chance, true);
    }

    /// Begins to make this many chunks of a million others.
    pub(crate) fn lie(&mut self, chance: u32) {
        (self.lies, self.was) = (chance, true);
    }

    /// Ends it; what is on its way still arrives.
    pub(crate) fn end(&mut self) {
        (self.garbles, self.lies) = (0, 0);
    }

    /// Returns what goes out instead of a frame; nothing if that must not arrive.
    fn alter(self, lane: Lane, frame: Bytes, dice: &mut Dice) -> Option<Bytes> {
        if lane == Lane::Bulk && dice.chance(self.lies) {
            return Some(lie(&frame, dice).unwrap_or(frame));
        }
        if !dice.chance(self.garbles) {
            return Some(frame);
        }
        let garbled = garble(&frame, dice);
        let readable = match lane {
            Lane::Control => decode_control(&garbled).is_ok(),
            Lane::Entries(_) => decode_replication(garbled.clone()).is_ok(),
            // A chunk may say what it likes.
            Lane::Bulk => false,
        };
        (!readable).then_some(garbled)
    }
}

/// Makes nonsense of a frame.
fn garble(frame: &[u8], dice: &mut Dice) -> Bytes {
    let mut bytes = frame.to_vec();
    match dice.below(6) {
        0 => bytes.truncate(dice.index(bytes.len().max(1))),
        1 => bytes.extend(nonsense(dice)),
        2 => bytes = nonsense(dice).collect(),
        3 => bytes.clear(),
        // A number that says that very much follows.
        4 => {
            let at = dice.index(bytes.len().max(1));
            let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
            bytes.splice(at..at, most);
        }
        _ => flip(&mut bytes, dice),
    }
    bytes.into()
}

/// Makes another chunk of a chunk's frame; nothing if it is none.
fn lie(frame: &Bytes, dice: &mut Dice) -> Option<Bytes> {
    let sent = decode_bulk(frame.clone()).ok()?;
    let mut chunk = sent.chunk.to_vec();
    match dice.below(4) {
        0 => chunk.truncate(dice.index(chunk.len().max(1))),
        1 => chunk.extend(nonsense(dice)),
        2 => chunk = nonsense(dice).collect(),
        _ => flip(&mut chunk, dice),
    }
    let chunk = chunk.into();
    Some(encode_bulk(&BulkChunk { chunk, ..sent }))
}

fn nonsense(dice: &mut Dice) -> impl Iterator<Item = u8> + '_ {
    let length = dice.scaled(1, NONSENSE);
    (0..length).map(|_| dice.below(256) as u8)
}

/// Turns one bit around.
fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let at = dice.index(bytes.len().max(1));
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << dice.below(8);
    }
}

impl World {
    /// Returns what a peer sends instead of a frame; nothing if that must not arrive.
    pub(crate) fn as_sent(&mut self, number: usize, lane: Lane, frame: Bytes) -> Option<Sent> {
        let node = &mut self.nodes[number];
        let hostile = node.hostile;
        if hostile.garbles == 0 && hostile.lies == 0 {
            let garbled = false;
            return Some(Sent { frame, garbled });
        }
        let sent = hostile.alter(lane, frame.clone(), &mut node.dice.hostile)?;
        let garbled = sent != frame;
        match lane {
            _ if !garbled => {}
            Lane::Bulk => self.mark("hostile: a chunk is another"),
            _ => self.mark("hostile: a frame is garbled"),
        }
        let frame = sent;
        Some(Sent { frame, garbled })
    }

    /// Looks at a link that a peer closes.
    pub(crate) fn judge_close(&mut self, number: usize, link: LinkId, code: CloseCode) {
        let blames = matches!(
            code,
            CloseCode::BadFrame
                | CloseCode::TooLarge
                | CloseCode::UnknownVersion
                | CloseCode::Misbehaved
        );
        let life = self.nodes[number].life.as_ref();
        let end = life.and_then(|life| life.links.get(&link).copied());
        let far = end.and_then(|(link, side)| self.network.far_end(link, side));
        let (true, Some(far)) = (blames, far) else {
            return;
        };
        self.mark("hostile: a link is closed for it");
        // Who loses a greeting, or brings it twice, is blamed, too: links of QUIC do neither.
        let weather = code == CloseCode::Misbehaved && self.network.was_foul();
        if !self.nodes[far].hostile.was && !weather {
            let detail = format!("the link to peer {far}, which was not hostile: {code:?}");
            self.found_at(number, "blames-the-guilty", detail);
        }
    }

    /// Looks at a provider that a peer sets aside.
    pub(crate) fn judge_blame(&mut self, number: usize, event: &Event) {
        if let Event::Group {
            event:
                GroupEvent::ProviderSetAside {
                    peer,
                    reason: Refusal::WrongChunk,
                },
            ..
        } = event
            && let Some(far) = self.numbers.get(peer).copied()
        {
            self.mark("hostile: a provider is set aside for it");
            if !self.nodes[far].hostile.was {
                let detail = format!("provider {far} sent no chunk that was another");
                self.found_at(number, "blames-the-guilty", detail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{
        Cursor, GenesisId, GroupId, Incarnation, SessionId,
        wire::{Address, Malformed},
    };

    use super::*;

    fn chunk() -> Bytes {
        encode_bulk(&BulkChunk {
            address: Address {
                group: GroupId([1; 16]),
                genesis: GenesisId([2; 16]),
                to: Incarnation(3),
            },
            session: SessionId(4),
            fetch: 5,
            anchor: Cursor::ZERO,
            chunk: vec![6; 300].into(),
        })
    }

    #[test]
    fn a_lie_is_a_chunk_of_the_same_fetch_with_other_bytes() -> Result<(), Malformed> {
        let mut dice = Dice::new(1, "hostile", 0);
        let honest = decode_bulk(chunk())?;
        for _ in 0..200 {
            let lie = decode_bulk(lie(&chunk(), &mut dice).unwrap())?;
            assert_eq!((lie.session, lie.fetch), (honest.session, honest.fetch));
            assert_ne!(lie.chunk, honest.chunk);
        }
        Ok(())
    }

    #[test]
    fn what_stays_readable_does_not_arrive_but_for_chunks() {
        let mut dice = Dice::new(1, "hostile", 0);
        let all = Hostile {
            garbles: crate::dice::MILLION,
            ..Hostile::default()
        };
        let mut arrived = 0;
        for _ in 0..500 {
            let sent = all.alter(Lane::Control, Bytes::from_static(b"\x01\x02"), &mut dice);
            if let Some(sent) = sent {
                assert!(decode_control(&sent).is_err());
                arrived += 1;
            }
        }
        assert!(arrived > 300, "{arrived}");
        let none = Hostile::default();
        assert_eq!(none.alter(Lane::Bulk, chunk(), &mut dice), Some(chunk()));
    }
}
