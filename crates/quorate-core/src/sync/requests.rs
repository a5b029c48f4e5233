//! The leader's side: from requests to markers, and what to do when a marker does not commit.
//!
//! Invariant: every request is answered within bounded time, by a marker that was applied, by the
//! leader's own offer, or by a refusal with a time to retry; never by silence. The marker alone
//! would not do: a voter that lags may be the one whose ack its commit waits for. Hence the leader
//! offers what it has applied itself (an applied cursor is committed, so it is a valid anchor) as
//! soon as a marker has waited for an election timeout.
//!
//! Requests that come within one interval share a marker, and there is one marker per interval, so
//! a thousand requests cost as many snapshots as ten.

use std::time::Duration;

use super::{Leading, Provider, SyncOut, refuse_request};
use crate::{
    cursor::Cursor,
    entry::{Marker, Requester},
    event::Refusal,
    id::Member,
    limits,
    profile::GroupProfile,
    time::{Now, Time},
    wire::Message,
};

/// The shortest time between two markers, and how long a request waits for company.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// The requests that wait at one leader.
#[derive(Clone, Hash, Debug)]
pub struct Requests {
    interval: Duration,
    patience: Duration,
    /// To be named in the next marker, in order of arrival.
    waiting: Vec<(Requester, Time)>,
    /// To be offered the leader's own state.
    own: Vec<Requester>,
    /// Markers proposed and not applied, oldest first.
    under_way: Vec<UnderWay>,
    /// When the last marker was proposed.
    last_marker: Option<Time>,
    /// When the leader last cut on the spot.
    last_cut: Option<Time>,
}

#[derive(Clone, Hash, Debug)]
struct UnderWay {
    marker: Marker,
    proposed: Time,
    overdue: bool,
}

impl Requests {
    /// Starts without any request.
    pub fn new(profile: &GroupProfile) -> Self {
        Self {
            interval: profile.heartbeat.max(LEAST_INTERVAL),
            patience: profile.election_max,
            waiting: Vec::new(),
            own: Vec::new(),
            under_way: Vec::new(),
            last_marker: None,
            last_cut: None,
        }
    }

    /// Takes a request; the caller has checked that its origin is its member, or a member of the
    /// group that vouches for it.
    ///
    /// A newer session of the same member takes the place of its older one. A session that is
    /// waited for already makes nothing new, however often it asks.
    pub fn on_request(&mut self, now: Time, requester: Requester, out: &mut Vec<SyncOut>) {
        let same = |other: &Requester| {
            (other.member, other.session) == (requester.member, requester.session)
        };
        let named = self
            .under_way
            .iter()
            .any(|u| !u.overdue && u.marker.requesters.iter().any(same));
        if named || self.own.iter().any(same) {
            return out.push(SyncOut::Mark("requests.repeated"));
        }
        let older = self
            .waiting
            .iter_mut()
            .find(|(other, _)| other.member == requester.member);
        if let Some((older, _)) = older {
            *older = requester;
            return out.push(SyncOut::Mark("requests.repeated"));
        }
        if self.waiting.len() + self.own.len() >= limits::SNAPSHOT_REQUESTS {
            out.push(SyncOut::Mark("requests.full"));
            let wait = (Refusal::Busy, self.interval);
            return refuse_request(requester.member, requester.session, wait, out);
        }
        self.waiting.push((requester, now));
    }

    /// Takes note that a marker was applied here: those it names get offers.
    pub fn on_applied(&mut self, marker: &Marker) {
        self.under_way.retain(|u| u.marker != *marker);
        let named = |other: &Requester| {
            let same = |r: &Requester| (r.member, r.session) == (other.member, other.session);
            marker.requesters.iter().any(same)
        };
        self.waiting.retain(|(other, _)| !named(other));
        self.own.retain(|other| !named(other));
    }

    /// Takes note that a marker could not be appended: those it names get the leader's own offer.
    pub fn on_unproposable(&mut self, marker: &Marker, out: &mut Vec<SyncOut>) {
        out.push(SyncOut::Mark("requests.unproposable"));
        self.under_way.retain(|u| u.marker != *marker);
        self.fall_back(&marker.requesters);
    }

    /// Drops everything: this peer does not lead any more, and sessions ask whoever does.
    pub fn on_leadership_lost(&mut self) {
        self.waiting.clear();
        self.own.clear();
        self.under_way.clear();
    }

    /// Does what is due; `applied` is the last cursor handed to the state so far.
    pub fn tick(
        &mut self,
        now: Now,
        applied: Cursor,
        leading: Leading<'_>,
        provider: &mut Provider,
        out: &mut Vec<SyncOut>,
    ) {
        let mut late = Vec::new();
        for u in &mut self.under_way {
            if !u.overdue && u.proposed.after(self.patience) <= now.time {
                u.overdue = true;
                late.extend_from_slice(&u.marker.requesters);
                out.push(SyncOut::Mark("requests.marker_overdue"));
            }
        }
        self.fall_back(&late);
        if self.marker_due().is_some_and(|due| due <= now.time) {
            if self.under_way.iter().any(|u| u.overdue) {
                // Another marker would only wait behind the one that does not commit.
                let waiting: Vec<Requester> = self.waiting.drain(..).map(|(r, _)| r).collect();
                let newer = |old: &Requester| waiting.iter().any(|r| r.member == old.member);
                self.own.retain(|old| !newer(old));
                self.own.extend(waiting);
            } else {
                self.propose(now, out);
            }
        }
        if self.cut_due(now.time).is_some_and(|due| due <= now.time) {
            self.offer_own(now.time, applied, leading, provider, out);
        }
    }

    /// Tells whether nobody waits for a snapshot.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty() && self.own.is_empty()
    }

    /// Returns when [`Requests::tick`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let overdue = self
            .under_way
            .iter()
            .filter(|u| !u.overdue)
            .map(|u| u.proposed.after(self.patience));
        overdue
            .chain(self.marker_due())
            .chain(self.cut_due(Time(0)))
            .min()
    }

    fn marker_due(&self) -> Option<Time> {
        let (_, since) = self.waiting.first()?;
        let company = since.after(self.interval);
        let rate = self.last_marker.map(|last| last.after(self.interval));
        Some(rate.map_or(company, |rate| rate.max(company)))
    }

    fn cut_due(&self, now: Time) -> Option<Time> {
        if self.own.is_empty() {
            return None;
        }
        Some(self.last_cut.map_or(now, |last| last.after(self.interval)))
    }

    fn propose(&mut self, now: Now, out: &mut Vec<SyncOut>) {
        let named = self.waiting.len().min(limits::REQUESTERS);
        let requesters = self.waiting.drain(..named).map(|(requester, _)| requester);
        let marker = Marker {
            requesters: requesters.collect(),
            requested_at: now.wall,
        };
        self.last_marker = Some(now.time);
        self.under_way.push(UnderWay {
            marker: marker.clone(),
            proposed: now.time,
            overdue: false,
        });
        out.push(SyncOut::Propose(marker));
    }

    fn offer_own(
        &mut self,
        now: Time,
        applied: Cursor,
        leading: Leading<'_>,
        provider: &mut Provider,
        out: &mut Vec<SyncOut>,
    ) {
        self.last_cut = Some(now);
        let (lagging, level): (Vec<_>, Vec<_>) = self
            .own
            .drain(..)
            .partition(|requester| requester.have.index < applied.index);
        let offered =
            lagging.is_empty() || provider.offer_own(now, applied, &lagging, Some(leading), out);
        let refused = if offered {
            level
        } else {
            [lagging, level].concat()
        };
        if offered {
            out.push(SyncOut::Mark("requests.own_offer"));
        }
        for requester in refused {
            if requester.have.index >= applied.index {
                // No snapshot would bring it on: entries do, whatever was said before.
                out.push(SyncOut::Replay {
                    to: requester.member,
                    after: requester.have,
                });
            }
            let wait = (Refusal::Busy, self.patience);
            refuse_request(requester.member, requester.session, wait, out);
        }
    }

    /// Offers the leader's own state to whoever waited for a marker in vain, but for those whose
    /// newer session waits already.
    fn fall_back(&mut self, requesters: &[Requester]) {
        for requester in requesters {
            let waits = |other: &Requester| other.member == requester.member;
            if !self.own.iter().any(waits) && !self.waiting.iter().any(|(r, _)| waits(r)) {
                self.own.push(*requester);
            }
        }
    }
}

/// Passes a request on to the leader, for a peer that does not lead.
///
/// At most once: what was passed on already is refused, or two peers that take each other for the
/// leader would send it to and fro for ever.
pub fn pass_on(
    from: Member,
    requester: Requester,
    leader: Option<Member>,
    profile: &GroupProfile,
    out: &mut Vec<SyncOut>,
) {
    let first_hand = from == requester.member;
    match leader.filter(|leader| first_hand && *leader != from) {
        Some(leader) => out.push(SyncOut::Send {
            to: leader,
            message: Message::SnapshotRequest {
                member: requester.member,
                session: requester.session,
                have: requester.have,
            },
        }),
        None => {
            let wait = (Refusal::NotLeader, profile.heartbeat);
            refuse_request(requester.member, requester.session, wait, out);
        }
    }
}

#[cfg(test)]
mod tests;
