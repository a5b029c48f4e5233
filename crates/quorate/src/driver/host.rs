//! One group at work: its state, and those who watch it.

use std::{collections::VecDeque, sync::Arc};

use quorate_core::{Event, GroupId, GroupView, StateDone, StateOp};
use quorate_state::{
    Collections, Replica,
    collections::{Kind, prefix},
};
use tokio::sync::watch;

use super::{
    history::History,
    request::{Answer, Query},
};
use crate::{
    changes::{ChangesTap, Since},
    event::EventsTap,
    feed::{Feed, Limit},
    group::Seat,
    hall::Hall,
    limits::SUBSCRIBER_EVENTS,
    snapshot::{Published, Snapshot},
    status::GroupStatus,
};

/// One group at work.
#[derive(Debug)]
pub(super) struct Host {
    seat: Arc<Seat>,
    status: watch::Sender<GroupStatus>,
    replica: Replica,
    /// What the peer has asked of the state and is not done.
    asked: VecDeque<StateOp>,
    /// Whether this turn's slice of long work is done.
    sliced: bool,
    feed: Feed<Event, ()>,
    history: History,
    items: u64,
    bytes: u64,
}

impl Host {
    pub(super) fn new(hall: &Hall, group: GroupId, label: &str) -> Self {
        let (sender, status) = watch::channel(GroupStatus::new(hall.peer, group));
        let seat = Seat {
            group,
            label: label.to_owned(),
            status,
            published: Published::default(),
        };
        let mut replica = Replica::new(Arc::new(Collections));
        replica.watch(true);
        Self {
            seat: Arc::new(seat),
            status: sender,
            replica,
            asked: VecDeque::new(),
            sliced: false,
            feed: Feed::new(Limit {
                items: SUBSCRIBER_EVENTS,
                bytes: usize::MAX,
            }),
            history: History::default(),
            items: 0,
            bytes: 0,
        }
    }

    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    /// Queues an operation on the state.
    pub(super) fn ask(&mut self, op: StateOp) {
        self.asked.push_back(op);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn begin_turn(&mut self) {
        self.sliced = false;
    }

    /// Does the next operation; nothing if there is none to be done in this turn, else its answer.
    pub(super) fn work(&mut self) -> Option<Option<StateDone>> {
        let slice = matches!(self.asked.front()?, StateOp::Hash { .. } | StateOp::Sweep);
        if slice && self.sliced {
            return None;
        }
        self.sliced |= slice;
        let op = self.asked.pop_front()?;
        if matches!(
            op,
            StateOp::Begin { .. } | StateOp::Apply { .. } | StateOp::Install { .. }
        ) {
            self.seat.published.take_back();
        }
        let done = self.replica.execute(op);
        match &done {
            Some(StateDone::Applied { items, bytes, .. }) => {
                (self.items, self.bytes) = (*items, *bytes);
                self.history.record(self.replica.take_changes());
            }
            Some(StateDone::Installed {
                restored: Some(restored),
                ..
            }) => {
                (self.items, self.bytes) = (restored.items, restored.bytes);
                self.history.replace(restored.anchor);
            }
            _ => {}
        }
        Some(done)
    }

    /// Answers a query from the state as it is, and publishes it for the next ones.
    pub(super) fn answer(&mut self, query: &Query) -> Answer {
        let snapshot = Snapshot::new(self.replica.applied(), self.replica.tree().clone());
        let answer = snapshot.answer(query);
        self.seat.published.put(snapshot);
        answer
    }

    pub(super) fn subscribe(&mut self) -> EventsTap {
        self.feed.subscribe()
    }

    /// Subscribes to the changes of a map; nothing if no map can have that name.
    pub(super) fn changes(&mut self, map: &str, since: Since) -> Option<ChangesTap> {
        let prefix = prefix(Kind::Map, map)?;
        let applied = self.replica.applied();
        Some(self.history.subscribe(prefix.into(), since, applied))
    }

    pub(super) fn tell(&mut self, event: &Event) {
        self.feed.push(event, 0, &());
        if let Event::PeerRefused { peer, code } = event {
            let refused = Some((*peer, *code));
            self.status.send_modify(|status| status.refused = refused);
        }
    }

    /// Shows how the group stands.
    pub(super) fn show(&self, view: &GroupView<'_>) {
        let (items, bytes) = (self.items, self.bytes);
        self.status
            .send_if_modified(|status| status.refresh(view, items, bytes));
    }

    /// Tells everybody that there will be no more.
    pub(super) fn close(self) {
        self.seat.published.take_back();
        self.status.send_modify(|status| status.closed = true);
    }
}
