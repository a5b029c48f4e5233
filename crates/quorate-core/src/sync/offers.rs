//! Who offers a snapshot of which anchor, and which of them may be believed.
//!
//! An offer is a claim. Two things make it usable: a leader says that the anchor is a committed
//! cursor whose tail it still has, and enough voters state one digest: a majority of them, or the
//! leader and one other. When only the leader answers (its followers are gone, or the requester is
//! the quorum that is missing) its word alone counts after a while, and is reported as
//! unconfirmed, because a session that waited for a second voice could wait for ever.
//!
//! Learners may serve, but their digests do not weigh: nobody counted on them when the entries
//! were committed.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    cursor::{Cursor, Term},
    id::{Digest, Member},
    limits,
    time::Time,
};

/// Questions to the leader within one retry time: more than honest providers ever cause, and a
/// bound on what a hostile one makes us ask.
const QUESTIONS: usize = 8;

/// What a provider states about its snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Terms {
    /// How many items it has.
    pub items: u64,
    /// How many bytes of keys and values it has.
    pub bytes: u64,
    /// Its root digest.
    pub digest: Digest,
}

/// A snapshot that may be restored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Choice {
    pub(super) anchor: Cursor,
    pub(super) terms: Terms,
    /// Whether enough voters state the digest.
    pub(super) confirmed: bool,
    /// How many may serve it now.
    pub(super) providers: usize,
}

/// Every offer one session has heard.
#[derive(Clone, Hash, Debug)]
pub(super) struct Offers {
    /// Anchors at or below this are of no use.
    have: Cursor,
    /// How long the leader's word waits for a second one.
    patience: Duration,
    anchors: BTreeMap<Cursor, Anchor>,
    /// When the present window for questions began, and how many were asked in it.
    window: (Time, usize),
}

#[derive(Clone, Hash, Debug, Default)]
struct Anchor {
    stated: BTreeMap<Member, (Terms, Time)>,
    authority: Option<Authority>,
    /// The leader said that it may not be used.
    refused: bool,
    /// When the leader was last asked about it.
    asked: Option<Time>,
}

#[derive(Clone, Hash, Debug)]
struct Authority {
    term: Term,
    voters: Vec<Member>,
    since: Time,
}

impl Offers {
    pub(super) fn new(have: Cursor, patience: Duration) -> Self {
        Self {
            have,
            patience,
            anchors: BTreeMap::new(),
            window: (Time(0), 0),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.anchors.clear();
    }

    /// Takes note of an offer; false if its anchor is of no use.
    ///
    /// One provider has at most as many anchors here as it may keep snapshots, so that a hostile
    /// one only displaces itself; `chosen` is never displaced.
    pub(super) fn state(
        &mut self,
        now: Time,
        from: Member,
        (anchor, terms): (Cursor, Terms),
        chosen: Option<Cursor>,
    ) -> bool {
        if anchor.index <= self.have.index {
            return false;
        }
        let mine: Vec<Cursor> = self
            .anchors
            .iter()
            .filter(|(other, a)| **other != anchor && a.stated.contains_key(&from))
            .map(|(other, _)| *other)
            .collect();
        if mine.len() >= limits::SNAPSHOTS
            && let Some(oldest) = mine.into_iter().find(|other| Some(*other) != chosen)
        {
            self.withdraw(oldest, from);
        }
        let entry = self.entry(anchor, chosen);
        let stated = entry.stated.entry(from).or_insert((terms, now));
        if stated.0 != terms {
            *stated = (terms, now);
        }
        true
    }

    /// Takes an offer back.
    pub(super) fn withdraw(&mut self, anchor: Cursor, from: Member) {
        if let Some(entry) = self.anchors.get_mut(&anchor) {
            entry.stated.remove(&from);
        }
    }

    /// Takes note of what the leader says about an anchor.
    pub(super) fn authorize(
        &mut self,
        now: Time,
        anchor: Cursor,
        (term, good, voters): (Term, bool, &[Member]),
        chosen: Option<Cursor>,
    ) {
        if anchor.index <= self.have.index {
            return;
        }
        let entry = self.entry(anchor, chosen);
        entry.refused = !good;
        if good {
            let since = entry.authority.as_ref().map_or(now, |a| a.since);
            entry.authority = Some(Authority {
                term,
                voters: voters.iter().copied().take(2 * limits::VOTERS).collect(),
                since,
            });
        }
    }

    /// Rules an anchor out until another leader is asked.
    pub(super) fn refuse(&mut self, anchor: Cursor) {
        if let Some(entry) = self.anchors.get_mut(&anchor) {
            entry.refused = true;
        }
    }

    /// Makes everything askable again, because another leader may answer otherwise.
    pub(super) fn forget_answers(&mut self) {
        for anchor in self.anchors.values_mut() {
            anchor.refused = false;
            anchor.asked = None;
        }
    }

    /// Returns the anchors to ask the leader of `term` about now, and notes that it was asked.
    ///
    /// Those that most providers state come first, so that invented ones wait.
    pub(super) fn questions(
        &mut self,
        now: Time,
        term: Term,
        retry: Duration,
        chosen: Option<Cursor>,
    ) -> Vec<Cursor> {
        if self.window.0.after(retry) <= now {
            self.window = (now, 0);
        }
        let mut due: Vec<(usize, Cursor)> = self
            .anchors
            .iter()
            .filter(|(cursor, anchor)| {
                anchor.is_open(**cursor, term, chosen)
                    && anchor.asked.is_none_or(|asked| asked.after(retry) <= now)
            })
            .map(|(cursor, anchor)| (anchor.stated.len(), *cursor))
            .collect();
        due.sort_unstable_by_key(|(stated, cursor)| (std::cmp::Reverse(*stated), *cursor));
        due.truncate(QUESTIONS.saturating_sub(self.window.1));
        self.window.1 += due.len();
        for (_, cursor) in &due {
            if let Some(anchor) = self.anchors.get_mut(cursor) {
                anchor.asked = Some(now);
            }
        }
        due.into_iter().map(|(_, cursor)| cursor).collect()
    }

    /// Returns the best snapshot to restore, if there is one; never of `but`.
    ///
    /// Confirmed before unconfirmed, then with the most providers, then the newest.
    pub(super) fn choose(
        &self,
        now: Time,
        leader: Option<Member>,
        but: Option<Cursor>,
        usable: impl Fn(Member) -> bool,
    ) -> Option<Choice> {
        self.anchors
            .keys()
            .filter(|anchor| Some(**anchor) != but)
            .filter_map(|anchor| self.judge(now, leader, *anchor, &usable))
            .filter(|choice| choice.providers > 0)
            .max_by_key(|choice| (choice.confirmed, choice.providers, choice.anchor))
    }

    /// Returns what may be believed about one anchor, if anything.
    pub(super) fn judge(
        &self,
        now: Time,
        leader: Option<Member>,
        anchor: Cursor,
        usable: impl Fn(Member) -> bool,
    ) -> Option<Choice> {
        let entry = self.anchors.get(&anchor).filter(|entry| !entry.refused)?;
        let authority = entry.authority.as_ref()?;
        let accepted = entry.majority(authority).map(|terms| (terms, true));
        let (terms, confirmed) = accepted.or_else(|| {
            let (terms, since) = entry.leaders_word(leader, authority)?;
            let second = authority.voters.iter().any(|voter| {
                Some(*voter) != leader
                    && entry
                        .stated
                        .get(voter)
                        .is_some_and(|(other, _)| *other == terms)
            });
            (second || since.after(self.patience) <= now).then_some((terms, second))
        })?;
        let providers = self.who_state(anchor, terms).filter(|m| usable(*m)).count();
        Some(Choice {
            anchor,
            terms,
            confirmed,
            providers,
        })
    }

    /// Returns those who state `terms` at `anchor`.
    pub(super) fn who_state(
        &self,
        anchor: Cursor,
        terms: Terms,
    ) -> impl Iterator<Item = Member> + '_ {
        self.who_spoke(anchor)
            .filter(move |(_, other)| *other == terms)
            .map(|(member, _)| member)
    }

    /// Returns who states what at `anchor`.
    pub(super) fn who_spoke(&self, anchor: Cursor) -> impl Iterator<Item = (Member, Terms)> + '_ {
        self.anchors
            .get(&anchor)
            .into_iter()
            .flat_map(|entry| &entry.stated)
            .map(|(member, (terms, _))| (*member, *terms))
    }

    /// Tells whether anything was offered that may still be chosen.
    pub(super) fn is_hopeful(&self) -> bool {
        self.anchors
            .values()
            .any(|entry| !entry.refused && !entry.stated.is_empty())
    }

    /// Returns when, after `now`, an unconfirmed word may be taken or the leader is asked again.
    pub(super) fn deadline(
        &self,
        now: Time,
        (leader, term): (Option<Member>, Term),
        retry: Duration,
        chosen: Option<Cursor>,
    ) -> Option<Time> {
        let room = match self.window {
            (_, asked) if asked < QUESTIONS => Time(0),
            (began, _) => began.after(retry),
        };
        self.anchors
            .iter()
            .flat_map(|(cursor, entry)| {
                let word = entry
                    .authority
                    .as_ref()
                    .and_then(|authority| entry.leaders_word(leader, authority))
                    .map(|(_, since)| since.after(self.patience));
                let again = leader
                    .filter(|_| entry.is_open(*cursor, term, chosen))
                    .map(|_| {
                        entry
                            .asked
                            .map_or(now, |asked| asked.after(retry))
                            .max(room)
                    });
                [word.filter(|at| *at > now), again]
            })
            .flatten()
            .min()
    }

    /// Finds or makes an entry, within the limit.
    fn entry(&mut self, anchor: Cursor, chosen: Option<Cursor>) -> &mut Anchor {
        let keep = |cursor: &Cursor| *cursor == anchor || Some(*cursor) == chosen;
        self.anchors
            .retain(|cursor, entry| keep(cursor) || !entry.stated.is_empty() || entry.refused);
        if self.anchors.len() >= limits::ANCHORS
            && let Some(oldest) = self.anchors.keys().find(|cursor| !keep(cursor)).copied()
        {
            self.anchors.remove(&oldest);
        }
        self.anchors.entry(anchor).or_default()
    }
}

impl Anchor {
    /// Tells whether the leader of `term` still has to say whether this anchor is good.
    fn is_open(&self, cursor: Cursor, term: Term, chosen: Option<Cursor>) -> bool {
        let answered = self.authority.as_ref().map(|authority| authority.term);
        !self.refused
            && match answered {
                None => !self.stated.is_empty() || Some(cursor) == chosen,
                Some(answered) => Some(cursor) == chosen && answered < term,
            }
    }

    /// Returns what a majority of the voters states.
    fn majority(&self, authority: &Authority) -> Option<Terms> {
        let stated = |voter: &Member| self.stated.get(voter).map(|(terms, _)| *terms);
        authority.voters.iter().filter_map(stated).find(|terms| {
            let votes = authority.voters.iter().filter_map(stated);
            votes.filter(|other| other == terms).count() > authority.voters.len() / 2
        })
    }

    /// Returns what the leader states, and since when its statement and its permission stand.
    fn leaders_word(&self, leader: Option<Member>, authority: &Authority) -> Option<(Terms, Time)> {
        let (terms, since) = self.stated.get(&leader?)?;
        Some((*terms, (*since).max(authority.since)))
    }
}
