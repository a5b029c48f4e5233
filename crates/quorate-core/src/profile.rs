//! Operational parameters of a group: local, and free to differ between peers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a group behaves in time and size.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupProfile {
    /// How often a leader says that it lives.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a voter campaigns.
    pub election_min: Duration,
    /// The longest such time.
    pub election_max: Duration,
    /// The wanted number of voters; odd, an even number counts as the odd one below it.
    pub voters: usize,
    /// Whether this peer never becomes a voter: as a learner it holds the state and serves it.
    ///
    /// A seat that it already has it keeps, until it leaves.
    #[serde(default)]
    pub reader: bool,
    /// How long a voter must be gone before a healthy learner replaces it.
    pub replace_after: Duration,
    /// How many applied entries the log keeps.
    pub reserve_entries: u64,
    /// How many bytes of applied entries the log keeps, if that is fewer.
    pub reserve_bytes: u64,
    /// How long a snapshot is kept after its last valid fetch.
    pub snapshot_ttl: Duration,
    /// How many items a session asks for at once.
    pub batch_items: u64,
    /// How many bytes a session asks for at once.
    pub batch_bytes: u64,
    /// How long a session waits for an offer before it asks again.
    pub request_timeout: Duration,
    /// How long a session waits for a range before it asks another provider.
    pub fetch_timeout: Duration,
    /// Whether all applied entries stay in the log because a restart must replay them.
    pub keep_log: bool,
}

impl GroupProfile {
    /// Peers on one machine or one local network.
    pub fn lan() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(500),
            voters: 5,
            reader: false,
            replace_after: Duration::from_secs(10),
            reserve_entries: 8_192,
            reserve_bytes: 8 << 20,
            snapshot_ttl: Duration::from_secs(10),
            batch_items: 2_000,
            batch_bytes: 1 << 20,
            request_timeout: Duration::from_secs(15),
            fetch_timeout: Duration::from_secs(5),
            keep_log: false,
        }
    }

    /// Peers across the Internet.
    pub fn wan() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            election_min: Duration::from_secs(3),
            election_max: Duration::from_secs(6),
            replace_after: Duration::from_secs(120),
            ..Self::lan()
        }
    }
}

impl Default for GroupProfile {
    fn default() -> Self {
        Self::lan()
    }
}
