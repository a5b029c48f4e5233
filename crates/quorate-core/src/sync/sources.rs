//! What a session knows of those who may serve it: how fast, how busy, how trustworthy.
//!
//! Nobody is given up for ever. A provider that was slow or lied is set aside for a time that
//! doubles with each repetition, because the only honest source may be the one whose link was bad
//! for a moment, and a session that crossed all names off its list would hang.

use std::{collections::BTreeMap, time::Duration};

use crate::{event::Refusal, id::Member, limits, profile::GroupProfile, time::Time};

/// How long a provider whose chunk was wrong is set aside at first, and at most.
const WRONG: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// How long a provider whose chunk was wrong is set aside when nobody else is left to ask: what it
/// sends is verified, so that trying costs a chunk, and a group may be waiting for its only source.
const PAROLE: Duration = Duration::from_secs(1);

/// How long a provider that did not answer is set aside at first, and at most.
const SILENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a provider that is busy is left alone at first, and at most.
const BUSY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The smallest number of items asked for at once: a few leaves.
const LEAST_ITEMS: u64 = 64;

/// The smallest number of bytes asked for at once: a few leaves.
const LEAST_BYTES: u64 = 64 << 10;

/// One provider as one session knows it.
#[derive(Clone, Hash, Debug)]
pub(super) struct Source {
    /// Items and bytes it brought that were verified and new.
    pub(super) brought: (u64, u64),
    /// How much to ask for at once.
    pub(super) batch: (u64, u64),
    /// How long an answer of it takes, in nanoseconds, smoothed; 0 before the first.
    pub(super) typical: u64,
    /// Bytes per second of one fetch, smoothed; 0 before the first answer.
    pub(super) rate: u64,
    /// Until when it is not asked, and why.
    aside: Option<(Time, Refusal)>,
    /// How often in a row it was set aside, for each kind of reason.
    strikes: Strikes,
    /// When it last answered anything.
    pub(super) answered: Time,
}

#[derive(Clone, Copy, Hash, Debug, Default)]
struct Strikes {
    wrong: u32,
    silent: u32,
    busy: u32,
}

/// Everybody a session has heard an offer from.
#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Sources {
    known: BTreeMap<Member, Source>,
}

impl Sources {
    /// Takes note of a provider; false if there are too many.
    ///
    /// An offer is a sign of life: it ends the time aside of one that was silent or busy.
    pub(super) fn admit(&mut self, member: Member, profile: &GroupProfile) -> bool {
        if !self.known.contains_key(&member) && self.known.len() >= limits::PROVIDERS {
            return false;
        }
        let source = self.known.entry(member).or_insert_with(|| Source {
            brought: (0, 0),
            batch: (
                profile.batch_items.clamp(1, limits::FETCH_ITEMS),
                profile.batch_bytes.clamp(1, limits::FETCH_BYTES),
            ),
            typical: 0,
            rate: 0,
            aside: None,
            strikes: Strikes::default(),
            answered: Time(0),
        });
        source.revive();
        true
    }

    pub(super) fn get(&self, member: Member) -> Option<&Source> {
        self.known.get(&member)
    }

    pub(super) fn get_mut(&mut self, member: Member) -> Option<&mut Source> {
        self.known.get_mut(&member)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Member, &Source)> {
        self.known.iter().map(|(member, source)| (*member, source))
    }

    /// Has everybody who is set aside return soon, because nobody else is left.
    pub(super) fn pardon(&mut self, now: Time) {
        let soon = now.after(PAROLE);
        for (until, _) in self.known.values_mut().filter_map(|one| one.aside.as_mut()) {
            *until = soon.min(*until);
        }
    }

    /// Returns when the next provider set aside may be asked again.
    pub(super) fn next_return(&self, now: Time) -> Option<Time> {
        let until = |source: &Source| source.aside.map(|(until, _)| until);
        self.known
            .values()
            .filter_map(until)
            .filter(|until| *until > now)
            .min()
    }
}

impl Source {
    /// Tells whether it may be asked now.
    pub(super) fn is_open(&self, now: Time) -> bool {
        self.aside.is_none_or(|(until, _)| until <= now)
    }

    /// Tells whether it is to be counted on: open, or only busy for the moment.
    pub(super) fn is_usable(&self, now: Time) -> bool {
        self.is_open(now) || matches!(self.aside, Some((_, Refusal::Busy)))
    }

    /// Returns until when it is set aside.
    pub(super) fn aside_until(&self, now: Time) -> Option<Time> {
        self.aside
            .map(|(until, _)| until)
            .filter(|until| *until > now)
    }

    /// Sets it aside for a time that doubles with each repetition.
    pub(super) fn set_aside(&mut self, now: Time, reason: Refusal) {
        let (strikes, (first, most)) = match reason {
            Refusal::WrongChunk => (&mut self.strikes.wrong, WRONG),
            Refusal::Busy => (&mut self.strikes.busy, BUSY),
            _ => (&mut self.strikes.silent, SILENT),
        };
        let time = first.saturating_mul(1 << (*strikes).min(16)).min(most);
        *strikes = strikes.saturating_add(1);
        let until = now.after(time);
        // A lesser reason never shortens a greater one.
        if self.aside.is_none_or(|(other, _)| other < until) {
            self.aside = Some((until, reason));
        }
        self.halve();
    }

    /// Ends the time aside unless it lied: it shows signs of life.
    pub(super) fn revive(&mut self) {
        if !matches!(self.aside, Some((_, Refusal::WrongChunk))) {
            self.aside = None;
        }
    }

    /// Takes note of a verified answer and adapts to its speed: what comes back well within the
    /// fetch timeout is doubled, what takes a good part of it is halved.
    pub(super) fn on_answer(&mut self, took: Duration, bytes: u64, fetch_timeout: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let rate = u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(nanos));
        self.typical = smooth(self.typical, nanos);
        self.rate = smooth(self.rate, rate.unwrap_or(u64::MAX));
        (self.strikes.silent, self.strikes.busy) = (0, 0);
        self.revive();
        if took < fetch_timeout / 4 {
            self.batch.0 = self.batch.0.saturating_mul(2).min(limits::FETCH_ITEMS);
            self.batch.1 = self.batch.1.saturating_mul(2).min(limits::FETCH_BYTES);
        } else if took > fetch_timeout / 2 {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.batch.0 = (self.batch.0 / 2).max(LEAST_ITEMS.min(self.batch.0));
        self.batch.1 = (self.batch.1 / 2).max(LEAST_BYTES.min(self.batch.1));
    }
}

/// Moves a quarter of the way from `before` to `new`.
fn smooth(before: u64, new: u64) -> u64 {
    if before == 0 {
        new.max(1)
    } else {
        (before - before / 4).saturating_add(new / 4).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, PeerId};

    fn member(n: u8) -> Member {
        Member {
            peer: PeerId([n; 32]),
            incarnation: Incarnation(u64::from(n)),
        }
    }

    fn one() -> Sources {
        let mut sources = Sources::default();
        assert!(sources.admit(member(1), &GroupProfile::lan()));
        sources
    }

    #[test]
    fn a_time_aside_doubles_up_to_its_bound_and_always_ends() {
        let mut sources = one();
        let source = sources.get_mut(member(1)).unwrap();
        let mut now = Time(0);
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            source.set_aside(now, Refusal::WrongChunk);
            let until = source.aside_until(now).unwrap();
            let time = until.since(now);
            assert!(time >= last && time <= WRONG.1);
            assert!(!source.is_open(now) && source.is_open(until));
            (now, last) = (until, time);
        }
        assert_eq!(last, WRONG.1);
    }

    #[test]
    fn a_new_offer_brings_the_silent_back_but_not_the_liar() {
        let mut sources = one();
        let source = sources.get_mut(member(1)).unwrap();
        source.set_aside(Time(0), Refusal::TimedOut);
        assert!(!source.is_open(Time(1)));
        assert!(sources.admit(member(1), &GroupProfile::lan()));
        let source = sources.get_mut(member(1)).unwrap();
        assert!(source.is_open(Time(1)));
        source.set_aside(Time(1), Refusal::WrongChunk);
        source.set_aside(Time(1), Refusal::Busy);
        assert!(sources.admit(member(1), &GroupProfile::lan()));
        assert!(!sources.get(member(1)).unwrap().is_open(Time(1)));
        assert_eq!(sources.next_return(Time(1)), Some(Time(1).after(WRONG.0)));
    }

    #[test]
    fn a_liar_returns_soon_if_nobody_else_is_left() {
        let mut sources = one();
        let set_aside = |sources: &mut Sources, now| {
            let source = sources.get_mut(member(1)).unwrap();
            source.set_aside(now, Refusal::WrongChunk);
        };
        set_aside(&mut sources, Time(0));
        sources.pardon(Time(0));
        let back = Time(0).after(PAROLE);
        assert_eq!(sources.next_return(Time(0)), Some(back));
        // It is no pardon for the next lie, nor does it keep anybody away for longer.
        set_aside(&mut sources, back);
        assert_eq!(sources.next_return(back), Some(back.after(2 * WRONG.0)));
        sources.pardon(back);
        sources.pardon(back.after(PAROLE / 2));
        assert_eq!(sources.next_return(back), Some(back.after(PAROLE)));
    }

    #[test]
    fn ranges_grow_for_the_fast_and_shrink_for_the_slow_within_the_limits() {
        let mut sources = one();
        let timeout = Duration::from_secs(5);
        let source = sources.get_mut(member(1)).unwrap();
        for _ in 0..20 {
            source.on_answer(Duration::from_millis(1), 1 << 20, timeout);
        }
        assert_eq!(source.batch, (limits::FETCH_ITEMS, limits::FETCH_BYTES));
        for _ in 0..40 {
            source.on_answer(Duration::from_secs(3), 1 << 10, timeout);
        }
        assert_eq!(source.batch, (LEAST_ITEMS, LEAST_BYTES));
    }

    #[test]
    fn the_number_of_providers_is_bounded() {
        let mut sources = Sources::default();
        let profile = GroupProfile::lan();
        let admitted = (0..200)
            .filter(|n| sources.admit(member(*n), &profile))
            .count();
        assert_eq!(admitted, limits::PROVIDERS);
        assert!(sources.admit(member(3), &profile));
    }
}
