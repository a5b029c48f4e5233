//! One peer: what its groups share, and the groups.
//!
//! What is shared: links and which of two dials survives, the handshake, the numbering of disk
//! operations, and the frames that carry the small messages of all groups together.
//!
//! A link carries messages of a group only once the other side has proven the group's key on it,
//! and every message names the history and the life it is for. Bytes that cannot be read, or that
//! no correct peer sends, close the link they came over and change nothing else.

mod applier;
mod boots;
mod catching;
mod due;
mod early;
mod flush;
mod formation;
mod group;
mod keys;
mod link;
mod meeting;
mod seat;
mod standing;
mod state;
mod syncing;
mod view;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    canary::{Canary, Planted},
    client::{ClientOp, Reply, RequestId},
    disk_op::{DiskError, DiskId, Recovered, RecoveredGroup},
    effect::{CloseCode, Effect, Effects, Lane},
    event::Event,
    id::{GroupId, LinkId, Member, NetworkId, PeerId},
    input::{Form, Input, OpenGroup},
    limits,
    out::Out,
    random::Random,
    scratch::Scratch,
    state_op::StateDone,
    time::{Now, Time},
    wire::{Address, Control, Envelope, decode_bulk, decode_control_into, decode_replication},
};

use self::{
    boots::Boots,
    due::Due,
    group::Group,
    keys::Keys,
    link::{Greeting, Identity, Links},
};

pub use view::{FollowerView, GroupView, MemberView, SessionView, WhyLearner};

/// What a peer is started with.
#[derive(Clone, Hash, Debug)]
pub struct PeerConfig {
    /// Its public key.
    pub peer: PeerId,
    /// Its network.
    pub network: NetworkId,
    /// The seed of its random numbers; from the operating system outside of simulations.
    pub seed: u64,
    /// The bug that a simulation planted; nothing else.
    pub planted: Planted,
}

/// The sans-IO state machine of one peer.
///
/// A driver calls [`Peer::step`] for each thing that happened, then [`Peer::settle`] once its
/// inbox is empty, and executes the effects in order. What a batch of inputs has in common (one
/// frame of entries, one disk write, one read round) is done by `settle`, so that a busy peer
/// batches and an idle one does not wait.
///
/// It is plain data: a clone is the same peer at the same point, and equal hashes (with one hasher)
/// mean equal behaviour from here on, so every way that things can go may be followed.
#[derive(Clone, Hash, Debug)]
pub struct Peer {
    me: Member,
    seed: u64,
    planted: Planted,
    random: Random,
    recovered: BTreeMap<GroupId, RecoveredGroup>,
    keys: Keys,
    links: Links,
    boots: Boots,
    /// Whether an earlier incarnation of the directory ended: this one founds nothing.
    succeeds: bool,
    /// Whether this life was started before.
    restarted: bool,
    groups: BTreeMap<GroupId, Group>,
    /// Groups that were touched since the last settle, each once.
    touched: Vec<GroupId>,
    /// When each group is due, as it says of itself.
    due: Due,
    /// Which group each disk operation under way is for.
    writing: VecDeque<(DiskId, GroupId)>,
    /// Whether there is no space for what is to be written.
    full: bool,
    out: Out,
    scratch: Scratch,
}

impl Peer {
    /// Starts a peer from what its durable log held.
    pub fn new(config: PeerConfig, recovered: Recovered) -> Self {
        let me = Member {
            peer: config.peer,
            incarnation: recovered.incarnation,
        };
        let identity = Identity {
            me,
            network: config.network,
            lineage: recovered.lineage.clone(),
            planted: config.planted,
        };
        let groups = recovered
            .groups
            .into_iter()
            .map(|group| (group.group, group))
            .collect();
        Self {
            me,
            seed: config.seed,
            planted: config.planted,
            random: Random::new(config.seed, config.peer),
            recovered: groups,
            keys: Keys::default(),
            links: Links::new(identity),
            boots: Boots::new(recovered.lineage, recovered.remembered),
            succeeds: recovered.succeeds,
            restarted: recovered.restarted,
            groups: BTreeMap::new(),
            touched: Vec::new(),
            due: Due::default(),
            writing: VecDeque::new(),
            full: false,
            out: Out::default(),
            scratch: Scratch::default(),
        }
    }

    /// Returns the peer's public key and life.
    pub fn me(&self) -> Member {
        self.me
    }

    /// Takes one input; pushes what must be done at once to `effects`.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Effects) {
        if self.boots.ended {
            return;
        }
        match input {
            Input::Found(peer) => {
                self.links.found(peer, now.time);
                self.look_around(now, effects);
            }
            Input::Lost(peer) => {
                self.links.lost(peer);
                self.look_around(now, effects);
            }
            Input::LinkUp {
                link,
                peer,
                dialed,
                exporter,
            } => {
                self.links
                    .up(link, peer, dialed, (exporter, now.time), &self.keys);
                // At once: what follows on other lanes is for those who have been greeted.
                self.flush_control(effects);
            }
            Input::LinkDown { link, code } => {
                self.link_down(now, link, code, effects);
                self.look_around(now, effects);
            }
            Input::DialFailed(peer) => {
                self.links.dial_failed(peer, now.time, &mut self.random);
                self.look_around(now, effects);
            }
            Input::Frame { link, lane, bytes } => self.on_frame(now, link, lane, bytes, effects),
            Input::Disk { id, result } => self.on_disk(now, id, result, effects),
            Input::Space { enough } => self.on_space(now, enough, effects),
            Input::State { group, done } => self.on_state(now, group, done, effects),
            Input::Open(open) => self.open(now, &open, effects),
            Input::Founder(group) => {
                self.with_group(now, group, effects, |group, out| group.on_founder(now, out));
            }
            Input::Client { group, request, op } => {
                self.on_client(now, group, request, op, effects);
            }
            Input::Wake => self.wake(now, effects),
        }
    }

    /// Has groups that wait for what there is to see look again.
    fn look_around(&mut self, now: Now, effects: &mut Effects) {
        let looking = |(id, group): (&GroupId, &Group)| group.looks_around().then_some(*id);
        for id in self.groups.iter().filter_map(looking).collect::<Vec<_>>() {
            self.with_group(now, id, effects, |group, out| group.follow_up(now, out));
        }
    }

    /// Pushes what the inputs since the last call have in common.
    pub fn settle(&mut self, now: Now, effects: &mut Effects) {
        if self.boots.ended {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        if touched.len() > 1 {
            touched.sort_unstable();
        }
        for id in touched.drain(..) {
            let mut news = false;
            self.with_group(now, id, effects, |group, out| {
                news = group.has_new_members();
                group.settle(now, out);
            });
            self.boots.due |= news;
            self.settled(id);
        }
        // Others that were touched meanwhile settle the next time.
        touched.append(&mut self.touched);
        self.touched = touched;
        if !self.groups.is_empty() && self.links.deadline() <= now.time {
            effects.extend(self.links.due(now.time).into_iter().map(Effect::Dial));
        }
        self.remember_boots(effects);
        self.flush_control(effects);
    }

    /// Takes note of when a group is due that has settled.
    fn settled(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.touched = false;
        let due = group.deadline();
        let before = std::mem::replace(&mut group.due, due);
        if before != due {
            self.due.move_to(id, before, due);
        }
    }

    /// Returns when [`Input::Wake`] is due, if ever, as of the last [`Peer::settle`].
    pub fn deadline(&self) -> Option<Time> {
        if self.boots.ended {
            return None;
        }
        let dial = if self.groups.is_empty() {
            Time::NEVER
        } else {
            self.links.deadline()
        };
        let at = self.due.next().min(dial).min(self.links.overdue_at());
        (at != Time::NEVER).then_some(at)
    }

    /// Returns the groups opened here, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// Looks into one group; nothing if it is not open here.
    pub fn view(&self, group: GroupId) -> Option<GroupView<'_>> {
        Some(self.groups.get(&group)?.view())
    }

    fn open(&mut self, now: Now, open: &OpenGroup, effects: &mut Effects) {
        let id = open.key.group_id(&open.machine);
        if self.groups.contains_key(&id) || self.groups.len() >= limits::GROUPS {
            return;
        }
        let recovered = self.recovered.remove(&id);
        let mut open = open.clone();
        if self.succeeds {
            open.form = Form::Join;
        }
        let mut group = Group::open(
            &open,
            id,
            self.me,
            (self.seed, self.planted),
            recovered,
            now.time,
            &mut self.out,
        );
        // Nothing durable says whether an earlier boot of this life asked for a seat.
        group.has_asked = self.restarted;
        self.groups.insert(id, group);
        self.keys.add(id, &open);
        let enough = !self.full;
        self.with_group(now, id, effects, |group, out| {
            group.on_space(now, enough, out);
            group.tick(now, out);
        });
        for (link, greeting) in self.links.open(id, &self.keys) {
            self.greeted(now, link, &greeting, effects);
        }
    }

    fn wake(&mut self, now: Now, effects: &mut Effects) {
        for id in self.due.at(now.time) {
            self.with_group(now, id, effects, |group, out| group.tick(now, out));
        }
        for (link, code) in self.links.overdue(now.time) {
            self.refuse(now, link, code, effects);
        }
    }

    fn on_client(
        &mut self,
        now: Now,
        group: GroupId,
        request: RequestId,
        op: ClientOp,
        effects: &mut Effects,
    ) {
        if self.groups.contains_key(&group) {
            self.with_group(now, group, effects, |group, out| {
                group.on_client(request, op, out);
            });
        } else {
            effects.push(Effect::Reply {
                request,
                reply: Reply::Closed,
            });
        }
    }

    fn on_disk(
        &mut self,
        now: Now,
        id: DiskId,
        result: Result<(), DiskError>,
        effects: &mut Effects,
    ) {
        if result.is_ok() {
            self.boot_is_taken(id);
        }
        // Usually the first; they may finish in any order.
        let place = self.writing.iter().position(|(writing, _)| *writing == id);
        if let Some((_, group)) = place.and_then(|place| self.writing.remove(place)) {
            self.with_group(now, group, effects, |group, out| {
                group.on_disk(now, id, result, out);
            });
        }
        if result.is_err() {
            // The log is one for all groups, and what it holds is in doubt for each.
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                self.with_group(now, id, effects, |group, out| group.on_disk_lost(out));
            }
        }
    }

    fn on_space(&mut self, now: Now, enough: bool, effects: &mut Effects) {
        self.full = !enough;
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(now, id, effects, |group, out| {
                group.on_space(now, enough, out);
            });
        }
    }

    fn on_state(&mut self, now: Now, group: GroupId, done: StateDone, effects: &mut Effects) {
        self.with_group(now, group, effects, |group, out| {
            group.on_state(now, done, out)
        });
    }

    fn link_down(
        &mut self,
        now: Now,
        link: LinkId,
        code: Option<CloseCode>,
        effects: &mut Effects,
    ) {
        let peer = self.links.get(link).map(|link| link.peer);
        let authenticated = self
            .links
            .get(link)
            .is_some_and(|link| !link.proven.is_empty());
        if let Some(member) = self.links.down(link, now.time, &mut self.random) {
            effects.push(Effect::Event(Event::PeerDown {
                peer: member.peer,
                code,
            }));
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                self.with_group(now, id, effects, |group, out| {
                    let goodbye = code == Some(CloseCode::Shutdown);
                    group.on_peer_gone(now, member.peer, goodbye, out);
                });
            }
        } else if let (Some(peer), Some(code), false) = (peer, code, authenticated)
            && code != CloseCode::Duplicate
        {
            effects.push(Effect::Event(Event::PeerRefused { peer, code }));
        }
    }

    /// Closes a link that brought what no correct peer sends.
    fn refuse(&mut self, now: Now, link: LinkId, code: CloseCode, effects: &mut Effects) {
        effects.push(Effect::Close { link, code });
        if let Some(peer) = self.links.get(link).map(|link| link.peer)
            && code != CloseCode::Duplicate
        {
            effects.push(Effect::Event(Event::PeerRefused { peer, code }));
        }
        self.link_down(now, link, None, effects);
    }

    fn on_frame(
        &mut self,
        now: Now,
        link: LinkId,
        lane: Lane,
        bytes: Bytes,
        effects: &mut Effects,
    ) {
        if self.links.get(link).is_none() {
            return;
        }
        let read = match lane {
            Lane::Control => {
                let mut messages = std::mem::take(&mut self.scratch.messages);
                let read = decode_control_into(&mut messages, &bytes)
                    .map(|()| self.on_control(now, link, bytes.len(), &mut messages, effects));
                messages.clear();
                self.scratch.messages = messages;
                read
            }
            Lane::Entries(group) => decode_replication(bytes).map(|(address, message)| {
                let from = self.sender(link, address);
                if let Some(from) = from.filter(|_| address.group == group) {
                    self.with_group(now, group, effects, |group, out| {
                        group.on_replication(now, from, address, message, out);
                    });
                }
                Ok(())
            }),
            Lane::Bulk => decode_bulk(bytes).map(|chunk| {
                if let Some(from) = self.sender(link, chunk.address) {
                    let id = chunk.address.group;
                    self.with_group(now, id, effects, |group, out| {
                        group.on_chunk(now, from, chunk, out);
                    });
                }
                Ok(())
            }),
        };
        match read {
            Ok(Ok(())) => {}
            Ok(Err(code)) => self.refuse(now, link, code, effects),
            Err(_) => self.refuse(now, link, CloseCode::BadFrame, effects),
        }
    }

    /// Returns who sent a message, if it is for this life and its group is proven on the link.
    fn sender(&self, link: LinkId, address: Address) -> Option<Member> {
        let from = self.links.get(link)?;
        let mine = address.to == self.me.incarnation || self.planted.has(Canary::KeyIsIdentity);
        let reads = mine && !from.is_barred() && from.proven.contains(&address.group);
        let peer = from.peer;
        from.incarnation
            .filter(|_| reads)
            .map(|incarnation| Member { peer, incarnation })
    }

    fn on_control(
        &mut self,
        now: Now,
        link: LinkId,
        size: usize,
        messages: &mut Vec<Control>,
        effects: &mut Effects,
    ) -> Result<(), CloseCode> {
        for message in messages.drain(..) {
            let Some(from) = self.links.get(link) else {
                return Ok(());
            };
            let greeted = from.incarnation.is_some();
            match message {
                Control::Hello(hello) => {
                    if size > limits::CONTROL_FRAME {
                        return Err(CloseCode::TooLarge);
                    }
                    let greeting = self.links.on_hello(link, hello, &self.keys)?;
                    self.greeted(now, link, &greeting, effects);
                    self.look_around(now, effects);
                }
                Control::Disowned(known) => {
                    self.on_disowned(now, link, known, effects)?;
                    if self.boots.ended {
                        return Ok(());
                    }
                }
                Control::Taken => self.on_taken(link)?,
                Control::Prove(proof) => {
                    let greeting = self.links.on_prove(link, proof, &self.keys)?;
                    self.greeted(now, link, &greeting, effects);
                }
                Control::Group(Envelope { address, message }) => {
                    if !greeted {
                        return Err(CloseCode::Misbehaved);
                    }
                    if let Some(from) = self.sender(link, address) {
                        self.boots.is_talked_to(from);
                        self.take_boot(now, address.group, from, effects);
                        self.with_group(now, address.group, effects, |group, out| {
                            group.on_message(now, from, address, message, out);
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Does what follows when groups were proven on a link.
    fn greeted(&mut self, now: Now, link: LinkId, greeting: &Greeting, effects: &mut Effects) {
        if greeting.proven.is_empty() {
            return;
        }
        let mut groups = greeting.proven.clone();
        if greeting.first {
            if self.bars(link, effects) {
                return;
            }
            effects.push(Effect::Authenticated(link));
            let Some(rerouted) = self.links.route(link, now.time) else {
                return;
            };
            if rerouted.new {
                effects.push(Effect::Event(Event::PeerUp {
                    peer: rerouted.member.peer,
                }));
            }
            if let Some(loser) = rerouted.close {
                self.refuse(now, loser, CloseCode::Duplicate, effects);
            }
            if !rerouted.changed {
                return;
            }
            groups = self
                .links
                .get(link)
                .map_or(groups, |link| link.proven.iter().copied().collect());
        }
        let Some(member) = self.links.get(link).and_then(|link| {
            Some(Member {
                peer: link.peer,
                incarnation: link.incarnation?,
            })
        }) else {
            return;
        };
        if self.links.route_of(member.peer) != Some(link) {
            return;
        }
        for id in groups {
            self.with_group(now, id, effects, |group, out| {
                group.on_peer(now, member, out)
            });
        }
    }

    /// Calls into a group and turns what it asks for into effects.
    fn with_group(
        &mut self,
        now: Now,
        id: GroupId,
        effects: &mut Effects,
        call: impl FnOnce(&mut Group, &mut Out),
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if group.looks_around() {
            group.note_unanswered(self.links.awaits_answers());
        }
        call(group, &mut self.out);
        let genesis = group.genesis;
        if !std::mem::replace(&mut group.touched, true) {
            self.touched.push(id);
        }
        if self.out.is_empty() {
            return;
        }
        self.flush(id, genesis, effects);
        for peer in std::mem::take(&mut self.out.misbehaved) {
            if let Some(link) = self.links.route_of(peer) {
                self.refuse(now, link, CloseCode::Misbehaved, effects);
            }
        }
    }
}
