//! `GET /v1/status`: how the group stands on this peer.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use chrono::SecondsFormat;
use quorate::{Cursor, Member, PeerStatus, SessionPhase, SessionProgress};
use serde::{Deserialize, Serialize};

use crate::words;

use super::{
    app::{App, mark},
    error::{ApiError, json},
    params::Params,
};

/// A cursor, as an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct CursorBody {
    /// The term.
    pub(crate) term: u64,
    /// The index.
    pub(crate) index: u64,
}

impl From<Cursor> for CursorBody {
    fn from(cursor: Cursor) -> Self {
        Self {
            term: cursor.term.0,
            index: cursor.index.0,
        }
    }
}

/// How a group stands on a peer. Peers are named by their whole ids.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StatusBody {
    /// The peer that was asked.
    pub(crate) peer: String,
    /// The network's name.
    pub(crate) network: String,
    /// The group's name.
    pub(crate) group: String,
    /// The history, once there is one here.
    pub(crate) genesis: Option<String>,
    /// What the peer is: leader, follower, candidate, pre-candidate, learner or joiner.
    pub(crate) role: String,
    /// Who leads, if known.
    pub(crate) leader: Option<String>,
    /// The latest term.
    pub(crate) term: u64,
    /// The last index of the log here.
    pub(crate) last: u64,
    /// The last index known to be committed.
    pub(crate) commit: u64,
    /// The last index the state here has applied.
    pub(crate) applied: u64,
    /// The index that the log here begins after.
    pub(crate) base: u64,
    /// What an acknowledged write survives.
    pub(crate) durability: String,
    /// The version of the state machine in effect here.
    #[serde(default = "first_version")]
    pub(crate) version: u32,
    /// Items of the state here.
    pub(crate) items: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// Those who count.
    pub(crate) voters: Vec<String>,
    /// Those who replicate only.
    pub(crate) learners: Vec<String>,
    /// On the leader, why each learner does not vote.
    pub(crate) waiting: Vec<WaitingBody>,
    /// The other peers that this one knows of.
    pub(crate) peers: Vec<PeerBody>,
    /// Why the group cannot decide, if it cannot.
    pub(crate) standstill: Option<String>,
    /// Another history of the group that is in sight, if both have user commands.
    #[serde(default)]
    pub(crate) conflict: Option<String>,
    /// The catch-up under way here.
    pub(crate) session: Option<SessionBody>,
    /// What is wrong with the disk of the log here, if anything is.
    #[serde(default)]
    pub(crate) disk: Option<String>,
    /// Why this peer takes no part any more, if so.
    pub(crate) poisoned: Option<String>,
}

/// What a server that says nothing of it is at.
fn first_version() -> u32 {
    quorate::Versions::BEGINNING
}

/// Another peer, as this one sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PeerBody {
    /// Who.
    pub(crate) peer: String,
    /// How the link to it stands, in words.
    pub(crate) link: String,
    /// Since when, in the form of RFC 3339.
    pub(crate) since: String,
}

/// A learner that does not vote yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct WaitingBody {
    /// Who.
    pub(crate) peer: String,
    /// Why, in words.
    pub(crate) why: String,
}

/// A catch-up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SessionBody {
    /// What it is about now: asking, restoring or replaying.
    pub(crate) phase: String,
    /// Where the snapshot was cut, once one is chosen.
    pub(crate) anchor: Option<CursorBody>,
    /// Items that are there.
    pub(crate) items: u64,
    /// Items in all.
    pub(crate) items_total: u64,
    /// Bytes that were fetched.
    pub(crate) bytes: u64,
    /// Bytes in all.
    pub(crate) bytes_total: u64,
    /// Bytes per second.
    pub(crate) rate: u64,
    /// How long the rest will take, in milliseconds, if that is known.
    pub(crate) left_ms: Option<u64>,
    /// What each provider brought.
    pub(crate) sources: Vec<SourceBody>,
}

/// What one provider brought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SourceBody {
    /// Who.
    pub(crate) peer: String,
    /// Items.
    pub(crate) items: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

impl From<&SessionProgress> for SessionBody {
    fn from(progress: &SessionProgress) -> Self {
        let phase = match progress.phase {
            SessionPhase::Asking => "asking",
            SessionPhase::Restoring => "restoring",
            _ => "replaying",
        };
        let left = progress.left.map(|left| left.as_millis());
        Self {
            phase: phase.to_owned(),
            anchor: progress.anchor.map(CursorBody::from),
            items: progress.items,
            items_total: progress.items_total,
            bytes: progress.bytes,
            bytes_total: progress.bytes_total,
            rate: progress.rate,
            left_ms: left.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
            sources: progress
                .sources
                .iter()
                .map(|source| SourceBody {
                    peer: source.peer.to_string(),
                    items: source.items,
                    bytes: source.bytes,
                })
                .collect(),
        }
    }
}

impl StatusBody {
    pub(crate) fn of(app: &App) -> Self {
        let status = app.group.status();
        let ids = |members: &[Member]| members.iter().map(|one| one.peer.to_string()).collect();
        Self {
            peer: status.peer.to_string(),
            network: app.network.clone(),
            group: app.group.label().to_owned(),
            genesis: status.genesis.map(|genesis| genesis.to_string()),
            role: words::role(&status).to_owned(),
            leader: status.leader.map(|leader| leader.peer.to_string()),
            term: status.term.0,
            last: status.last.index.0,
            commit: status.commit.0,
            applied: status.applied.index.0,
            base: status.base.index.0,
            durability: words::durability(&app.net, &status).to_owned(),
            version: status.version,
            items: status.items,
            bytes: status.bytes,
            voters: ids(&status.configuration.voters),
            learners: ids(&status.configuration.learners),
            waiting: status
                .learners
                .iter()
                .map(|(peer, why)| WaitingBody {
                    peer: peer.to_string(),
                    why: words::why_learner(*why).to_owned(),
                })
                .collect(),
            peers: status.peers.iter().map(PeerBody::from).collect(),
            standstill: words::standstill(&status),
            conflict: status.conflict.map(|genesis| genesis.to_string()),
            session: status.progress.as_ref().map(SessionBody::from),
            disk: words::disk(&status).map(str::to_owned),
            poisoned: status.poisoned.map(str::to_owned),
        }
    }
}

impl From<&PeerStatus> for PeerBody {
    fn from(peer: &PeerStatus) -> Self {
        Self {
            peer: peer.peer.to_string(),
            link: words::link(peer),
            since: peer.since.to_rfc3339_opts(SecondsFormat::Millis, true),
        }
    }
}

/// Answers with the status; asks nobody, and never waits.
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    Params::of(request.uri(), &[])?;
    let mut response = json(StatusCode::OK, &StatusBody::of(&app));
    mark(&mut response, app.position());
    Ok(response)
}
