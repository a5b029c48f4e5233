//! One group at work: its state, and those who watch it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use quorate_core::{
    Cursor, Event, GroupEvent, GroupId, GroupView, MemberView, Now, OpenGroup, Reply, StateDone,
    StateOp,
};
use quorate_net::rendezvous::FounderLock;
use quorate_state::{Machine, Replica, space, tree::Tree};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    clock::{self, Clock},
    history::History,
    request::{Answer, Query},
    trace,
};
use crate::{
    changes::{Since, Subscribed},
    event::EventsTap,
    feed::{Feed, Limit},
    group::Seat,
    hall::Hall,
    limits::{FED_COMMANDS, SUBSCRIBER_EVENTS},
    meter::Meter,
    progress::Sessions,
    replacement::Replacement,
    sight::PeerStatus,
    snapshot::{Published, Snapshot},
    status::{GroupStatus, Shown},
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
    sessions: Sessions,
    meter: Meter,
    items: u64,
    bytes: u64,
    /// Whether this peer takes no part in the group any more.
    poisoned: bool,
    /// Held as long as this peer has the group open, if it may found it.
    founder: Option<FounderLock>,
}

impl Host {
    pub(super) fn new(
        hall: &Hall,
        group: GroupId,
        open: &OpenGroup,
        machine: Arc<dyn Machine>,
    ) -> Self {
        let (label, form) = (open.key.label(), open.form);
        let (sender, status) = watch::channel(GroupStatus::new(hall.peer, group, form));
        let seat = Seat {
            group,
            label: label.to_owned(),
            status,
            published: Published::default(),
            feeding: Arc::new(Semaphore::new(FED_COMMANDS)),
        };
        let mut replica = Replica::new(machine);
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
            sessions: Sessions::default(),
            meter: Meter::new(&hall.meters, label),
            items: 0,
            bytes: 0,
            poisoned: false,
            founder: None,
        }
    }

    /// Keeps the right to found the group.
    pub(super) fn keep(&mut self, lock: FounderLock) {
        self.founder = Some(lock);
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
        let before = self.to_be_replaced(&op);
        let begun = match &op {
            StateOp::Begin { genesis } => Some(*genesis),
            _ => None,
        };
        let began = matches!(op, StateOp::Apply { .. }).then(Instant::now);
        let known = self.replica.applied();
        let done = self.replica.execute(op);
        if let Some(began) = began {
            self.meter.applied(began.elapsed());
        }
        if let Some(genesis) = begun {
            let replaced = self.replaced(before);
            self.history.begin(genesis, replaced);
            return Some(done);
        }
        match &done {
            Some(StateDone::Applied { items, bytes, .. }) => {
                (self.items, self.bytes) = (*items, *bytes);
                self.history.record(self.replica.take_changes());
            }
            Some(StateDone::Failed { .. }) => self.history.lost_state(known),
            Some(StateDone::Read {
                chunk: Some(chunk), ..
            }) => self.meter.served(chunk.len()),
            Some(StateDone::Installed {
                restored: Some(restored),
                ..
            }) => {
                (self.items, self.bytes) = (restored.items, restored.bytes);
                let replaced = self.replaced(before);
                self.history.replace(restored.anchor, replaced);
            }
            _ => {}
        }
        Some(done)
    }

    /// Keeps the state that an operation may replace, if anybody watches it; O(1).
    fn to_be_replaced(&self, op: &StateOp) -> Option<(Tree, Cursor)> {
        let replaces = matches!(op, StateOp::Begin { .. } | StateOp::Install { .. });
        (replaces && self.history.is_watched())
            .then(|| (self.replica.tree().clone(), self.replica.applied()))
    }

    /// What those who watch are told of a state that was replaced by the present one.
    fn replaced(&self, before: Option<(Tree, Cursor)>) -> Option<Replacement> {
        let now = (self.replica.tree().clone(), self.replica.applied());
        before.map(|before| Replacement::new(before, now, Handle::current()))
    }

    /// Answers a query from the state as it is, and publishes it for the next ones; not if it is
    /// the state of a newer machine than this one, which would read it wrongly, or if it is lost.
    pub(super) fn answer(&mut self, query: &Query) -> Result<Answer, Reply> {
        if self.poisoned {
            return Err(Reply::Closed);
        }
        if self.replica.has_failed() {
            return Err(Reply::Unavailable);
        }
        let version = space::machine_version(self.replica.tree());
        if version > *self.replica.machine().versions().end() {
            return Err(Reply::TooOld);
        }
        let snapshot = Snapshot::new(self.replica.applied(), self.replica.tree().clone());
        let answer = snapshot.answer(query);
        self.seat.published.put(snapshot);
        Ok(answer)
    }

    pub(super) fn subscribe(&mut self) -> EventsTap {
        self.feed.subscribe()
    }

    /// Subscribes to the changes of keys that begin with `prefix`.
    pub(super) fn changes(&mut self, prefix: Bytes, since: Since) -> Subscribed {
        self.history.subscribe(prefix, since)
    }

    pub(super) fn tell(&mut self, event: &Event, now: Now) {
        self.feed.push(event, 0, &());
        if let Event::Group { event, .. } = event {
            self.sessions.on_event(event, now.time, Clock::date(now));
            self.meter.on_event(event);
            trace::group(&self.seat.label, event);
            if matches!(event, GroupEvent::Poisoned { .. }) {
                // It serves nobody any more, not even from memory.
                self.poisoned = true;
                self.seat.published.take_back();
            }
        }
        if let Event::PeerRefused { peer, code } = event {
            let refused = Some((*peer, *code));
            self.status.send_modify(|status| status.refused = refused);
        }
    }

    /// Takes note of how long a write took that came in here.
    pub(super) fn committed(&mut self, after: Duration) {
        self.meter.committed(after);
    }

    /// Shows how the group stands.
    pub(super) fn show(
        &mut self,
        view: &GroupView<'_>,
        members: &[MemberView],
        peers: &Arc<[PeerStatus]>,
        now: DateTime<Utc>,
    ) {
        if view.session().is_none() {
            self.sessions.none_under_way();
        }
        self.meter.show(view, members, self.items, self.bytes);
        let shown = Shown {
            items: self.items,
            bytes: self.bytes,
            progress: self.sessions.progress(),
            members,
            peers,
            now,
        };
        self.status
            .send_if_modified(|status| status.refresh(view, &shown));
    }

    /// Tells everybody that there will be no more.
    pub(super) fn close(self) {
        self.seat.published.take_back();
        self.status
            .send_modify(|status| status.close(clock::today()));
    }
}
