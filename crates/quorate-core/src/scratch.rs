//! Memory that is kept from one step to the next, so that a step need not ask for it again.
//!
//! Nothing is in it between two steps: it is no part of what a peer is, of its hash or of a copy.

use std::hash::{Hash, Hasher};

use crate::wire::Control;

/// The kept memory of one peer.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// For what is encoded.
    pub(crate) bytes: Vec<u8>,
    /// For the messages of a frame.
    pub(crate) messages: Vec<Control>,
}

/// What is kept of the room for encoding: a batch of small commands; who sends large ones has other
/// costs than to ask for memory.
const KEPT: usize = 64 << 10;

impl Scratch {
    /// Takes the room for encoding, empty; to be given back by [`Scratch::give_bytes`].
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes the room for encoding back.
    pub(crate) fn give_bytes(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= KEPT {
            bytes.clear();
            self.bytes = bytes;
        }
    }
}

impl Clone for Scratch {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Hash for Scratch {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
