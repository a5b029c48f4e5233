//! Who may found a group on this machine: waiting for the lock that picks one.
//!
//! Of all peers that open a group without saying how it comes to be, the holder of a lock in the
//! rendezvous directory may found it. The lock goes with the process that holds it, however that
//! ends, and the next one who looks gets it. Looking costs one attempt to lock a file, in a thread
//! for work that blocks; waiting for the lock in such a thread would cost the thread, and would
//! keep the runtime from ending.
//!
//! Whoever has a history does not look any more: it founds nothing.

use std::{sync::Arc, time::Duration};

use quorate_core::GroupId;
use quorate_net::rendezvous::{FounderLock, Rendezvous};
use tokio::{sync::watch, task::spawn_blocking, time::timeout};

use super::request::Request;
use crate::{group::Seat, hall::Hall, sight::PeerStatus, status::GroupStatus};

/// Between two looks whether the lock is free: as often as peers are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Begins to look for the right to found a group; tells the driver when this peer has it.
pub(super) fn seek(rendezvous: &Rendezvous, hall: &Arc<Hall>, seat: &Seat) {
    let (group, status) = (seat.group, seat.status.clone());
    let (rendezvous, hall) = (rendezvous.clone(), Arc::clone(hall));
    tokio::spawn(async move {
        if let Some(lock) = wait(rendezvous, group, status).await {
            // If the driver has stopped, the lock is free again.
            drop(hall.door.enter(Request::Founder { group, lock }));
        }
    });
}

/// Waits for the lock; nothing once it is not needed any more.
async fn wait(
    rendezvous: Rendezvous,
    group: GroupId,
    mut status: watch::Receiver<GroupStatus>,
) -> Option<FounderLock> {
    loop {
        let looking = rendezvous.clone();
        match spawn_blocking(move || looking.try_founder_lock(group)).await {
            Ok(Ok(Some(lock))) => {
                let free = knows_all(&rendezvous, &mut status).await;
                return free.then_some(lock);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the right to found a group cannot be asked for");
            }
            // The runtime is going down.
            Err(_) => return None,
        }
        // An error is the end of the driver.
        if timeout(LOOK, status.wait_for(over)).await.is_ok() {
            return None;
        }
    }
}

/// Tells whether the right to found a group is of no use any more.
fn over(status: &GroupStatus) -> bool {
    status.closed || status.genesis.is_some()
}

/// Waits until this peer knows of all that the directory lists; tells whether it may still found.
///
/// The lock is free as soon as its last holder has gone, and may be had before the directory was
/// read for the first time. Whoever looked around then would see nobody, and found a second group.
async fn knows_all(rendezvous: &Rendezvous, status: &mut watch::Receiver<GroupStatus>) -> bool {
    loop {
        let looking = rendezvous.clone();
        let there = match spawn_blocking(move || looking.scan()).await {
            Ok(Ok(there)) => there,
            Ok(Err(error)) => {
                tracing::warn!(%error, "who is on this machine cannot be seen");
                Vec::new()
            }
            Err(_) => return false,
        };
        let known = |status: &GroupStatus| {
            there.iter().all(|found| {
                let known = |other: &PeerStatus| other.peer == found.peer;
                found.peer == status.peer || status.peers.iter().any(known)
            })
        };
        if known(&status.borrow()) {
            return true;
        }
        // Looked at anew: who was there may have gone before it was seen.
        if timeout(LOOK, status.wait_for(over)).await.is_ok() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_core::{Form, GenesisId, NetworkId, PeerId};

    use super::*;

    const GROUP: GroupId = GroupId([7; 16]);

    fn status() -> watch::Sender<GroupStatus> {
        let form = Form::Auto { locked: true };
        watch::Sender::new(GroupStatus::new(PeerId([1; 32]), GROUP, form))
    }

    fn place() -> (tempfile::TempDir, Rendezvous) {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let place = tempfile::Builder::new().permissions(private).tempdir();
        let place = place.unwrap();
        let rendezvous = Rendezvous::open(Some(place.path()), NetworkId::from_name("shop"));
        (place, rendezvous.unwrap())
    }

    #[tokio::test]
    async fn the_lock_goes_on_when_its_holder_goes() {
        let (_place, rendezvous) = place();
        let status = status();
        let wait = || wait(rendezvous.clone(), GROUP, status.subscribe());
        let held = wait().await.expect("nobody has it");
        let mut next = Box::pin(wait());
        // Several looks.
        assert!(timeout(3 * LOOK, &mut next).await.is_err());
        drop(held);
        let passed = timeout(Duration::from_secs(60), next).await.unwrap();
        assert!(passed.is_some());
        let other = rendezvous.try_founder_lock(GROUP).unwrap();
        assert!(other.is_none(), "one holder at a time");
    }

    #[tokio::test]
    async fn whoever_has_a_history_or_is_closed_does_not_look_any_more() {
        let (_place, rendezvous) = place();
        let _held = rendezvous.try_founder_lock(GROUP).unwrap();
        let ends: [fn(&mut GroupStatus); 2] = [
            |status| status.genesis = Some(GenesisId([1; 16])),
            |status| status.closed = true,
        ];
        for end in ends {
            let status = status();
            let waiting = wait(rendezvous.clone(), GROUP, status.subscribe());
            status.send_modify(end);
            let waited = timeout(Duration::from_secs(60), waiting).await.unwrap();
            assert!(waited.is_none());
        }
    }
}
