//! What one group asks for during a step, before the peer turns it into effects.

use bytes::Bytes;

use crate::{
    client::{Reply, RequestId},
    cursor::{Cursor, Index},
    disk_op::{DiskId, DiskWrite},
    event::GroupEvent,
    id::{GenesisId, Member, PeerId, SessionId},
    state_op::StateOp,
    wire::{Message, Replication},
};

/// The wishes of one group; emptied by the peer after each call into the group.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Out {
    /// Control messages, in order.
    pub(crate) messages: Vec<(Member, Option<GenesisId>, Message)>,
    /// Frames of the group's entries lane, in order.
    pub(crate) frames: Vec<(Member, Replication)>,
    /// Chunks of snapshots.
    pub(crate) chunks: Vec<Chunk>,
    /// Writes to the durable log, in order.
    pub(crate) disk: Vec<(DiskId, DiskWrite)>,
    /// Operations on the state, in order.
    pub(crate) state: Vec<StateOp>,
    /// Answers to clients.
    pub(crate) replies: Vec<(RequestId, Reply)>,
    /// What happened.
    pub(crate) events: Vec<GroupEvent>,
    /// Situations reached.
    pub(crate) marks: Vec<&'static str>,
    /// Indexes of markers that were appended to the log.
    pub(crate) markers: Vec<Index>,
    /// Peers that did what no correct peer does.
    pub(crate) misbehaved: Vec<PeerId>,
    next_disk: u64,
}

/// A chunk for a session elsewhere.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Chunk {
    pub(crate) to: Member,
    pub(crate) session: SessionId,
    pub(crate) fetch: u64,
    pub(crate) anchor: Cursor,
    pub(crate) chunk: Bytes,
}

impl Out {
    /// Tells whether nothing is asked for.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.frames.is_empty()
            && self.chunks.is_empty()
            && self.disk.is_empty()
            && self.state.is_empty()
            && self.replies.is_empty()
            && self.events.is_empty()
            && self.marks.is_empty()
            && self.misbehaved.is_empty()
    }

    /// Submits a write and returns the name of its completion.
    pub(crate) fn write(&mut self, write: DiskWrite) -> DiskId {
        self.next_disk += 1;
        let id = DiskId(self.next_disk);
        self.disk.push((id, write));
        id
    }

    /// Sends a control message.
    pub(crate) fn send(&mut self, to: Member, message: Message) {
        self.messages.push((to, None, message));
    }

    /// Sends a control message to a member of a history that this peer is not part of.
    pub(crate) fn send_to_history(&mut self, to: Member, genesis: GenesisId, message: Message) {
        self.messages.push((to, Some(genesis), message));
    }

    /// Says what was sent so far in the history it was said in: the peer goes on in another one.
    ///
    /// Frames of entries are lost, as on a link that breaks.
    pub(crate) fn belongs_to(&mut self, genesis: GenesisId) {
        for (_, history, _) in &mut self.messages {
            history.get_or_insert(genesis);
        }
        self.frames.clear();
        self.chunks.clear();
    }

    /// Sends a frame on the group's entries lane.
    pub(crate) fn frame(&mut self, to: Member, frame: Replication) {
        self.frames.push((to, frame));
    }

    /// Answers a client.
    pub(crate) fn reply(&mut self, request: RequestId, reply: Reply) {
        self.replies.push((request, reply));
    }

    /// Tells the user.
    pub(crate) fn event(&mut self, event: GroupEvent) {
        self.events.push(event);
    }

    /// Notes a situation.
    pub(crate) fn mark(&mut self, mark: &'static str) {
        self.marks.push(mark);
    }
}
