//! State sync: how a peer that lags gets the state from everybody at once.
//!
//! The peer asks the leader; the leader puts the request through the log as a *marker*; every peer
//! that applies the marker cuts a snapshot exactly at the marker's index, whatever its batches
//! were, so that all of them have the same bytes under the same *anchor*. Each offers its snapshot
//! with a digest; the peer that lags fetches ranges from all of them, has every chunk verified
//! against the digest, installs the whole, and goes on with the entries after the anchor that the
//! leader streamed meanwhile.
//!
//! Three parts without any knowledge of links: [`Requests`] on the leader, [`Provider`] on every
//! peer, [`Session`] on the one that lags. They take what happened and the time, and push what is
//! to be done to a list of [`SyncOut`].
//!
//! ```text
//! session                leader                     every peer that applies the marker
//!   SnapshotRequest --->  gathers, a marker --log--> Cut at its index, Hash in slices
//!   <--- Authorized ----  (with its own offer)
//!   <--------------------------------- Offer ------  {anchor, items, bytes, digest}
//!   Authorize --------->  a committed cursor? is what follows still there?
//!   StageFrom --------->  streams what follows the anchor, to be staged
//!   Fetch {range} -------------------------------->  clamps, Read
//!   <----------------- chunk, or FetchRefused -----  with the reason
//!   Verify each, Install
//! ```
//!
//! Timers, all of the local monotonic clock, all local parameters:
//!
//! | timer | where | length |
//! |---|---|---|
//! | a marker waits for company and for the last one | leader | a heartbeat, at least 100 ms |
//! | a marker is not applied | leader | the longest election timeout |
//! | a snapshot is not fetched from | provider | `snapshot_ttl`, from its offer |
//! | nothing came of a request | session | `request_timeout` |
//! | the leader did not answer about an anchor | session | the longest election timeout |
//! | nobody confirms the leader's digest | session | two election timeouts, or half a TTL |
//! | a fetch is not answered | session | `fetch_timeout` after the provider's last answer |
//! | a busy provider is left alone | session | 50 ms, doubling to 1 s |
//! | a silent provider is set aside | session | 1 s, doubling to 30 s |
//! | a provider that sent a wrong chunk is set aside | session | 30 s, doubling to 5 min |
//! | the same, when nobody else is left to ask | session | 1 s |
//!
//! What can go wrong, and what happens then:
//!
//! - The marker cannot commit, since its quorum needs the one that lags, or it cannot be proposed:
//!   the leader offers its own applied state, cut on the spot; without room for that, the request
//!   is refused with a time to retry.
//! - Requests come in floods: those that wait share one marker, markers have a rate, and a repeated
//!   request makes none.
//! - A peer applies in other batches: nothing, since each batch is cut at the marker
//!   ([`one_batch`]). It applies the marker long after it was appended: it cuts nothing, since the
//!   requester has others by now.
//! - A range is reversed, beyond the end, or as large as a number can be: it is refused with the
//!   reason, and the snapshot's life is not prolonged.
//! - A snapshot expires while in use: the fetch is refused; the session asks others, and for a new
//!   snapshot when nobody is left.
//! - A provider is slow, silent or gone: others take its ranges over, and it is set aside for a
//!   time. Its chunk is wrong: it is named and set aside for longer. Nobody is given up for ever.
//! - An answer is short: the rest is asked for again. Late: verified all the same. Doubled: known.
//!   Not ours: counted and dropped.
//! - Two peers state different digests: an alarm, and the majority of voters is believed.
//! - The leader changes: fetching goes on, and the new leader is asked whether it still has the
//!   tail behind the anchor. The tail is gone: the session moves to a newer anchor.
//! - The parts do not make the digest: everybody who stated it is suspect for a while, and all
//!   begins again.
//! - A link is lost: what the peer owes goes to others; offers are repeated when it is back.
//!
//! The rejected alternative is a snapshot sent by the leader: it costs the one peer that has writes
//! to order, and it dies with it.

mod missing;
mod offers;
mod progress;
mod provider;
mod ranges;
mod requests;
mod restore;
mod session;
mod sources;
#[cfg(test)]
mod testing;

use bytes::Bytes;

use crate::{
    cursor::{Cursor, Index, Term},
    entry::{Body, Entry, Marker},
    event::{GroupEvent, Refusal},
    id::{Member, SessionId},
    state_op::StateOp,
    wire::Message,
};

pub use offers::Terms;
pub use progress::{Progress, SourceProgress};
pub use provider::{FetchRequest, MarkerApplied, Provider};
pub use requests::{Requests, pass_on};
pub use session::{Phase, Session, SessionStart};

/// One thing that a part of state sync wants done.
#[derive(Clone, Hash, Debug)]
pub enum SyncOut {
    /// Do something with the group's state, in order.
    State(StateOp),
    /// Send a message of the control lane.
    Send {
        /// To whom.
        to: Member,
        /// What.
        message: Message,
    },
    /// Send a chunk on the bulk lane.
    Chunk {
        /// To whom.
        to: Member,
        /// The session that asked.
        session: SessionId,
        /// The session's name for the fetch.
        fetch: u64,
        /// The snapshot it is of.
        anchor: Cursor,
        /// The chunk.
        chunk: Bytes,
    },
    /// Tell the user.
    Event(GroupEvent),
    /// Note that a named situation was reached.
    Mark(&'static str),
    /// Propose a marker; only a leader is asked to. If it cannot be appended, tell
    /// [`Requests::on_unproposable`].
    Propose(Marker),
    /// Ask the leader for what follows this anchor, and stage it.
    StageFrom(Cursor),
    /// Send this member entries again, if the log holds what it has: a leader has no newer state.
    Replay {
        /// Whom.
        to: Member,
        /// What it has.
        after: Cursor,
    },
}

/// What a leader adds to its own offers: its permission to use the anchor.
#[derive(Clone, Copy, Debug)]
pub struct Leading<'a> {
    /// Its term.
    pub term: Term,
    /// The voters whose digests weigh.
    pub voters: &'a [Member],
}

/// Returns how many of `entries` may be applied in one operation: up to the first marker, included.
///
/// This is what makes anchors agree: however differently peers learn of commits, each of them
/// stands exactly at the marker when it cuts.
pub fn one_batch(entries: &[Entry]) -> usize {
    let marker = |entry: &Entry| matches!(entry.body, Body::Marker(_));
    entries
        .iter()
        .position(marker)
        .map_or(entries.len(), |at| at + 1)
}

/// Answers a session's question whether `anchor` may be restored from.
///
/// `term_at_anchor` is the term of the leader's entry at the anchor's index, if its log holds it or
/// starts right behind it. A new leader that does not know yet how far its predecessor had
/// committed says nothing; the session asks again.
pub fn authorize(
    to: Member,
    (session, anchor): (SessionId, Cursor),
    term_at_anchor: Option<Term>,
    commit: Index,
    leading: Leading<'_>,
    out: &mut Vec<SyncOut>,
) {
    let held = term_at_anchor == Some(anchor.term) && anchor != Cursor::ZERO;
    if held && anchor.index > commit {
        return out.push(SyncOut::Mark("leader.anchor_not_yet_committed"));
    }
    out.push(SyncOut::Send {
        to,
        message: Message::Authorized {
            term: leading.term,
            session,
            anchor,
            good: held,
            voters: leading.voters.to_vec(),
        },
    });
}

/// Refuses a request for a snapshot.
fn refuse_request(
    to: Member,
    session: SessionId,
    (reason, retry_after): (Refusal, std::time::Duration),
    out: &mut Vec<SyncOut>,
) {
    out.push(SyncOut::Send {
        to,
        message: Message::SnapshotRefused {
            session,
            reason,
            retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
        },
    });
}
