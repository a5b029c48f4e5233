//! Conditions of a group as futures.

use std::future::Future;

use quorate_core::{Cursor, Member, PeerId, Role};
use tokio::sync::watch;

use crate::status::GroupStatus;

/// Waits for conditions of a group; see each method.
///
/// Every condition is looked at after each of the driver's turns. All are cancel-safe: nothing is
/// lost by dropping a future and asking again. They wait for as long as it takes: put a timeout
/// around them where that matters.
#[derive(Clone, Debug)]
pub struct When {
    status: watch::Receiver<GroupStatus>,
}

/// The network was closed before the condition came true.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the network was closed before the condition came true")]
#[non_exhaustive]
pub struct WhenClosed;

impl When {
    pub(crate) fn new(status: watch::Receiver<GroupStatus>) -> Self {
        Self { status }
    }

    /// Waits until this peer knows a leader; returns it.
    ///
    /// # Errors
    /// [`WhenClosed`], as for every condition.
    pub fn leader_elected(
        &self,
    ) -> impl Future<Output = Result<Member, WhenClosed>> + Send + use<> {
        let known = self.holds(|status| status.leader.is_some());
        async move { known.await?.leader.ok_or(WhenClosed) }
    }

    /// Waits until this peer knows a leader other than `peer`; returns it.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn leader_other_than(
        &self,
        peer: PeerId,
    ) -> impl Future<Output = Result<Member, WhenClosed>> + Send + use<> {
        let other = move |status: &GroupStatus| status.leader.filter(|other| other.peer != peer);
        let known = self.holds(move |status| other(status).is_some());
        async move { other(&known.await?).ok_or(WhenClosed) }
    }

    /// Waits until this peer is a member that follows the live log.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn caught_up(
        &self,
    ) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<> {
        self.holds(GroupStatus::is_caught_up)
    }

    /// Waits until the committed configuration has at least `n` members, learners included.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn members(
        &self,
        n: usize,
    ) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<> {
        self.holds(move |status| {
            status.configuration_committed && status.configuration.members().len() >= n
        })
    }

    /// Waits until the committed configuration has at least `n` voters and is not joint.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn voters(
        &self,
        n: usize,
    ) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<> {
        self.holds(move |status| {
            let configuration = &status.configuration;
            status.configuration_committed
                && !configuration.is_joint()
                && configuration.voters.len() >= n
        })
    }

    /// Waits until the state here has applied everything up to `cursor`.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn applied(
        &self,
        cursor: Cursor,
    ) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<> {
        self.holds(move |status| status.applied.index >= cursor.index)
    }

    /// Waits until this peer is in `role`.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn role(
        &self,
        role: Role,
    ) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<> {
        self.holds(move |status| status.genesis.is_some() && status.role == role)
    }

    /// Waits until this peer counts for quorums.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn voter(&self) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<> {
        self.holds(|status| status.configuration_committed && status.is_voter())
    }

    /// Waits until `condition` holds; returns the status in which it did.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub fn holds<C>(
        &self,
        mut condition: C,
    ) -> impl Future<Output = Result<GroupStatus, WhenClosed>> + Send + use<C>
    where
        C: FnMut(&GroupStatus) -> bool + Send,
    {
        let mut watched = self.status.clone();
        async move {
            let found = watched
                .wait_for(|status| status.closed || condition(status))
                .await
                .map_err(|_| WhenClosed)?
                .clone();
            if found.closed && !condition(&found) {
                return Err(WhenClosed);
            }
            Ok(found)
        }
    }
}
