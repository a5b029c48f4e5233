//! Conditions of a group as futures.

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
    pub async fn leader_elected(&self) -> Result<Member, WhenClosed> {
        let status = self.holds(|status| status.leader.is_some()).await?;
        status.leader.ok_or(WhenClosed)
    }

    /// Waits until this peer knows a leader other than `peer`; returns it.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn leader_other_than(&self, peer: PeerId) -> Result<Member, WhenClosed> {
        let other = |status: &GroupStatus| status.leader.filter(|leader| leader.peer != peer);
        let status = self.holds(|status| other(status).is_some()).await?;
        other(&status).ok_or(WhenClosed)
    }

    /// Waits until this peer is a member that follows the live log.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn caught_up(&self) -> Result<GroupStatus, WhenClosed> {
        self.holds(GroupStatus::is_caught_up).await
    }

    /// Waits until the committed configuration has at least `n` members, learners included.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn members(&self, n: usize) -> Result<GroupStatus, WhenClosed> {
        self.holds(|status| {
            status.configuration_committed && status.configuration.members().len() >= n
        })
        .await
    }

    /// Waits until the committed configuration has at least `n` voters and is not joint.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn voters(&self, n: usize) -> Result<GroupStatus, WhenClosed> {
        self.holds(|status| {
            let configuration = &status.configuration;
            status.configuration_committed
                && !configuration.is_joint()
                && configuration.voters.len() >= n
        })
        .await
    }

    /// Waits until the state here has applied everything up to `cursor`.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn applied(&self, cursor: Cursor) -> Result<GroupStatus, WhenClosed> {
        self.holds(|status| status.applied.index >= cursor.index)
            .await
    }

    /// Waits until this peer is in `role`.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn role(&self, role: Role) -> Result<GroupStatus, WhenClosed> {
        self.holds(|status| status.genesis.is_some() && status.role == role)
            .await
    }

    /// Waits until this peer counts for quorums.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn voter(&self) -> Result<GroupStatus, WhenClosed> {
        self.holds(|status| status.configuration_committed && status.is_voter())
            .await
    }

    /// Waits until `condition` holds; returns the status in which it did.
    ///
    /// # Errors
    /// [`WhenClosed`].
    pub async fn holds(
        &self,
        mut condition: impl FnMut(&GroupStatus) -> bool,
    ) -> Result<GroupStatus, WhenClosed> {
        let mut watched = self.status.clone();
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
