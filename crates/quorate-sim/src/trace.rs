//! The trace of a run: one rolling hash over everything that goes into and comes out of every peer.
//!
//! Two runs of one seed must do the same, byte for byte, in any process on any platform; the hash
//! says whether they did. A recorded trace keeps the hash after each event, so that two runs that
//! differ name the first event in which they do. What people read of a run (the last events of each
//! peer) is written only when a run is told to narrate: text for millions of events would cost more
//! than the run, and a failing run can simply be run again.

use std::fmt::Write as _;

use quorate_core::{
    Applied, Body, ClientOp, DiskOp, DiskWrite, Effect, Entry, Input, Lane, Recalled, Remembered,
    Reply, StateDone, StateOp, wire,
};

use crate::{hash::Rolling, narrate::Narration};

/// What a run keeps of its events, besides their hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// The hash after each event: 8 bytes an event.
    Hashes,
    /// The last events of each peer, this many, as text.
    LastEvents(usize),
    /// What the clients did and were told.
    History,
    /// What happened in the event with this number, as text.
    Event(u64),
}

/// The events of a run so far.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Rolling,
    events: u64,
    hashes: Option<Vec<u64>>,
    pub(crate) narration: Option<Narration>,
    /// The event that is told, by its number, and what it was.
    wanted: Option<(u64, String)>,
    scratch: Vec<u8>,
}

impl Trace {
    /// Starts the trace of a run of `peers` peers.
    pub(crate) fn new(keep: Keep, peers: usize) -> Self {
        Self {
            hash: Rolling::new(0),
            events: 0,
            hashes: (keep == Keep::Hashes).then(Vec::new),
            narration: match keep {
                Keep::LastEvents(events) => Some(Narration::new(peers, events)),
                Keep::Nothing | Keep::Hashes | Keep::History | Keep::Event(_) => None,
            },
            wanted: match keep {
                Keep::Event(event) => Some((event, String::new())),
                _ => None,
            },
            scratch: Vec::new(),
        }
    }

    /// Returns how many inputs and effects there were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Returns the hash of all of them.
    pub(crate) fn hash(&self) -> u128 {
        self.hash.value()
    }

    /// Returns the hash after each event, if they were kept.
    pub(crate) fn hashes(&self) -> Option<&[u64]> {
        self.hashes.as_deref()
    }

    /// Returns what happened in the event that [`Keep::Event`] named.
    pub(crate) fn wanted(&self) -> Option<&str> {
        self.wanted.as_ref().map(|(_, text)| text.as_str())
    }

    /// Keeps what happens now, if it is what is wanted.
    fn want(&mut self, at: u64, peer: usize, what: &dyn std::fmt::Debug) {
        if let Some((event, text)) = &mut self.wanted
            && *event == self.events
        {
            *text = format!("event {event} at {at} ns, peer {peer}: {what:?}");
        }
    }

    /// Takes an input of a peer.
    pub(crate) fn input(&mut self, at: u64, peer: usize, input: &Input) {
        if let Some(narration) = &mut self.narration {
            narration.input(at, peer, input);
        }
        self.want(at, peer, input);
        self.hash.word(at);
        self.hash.word(peer as u64);
        self.hash_input(input);
        self.close();
    }

    /// Takes an effect of a peer.
    pub(crate) fn effect(&mut self, at: u64, peer: usize, effect: &Effect) {
        if let Some(narration) = &mut self.narration {
            narration.effect(at, peer, effect);
        }
        self.want(at, peer, effect);
        self.hash.word(peer as u64);
        self.hash_effect(effect);
        self.close();
    }

    /// Takes something that was done to a peer.
    pub(crate) fn note(&mut self, at: u64, peer: usize, what: &str) {
        if let Some(narration) = &mut self.narration {
            narration.note(at, peer, what);
        }
        self.want(at, peer, &what);
        self.hash.word(at);
        self.hash.word(peer as u64);
        self.hash.bytes(what.as_bytes());
        self.close();
    }

    /// Tells of something that goes wrong, or of its end; what it does shows in the events.
    pub(crate) fn fault(&mut self, at: u64, what: impl FnOnce() -> String) {
        if let Some(narration) = &mut self.narration {
            narration.fault(at, &what());
        }
    }

    fn close(&mut self) {
        self.events += 1;
        if let Some(hashes) = &mut self.hashes {
            hashes.push(self.hash.value() as u64);
        }
    }

    fn hash_input(&mut self, input: &Input) {
        let hash = &mut self.hash;
        match input {
            Input::Frame { link, lane, bytes } => {
                hash.word(1);
                hash.word(link.0);
                hash_lane(hash, *lane);
                hash.bytes(bytes);
            }
            Input::Disk { id, result } => {
                hash.word(2);
                hash.word(id.0);
                hash.word(u64::from(result.is_ok()));
            }
            Input::State { done, .. } => hash_done(hash, done),
            Input::Client { request, op, .. } => {
                hash.word(3);
                hash.word(request.0);
                if let ClientOp::Write { command, deadline } = op {
                    hash.word(command.client.client.0);
                    hash.word(command.client.sequence);
                    hash.word(command.client.open);
                    hash.bytes(&command.bytes);
                    hash.word(deadline.0);
                }
            }
            Input::Wake => hash.word(4),
            Input::LinkUp { link, peer, .. } => {
                hash.word(5);
                hash.word(link.0);
                hash.bytes(&peer.0);
            }
            Input::Found(_)
            | Input::Lost(_)
            | Input::LinkDown { .. }
            | Input::DialFailed(_)
            | Input::Open(_)
            | Input::Space { .. }
            | Input::Founder(_) => hash_text(hash, input),
        }
    }

    fn hash_effect(&mut self, effect: &Effect) {
        let hash = &mut self.hash;
        match effect {
            Effect::Send { link, lane, frame } => {
                hash.word(11);
                hash.word(link.0);
                hash_lane(hash, *lane);
                hash.bytes(frame);
            }
            Effect::Disk(op) => hash_disk(hash, &mut self.scratch, op),
            Effect::State { op, .. } => match op {
                StateOp::Apply {
                    first,
                    entries,
                    outcomes,
                } => {
                    hash.word(12);
                    hash.word(first.term.0);
                    hash.word(first.index.0);
                    hash.word(entries.len() as u64);
                    hash.word(u64::from(*outcomes));
                }
                StateOp::Verify {
                    session,
                    fetch,
                    chunk,
                    ..
                } => {
                    hash.word(13);
                    hash.word(session.0);
                    hash.word(fetch.0);
                    hash.bytes(chunk);
                }
                op => hash_text(hash, op),
            },
            Effect::Reply { request, reply } => {
                hash.word(14);
                hash.word(request.0);
                if let Reply::Committed { cursor, outcome } = reply {
                    hash.word(cursor.term.0);
                    hash.word(cursor.index.0);
                    hash.bytes(outcome);
                } else {
                    hash_text(hash, reply);
                }
            }
            Effect::Mark(name) => {
                hash.word(15);
                hash.bytes(name.as_bytes());
            }
            Effect::Dial(_)
            | Effect::Close { .. }
            | Effect::Authenticated(_)
            | Effect::Remember(_)
            | Effect::EndIncarnation
            | Effect::Event(_) => hash_text(hash, effect),
        }
    }
}

/// Returns the first event in which two recorded traces differ.
pub fn first_difference(left: &[u64], right: &[u64]) -> Option<usize> {
    let common = left.iter().zip(right).position(|(one, other)| one != other);
    common.or_else(|| (left.len() != right.len()).then(|| left.len().min(right.len())))
}

fn hash_text(hash: &mut Rolling, value: &impl std::fmt::Debug) {
    write!(hash, "{value:?}").expect("hashing cannot fail");
}

fn hash_lane(hash: &mut Rolling, lane: Lane) {
    hash.word(match lane {
        Lane::Control => 1,
        Lane::Entries(_) => 2,
        Lane::Bulk => 3,
    });
}

fn hash_done(hash: &mut Rolling, done: &StateDone) {
    match done {
        StateDone::Applied {
            last,
            outcomes,
            fate,
            items,
            bytes,
        } => {
            if let Some(into) = fate.dissolved_into() {
                hash.bytes(&into.0);
            }
            for word in [6, last.term.0, last.index.0, *items, *bytes] {
                hash.word(word);
            }
            for outcome in outcomes {
                hash_applied(hash, outcome);
            }
        }
        StateDone::Read {
            fetch,
            chunk,
            items,
        } => {
            for word in [7, fetch.0, *items] {
                hash.word(word);
            }
            hash.bytes(chunk.as_deref().unwrap_or_default());
        }
        StateDone::Recalled { recalled } => {
            hash.word(8);
            for (name, recalled) in recalled {
                for word in [name.client.0, name.sequence, name.open] {
                    hash.word(word);
                }
                match recalled {
                    Recalled::Applied(remembered) => hash_remembered(hash, remembered),
                    recalled => hash_text(hash, recalled),
                }
            }
        }
        done => hash_text(hash, done),
    }
}

fn hash_remembered(hash: &mut Rolling, remembered: &Remembered) {
    hash.word(remembered.cursor.term.0);
    hash.word(remembered.cursor.index.0);
    hash.bytes(&remembered.outcome);
}

fn hash_disk(hash: &mut Rolling, scratch: &mut Vec<u8>, op: &DiskOp) {
    hash.word(16);
    hash.word(op.id.0);
    match &op.write {
        DiskWrite::Append { previous, entries } => {
            hash.word(previous.term.0);
            hash.word(previous.index.0);
            for entry in entries {
                hash_entry(hash, scratch, entry);
            }
        }
        write => hash_text(hash, write),
    }
}

/// Takes in what came of an entry.
pub(crate) fn hash_applied(hash: &mut Rolling, applied: &Applied) {
    match applied {
        Applied::Outcome(outcome) => {
            hash.word(1);
            hash.bytes(outcome);
        }
        Applied::Repeated(remembered) => {
            hash.word(2);
            hash_remembered(hash, remembered);
        }
        applied => hash_text(hash, applied),
    }
}

/// Takes an entry in.
pub(crate) fn hash_entry(hash: &mut Rolling, scratch: &mut Vec<u8>, entry: &Entry) {
    hash.word(entry.term.0);
    if let Body::Command(command) = &entry.body {
        hash.bytes(command);
    } else {
        scratch.clear();
        wire::encode_entry(scratch, entry);
        hash.bytes(scratch);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::{LinkId, PeerId};

    use super::*;

    #[test]
    fn a_different_byte_shows_from_its_event_on() {
        let run = |byte: u8| {
            let mut trace = Trace::new(Keep::Hashes, 1);
            trace.input(1, 0, &Input::Found(PeerId([1; 32])));
            trace.input(
                2,
                0,
                &Input::Frame {
                    link: LinkId(1),
                    lane: Lane::Control,
                    bytes: Bytes::from(vec![byte; 100]),
                },
            );
            trace.effect(2, 0, &Effect::Dial(PeerId([2; 32])));
            trace
        };
        let (one, same, other) = (run(1), run(1), run(2));
        assert_eq!(one.hash(), same.hash());
        assert_ne!(one.hash(), other.hash());
        let kept = |trace: &Trace| trace.hashes().unwrap().to_vec();
        assert_eq!(first_difference(&kept(&one), &kept(&same)), None);
        assert_eq!(first_difference(&kept(&one), &kept(&other)), Some(1));
        assert_eq!(first_difference(&kept(&one), &kept(&one)[..2]), Some(2));
    }
}
