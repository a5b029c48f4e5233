//! Requests of clients that came before the group has a history here.

use crate::{
    client::{ClientOp, Reply, RequestId},
    limits,
    out::Out,
    time::Time,
};

/// Requests that wait for the group to form; each is unavailable at its deadline.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Early {
    requests: Vec<(RequestId, ClientOp)>,
}

impl Early {
    /// Keeps a request, if there is room.
    pub(crate) fn push(&mut self, request: RequestId, op: ClientOp, out: &mut Out) {
        if self.requests.len() >= limits::WAITING {
            out.reply(request, Reply::Busy);
        } else {
            self.requests.push((request, op));
        }
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Returns all of them, once the group has formed.
    pub(crate) fn take(&mut self) -> Vec<(RequestId, ClientOp)> {
        std::mem::take(&mut self.requests)
    }

    /// Answers all of them: there will be no group here.
    pub(crate) fn close(&mut self, out: &mut Out) {
        for (request, _) in self.take() {
            out.reply(request, Reply::Closed);
        }
    }

    /// Answers those whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Time, out: &mut Out) {
        self.requests.retain(|(request, op)| {
            let stays = op.deadline() > now;
            if !stays {
                out.reply(*request, Reply::Unavailable);
            }
            stays
        });
    }

    /// Returns when the first one is late.
    pub(crate) fn deadline(&self) -> Time {
        self.requests
            .iter()
            .map(|(_, op)| op.deadline())
            .min()
            .unwrap_or(Time::NEVER)
    }
}
