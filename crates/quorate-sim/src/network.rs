//! The network between the simulated peers, as QUIC gives it to them, or worse.
//!
//! A link is a pair of endpoints. While it lives, the frames of one lane arrive once and in order;
//! frames of the bulk lane in any. A way that is cut holds what is sent, as retransmission would,
//! and delivers it if it is mended in time; else both ends notice after the idle timeout, each for
//! itself. Scenarios may also make the links *misbehave*: in bad [`Weather`] single frames are
//! lost, doubled, reordered and late on a living link. No QUIC does that, but the protocol above
//! does not need to rely on it, and a core that survives it survives every driver's mistake too.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use quorate_core::{CloseCode, Lane, LinkId};
use serde::{Deserialize, Serialize};

use crate::dice::{Dice, Span};

/// How the network behaves in a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// How long a frame is under way.
    pub delay: Span,
    /// How many bytes a second the way between two peers carries.
    pub rate: u64,
    /// How long a link that carries nothing lives.
    pub idle: Span,
    /// How long a dial takes to fail.
    pub dial_timeout: Span,
    /// How long until a peer that was started is found by another one.
    pub discovery: Span,
    /// What happens to single frames.
    pub weather: Weather,
}

/// What happens to single frames on living links, in parts of a million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weather {
    /// Frames that never arrive.
    pub loss: u32,
    /// Frames that arrive twice.
    pub duplication: u32,
    /// Frames that do not keep their place.
    pub reordering: u32,
    /// How late those that do not keep their place, and second copies, may be.
    pub lateness: Span,
}

impl Weather {
    /// Every frame arrives once and in order.
    pub const FAIR: Self = Self {
        loss: 0,
        duplication: 0,
        reordering: 0,
        lateness: Span { low: 0, high: 0 },
    };

    /// Draws bad weather.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut part = |most| {
            if dice.coin() {
                dice.scaled(500, most) as u32
            } else {
                0
            }
        };
        Self {
            loss: part(300_000),
            duplication: part(300_000),
            reordering: part(500_000),
            lateness: Span::micros(100, dice.scaled(1_000, 2_000_000)),
        }
    }
}

/// Bytes that wait on one way of a link before the link goes down, as a driver's queue would.
const QUEUE_BYTES: u64 = 64 << 20;

/// One side of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The peer's number.
    pub(crate) node: usize,
    /// Which start of the peer.
    pub(crate) life: u64,
    /// What the peer calls the link; nothing before it was told of it.
    pub(crate) id: Option<LinkId>,
    /// Whether the peer still takes it for living.
    open: bool,
}

#[derive(Debug)]
struct Link {
    ends: [End; 2],
    ways: [Way; 2],
    /// Counts the silences; a silence that is over must not end the link.
    silence: u64,
}

/// One direction of a link; way 0 leads from end 0 to end 1.
#[derive(Debug, Default)]
struct Way {
    /// When the last frame of each lane arrives.
    lanes: BTreeMap<Lane, u64>,
    /// When everything sent so far is on its way.
    free: u64,
    /// No frame arrives before the receiving end was told of the link.
    opens: u64,
    held: Vec<(Lane, Sent)>,
    held_bytes: u64,
}

/// A frame, and whether its link may be closed for it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) frame: Bytes,
    pub(crate) garbled: bool,
}

/// What the network does at a later time.
#[derive(Debug)]
pub(crate) enum NetworkEvent {
    /// A dial reaches its target, or not.
    Dial { from: usize, life: u64, to: usize },
    /// A dial has come to nothing.
    Failed { from: usize, life: u64, to: usize },
    /// An end is told that the link stands.
    Up { link: u64, side: usize },
    /// A frame arrives.
    Arrive {
        link: u64,
        side: usize,
        lane: Lane,
        frame: Bytes,
    },
    /// An end is told that the link is gone.
    Down {
        link: u64,
        side: usize,
        code: Option<CloseCode>,
    },
    /// A silence may have lasted too long.
    Idle { link: u64, silence: u64 },
}

/// Events that the network wants to happen, each at its time.
pub(crate) type Later = Vec<(u64, NetworkEvent)>;

/// All links, and what the ways between the peers are like now.
#[derive(Debug)]
pub(crate) struct Network {
    plan: NetworkPlan,
    weather: Weather,
    no_dials: u32,
    links: BTreeMap<u64, Link>,
    next: u64,
    cuts: Vec<Vec<u32>>,
    rates: Vec<Vec<u64>>,
    dice: Vec<Vec<Dice>>,
    /// When the last frame arrives that has lost its place, is garbled, or stood before a slow way,
    /// as far as is known.
    astray_until: u64,
    /// Whether single frames were ever lost, doubled or reordered on a living link.
    was_foul: bool,
}

impl Network {
    /// Makes the network between these machines.
    pub(crate) fn new(plan: NetworkPlan, seed: u64, machines: &[u64]) -> Self {
        let peers = machines.len();
        let way = |from, to| Dice::new(seed, "way", from * 1_000 + to);
        let ways = |from: &u64| machines.iter().map(|to| way(*from, *to)).collect();
        let dice = machines.iter().map(ways).collect();
        Self {
            weather: plan.weather,
            no_dials: 0,
            links: BTreeMap::new(),
            next: 0,
            cuts: vec![vec![0; peers]; peers],
            rates: vec![vec![plan.rate; peers]; peers],
            dice,
            astray_until: 0,
            was_foul: plan.weather != Weather::FAIR,
            plan,
        }
    }

    /// Returns when the last frame arrives that is late, a second copy, or garbled, what the other
    /// side may close a link for, or that stood in a queue before a way that was made slow; and
    /// when both ends of each link that was reset know it.
    pub(crate) fn astray_until(&self) -> u64 {
        self.astray_until
    }

    /// Tells whether links ever did to single frames what those of QUIC do not.
    pub(crate) fn was_foul(&self) -> bool {
        self.was_foul
    }

    /// Ends all bad weather, cuts and narrow ways, for good.
    pub(crate) fn heal(&mut self, now: u64, later: &mut Later) {
        self.weather = Weather::FAIR;
        self.plan.weather = Weather::FAIR;
        self.no_dials = 0;
        let peers = self.cuts.len();
        for from in 0..peers {
            for to in 0..peers {
                self.set_rate(now, from, to, None);
                if self.cuts[from][to] > 0 {
                    self.cuts[from][to] = 1;
                    self.mend(now, from, to, later);
                }
            }
        }
    }

    /// Changes what happens to single frames; nothing restores the plan's weather.
    pub(crate) fn set_weather(&mut self, weather: Option<Weather>) {
        self.weather = weather.unwrap_or(self.plan.weather);
        self.was_foul |= self.weather != Weather::FAIR;
    }

    /// Makes `chance` dials of a million fail.
    pub(crate) fn set_no_dials(&mut self, chance: u32) {
        self.no_dials = chance;
    }

    /// Sets how many bytes a second go from one peer to another; nothing restores the plan's rate.
    ///
    /// What stands in the queue before a slow way has its time of arrival already, and keeps it.
    pub(crate) fn set_rate(&mut self, now: u64, from: usize, to: usize, rate: Option<u64>) {
        let rate = rate.unwrap_or(self.plan.rate);
        let before = std::mem::replace(&mut self.rates[from][to], rate);
        if rate <= before {
            return;
        }
        let slowest = self.plan.delay.high;
        for link in self.links.values().filter(|link| link.joins(from, to)) {
            let way = &link.ways[usize::from(link.ends[0].node != from)];
            if way.free > now {
                self.astray_until = self.astray_until.max(way.free + slowest);
            }
        }
    }

    /// Cuts the way from one peer to another once more.
    pub(crate) fn cut(&mut self, now: u64, from: usize, to: usize, later: &mut Later) {
        self.cuts[from][to] += 1;
        let apart = self.cuts[from][to] + self.cuts[to][from];
        if apart > 1 {
            return;
        }
        for (number, link) in &mut self.links {
            if link.joins(from, to) {
                link.silence += 1;
                let idle = self.dice[from][to].span(self.plan.idle);
                later.push((
                    now + nanos(idle),
                    NetworkEvent::Idle {
                        link: *number,
                        silence: link.silence,
                    },
                ));
            }
        }
    }

    /// Takes one cut of the way away; what was held goes on its way.
    pub(crate) fn mend(&mut self, now: u64, from: usize, to: usize, later: &mut Later) {
        let cuts = &mut self.cuts[from][to];
        if *cuts == 0 {
            return;
        }
        *cuts -= 1;
        if *cuts > 0 {
            return;
        }
        let joined: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| link.joins(from, to))
            .map(|(number, _)| *number)
            .collect();
        for number in joined {
            let Some(link) = self.links.get_mut(&number) else {
                continue;
            };
            if self.cuts[to][from] == 0 {
                link.silence += 1;
            }
            let side = usize::from(link.ends[0].node != from);
            let held = std::mem::take(&mut link.ways[side].held);
            link.ways[side].held_bytes = 0;
            for (lane, sent) in held {
                self.send(now, number, side, (lane, sent), later);
            }
        }
    }

    /// Starts a dial.
    pub(crate) fn dial(&mut self, now: u64, from: usize, life: u64, to: usize, later: &mut Later) {
        let there = self.dice[from][to].span(self.plan.delay);
        let back = self.dice[to][from].span(self.plan.delay);
        later.push((
            now + nanos(there + back),
            NetworkEvent::Dial { from, life, to },
        ));
    }

    /// Decides what becomes of a dial to a peer that runs its `to_life`th life, or none.
    pub(crate) fn dialed(
        &mut self,
        now: u64,
        from: (usize, u64),
        to: (usize, Option<u64>),
        later: &mut Later,
    ) {
        let dice = &mut self.dice[from.0][to.0];
        let unlucky = dice.chance(self.no_dials);
        let apart = self.cuts[from.0][to.0] + self.cuts[to.0][from.0] > 0;
        let (Some(to_life), false, false) = (to.1, unlucky, apart) else {
            let wait = dice.nanos(self.plan.dial_timeout);
            later.push((
                now + wait,
                NetworkEvent::Failed {
                    from: from.0,
                    life: from.1,
                    to: to.0,
                },
            ));
            return;
        };
        let number = self.next;
        self.next += 1;
        let delay = dice.nanos(self.plan.delay);
        let end = |node, life| End {
            node,
            life,
            id: None,
            open: true,
        };
        let mut ways = [Way::default(), Way::default()];
        ways[0].opens = now + delay + 1;
        ways[1].opens = now + 1;
        self.links.insert(
            number,
            Link {
                ends: [end(from.0, from.1), end(to.0, to_life)],
                ways,
                silence: 0,
            },
        );
        for (side, at) in [(0, now), (1, now + delay)] {
            later.push((at, NetworkEvent::Up { link: number, side }));
        }
    }

    /// Names the link at one end, unless it is gone; returns the other end's peer.
    pub(crate) fn up(&mut self, link: u64, side: usize, id: LinkId) -> Option<usize> {
        let link = self.links.get_mut(&link)?;
        if !link.ends[side].open {
            return None;
        }
        link.ends[side].id = Some(id);
        Some(link.ends[1 - side].node)
    }

    /// Returns the end that a frame or the news of an end is for, while it is open.
    pub(crate) fn end(&self, link: u64, side: usize) -> Option<End> {
        let end = self.links.get(&link)?.ends[side];
        end.open.then_some(end)
    }

    /// Returns the peer at the other end of a link.
    pub(crate) fn far_end(&self, link: u64, side: usize) -> Option<usize> {
        Some(self.links.get(&link)?.ends[1 - side].node)
    }

    /// Sends a frame from `side` of a link.
    pub(crate) fn send(
        &mut self,
        now: u64,
        number: u64,
        side: usize,
        (lane, sent): (Lane, Sent),
        later: &mut Later,
    ) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        let (from, to) = (link.ends[side].node, link.ends[1 - side].node);
        let weather = self.weather;
        let dice = &mut self.dice[from][to];
        if dice.chance(weather.loss) {
            return;
        }
        let rate = self.rates[from][to].max(1);
        let way = &mut link.ways[side];
        if self.cuts[from][to] > 0 {
            if !way.hold(lane, sent) {
                self.overflow(now, number, later);
            }
            return;
        }
        let start = way.free.max(now);
        let busy = sent.frame.len() as u128 * 1_000_000_000 / u128::from(rate);
        way.free = start + busy as u64;
        if u128::from(way.free - now) * u128::from(rate) / 1_000_000_000 > u128::from(QUEUE_BYTES) {
            self.overflow(now, number, later);
            return;
        }
        let arrival = (way.free + dice.nanos(self.plan.delay)).max(way.opens);
        let Sent { frame, garbled } = sent;
        if garbled {
            // On the lanes that keep an order it may arrive a little later still.
            self.astray_until = self.astray_until.max(arrival + self.plan.delay.high);
        }
        let twice = dice.chance(weather.duplication);
        let astray = dice.chance(weather.reordering);
        let side = 1 - side;
        let link = number;
        let mut arrive = |at: u64, frame: Bytes| {
            let event = NetworkEvent::Arrive {
                link,
                side,
                lane,
                frame,
            };
            later.push((at, event));
        };
        let mut late = |dice: &mut Dice| {
            let lateness = dice.nanos(weather.lateness);
            // Without the queue in front of a slow way: that is nobody's fault.
            self.astray_until = (self.astray_until).max(now + self.plan.delay.high + lateness);
            arrival + lateness
        };
        if twice {
            arrive(late(dice), frame.clone());
        }
        if astray {
            arrive(late(dice), frame);
        } else if lane == Lane::Bulk {
            arrive(arrival, frame);
        } else {
            let last = way.lanes.entry(lane).or_insert(0);
            *last = arrival.max(*last + 1);
            arrive(*last, frame);
        }
    }

    /// Closes a link at one end; the other end hears of it, or notices by itself.
    pub(crate) fn close(
        &mut self,
        now: u64,
        number: u64,
        side: usize,
        code: Option<CloseCode>,
        later: &mut Later,
    ) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        link.ends[side].open = false;
        let other = link.ends[1 - side];
        if !other.open {
            self.links.remove(&number);
            return;
        }
        let (from, to) = (link.ends[side].node, other.node);
        let dice = &mut self.dice[from][to];
        // A process that dies says nothing, and a cut way brings nothing: silence tells.
        let (wait, code) = if code.is_some() && self.cuts[from][to] == 0 {
            (dice.span(self.plan.delay), code)
        } else {
            (dice.span(self.plan.idle), None)
        };
        later.push((
            now + nanos(wait),
            NetworkEvent::Down {
                link: number,
                side: 1 - side,
                code,
            },
        ));
    }

    /// Takes the news that a link is gone at one end; returns that end if it was open.
    pub(crate) fn down(&mut self, number: u64, side: usize) -> Option<End> {
        let link = self.links.get_mut(&number)?;
        let end = link.ends[side];
        link.ends[side].open = false;
        if !link.ends[1 - side].open {
            self.links.remove(&number);
        }
        end.open.then_some(end)
    }

    /// Ends a link that was silent for too long.
    pub(crate) fn idle(&mut self, now: u64, number: u64, silence: u64, later: &mut Later) {
        if self
            .links
            .get(&number)
            .is_some_and(|link| link.silence == silence)
        {
            self.break_link(now, number, None, later);
        }
    }

    /// Breaks every link between two peers, as a reset of the path does.
    pub(crate) fn reset(&mut self, now: u64, one: usize, other: usize, later: &mut Later) {
        let between: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| link.joins(one, other))
            .map(|(number, _)| *number)
            .collect();
        for number in between {
            self.break_link(now, number, None, later);
        }
        // Until both have heard of it, what is said is lost with the links.
        self.astray_until = self.astray_until.max(now + self.plan.delay.high);
    }

    /// Closes every link of a peer whose process has ended, with what it says to the others.
    pub(crate) fn died(
        &mut self,
        now: u64,
        node: usize,
        life: u64,
        code: Option<CloseCode>,
        later: &mut Later,
    ) {
        let mine: Vec<(u64, usize)> = self
            .links
            .iter()
            .filter_map(|(number, link)| {
                let side = link
                    .ends
                    .iter()
                    .position(|end| end.node == node && end.life == life && end.open)?;
                Some((*number, side))
            })
            .collect();
        for (number, side) in mine {
            self.close(now, number, side, code, later);
        }
    }

    fn overflow(&mut self, now: u64, number: u64, later: &mut Later) {
        self.break_link(now, number, Some(CloseCode::Slow), later);
    }

    fn break_link(&mut self, now: u64, number: u64, code: Option<CloseCode>, later: &mut Later) {
        let Some(link) = self.links.get(&number) else {
            return;
        };
        let (from, to) = (link.ends[0].node, link.ends[1].node);
        for side in 0..2 {
            let wait = nanos(self.dice[from][to].span(self.plan.delay));
            later.push((
                now + wait,
                NetworkEvent::Down {
                    link: number,
                    side,
                    code,
                },
            ));
        }
    }
}

impl Way {
    /// Holds a frame until the way is mended; tells whether there was room.
    fn hold(&mut self, lane: Lane, sent: Sent) -> bool {
        self.held_bytes += sent.frame.len() as u64;
        self.held.push((lane, sent));
        self.held_bytes <= QUEUE_BYTES
    }
}

impl Link {
    fn joins(&self, one: usize, other: usize) -> bool {
        let nodes = (self.ends[0].node, self.ends[1].node);
        nodes == (one, other) || nodes == (other, one)
    }
}

/// A duration in nanoseconds; no simulated one exceeds 64 bits.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
