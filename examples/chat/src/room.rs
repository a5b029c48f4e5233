//! The room: what is said in it, and who is there.
//!
//! The messages are a map from numbers to messages. A message's number is its place: one more
//! than that of the message before it. Several people speak at the same moment, so a number is
//! taken by a *compare and exchange*: the message is put there only if nothing is there yet. Who
//! comes second is told what is there, shows it, and tries the next number. So
//!
//! - no message takes another's place, and none is lost;
//! - numbers have no gaps, and their order is the order in which the group decided: what a late
//!   peer reads from the map is what the others saw live;
//! - saying something again, because nobody answered, is harmless: if the first try came through,
//!   the message itself stands in its place, and that is seen.
//!
//! Rejected: a clock's time as the key (two people, one millisecond; and clocks differ), and each
//! peer's own counter beside its id (no clash, but an order that nobody saw).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::Utc;
use futures::StreamExt as _;
use quorate::{LinkState, prelude::*};
use serde::{Deserialize, Serialize};

/// How many messages the room keeps.
pub(crate) const KEPT: u64 = 200;

/// One message, as the group holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// The name of who said it.
    pub(crate) name: String,
    /// When, in seconds since 1970, by the clock of who said it: for people to read.
    pub(crate) at: i64,
    /// What.
    pub(crate) what: What,
    /// The peer that said it, and its own count: no two messages are equal.
    by: (String, u64),
}

/// What can be said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// I am here.
    Came,
    /// A line of text.
    Said(String),
    /// I am gone.
    Left,
}

/// Somebody in the room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Person {
    /// What the others call them.
    pub(crate) name: String,
    /// Since when they are here, as [`Said::at`].
    pub(crate) since: i64,
}

/// The room as one of its people sees it; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    group: Group,
    messages: Map<u64, Said>,
    people: Map<String, Person>,
    name: String,
    peer: String,
    /// How many messages this peer has tried to say.
    mine: Arc<AtomicU64>,
    /// The highest number this peer has seen taken.
    latest: Arc<AtomicU64>,
}

impl Room {
    /// Looks at the room that `group` holds; writes nothing.
    pub(crate) fn new(net: &Network, group: &Group, name: &str) -> Self {
        Self {
            group: group.clone(),
            messages: group.map("messages"),
            people: group.map("people"),
            name: name.to_owned(),
            peer: net.peer().to_string(),
            mine: Arc::default(),
            latest: Arc::default(),
        }
    }

    /// Says something to all; returns its number once a majority of the peers has it.
    pub(crate) async fn say(&self, what: What) -> anyhow::Result<u64> {
        let said = Said {
            name: self.name.clone(),
            at: Utc::now().timestamp(),
            what,
            by: (self.peer.clone(), self.mine.fetch_add(1, Ordering::Relaxed)),
        };
        let mut number = self.latest.load(Ordering::Relaxed) + 1;
        let mut doubtful = false;
        loop {
            let put = self
                .messages
                .compare_exchange(number, None, Some(said.clone()));
            match put.await {
                // It is there now, or it has been there since an earlier try.
                Ok(done) if done.outcome.current.as_ref() == Some(&said) => break,
                // Somebody else was first.
                Ok(_) => number += 1,
                // Nobody answered in time: it may be there or not. The same again finds out.
                Err(WriteError::Unknown) => doubtful = true,
                Err(WriteError::Unavailable { .. }) if doubtful => {}
                // Anything else says that the message surely is not there.
                Err(error) => return Err(error.into()),
            }
        }
        self.latest.fetch_max(number, Ordering::Relaxed);
        self.forget(number).await?;
        Ok(number)
    }

    /// Removes what has become too old by the message `number`.
    ///
    /// Whoever speaks does it, and for all who did not come to it: usually it is one message.
    async fn forget(&self, number: u64) -> anyhow::Result<()> {
        for item in self.messages.iter(Read::Local).await? {
            let (old, _) = item?;
            if old + KEPT > number {
                break;
            }
            self.messages.remove(old).await?;
        }
        Ok(())
    }

    /// Puts this peer on the list of those who are here, and says so.
    pub(crate) async fn come(&self) -> anyhow::Result<()> {
        let me = Person {
            name: self.name.clone(),
            since: Utc::now().timestamp(),
        };
        self.people.insert(self.peer.clone(), me).await?;
        self.say(What::Came).await?;
        Ok(())
    }

    /// Takes this peer from the list of those who are here, and says so.
    pub(crate) async fn leave(&self) -> anyhow::Result<()> {
        self.people.remove(self.peer.clone()).await?;
        self.say(What::Left).await?;
        Ok(())
    }

    /// Returns who is here, by name; and, of those who went silent without a goodbye, since when.
    ///
    /// Who crashed could not take themselves from the list. But every peer sees how its links to
    /// the others stand, and that shows here.
    pub(crate) async fn people(&self) -> anyhow::Result<Vec<(Person, Option<i64>)>> {
        let mut here = Vec::new();
        let status = self.group.status();
        for item in self.people.iter(Read::Local).await? {
            let (peer, person) = item?;
            let known = status.peers.iter().find(|it| it.peer.to_string() == peer);
            let lost = known.filter(|it| it.link != LinkState::Up);
            here.push((person, lost.map(|it| it.since.timestamp())));
        }
        here.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Ok(here)
    }

    /// Follows what is said: first what the room keeps, then what comes.
    pub(crate) async fn news(&self) -> anyhow::Result<News> {
        // One consistent snapshot, which knows its cursor: the changes after that cursor are
        // exactly what is not in it.
        let kept = self.messages.iter(Read::Local).await?;
        let changes = self.messages.changes(Since::Cursor(kept.cursor()));
        Ok(News {
            room: self.clone(),
            read: kept.collect::<Result<_, _>>()?,
            missed: None,
            changes,
            shown: 0,
        })
    }
}

/// What is said, in order; see [`Room::news`].
pub(crate) struct News {
    room: Room,
    /// What was read and not yet shown.
    read: VecDeque<(u64, Said)>,
    /// The cursor up to which changes are missing.
    missed: Option<Cursor>,
    changes: Changes<u64, Said>,
    /// The number of the last message that was shown.
    shown: u64,
}

impl News {
    /// Waits for the next message; nothing when the network is closed.
    ///
    /// Cancel-safe: what was taken from the changes is kept here until it is returned.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Said>> {
        loop {
            while let Some((number, said)) = self.read.pop_front() {
                self.room.latest.fetch_max(number, Ordering::Relaxed);
                if number > self.shown {
                    self.shown = number;
                    return Ok(Some(said));
                }
            }
            // What was missed is in the map; messages that were shown already are passed over.
            if let Some(cursor) = self.missed {
                let kept = self.room.messages.iter(Read::AtLeast(cursor)).await?;
                self.read = kept.collect::<Result<_, _>>()?;
                self.missed = None;
                continue;
            }
            match self.changes.next().await {
                // A message that became too old and was removed has no value.
                Some(Ok(change)) => {
                    let said = change.value.map(|said| (change.key, said));
                    self.read.extend(said);
                }
                // This peer was cut off for long and was handed a snapshot: what it missed follows.
                Some(Err(ChangesError::Lagged(_))) => {}
                // This task did not come to take the changes for so long that some were dropped.
                Some(Err(ChangesError::Missed(cursor))) => self.missed = Some(cursor),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::join_all;
    use quorate::testing::Cluster;

    use super::*;

    async fn rooms() -> (Cluster, Vec<Room>) {
        let cluster = Cluster::local(3).await.unwrap();
        let mut rooms = Vec::new();
        for (i, name) in ["ada", "grace", "alan"].into_iter().enumerate() {
            let peer = cluster.peer(i);
            rooms.push(Room::new(&peer.net, &peer.group, name));
        }
        (cluster, rooms)
    }

    fn text(n: u64) -> What {
        What::Said(n.to_string())
    }

    async fn take(news: &mut News, n: usize) -> Vec<Said> {
        let mut taken = Vec::new();
        while taken.len() < n {
            taken.push(news.next().await.unwrap().unwrap());
        }
        taken
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_speaks_at_once_is_heard_in_one_order_and_nothing_is_lost() {
        let (_cluster, rooms) = rooms().await;
        let mut live = rooms[0].news().await.unwrap();
        let speak = |room: Room| async move {
            let mut numbers = Vec::new();
            for n in 0..20 {
                numbers.push(room.say(text(n)).await.unwrap());
            }
            assert!(numbers.is_sorted(), "a person's own lines stay in order");
            numbers
        };
        let numbers = join_all(rooms.iter().cloned().map(speak)).await.concat();
        let taken: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(taken, (1..=60).collect(), "each has a place of its own");
        let seen = take(&mut live, 60).await;
        // Who comes late sees what the others saw.
        let last = rooms[2].messages.len(Read::Linearizable).await.unwrap();
        assert_eq!(last, 60);
        let mut late = rooms[2].news().await.unwrap();
        assert_eq!(take(&mut late, 60).await, seen);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_room_keeps_the_last_messages_and_shows_none_twice() {
        let (_cluster, rooms) = rooms().await;
        let room = &rooms[1];
        let mut news = room.news().await.unwrap();
        for n in 1..=KEPT + 20 {
            assert_eq!(room.say(text(n)).await.unwrap(), n);
        }
        assert_eq!(room.messages.len(Read::Linearizable).await, Ok(KEPT));
        let seen = take(&mut news, KEPT as usize + 20).await;
        assert_eq!(seen[0].what, text(1));
        // As after a time in which nobody took the changes: nothing is shown again.
        news.missed = Some(room.group.status().applied);
        room.say(What::Left).await.unwrap();
        assert_eq!(take(&mut news, 1).await[0].what, What::Left);
        // An answer may come before this peer itself has applied the write.
        assert_eq!(room.messages.len(Read::Linearizable).await, Ok(KEPT));
        let mut late = room.news().await.unwrap();
        assert_eq!(take(&mut late, 1).await[0].what, text(22));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn people_are_listed_while_they_are_there() {
        let (mut cluster, rooms) = rooms().await;
        // A group may have a leader before all of its peers have a link to each other.
        let grace = cluster.peer(1).net.peer();
        let linked = |status: &quorate::GroupStatus| {
            let known = status.peers.iter().find(|it| it.peer == grace);
            known.is_some_and(|it| it.link == LinkState::Up)
        };
        rooms[0].group.when().holds(linked).await.unwrap();
        rooms[0].come().await.unwrap();
        rooms[1].come().await.unwrap();
        rooms[0].leave().await.unwrap();
        rooms[0].messages.len(Read::Linearizable).await.unwrap();
        let here = rooms[0].people().await.unwrap();
        assert_eq!(here.len(), 1);
        assert_eq!((here[0].0.name.as_str(), here[0].1), ("grace", None));
        // Grace's process dies: the others still list her, and say since when nobody hears her.
        cluster.kill(1);
        let lost = |status: &quorate::GroupStatus| !linked(status);
        rooms[0].group.when().holds(lost).await.unwrap();
        assert!(rooms[0].people().await.unwrap()[0].1.is_some());
    }
}
