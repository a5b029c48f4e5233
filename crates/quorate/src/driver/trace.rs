//! What happens, for whoever reads a log: structured, under few stable targets.
//!
//! The targets and what they are about are part of the public documentation of the crate, where
//! they are listed. At INFO and above a peer is quiet: what is there is rare and matters to
//! whoever runs it. What repeats (a peer that is refused again at each of its dials) is said once.

use quorate_core::{CloseCode, Event, GroupEvent, Refusal};
use tracing::{debug, error, info, trace, warn};

/// Targets, as filters name them.
const GROUP: &str = "quorate::group";
const LINK: &str = "quorate::link";
const SYNC: &str = "quorate::sync";

/// Writes down what happened to peers; `news` tells whether a refusal was not there before.
pub(super) fn link(event: &Event, news: bool) {
    match event {
        Event::PeerUp { peer } => debug!(target: LINK, peer = peer.short(), "a link stands"),
        Event::PeerDown { peer, code } => {
            let why = code.map(CloseCode::reason);
            debug!(target: LINK, peer = peer.short(), why, "the link is gone");
        }
        Event::PeerRefused { peer, code } if news => {
            warn!(target: LINK, peer = peer.short(), why = code.reason(), "a peer was refused");
        }
        Event::PeerRefused { peer, code } => {
            let why = code.reason();
            debug!(target: LINK, peer = peer.short(), why, "a peer was refused again");
        }
        Event::IncarnationEnded => {
            warn!(target: LINK, "the peer is disowned as a copy: its incarnation has ended");
        }
        _ => {}
    }
}

/// Writes down what happened in the group called `label`.
pub(super) fn group(label: &str, event: &GroupEvent) {
    match event {
        GroupEvent::Formed { genesis } => {
            info!(target: GROUP, group = label, %genesis, "the group has a history here");
        }
        GroupEvent::Dissolved { genesis, into } => {
            let what = "the group was founded twice: this history is given up for another one";
            info!(target: GROUP, group = label, %genesis, %into, "{what}");
        }
        GroupEvent::Conflict { other } => {
            let what =
                "the group was founded twice, and both histories are in use: they do not mix";
            error!(target: GROUP, group = label, %other, "{what}");
        }
        GroupEvent::LeaderChanged { term, leader } => match leader {
            Some(leader) => {
                let leader = leader.peer.short();
                info!(target: GROUP, group = label, term = term.0, leader, "a leader is known");
            }
            None => debug!(target: GROUP, group = label, term = term.0, "no leader is known"),
        },
        GroupEvent::RoleChanged { term, role } => {
            debug!(target: GROUP, group = label, term = term.0, ?role, "the role changed");
        }
        GroupEvent::ConfigurationChanged {
            configuration,
            committed,
        } => {
            let (voters, learners) = (configuration.voters.len(), configuration.learners.len());
            if *committed && !configuration.is_joint() {
                info!(target: GROUP, group = label, voters, learners, "the members changed");
            } else {
                debug!(target: GROUP, group = label, ?configuration, committed, "members change");
            }
        }
        GroupEvent::Left => info!(target: GROUP, group = label, "this peer gave up its seat"),
        GroupEvent::CommittedTruncationRefused { peer } => {
            let what = "a leader asked to drop what is committed: refused";
            error!(target: GROUP, group = label, peer = peer.short(), "{what}");
        }
        GroupEvent::StateLost { at, text } => {
            let what = "the machine panicked: its state is made anew";
            error!(target: GROUP, group = label, after = %at, text, "{what}");
        }
        GroupEvent::Upgraded { version } => {
            info!(target: GROUP, group = label, version, "the state machine is upgraded");
        }
        GroupEvent::CannotRun { version, runs } => {
            let what = "this peer's state machine cannot run the version in effect";
            error!(target: GROUP, group = label, version, %runs, "{what}");
        }
        GroupEvent::Poisoned { reason } => {
            error!(target: GROUP, group = label, reason, "this peer takes no part any more");
        }
        _ => sync(label, event),
    }
}

/// Writes down what happened to snapshots and catch-ups.
fn sync(label: &str, event: &GroupEvent) {
    match event {
        GroupEvent::SessionStarted { session } => {
            info!(target: SYNC, group = label, session = session.0, "this peer lags: catching up");
        }
        GroupEvent::RestoreStarted {
            session,
            anchor,
            items,
            bytes,
            providers,
            confirmed,
        } => {
            let session = session.0;
            debug!(
                target: SYNC, group = label, session, %anchor, items, bytes, providers, confirmed,
                "restoring"
            );
        }
        GroupEvent::RestoreProgress {
            from,
            verified,
            total,
            ..
        } => {
            trace!(target: SYNC, group = label, from = from.short(), verified, total, "restored");
        }
        GroupEvent::ProviderSetAside { peer, reason } if *reason == Refusal::WrongChunk => {
            let what = "a provider sent what is not of the snapshot";
            warn!(target: SYNC, group = label, peer = peer.short(), "{what}");
        }
        GroupEvent::ProviderSetAside { peer, reason } => {
            debug!(target: SYNC, group = label, peer = peer.short(), ?reason, "not asked for now");
        }
        GroupEvent::Restored { session, anchor } => {
            let session = session.0;
            debug!(target: SYNC, group = label, session, %anchor, "the snapshot is in place");
        }
        GroupEvent::CaughtUp { session, applied } => {
            let session = session.0;
            info!(target: SYNC, group = label, session, %applied, "caught up");
        }
        GroupEvent::Diverged { anchor, peer } => {
            let what = "two peers state different digests at one cursor";
            error!(target: SYNC, group = label, %anchor, peer = peer.short(), "{what}");
        }
        GroupEvent::SnapshotCut { anchor, items } => {
            debug!(target: SYNC, group = label, %anchor, items, "a snapshot is kept for others");
        }
        GroupEvent::SnapshotForgotten { anchor } => {
            debug!(target: SYNC, group = label, %anchor, "a snapshot is forgotten");
        }
        GroupEvent::FetchRefused { peer, reason } => {
            debug!(target: SYNC, group = label, peer = peer.short(), ?reason, "not served");
        }
        other => debug!(target: SYNC, group = label, event = ?other, "something happened"),
    }
}
