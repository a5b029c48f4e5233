//! Turns what groups ask for into effects.
//!
//! A call into a group leaves its wishes in [`crate::out::Out`]; they become effects at once, in a
//! fixed order of kinds. Small messages wait on their link for the end of the turn instead, so that
//! those of all groups share frames.

use crate::{
    disk_op::DiskOp,
    effect::{Effect, Effects, Lane},
    event::Event,
    id::{GenesisId, GroupId, Member},
    wire::{Address, BulkChunk, Control, Encoder, Envelope, encode_bulk, encode_control_in},
};

use super::Peer;

impl Peer {
    /// Sends the small messages that wait on the links.
    pub(super) fn flush_control(&mut self, effects: &mut Effects) {
        if !self.links.speaks() {
            return;
        }
        let mut room = self.scratch.take_bytes();
        self.links.empty_outboxes(|link, messages| {
            encode_control_in(&mut room, messages, |frame| {
                effects.push(Effect::Send {
                    link,
                    lane: Lane::Control,
                    frame,
                });
            });
        });
        self.scratch.give_bytes(room);
    }

    /// Turns the wishes of one group into effects.
    pub(super) fn flush(
        &mut self,
        group: GroupId,
        genesis: Option<GenesisId>,
        effects: &mut Effects,
    ) {
        let out = &mut self.out;
        move_all(&mut out.marks, effects, Effect::Mark);
        move_all(&mut out.disk, effects, |(id, write)| {
            self.writing.push_back((id, group));
            Effect::Disk(DiskOp { id, group, write })
        });
        move_all(&mut out.state, effects, |op| Effect::State { group, op });
        if !(out.messages.is_empty() && out.frames.is_empty() && out.chunks.is_empty()) {
            self.address_all(group, genesis, effects);
        }
        let out = &mut self.out;
        move_all(&mut out.replies, effects, |(request, reply)| {
            Effect::Reply { request, reply }
        });
        move_all(&mut out.events, effects, |event| {
            Effect::Event(Event::Group { group, event })
        });
    }

    /// Addresses what one group has for others.
    fn address_all(&mut self, group: GroupId, genesis: Option<GenesisId>, effects: &mut Effects) {
        let out = &mut self.out;
        let none = GenesisId([0; 16]);
        let address = |to: Member, genesis: Option<GenesisId>| Address {
            group,
            genesis: genesis.unwrap_or(none),
            to: to.incarnation,
        };
        for (to, history, message) in out.messages.drain(..) {
            self.links.say(to, group, || {
                let address = address(to, history.or(genesis));
                Control::Group(Envelope { address, message })
            });
        }
        if !out.frames.is_empty() {
            let mut encoder = Encoder::with_room(self.scratch.take_bytes());
            for (to, message) in out.frames.drain(..) {
                if let Some(link) = self.links.to(to, group) {
                    let frame = encoder.encode(&address(to, genesis), message);
                    effects.push(Effect::Send {
                        link,
                        lane: Lane::Entries(group),
                        frame,
                    });
                }
            }
            self.scratch.give_bytes(encoder.into_room());
        }
        for chunk in out.chunks.drain(..) {
            if let Some(link) = self.links.to(chunk.to, group) {
                let frame = encode_bulk(&BulkChunk {
                    address: address(chunk.to, genesis),
                    session: chunk.session,
                    fetch: chunk.fetch,
                    anchor: chunk.anchor,
                    chunk: chunk.chunk,
                });
                effects.push(Effect::Send {
                    link,
                    lane: Lane::Bulk,
                    frame,
                });
            }
        }
    }
}

/// Moves wishes to the effects; most calls into a group have none of most kinds.
#[inline]
fn move_all<T>(wishes: &mut Vec<T>, effects: &mut Effects, effect: impl FnMut(T) -> Effect) {
    if !wishes.is_empty() {
        effects.extend(wishes.drain(..).map(effect));
    }
}
