//! State sync of one group, glued to its consensus and its state.
use super::group::Group;
use crate::{out::Out, wire::*, *};
#[derive(Debug)]
pub(crate) struct Syncing;
impl Syncing {
    pub(crate) fn new(_: &GroupProfile) -> Self {
        Self
    }
    pub(crate) fn started_at(&mut self, _: Index) {}
    pub(crate) fn deadline(&self) -> Time {
        Time::NEVER
    }
    pub(crate) fn is_installing(&self) -> bool {
        false
    }
    pub(crate) fn anchors(&self) -> Vec<Cursor> {
        Vec::new()
    }
    pub(crate) fn oldest_anchor(&self) -> Option<Index> {
        None
    }
}
impl Group {
    pub(super) fn on_sync_message(
        &mut self,
        _: Now,
        _: Member,
        m: Message,
        _: &mut Out,
    ) -> Option<Message> {
        Some(m)
    }
    pub(super) fn on_sync_done(&mut self, _: Now, _: StateDone, _: &mut Out) {}
    pub(super) fn on_source_gone(&mut self, _: Now, _: PeerId, _: &mut Out) {}
    pub(super) fn session_view(&self) -> Option<SessionView> {
        None
    }
    pub(super) fn tick_sync(&mut self, _: Now, _: &mut Out) {}
    pub(super) fn follow_sync(&mut self, _: Now, _: &mut Out) {}
    pub(super) fn on_marker(&mut self, _: Now, _: Cursor, _: &Marker, _: &mut Out) {}
    pub(crate) fn on_chunk(&mut self, _: Now, _: Member, _: BulkChunk, _: &mut Out) {}
}
