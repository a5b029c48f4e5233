//! A session alone, with everybody else played by the test.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    cursor::{Cursor, Term},
    event::{GroupEvent, Refusal},
    id::{GenesisId, Member, SessionId},
    profile::GroupProfile,
    state_op::{FetchId, Part, Verdict},
    sync::{
        Phase, Session, SessionStart, SyncOut, Terms,
        testing::{at, digest, events, member, members, ms, sent},
    },
    time::Time,
    wire::Message,
};

pub(super) const ITEMS: u64 = 10_000;

/// A session with what it pushed since it was last looked at. Member 0 leads in term 2; members 0
/// to 4 vote.
pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) out: Vec<SyncOut>,
    pub(super) now: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) to: Member,
    pub(super) fetch: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(&GroupProfile::lan())
    }

    pub(super) fn with(profile: &GroupProfile) -> Self {
        let start = SessionStart {
            session: SessionId(7),
            genesis: GenesisId([1; 16]),
            me: member(9),
            have: at(10),
            leader: Some(member(0)),
            term: Term(2),
        };
        let mut out = Vec::new();
        let session = Session::new(ms(0), start, profile, &mut out);
        let now = ms(0);
        Self { session, out, now }
    }

    /// A session that fetches `ITEMS` items at anchor 20 from members 0 to `count`, the leader
    /// among them.
    pub(super) fn fetching(count: u8) -> Self {
        let mut rig = Self::new();
        rig.authorize(20);
        for n in (0..count).rev() {
            rig.offer(n, 20, 1);
        }
        if count == 1 {
            rig.pass(1_000);
        }
        assert_eq!(rig.session.phase(), Phase::Fetching);
        rig
    }

    pub(super) fn offer(&mut self, from: u8, anchor: u64, hash: u8) {
        self.offer_items(from, anchor, hash, ITEMS);
    }

    pub(super) fn offer_items(&mut self, from: u8, anchor: u64, hash: u8, items: u64) {
        let terms = Terms {
            items,
            bytes: items * 100,
            digest: digest(hash),
        };
        let (now, id, offer) = (self.now, SessionId(7), (at(anchor), terms));
        self.session
            .on_offer(now, member(from), id, offer, &mut self.out);
    }

    pub(super) fn authorize(&mut self, anchor: u64) {
        self.authorized(0, anchor, 2, true);
    }

    pub(super) fn authorized(&mut self, from: u8, anchor: u64, term: u64, good: bool) {
        let voters = members(5);
        let answer = (Term(term), good, &voters[..]);
        let (now, out) = (self.now, &mut self.out);
        self.session
            .on_authorized(now, member(from), SessionId(7), at(anchor), answer, out);
    }

    pub(super) fn lead(&mut self, leader: u8, term: u64) {
        let (now, out) = (self.now, &mut self.out);
        self.session
            .on_leader(now, Some(member(leader)), Term(term), out);
    }

    /// Lets time pass, with a tick whenever one is due.
    pub(super) fn pass(&mut self, wait: u64) {
        let end = self.now.after(Duration::from_millis(wait));
        while let Some(due) = self.session.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.session.tick(self.now, &mut self.out);
            let next = self.session.deadline();
            assert!(next.is_none_or(|next| next > self.now), "due again at once");
        }
        self.now = end;
    }

    /// Returns the ranges asked for since the last look, and forgets what was pushed.
    pub(super) fn asked(&mut self) -> Vec<Asked> {
        let asked = sent(&self.out)
            .into_iter()
            .filter_map(|(to, message)| match message {
                Message::Fetch {
                    fetch,
                    part: Part::Items { start, end, .. },
                    ..
                } => Some(Asked {
                    to,
                    fetch: *fetch,
                    start: *start,
                    end: *end,
                }),
                _ => None,
            });
        let asked = asked.collect();
        self.out.clear();
        asked
    }

    pub(super) fn chunk(&mut self, asked: Asked, anchor: u64) {
        let (now, named) = (self.now, (SessionId(7), asked.fetch, at(anchor)));
        self.session.on_chunk(
            now,
            asked.to,
            named,
            Bytes::from_static(b"chunk"),
            &mut self.out,
        );
    }

    pub(super) fn verdict(&mut self, asked: Asked, verdict: Verdict) {
        let (now, fetch) = (self.now, FetchId(asked.fetch));
        self.session.on_verified(now, fetch, verdict, &mut self.out);
    }

    /// Answers a fetch with the items from its start to `end`.
    pub(super) fn answer(&mut self, asked: Asked, end: u64) {
        self.chunk(asked, 20);
        let kept = Verdict::Kept {
            items: (asked.start, end),
            unfinished: None,
            pieces: Vec::new(),
            bytes: (end - asked.start) * 100,
        };
        self.verdict(asked, kept);
    }

    pub(super) fn refuse(&mut self, asked: Asked, reason: Refusal) {
        let (now, named) = (self.now, (SessionId(7), asked.fetch));
        self.session
            .on_fetch_refused(now, asked.to, named, reason, &mut self.out);
    }

    /// Answers everything that is asked, by whomever, until the session installs.
    pub(super) fn finish(&mut self, mut asked: Vec<Asked>) {
        for _ in 0..10_000 {
            let Some(next) = asked.pop() else { break };
            self.answer(next, next.end);
            if self.session.phase() == Phase::Installing {
                return;
            }
            asked.extend(self.asked());
        }
        panic!("it never gets everything: {:?}", self.session.progress());
    }

    pub(super) fn requests(&self) -> Vec<Member> {
        let request = |(_, message): &(Member, &Message)| match message {
            Message::SnapshotRequest { member: asks, .. } => *asks == member(9),
            _ => false,
        };
        sent(&self.out)
            .into_iter()
            .filter(request)
            .map(|(to, _)| to)
            .collect()
    }

    pub(super) fn questions(&self) -> Vec<(Member, Cursor)> {
        let question = |(to, message): (Member, &Message)| match message {
            Message::Authorize { anchor, .. } => Some((to, *anchor)),
            _ => None,
        };
        sent(&self.out).into_iter().filter_map(question).collect()
    }

    pub(super) fn started(&self) -> Vec<(Cursor, bool)> {
        let started = |event: &&GroupEvent| match event {
            GroupEvent::RestoreStarted {
                anchor, confirmed, ..
            } => Some((*anchor, *confirmed)),
            _ => None,
        };
        events(&self.out).iter().filter_map(started).collect()
    }

    pub(super) fn set_aside(&self) -> Vec<(Member, Refusal)> {
        let aside = |event: &&GroupEvent| match event {
            GroupEvent::ProviderSetAside { peer, reason } => Some((member(peer.0[0]), *reason)),
            _ => None,
        };
        events(&self.out).iter().filter_map(aside).collect()
    }
}
