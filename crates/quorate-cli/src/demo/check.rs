//! The last word: what every peer holds, item by item.

use anyhow::bail;
use quorate::{Read, testing::Cluster};

use super::{
    ENTRIES, LIVE,
    entries::{Entries, Line},
    name,
    story::count,
    writers::{self, Written},
};

/// Compares every living peer's items with what was acknowledged.
///
/// # Errors
/// What a peer lacks, or has and should not.
pub(super) async fn contents(
    cluster: &Cluster,
    entries: &Entries,
    written: &Written,
    seed: u64,
) -> anyhow::Result<()> {
    for i in cluster.living() {
        let peer = cluster.peer(i);
        let who = name(peer);
        let loaded = peer.group.map::<u64, Line>(ENTRIES);
        let mut found = 0;
        for item in loaded.iter(Read::Local).await? {
            let (key, line) = item?;
            if !entries.is(key, &line) {
                bail!("peer {who} has another value for entry {key} than was written");
            }
            found += 1;
        }
        // Keys are unique and all belong to the input, so the count says that none is missing.
        if found != entries.count() {
            bail!(
                "an acknowledged write is lost: peer {who} has {} of {} entries",
                count(found),
                count(entries.count())
            );
        }
        let live = peer.group.snapshot(Read::Local).await?;
        for key in written.keys() {
            if live.get::<u64, Line>(LIVE, key)? != Some(writers::value(seed, *key)) {
                bail!("an acknowledged write is lost: peer {who} lacks live write {key:#x}");
            }
        }
        let most = written.acknowledged() + written.unknown;
        let there = live.len(LIVE);
        if there > most {
            bail!(
                "peer {who} has {} live writes where at most {} were made",
                count(there),
                count(most)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate::Map;

    use super::*;

    /// A cluster of one that holds these entries and live writes.
    async fn holding(
        entries: impl IntoIterator<Item = (u64, Line)>,
        live: impl IntoIterator<Item = (u64, Line)>,
    ) -> Cluster {
        let cluster = Cluster::local(1).await.unwrap();
        let write = async |map: Map<u64, Line>, (key, line)| map.insert(key, line).await.unwrap();
        let group = &cluster.peer(0).group;
        for entry in entries {
            write(group.map(ENTRIES), entry).await;
        }
        for entry in live {
            write(group.map(LIVE), entry).await;
        }
        cluster
    }

    async fn verdict(
        entries: impl IntoIterator<Item = (u64, Line)>,
        live: impl IntoIterator<Item = (u64, Line)>,
    ) -> Result<(), String> {
        let cluster = holding(entries, live).await;
        let written = Written::of(vec![5], 1);
        let verdict = contents(&cluster, &Entries::generated(3, 7), &written, 7).await;
        verdict.map_err(|error| error.to_string())
    }

    fn all() -> impl Iterator<Item = (u64, Line)> {
        (1..=3).map(|i| (i, Entries::generated(3, 7).entry(i)))
    }

    fn live(keys: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Line)> {
        keys.map(|key| (key, writers::value(7, key)))
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_enough_and_unknown_writes_may_be_there() {
        assert_eq!(verdict(all(), live(5..6)).await, Ok(()));
        assert_eq!(verdict(all(), live(5..7)).await, Ok(()));
    }

    #[tokio::test]
    async fn anything_lost_changed_or_made_up_is_named() {
        let lost = verdict(all().skip(1), live(5..6)).await.unwrap_err();
        assert!(lost.contains("2 of 3 entries"), "{lost}");
        let changed = all().map(|(i, line)| (i, if i == 2 { writers::value(1, 1) } else { line }));
        let changed = verdict(changed, live(5..6)).await.unwrap_err();
        assert!(changed.contains("another value for entry 2"), "{changed}");
        let gone = verdict(all(), live(6..7)).await.unwrap_err();
        assert!(gone.contains("lacks live write 0x5"), "{gone}");
        let extra = verdict(all(), live(5..9)).await.unwrap_err();
        assert!(extra.contains("4 live writes where at most 2"), "{extra}");
    }
}
