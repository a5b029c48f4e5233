//! One machine of an exploration: a process that may run, its state, its disk, its clock.
//!
//! A host is a value. What happens to it gives another one, and the frames that the peer sends: a
//! function of nothing else, so that it is worked out once however many states of the cluster hold
//! the host. The peer settles after each input, which is one of the ways in which a driver may
//! gather inputs and the one with the fewest states.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
    time::Duration,
};

use bytes::Bytes;
use quorate_core::{
    ClientOp, Command, Cursor, Effect, Effects, Form, GenesisId, GroupEvent, GroupId, GroupKey,
    GroupProfile, GroupView, Incarnation, Input, Lane, Lineage, LinkId, Member, NetworkId, Now,
    OpenGroup, Peer, PeerConfig, PeerId, Recovered, Reply, RequestId, StateOp, Time, Versions,
    Wall, canary::Planted, wire,
};
use quorate_state::{ClientLimits, Replica};

use super::{
    shelf::{Place, Shelf},
    stable::Stable,
};
use crate::{
    checkers::{Cursors, Found, bounds, dissolved, promises, synced::DurableLog},
    machine,
    world::MACHINE,
};

/// What all hosts of an exploration have in common.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) key: GroupKey,
    pub(super) group: GroupId,
    /// The operational parameters of every peer.
    pub(super) profile: GroupProfile,
    /// How each host opens the group, when first started and after that.
    pub(super) forms: Vec<(Form, Form)>,
    /// Whether what is written is durable at once.
    pub(super) instant_disk: bool,
    /// Whether what is asked of the state is done at once.
    pub(super) instant_state: bool,
    /// Whether the group was founded by peers that did not see each other.
    pub(super) apart: bool,
    /// Which host is told that it may found the group where nobody says how.
    pub(super) founder: Option<usize>,
    /// Tells clusters apart that are alike but for what is drawn at random.
    pub(super) salt: u64,
    /// The bug that is planted in every peer, if one is.
    pub(super) planted: Planted,
}

impl Ground {
    /// Makes the ground for peers that open the group with these forms.
    pub(super) fn new(profile: GroupProfile, forms: &[(Form, Form)], planted: Planted) -> Self {
        let key = GroupKey::named("explored");
        Self {
            group: key.group_id(MACHINE),
            key,
            profile,
            forms: forms.to_vec(),
            instant_disk: false,
            instant_state: true,
            apart: false,
            founder: None,
            salt: 0,
            planted,
        }
    }

    /// Returns the key of a host's peer; they are in the order of the hosts.
    pub(super) fn peer(number: usize) -> PeerId {
        PeerId([u8::try_from(number + 1).unwrap_or(u8::MAX); 32])
    }
}

/// One thing that happens to a host.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Happening {
    /// The process is started.
    Start,
    /// The process dies; of what its disk had under way, that many operations are done.
    Crash { log: usize, ballots: usize },
    /// The process dies and the disk is lost with it.
    Wipe,
    /// There is a link to another host.
    Up(usize),
    /// The link to another host is gone.
    Down(usize),
    /// A frame comes from another host.
    Frame {
        from: usize,
        lane: Lane,
        frame: Bytes,
    },
    /// The disk finishes its oldest operation of a place.
    Finish(Place),
    /// The state does what it was asked first.
    Work,
    /// The time that the peer wants to be woken at comes, and it is woken.
    Wake,
    /// Time passes in which the process does not come to look at its clock.
    Pass(Duration),
    /// A client writes a value.
    Write(u8),
    /// A client registers.
    Register,
    /// An operator wishes that the peer left.
    Leave,
}

/// A frame on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) to: usize,
    pub(super) lane: Lane,
    pub(super) frame: Bytes,
}

/// What a client is told of its write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// What it wrote.
    pub(super) value: u8,
    /// Where it took effect; nowhere, for ever, if there is nothing.
    pub(super) stands: Option<(GenesisId, Cursor)>,
}

/// What became of a host.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) host: Host,
    pub(super) sent: Vec<Sent>,
    pub(super) told: Vec<Told>,
    pub(super) marks: Vec<&'static str>,
    pub(super) found: Option<Found>,
}

/// The state of a group at one host.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) replica: Replica,
    /// The history that it is the state of; not always the one the peer is in, which may have
    /// asked for a new beginning.
    pub(super) genesis: Option<GenesisId>,
    /// A hash over the operations that left more behind than content: snapshots and restores.
    trace: u128,
}

/// By content, and by the operations that content does not show.
impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.replica.applied().hash(state);
        self.replica.tree().digest().hash(state);
        self.trace.hash(state);
    }
}

impl Kept {
    fn new(planted: Planted) -> Self {
        Self {
            replica: machine::replica(None, ClientLimits::default(), planted),
            genesis: None,
            trace: 0,
        }
    }

    fn note(&mut self, op: &StateOp) {
        match op {
            StateOp::Begin { genesis } => {
                self.genesis = Some(*genesis);
                self.trace = 0;
            }
            StateOp::Apply { .. } | StateOp::Recall { .. } | StateOp::Read { .. } => {}
            op => self.trace = Stable::of(&(self.trace, op)),
        }
    }
}

/// One machine.
#[derive(Clone, Hash, Debug)]
pub(super) struct Host {
    pub(super) number: usize,
    pub(super) peer: Option<Peer>,
    pub(super) now: Time,
    pub(super) shelf: Shelf,
    pub(super) kept: Kept,
    /// What the state is still to do.
    pub(super) asked: VecDeque<StateOp>,
    /// How many disks the machine has had, and how often the present one was started.
    disks: u64,
    boots: u64,
    links: BTreeMap<LinkId, usize>,
    next_link: u64,
    /// What the process looked like when it was last looked at.
    genesis: Option<GenesisId>,
    cursors: Cursors,
}

impl Host {
    /// Makes a machine on which nothing runs yet.
    pub(super) fn new(number: usize, ground: &Ground) -> Self {
        Self {
            number,
            peer: None,
            now: Time(1_000_000_000),
            shelf: Shelf::new(ground.group),
            kept: Kept::new(ground.planted),
            asked: VecDeque::new(),
            disks: 1,
            boots: 0,
            links: BTreeMap::new(),
            next_link: 1,
            genesis: None,
            cursors: Cursors::default(),
        }
    }

    /// Returns the life that it is in, or would be in.
    pub(super) fn member(&self) -> Member {
        Member {
            peer: Ground::peer(self.number),
            incarnation: Incarnation(self.number as u64 * 0x100 + self.disks),
        }
    }

    /// Returns when the peer wants to be woken.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.peer.as_ref()?.deadline()
    }

    /// Looks into the group.
    pub(super) fn view(&self, ground: &Ground) -> Option<GroupView<'_>> {
        self.peer.as_ref()?.view(ground.group)
    }

    /// Works out what becomes of it.
    pub(super) fn after(&self, ground: &Ground, happening: Happening) -> Outcome {
        let mut turn = Turn {
            ground,
            outcome: Outcome {
                host: self.clone(),
                sent: Vec::new(),
                told: Vec::new(),
                marks: Vec::new(),
                found: None,
            },
        };
        turn.happen(happening);
        turn.outcome
    }

    fn link_to(&self, other: usize) -> Option<LinkId> {
        let mut links = self.links.iter();
        links.find_map(|(link, to)| (*to == other).then_some(*link))
    }

    fn die(&mut self, ground: &Ground) {
        self.peer = None;
        self.kept = Kept::new(ground.planted);
        self.asked.clear();
        self.links.clear();
        self.genesis = None;
        self.cursors = Cursors::default();
    }
}

/// How many steps may follow from one happening when the disk and the state are instant.
const AT_ONCE: usize = 10_000;

/// One happening under way.
struct Turn<'a> {
    ground: &'a Ground,
    outcome: Outcome,
}

impl Turn<'_> {
    fn happen(&mut self, happening: Happening) {
        let host = &mut self.outcome.host;
        match happening {
            Happening::Start => self.start(),
            Happening::Crash { log, ballots } => {
                host.die(self.ground);
                host.shelf.crash(log, ballots);
            }
            Happening::Wipe => {
                host.die(self.ground);
                host.shelf = Shelf::new(self.ground.group);
                host.disks += 1;
                host.boots = 0;
            }
            Happening::Up(other) => self.link_up(other),
            Happening::Down(other) => {
                if let Some(link) = host.link_to(other) {
                    host.links.remove(&link);
                    self.give(Input::LinkDown { link, code: None });
                }
            }
            Happening::Frame { from, lane, frame } => {
                if let Some(link) = host.link_to(from) {
                    let bytes = frame;
                    self.give(Input::Frame { link, lane, bytes });
                }
            }
            Happening::Finish(place) => self.finish(place),
            Happening::Work => self.work(),
            Happening::Wake => {
                if let Some(due) = host.deadline() {
                    host.now = host.now.max(due);
                    self.give(Input::Wake);
                }
            }
            Happening::Pass(time) => host.now = host.now.after(time),
            Happening::Write(value) => {
                let command = Command::anonymous(machine::insert(&[value], &[value]));
                self.ask(value, |deadline| ClientOp::Write { command, deadline });
            }
            Happening::Register => self.ask(0, |deadline| ClientOp::Register { deadline }),
            Happening::Leave => self.ask(0, |deadline| ClientOp::Leave {
                dissolve: false,
                deadline,
            }),
        }
        for _ in 0..AT_ONCE {
            let host = &self.outcome.host;
            if host.peer.is_none() || self.outcome.found.is_some() {
                return;
            }
            let places = [Place::Ballot, Place::Log];
            let place = places
                .into_iter()
                .find(|place| self.ground.instant_disk && host.shelf.under_way(*place) > 0);
            if let Some(place) = place {
                self.finish(place);
            } else if self.ground.instant_state && !host.asked.is_empty() {
                self.work();
            } else {
                return;
            }
        }
    }

    fn start(&mut self) {
        let Ground { key, profile, .. } = self.ground;
        let host = &mut self.outcome.host;
        host.boots += 1;
        let member = host.member();
        let (first, again) = self.ground.forms[host.number];
        let form = if host.disks == 1 && host.boots == 1 {
            first
        } else {
            again
        };
        let known = host.boots > 1;
        let mut lineage = Lineage::unborn();
        // No directory is copied here: that a boot is taken would only be more to explore.
        for boot in 0..host.boots {
            lineage.boot(boot);
            lineage.take();
        }
        let config = PeerConfig {
            peer: member.peer,
            network: NetworkId::from_name("explored"),
            seed: (member.incarnation.0 * 0x100 + host.boots) ^ self.ground.salt,
            planted: self.ground.planted,
        };
        let recovered = Recovered {
            incarnation: member.incarnation,
            lineage,
            restarted: known,
            remembered: host.shelf.remembered().to_vec(),
            succeeds: false,
            groups: known
                .then(|| host.shelf.kept().clone())
                .into_iter()
                .collect(),
        };
        host.peer = Some(Peer::new(config, recovered));
        self.give(Input::Open(Box::new(OpenGroup {
            key: key.clone(),
            machine: MACHINE.to_owned(),
            versions: Versions::ONLY_THE_FIRST,
            form,
            profile: profile.clone(),
        })));
        let Ground { founder, group, .. } = self.ground;
        if *founder == Some(self.outcome.host.number) {
            self.give(Input::Founder(*group));
        }
    }

    fn link_up(&mut self, other: usize) {
        let host = &mut self.outcome.host;
        let link = LinkId(host.next_link);
        host.next_link += 1;
        host.links.insert(link, other);
        let mut exporter = [0; 32];
        exporter[host.number.min(other)] = 1;
        exporter[16 + host.number.max(other)] = 1;
        let dialed = host.number < other;
        self.give(Input::LinkUp {
            link,
            peer: Ground::peer(other),
            dialed,
            exporter,
        });
    }

    fn finish(&mut self, place: Place) {
        if let Some(id) = self.outcome.host.shelf.finish(place) {
            self.give(Input::Disk { id, result: Ok(()) });
        }
    }

    fn work(&mut self) {
        let host = &mut self.outcome.host;
        let Some(op) = host.asked.pop_front() else {
            return;
        };
        host.kept.note(&op);
        if let Some(done) = host.kept.replica.execute(op) {
            let group = self.ground.group;
            self.give(Input::State { group, done });
        }
    }

    fn ask(&mut self, number: u8, op: impl FnOnce(Time) -> ClientOp) {
        let deadline = self.outcome.host.now.after(Duration::from_secs(3_600));
        self.give(Input::Client {
            group: self.ground.group,
            request: RequestId(u64::from(number)),
            op: op(deadline),
        });
    }

    /// Gives the peer an input, lets it settle, and does what it wants.
    fn give(&mut self, input: Input) {
        let mut effects = Effects::new();
        let host = &mut self.outcome.host;
        let now = Now {
            time: host.now,
            wall: Wall(host.now.0 / 1_000_000),
        };
        if let Some(peer) = &mut host.peer {
            peer.step(now, input, &mut effects);
            peer.settle(now, &mut effects);
        }
        let durable = DurableLog::of(self.outcome.host.shelf.kept());
        for effect in effects {
            self.carry_out(effect, &durable);
        }
        let looked = self.look();
        self.note(looked);
    }

    fn note(&mut self, result: Result<(), Found>) {
        if let (Err(found), None) = (result, &self.outcome.found) {
            self.outcome.found = Some(found);
        }
    }

    fn carry_out(&mut self, effect: Effect, durable: &DurableLog) {
        let host = &mut self.outcome.host;
        match effect {
            Effect::Send { link, lane, frame } => {
                let Some(to) = host.links.get(&link).copied() else {
                    return;
                };
                let from = host.member();
                if lane == Lane::Control {
                    let judged = judge(from, to, &frame, durable);
                    self.note(judged);
                }
                self.outcome.sent.push(Sent { to, lane, frame });
            }
            Effect::Disk(op) => {
                let judged = dissolved::judge_founding(host.member(), &op.write, Some(durable));
                host.shelf.submit(op);
                self.note(judged);
            }
            Effect::Remember(boots) => host.shelf.remember(boots),
            Effect::EndIncarnation => {
                let detail = "nothing was copied, and an incarnation is told to end".to_owned();
                self.note(Err(Found::new("boots-follow", detail)));
            }
            Effect::State { op, .. } => host.asked.push_back(op),
            Effect::Mark(mark) => self.outcome.marks.push(mark),
            Effect::Close { code, .. } => {
                let detail = format!("a link between correct peers is closed: {}", code.reason());
                self.note(Err(Found::new("links-stay", detail)));
            }
            Effect::Event(quorate_core::Event::Group { event, .. }) => self.hear(&event),
            Effect::Reply { request, reply } => self.answer(request, &reply),
            Effect::Event(_) | Effect::Dial(_) | Effect::Authenticated(_) => {}
        }
    }

    fn answer(&mut self, request: RequestId, reply: &Reply) {
        let stands = match *reply {
            // Said in the history that the host was in before it was given its last input.
            Reply::Committed { cursor, .. } => {
                self.outcome.host.genesis.map(|genesis| (genesis, cursor))
            }
            Reply::Superseded => None,
            _ => return,
        };
        let value = u8::try_from(request.0).unwrap_or(u8::MAX);
        self.outcome.told.push(Told { value, stands });
    }

    fn hear(&mut self, event: &GroupEvent) {
        let invariant = match event {
            GroupEvent::Restored { .. } => {
                self.outcome.marks.push("explorer.restored");
                return;
            }
            GroupEvent::CommittedTruncationRefused { .. } => "committed-immutable",
            GroupEvent::Diverged { .. } => "state-machine",
            GroupEvent::Poisoned { .. } => "not-poisoned",
            _ => return,
        };
        self.note(Err(Found::new(invariant, format!("{event:?}"))));
    }

    /// Looks at the peer as the simulator's checkers of one peer do.
    fn look(&mut self) -> Result<(), Found> {
        let host = &mut self.outcome.host;
        let Some(view) = host
            .peer
            .as_ref()
            .and_then(|peer| peer.view(self.ground.group))
        else {
            return Ok(());
        };
        bounds::judge(&view, 0)?;
        let buried = |(one, _): &(GenesisId, GenesisId)| view.genesis == Some(*one);
        if host.shelf.kept().tombstones.iter().any(buried) {
            let detail = format!(
                "{:?} is in {:?}, which it has buried",
                view.me, view.genesis
            );
            return Err(Found::new("buried-for-good", detail));
        }
        if host.genesis != view.genesis {
            host.genesis = view.genesis;
            host.cursors = Cursors::default();
        }
        if view.genesis.is_some() {
            host.cursors.observe(&view)?;
        }
        Ok(())
    }
}

fn judge(from: Member, to: usize, frame: &Bytes, durable: &DurableLog) -> Result<(), Found> {
    let to = Ground::peer(to);
    match wire::decode_control(frame) {
        Ok(messages) => messages.iter().try_for_each(|message| {
            dissolved::judge_promise(from, message, Some(durable))?;
            promises::judge(from, to, message, Some(durable))
        }),
        Err(error) => {
            let detail = format!("{from:?} sends a frame to {to:?} that is {error}");
            Err(Found::new("frames-are-readable", detail))
        }
    }
}
