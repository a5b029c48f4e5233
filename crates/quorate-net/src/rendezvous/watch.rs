//! Who comes and goes in a rendezvous directory.
//!
//! It is polled, often while things happen and seldom while nothing does. File notifications
//! would tell of cards that appear and vanish, but not of the lock that a dying process lets go
//! of, so polling would be needed beside them anyway.

use std::{collections::BTreeMap, time::Duration};

use quorate_core::PeerId;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};
use tracing::warn;

use super::{Card, Found, Rendezvous};
use crate::limits::SIGHTINGS;

/// Between two looks while things happen, and while nothing does.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_millis(500);

/// Looks without news after which things are taken to be quiet.
const QUIET_LOOKS: u32 = 50;

/// What changed in the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sighting {
    /// A peer is there, or says something new of itself.
    Found(Found),
    /// A peer is gone.
    Lost(PeerId),
}

/// What changes in the directory, in order; dropping it ends the watch.
#[derive(Debug)]
pub struct Sightings {
    queue: mpsc::Receiver<Sighting>,
    task: AbortHandle,
}

impl Sightings {
    /// Makes the receiving end of what `task` tells.
    pub(crate) fn new(queue: mpsc::Receiver<Sighting>, task: AbortHandle) -> Self {
        Self { queue, task }
    }

    /// Waits for the next change; `None` once the runtime ends. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Sighting> {
        self.queue.recv().await
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rendezvous {
    /// Begins to watch for peers other than `me`; all that are there already come first.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(&self, me: PeerId) -> Sightings {
        let (tell, queue) = mpsc::channel(SIGHTINGS);
        let task = tokio::spawn(watch(self.clone(), me, tell)).abort_handle();
        Sightings::new(queue, task)
    }
}

async fn watch(rendezvous: Rendezvous, me: PeerId, tell: mpsc::Sender<Sighting>) {
    let mut known: BTreeMap<PeerId, Card> = BTreeMap::new();
    let mut quiet = 0;
    loop {
        let looking = rendezvous.clone();
        let looked = spawn_blocking(move || looking.scan()).await;
        let seen = match looked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                // What is known stays: a directory that cannot be listed says nothing of peers.
                warn!(%error, "the rendezvous directory cannot be read");
                sleep(SELDOM).await;
                continue;
            }
            // The runtime is going down.
            Err(_) => return,
        };
        let news = compare(&mut known, seen, me);
        quiet = if news.is_empty() { quiet + 1 } else { 0 };
        for sighting in news {
            if tell.send(sighting).await.is_err() {
                return;
            }
        }
        sleep(if quiet < QUIET_LOOKS { OFTEN } else { SELDOM }).await;
    }
}

/// Brings `known` up to date and says what changed.
pub(crate) fn compare(
    known: &mut BTreeMap<PeerId, Card>,
    seen: Vec<Found>,
    me: PeerId,
) -> Vec<Sighting> {
    let seen: BTreeMap<PeerId, Card> = seen
        .into_iter()
        .filter(|found| found.peer != me)
        .map(|found| (found.peer, found.card))
        .collect();
    let lost = known
        .keys()
        .filter(|peer| !seen.contains_key(peer))
        .map(|peer| Sighting::Lost(*peer));
    let found = seen
        .iter()
        .filter(|(peer, card)| known.get(peer) != Some(card))
        .map(|(peer, card)| {
            Sighting::Found(Found {
                peer: *peer,
                card: card.clone(),
            })
        });
    let news = lost.chain(found).collect();
    *known = seen;
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: u8, pid: u32) -> Found {
        Found {
            peer: PeerId([peer; 32]),
            card: Card {
                pid,
                ..Card::default()
            },
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let (mut known, me) = (BTreeMap::new(), PeerId([9; 32]));
        let first = vec![found(1, 1), found(2, 1), found(9, 1)];
        assert_eq!(
            compare(&mut known, first.clone(), me),
            [Sighting::Found(found(1, 1)), Sighting::Found(found(2, 1))]
        );
        assert_eq!(compare(&mut known, first, me), []);
        assert_eq!(
            compare(&mut known, vec![found(2, 5)], me),
            [
                Sighting::Lost(PeerId([1; 32])),
                Sighting::Found(found(2, 5))
            ]
        );
    }
}
