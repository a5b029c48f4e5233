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
