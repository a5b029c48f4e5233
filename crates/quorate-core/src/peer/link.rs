//! The links of one peer: who is at the other end, what was proven, which of two survives, when to
//! dial.
//!
//! Handshake: each side sends one `Hello` at once, with proofs of the keys of its groups, bound to
//! the TLS session and to the side that sends. Until a proof of a group that both run has come, the
//! other side is a stranger: nothing but its handshake is read. Proofs of more groups than a hello
//! holds, and of groups opened later, follow as `Prove`.
//!
//! Two peers that dial each other at once have two links. The one dialed by the lower key survives;
//! both sides see both links and decide alike. Of two links dialed by the same side, or of two
//! lives of the peer, the newer survives: the older one belongs to a process or path that is gone.
//!
//! What is on its way on the link that loses still counts: an outcome that a client waits for is
//! sent once, and what became of a forward whose answer is lost nobody knows. So of two links to
//! one life of a peer the loser is *superseded*: nothing more is sent on it, what comes is read,
//! and it is closed when all that was sent before has had the time to arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{
    boot::{Boot, Lineage},
    canary::{Canary, Planted},
    effect::CloseCode,
    id::{GroupId, Incarnation, LinkId, Member, NetworkId, PeerId},
    limits,
    random::{Purpose, Random},
    time::Time,
    wire::{Control, Hello, PROTOCOL_VERSION, Proof},
};

use super::keys::{Keys, TlsSession, Verdict};

/// How long the peer with the higher key waits for the other one to dial.
const POLITENESS: Duration = Duration::from_millis(60);
/// The first pause before a lost or failed dial is repeated; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How long a stranger may take to prove a group's key.
const STRANGER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a superseded link is still read: a round trip of a slow way, for what was sent on it
/// and for the other side to know the link that survives.
const DRAINING: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    tls: TlsSession,
    up_at: Time,
    /// The other side's life, once it has said hello.
    pub(crate) incarnation: Option<Incarnation>,
    /// The other side's boots, once it has said hello.
    lineage: Option<Lineage>,
    /// Whether the other side is a copy: nothing but its handshake is read.
    barred: bool,
    /// Since when another link to the same life carries what is said.
    superseded: Option<Time>,
    /// Proofs that came, also of groups not opened here yet.
    proofs: Vec<Proof>,
    /// Groups both sides have.
    pub(crate) proven: BTreeSet<GroupId>,
    /// Messages that wait for the end of the step.
    outbox: Vec<Control>,
}

/// What a handshake message did.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Greeting {
    /// Groups that are proven by it.
    pub(crate) proven: Vec<GroupId>,
    /// Whether they are the first ones on this link.
    pub(crate) first: bool,
}

impl Link {
    /// Tells whether the link carries nothing, and is closed after a while.
    fn is_idle(&self) -> bool {
        self.proven.is_empty() || self.barred
    }

    /// Tells whether the link was barred.
    pub(crate) fn is_barred(&self) -> bool {
        self.barred
    }

    /// Returns when the link is to be closed, and why, if nothing changes until then.
    fn overdue_at(&self) -> Option<(Time, CloseCode)> {
        if let Some(since) = self.superseded {
            return Some((since.after(DRAINING), CloseCode::Duplicate));
        }
        let ends = self.up_at.after(STRANGER_PATIENCE);
        self.is_idle().then_some((ends, CloseCode::Stranger))
    }

    /// Judges the proofs from the one at `since` on, for some groups.
    fn check(
        &mut self,
        keys: &Keys,
        groups: impl Iterator<Item = GroupId>,
        since: usize,
    ) -> Result<Greeting, CloseCode> {
        let was = self.proven.len();
        let mut wrong = false;
        let mut proven = Vec::new();
        for group in groups {
            if self.proven.contains(&group) {
                continue;
            }
            let proofs = self.proofs[since..].iter();
            match proofs
                .map(|proof| keys.judge(group, &self.tls, proof))
                .max()
            {
                Some(Verdict::Proven) => {
                    self.proven.insert(group);
                    proven.push(group);
                }
                Some(Verdict::Wrong) => wrong = true,
                Some(Verdict::Other) | None => {}
            }
        }
        // Who has more groups than a hello holds proves others yet.
        if self.proven.is_empty() && wrong && self.proofs.len() < limits::HELLO_PROOFS {
            return Err(CloseCode::WrongKey);
        }
        Ok(Greeting {
            first: was == 0 && !proven.is_empty(),
            proven,
        })
    }
}

/// Who speaks for this peer in a handshake.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Identity {
    pub(crate) me: Member,
    pub(crate) network: NetworkId,
    pub(crate) lineage: Lineage,
    pub(crate) planted: Planted,
}

/// A peer that can be dialed.
#[derive(Clone, Hash, Debug)]
struct Known {
    dialing: bool,
    dial_at: Time,
    pause: Duration,
    /// Whether it has said hello, or failed to, since its address is known.
    answered: bool,
}

/// All links of one peer.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Links {
    identity: Identity,
    links: BTreeMap<LinkId, Link>,
    /// The link that carries messages to a peer: authenticated, and the survivor.
    routes: BTreeMap<PeerId, LinkId>,
    known: BTreeMap<PeerId, Known>,
    /// When the next dial is due, and the next link is to be closed, as of the last change: asked
    /// after every step, while links change rarely.
    dial_at: Time,
    overdue_at: Time,
    /// Whether a message waits on a link: asked at the end of every turn, and mostly none does.
    speaks: bool,
}

/// What happened to a peer's route.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) struct Rerouted {
    /// The peer and its life.
    pub(crate) member: Member,
    /// A link to close at once: to a life that is gone, or one that was superseded before another.
    pub(crate) close: Option<LinkId>,
    /// Whether there was no route before.
    pub(crate) new: bool,
    /// Whether the route changed at all.
    pub(crate) changed: bool,
}

impl Links {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            known: BTreeMap::new(),
            dial_at: Time::NEVER,
            overdue_at: Time::NEVER,
            speaks: false,
        }
    }

    /// Looks what is due next; whatever changes links, or who is known, ends with it.
    fn plan(&mut self) {
        let linked = self.linked();
        let dials = self
            .known
            .iter()
            .filter(|(peer, known)| !known.dialing && !linked.contains(*peer))
            .map(|(_, known)| known.dial_at);
        self.dial_at = dials.min().unwrap_or(Time::NEVER);
        let ends = self.links.values().filter_map(Link::overdue_at);
        self.overdue_at = ends.map(|(at, _)| at).min().unwrap_or(Time::NEVER);
        self.speaks = self.links.values().any(|link| !link.outbox.is_empty());
    }

    /// Takes note of a new connection and greets.
    pub(crate) fn up(
        &mut self,
        id: LinkId,
        peer: PeerId,
        dialed: bool,
        (exporter, now): ([u8; 32], Time),
        keys: &Keys,
    ) {
        if let Some(known) = self.known.get_mut(&peer).filter(|_| dialed) {
            known.dialing = false;
        }
        let mut link = Link {
            peer,
            tls: TlsSession { exporter, dialed },
            up_at: now,
            incarnation: None,
            lineage: None,
            barred: false,
            superseded: None,
            proofs: Vec::new(),
            proven: BTreeSet::new(),
            outbox: Vec::new(),
        };
        let proof = |group| keys.proof(group, &link.tls);
        let mut proofs: Vec<Proof> = keys.groups().filter_map(proof).collect();
        let more = proofs.split_off(proofs.len().min(limits::HELLO_PROOFS));
        let Identity {
            me,
            network,
            lineage,
            planted: _,
        } = self.identity.clone();
        link.outbox.push(Control::Hello(Hello {
            version: PROTOCOL_VERSION,
            network,
            incarnation: me.incarnation,
            lineage,
            proofs,
        }));
        link.outbox.extend(more.into_iter().map(Control::Prove));
        self.links.insert(id, link);
        self.plan();
    }

    /// Takes the other side's greeting.
    pub(crate) fn on_hello(
        &mut self,
        id: LinkId,
        hello: Hello,
        keys: &Keys,
    ) -> Result<Greeting, CloseCode> {
        let network = self.identity.network;
        let link = self.links.get_mut(&id).ok_or(CloseCode::Misbehaved)?;
        if hello.version != PROTOCOL_VERSION {
            return Err(CloseCode::UnknownVersion);
        }
        if hello.network != network {
            return Err(CloseCode::WrongNetwork);
        }
        if link.incarnation.is_some() {
            return Err(CloseCode::Misbehaved);
        }
        link.incarnation = Some(hello.incarnation);
        link.lineage = Some(hello.lineage);
        link.proofs = hello.proofs;
        if let Some(known) = self.known.get_mut(&link.peer) {
            known.answered = true;
        }
        let greeting = link.check(keys, keys.groups(), 0);
        self.plan();
        greeting
    }

    /// Takes the proof of one more group.
    pub(crate) fn on_prove(
        &mut self,
        id: LinkId,
        proof: Proof,
        keys: &Keys,
    ) -> Result<Greeting, CloseCode> {
        let link = self.links.get_mut(&id).ok_or(CloseCode::Misbehaved)?;
        if link.incarnation.is_none() || link.proofs.len() >= limits::GROUPS {
            return Err(CloseCode::Misbehaved);
        }
        link.proofs.push(proof);
        let greeting = link.check(keys, keys.groups(), link.proofs.len() - 1);
        self.plan();
        greeting
    }

    /// Proves a group that is opened now on every link, and checks what was proven before.
    pub(crate) fn open(&mut self, group: GroupId, keys: &Keys) -> Vec<(LinkId, Greeting)> {
        let mut greetings = Vec::new();
        for (id, link) in &mut self.links {
            let proof = keys.proof(group, &link.tls);
            link.outbox.extend(proof.map(Control::Prove));
            if let Ok(greeting) = link.check(keys, std::iter::once(group), 0) {
                greetings.push((*id, greeting));
            }
        }
        self.plan();
        greetings
    }

    /// Decides which link carries messages to the peer at the other end of `id`, which has just
    /// proven its first group.
    pub(crate) fn route(&mut self, id: LinkId, now: Time) -> Option<Rerouted> {
        let link = self.links.get(&id)?;
        let member = Member {
            peer: link.peer,
            incarnation: link.incarnation?,
        };
        let before = self
            .routes
            .get(&member.peer)
            .copied()
            .filter(|before| *before != id);
        let mut same_life = false;
        let survivor = match before.and_then(|before| Some((before, self.links.get(&before)?))) {
            None => id,
            Some((old_id, old)) => {
                let boot = |link: &Link| link.lineage.as_ref().map(Lineage::present);
                same_life = old.incarnation == link.incarnation && boot(old) == boot(link);
                let lower_dials = self.identity.me.peer < member.peer;
                let differ = old.tls.dialed != link.tls.dialed;
                if same_life && differ && old.tls.dialed == lower_dials {
                    old_id
                } else {
                    id
                }
            }
        };
        let loser = before.map(|before| if survivor == id { before } else { id });
        let close = match loser {
            Some(loser) if same_life => self.supersede(loser, now),
            loser => loser,
        };
        self.routes.insert(member.peer, survivor);
        if let Some(known) = self.known.get_mut(&member.peer) {
            known.pause = FIRST_PAUSE;
        }
        Some(Rerouted {
            member,
            close,
            new: before.is_none(),
            changed: survivor == id,
        })
    }

    /// Says nothing more on a link; returns the one of that peer that was superseded before.
    fn supersede(&mut self, loser: LinkId, now: Time) -> Option<LinkId> {
        let peer = self.links.get(&loser)?.peer;
        let before = |(_, link): &(&LinkId, &Link)| link.peer == peer && link.superseded.is_some();
        let before = self.links.iter().find(before).map(|(id, _)| *id);
        if let Some(link) = self.links.get_mut(&loser) {
            link.superseded = Some(now);
        }
        self.plan();
        before.filter(|before| *before != loser)
    }

    /// Forgets a link; returns the member that has no route any more because of it.
    pub(crate) fn down(&mut self, id: LinkId, now: Time, random: &mut Random) -> Option<Member> {
        let link = self.links.remove(&id)?;
        let routed = self.routes.get(&link.peer) == Some(&id);
        if routed {
            self.routes.remove(&link.peer);
        }
        if link.superseded.is_none() && !self.linked().contains(&link.peer) {
            self.dial_later(link.peer, now, random);
        }
        self.plan();
        let incarnation = link.incarnation?;
        routed.then_some(Member {
            peer: link.peer,
            incarnation,
        })
    }

    /// Takes note of a peer that can be dialed.
    pub(crate) fn found(&mut self, peer: PeerId, now: Time) {
        if peer == self.identity.me.peer || self.known.len() >= limits::PEERS {
            return;
        }
        let wait = if self.identity.me.peer < peer {
            Duration::ZERO
        } else {
            POLITENESS
        };
        let greeted = |link: &Link| link.peer == peer && link.incarnation.is_some();
        let answered = self.links.values().any(greeted);
        self.known.entry(peer).or_insert(Known {
            dialing: false,
            dial_at: now.after(wait),
            pause: FIRST_PAUSE,
            answered,
        });
        self.plan();
    }

    /// Tells whether a peer with a known address has neither said hello nor failed to.
    ///
    /// What it says tells whether it runs a group; where it stands in one follows at once.
    pub(crate) fn awaits_answers(&self) -> bool {
        self.known.values().any(|known| !known.answered)
    }

    /// Stops dialing a peer whose address is gone.
    pub(crate) fn lost(&mut self, peer: PeerId) {
        self.known.remove(&peer);
        self.plan();
    }

    /// Takes note of a dial that came to nothing.
    pub(crate) fn dial_failed(&mut self, peer: PeerId, now: Time, random: &mut Random) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.dialing = false;
        }
        self.dial_later(peer, now, random);
        self.plan();
    }

    fn dial_later(&mut self, peer: PeerId, now: Time, random: &mut Random) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.answered = true;
            let nanos = u64::try_from(known.pause.as_nanos()).unwrap_or(u64::MAX);
            let wait = random.between(Purpose::Dial, nanos / 2, nanos);
            known.dial_at = now.after(Duration::from_nanos(wait));
            known.pause = (known.pause * 2).min(LAST_PAUSE);
        }
    }

    /// Returns the peers to which there are links.
    fn linked(&self) -> BTreeSet<PeerId> {
        let links = self.links.values();
        let links = links.filter(|link| link.superseded.is_none());
        links.map(|link| link.peer).collect()
    }

    /// Returns the peers to dial now.
    pub(crate) fn due(&mut self, now: Time) -> Vec<PeerId> {
        if now < self.dial_at {
            return Vec::new();
        }
        let linked = self.linked();
        let mut due = Vec::new();
        for (peer, known) in &mut self.known {
            if !known.dialing && known.dial_at <= now && !linked.contains(peer) {
                known.dialing = true;
                due.push(*peer);
            }
        }
        self.plan();
        due
    }

    /// Returns the links to close, and why: the other side has not proven a key in time or is
    /// barred, or the link is superseded and has been read long enough.
    pub(crate) fn overdue(&self, now: Time) -> Vec<(LinkId, CloseCode)> {
        let links = self.links.iter();
        let ends = links.filter_map(|(id, link)| Some((*id, link.overdue_at()?)));
        let over = ends.filter(|(_, (at, _))| *at <= now);
        over.map(|(id, (_, code))| (id, code)).collect()
    }

    /// Returns when the next link is to be closed.
    pub(crate) fn overdue_at(&self) -> Time {
        self.overdue_at
    }

    /// Returns when [`Links::due`] has something.
    pub(crate) fn deadline(&self) -> Time {
        self.dial_at
    }

    /// Returns who is at the other end of a link, and the boots it has stated.
    pub(crate) fn stated(&self, id: LinkId) -> Option<(Member, &Lineage)> {
        let link = self.links.get(&id)?;
        let member = Member {
            peer: link.peer,
            incarnation: link.incarnation?,
        };
        Some((member, link.lineage.as_ref()?))
    }

    /// Makes a link carry nothing any more but `message`; returns who is at its other end.
    pub(crate) fn bar(&mut self, id: LinkId, message: Control) -> Option<PeerId> {
        let link = self.links.get_mut(&id)?;
        link.barred = true;
        link.outbox.push(message);
        let peer = link.peer;
        self.plan();
        Some(peer)
    }

    /// Returns the boot of a member to which there is a route, once it is taken.
    pub(crate) fn boot_of(&self, member: Member) -> Option<Boot> {
        let link = self.links.get(self.routes.get(&member.peer)?)?;
        let stated = link.incarnation == Some(member.incarnation);
        let lineage = link.lineage.as_ref().filter(|_| stated)?;
        lineage.is_taken().then(|| lineage.present())
    }

    /// Takes the word of the other side that its boot is taken; tells whether it has stated one.
    pub(crate) fn on_taken(&mut self, id: LinkId) -> bool {
        let link = self.links.get_mut(&id);
        let lineage = link.and_then(|link| link.lineage.as_mut());
        lineage.map(Lineage::take).is_some()
    }

    /// Says on every link, and on those to come, that the boot of this peer is taken.
    pub(crate) fn say_taken(&mut self) {
        self.identity.lineage.take();
        for link in self.links.values_mut().filter(|link| !link.barred) {
            link.outbox.push(Control::Taken);
            self.speaks = true;
        }
    }

    /// Returns the link with this number.
    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// Returns the link that carries messages to `member` for `group`.
    pub(crate) fn to(&self, member: Member, group: GroupId) -> Option<LinkId> {
        let id = *self.routes.get(&member.peer)?;
        let link = self.links.get(&id)?;
        self.reaches(link, member, group).then_some(id)
    }

    /// Has a message wait on the link to `member`, if one carries messages of `group`.
    pub(crate) fn say(
        &mut self,
        member: Member,
        group: GroupId,
        message: impl FnOnce() -> Control,
    ) {
        let Some(id) = self.to(member, group) else {
            return;
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.outbox.push(message());
            self.speaks = true;
        }
    }

    fn reaches(&self, link: &Link, member: Member, group: GroupId) -> bool {
        let right_life = link.incarnation == Some(member.incarnation)
            || self.identity.planted.has(Canary::KeyIsIdentity);
        right_life && link.proven.contains(&group)
    }

    /// Returns the link that carries messages to `peer`.
    pub(crate) fn route_of(&self, peer: PeerId) -> Option<LinkId> {
        self.routes.get(&peer).copied()
    }

    /// Tells whether a message waits on a link.
    pub(crate) fn speaks(&self) -> bool {
        self.speaks
    }

    /// Gives the messages that wait on every link to `send`; their room is kept for the next ones.
    pub(crate) fn empty_outboxes(&mut self, mut send: impl FnMut(LinkId, &[Control])) {
        self.speaks = false;
        for (id, link) in &mut self.links {
            if !link.outbox.is_empty() {
                send(*id, &link.outbox);
                link.outbox.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests;
