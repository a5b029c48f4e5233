//! Clients that give their commands names, and repeat them until they know what became of them.
//!
//! Each is registered through some peer, numbers its commands, keeps several under way, and tries
//! each again through another peer when it hears nothing, or nothing definite. Some ask twice at
//! once, some ask again though they know the answer, and some say of each command that they will
//! not repeat any before it. One that has expired registers anew. What they are told, each time, is
//! for the checkers to judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use quorate_core::{ClientOp, ClientSequence, Command, GenesisId, Index, Input, Reply, RequestId};
use quorate_state::ClientLimits;

use crate::{
    checkers::{Asked, Found, Told},
    dice::{Dice, Span},
    network::nanos,
    operation::Action,
    world::{Happening, World},
};

/// Requests with numbers from here on are those of named clients.
pub(crate) const TRIES: u64 = 1 << 60;

/// How often a client tries one command, or to be registered.
const MOST_TRIES: u32 = 6;

/// How long a client waits before it tries again.
const PAUSE: Span = Span::micros(100, 1_000_000);

/// How long a client waits to be registered.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a named client does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// It asks to be registered.
    Register(usize),
    /// It tries a command, again.
    Try(usize),
}

/// The named clients of a run.
#[derive(Debug)]
pub(crate) struct NamedClients {
    clients: Vec<Client>,
    /// What was asked and not answered: by whom, at which peer.
    tries: BTreeMap<u64, (Plan, usize)>,
    next_try: u64,
    /// The operations that are not settled.
    jobs: BTreeMap<usize, Job>,
    seed: u64,
}

/// One client.
#[derive(Debug)]
struct Client {
    /// For when and where it asks to be registered.
    dice: Dice,
    /// Its id: a history, and the index of its registration there.
    id: Option<(GenesisId, Index)>,
    /// Whether it has asked, or is about to ask, to be registered.
    registering: bool,
    refused: u32,
    next: u64,
    /// Its numbers that are not settled.
    open: BTreeSet<u64>,
    /// Operations that wait until it is registered.
    waiting: Vec<usize>,
    /// Whether it says of each command that it will not repeat any before it; one in four does.
    hasty: bool,
}

/// One command of a client.
#[derive(Debug)]
struct Job {
    client: usize,
    /// For when and where it is tried; its own, so that leaving one out re-rolls no other.
    dice: Dice,
    /// The client's id and the command's number.
    name: Option<((GenesisId, Index), u64)>,
    command: Bytes,
    patience: Duration,
    tries: u32,
    /// How often it is tried though its answer is known.
    repeats: u32,
    /// Requests under way, and tries that are planned.
    pending: u32,
    /// Whether every try was surely not applied.
    refused: bool,
    told: Option<Told>,
}

impl NamedClients {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            clients: Vec::new(),
            tries: BTreeMap::new(),
            next_try: TRIES,
            jobs: BTreeMap::new(),
            seed,
        }
    }
}

impl NamedClients {
    /// Adds a client that has not done anything yet; returns its number.
    fn add_client(&mut self) -> usize {
        let number = self.clients.len();
        self.clients.push(Client {
            dice: Dice::new(self.seed, "named client", number as u64),
            id: None,
            registering: false,
            refused: 0,
            next: 0,
            open: BTreeSet::new(),
            waiting: Vec::new(),
            hasty: number % 4 == 3,
        });
        number
    }

    /// Returns the dice of a plan.
    fn dice(&mut self, plan: Plan) -> Option<&mut Dice> {
        match plan {
            Plan::Register(client) => self.clients.get_mut(client).map(|one| &mut one.dice),
            Plan::Try(operation) => self.jobs.get_mut(&operation).map(|job| &mut job.dice),
        }
    }
}

impl World {
    /// Has a named client write something, first through `peer`; returns the operation's number,
    /// or nothing if it is no write.
    pub fn ask_named(
        &mut self,
        peer: usize,
        client: u32,
        action: Action,
        patience: Duration,
    ) -> Option<usize> {
        if action.is_read() {
            return None;
        }
        let here = (peer, self.checkers.genesis(peer));
        let (operation, asked) = self.checkers.clients.begin(here, action, true);
        let Asked::Write(command) = asked else {
            return None;
        };
        let client = client as usize;
        let named = &mut self.named;
        while named.clients.len() <= client {
            named.add_client();
        }
        // An operation is known by when, where and who, which leaving others out does not change.
        let mark = self.at ^ ((client as u64) << 56) ^ ((peer as u64) << 48);
        let mut dice = Dice::new(named.seed, "named operation", mark);
        let repeats = [0, 0, 0, 1, 3][dice.index(5)];
        named.jobs.insert(
            operation,
            Job {
                client,
                dice,
                name: None,
                command,
                patience,
                tries: 0,
                repeats,
                pending: 0,
                refused: true,
                told: None,
            },
        );
        let known = named.clients[client].id.is_some();
        if known {
            self.name_and_try(operation, peer);
        } else {
            let client_state = &mut self.named.clients[client];
            client_state.waiting.push(operation);
            if !client_state.registering {
                client_state.registering = true;
                client_state.refused = 0;
                self.register(client, peer);
            }
        }
        Some(operation)
    }

    /// Demands that a fresh client is registered and writes through each peer, where the limits of
    /// the client table leave room for it.
    pub(crate) fn serve_named(&mut self, key: u32, limit: Duration) {
        if self.scenario.client_limits != ClientLimits::default() {
            return;
        }
        let fresh = self.named.clients.len() as u32;
        let asked: Vec<(usize, usize)> = (0..self.peers())
            .zip(fresh..)
            .filter_map(|(peer, client)| {
                let action = Action::Insert { key, size: 16 };
                Some((peer, self.ask_named(peer, client, action, PATIENCE)?))
            })
            .collect();
        let done = |world: &Self| {
            asked
                .iter()
                .all(|(_, number)| world.told(*number).is_some())
        };
        self.run_until(limit, done);
        for (peer, number) in &asked {
            let told = self.told(*number);
            if !matches!(told, Some(Told::Written(_))) {
                let detail = format!("a named write first through peer {peer} is told {told:?}");
                self.found("liveness", detail);
            }
        }
    }

    /// Demands that a fresh client is registered through each peer that is well, or beside peers
    /// that stay broken at the second try, where the limits of the client table leave room for it:
    /// a write that changes nothing of a user's machine, so that nothing is found but what the
    /// scenario's commands did.
    pub(crate) fn serve_registrations(&mut self, limit: Duration) {
        if self.scenario.client_limits != ClientLimits::default() {
            return;
        }
        let healed: Vec<usize> = self.healed.iter().copied().collect();
        let mut refused = self.register_through(&healed, limit);
        if !self.all_are_healed() {
            refused = self.register_through(&refused, limit);
        }
        if let Some(peer) = refused.first() {
            let detail = format!("no client is registered through peer {peer}");
            self.found("liveness", detail);
        }
    }

    /// Registers a new client through each of these peers; returns through whom it is not.
    fn register_through(&mut self, peers: &[usize], limit: Duration) -> Vec<usize> {
        let mut fresh = Vec::new();
        for peer in peers {
            let client = self.named.add_client();
            self.named.clients[client].registering = true;
            self.register(client, *peer);
            fresh.push((*peer, client));
        }
        let without = move |world: &Self| -> Vec<usize> {
            let mut left = fresh.clone();
            left.retain(|(_, client)| world.named.clients[*client].id.is_none());
            left.into_iter().map(|(peer, _)| peer).collect()
        };
        self.run_until(limit, |world| without(world).is_empty());
        without(self)
    }

    /// Does what a named client planned.
    pub(crate) fn carry_out_plan(&mut self, plan: Plan) {
        let peer = self.draw_peer(plan);
        match plan {
            Plan::Register(client) => self.register(client, peer),
            Plan::Try(operation) => {
                if let Some(job) = self.named.jobs.get_mut(&operation) {
                    job.pending -= 1;
                    self.try_once(operation, peer);
                }
            }
        }
    }

    /// Draws through which peer a plan is carried out.
    fn draw_peer(&mut self, plan: Plan) -> usize {
        let peers = self.peers();
        self.named.dice(plan).map_or(0, |dice| dice.index(peers))
    }

    fn plan_later(&mut self, plan: Plan) {
        let pause = self.named.dice(plan).map(|dice| dice.span(PAUSE));
        let at = self.at + nanos(pause.unwrap_or_default());
        self.schedule(at, Happening::Named(plan));
    }

    /// Sends a request of a named client to a peer; returns false if the peer does not run.
    fn request(&mut self, plan: Plan, peer: usize, patience: Duration, op: Asking) -> bool {
        let Some(living) = self.nodes[peer].life.as_ref() else {
            return false;
        };
        let life = living.number;
        let deadline = living.clock.now(self.at).time.after(patience);
        let number = self.named.next_try;
        self.named.next_try += 1;
        self.named.tries.insert(number, (plan, peer));
        let op = match op {
            Asking::Register => ClientOp::Register { deadline },
            Asking::Write(command) => ClientOp::Write { command, deadline },
        };
        let input = Input::Client {
            group: self.group,
            request: RequestId(number),
            op,
        };
        self.give(peer, life, input);
        true
    }

    fn register(&mut self, client: usize, peer: usize) {
        if !self.request(Plan::Register(client), peer, PATIENCE, Asking::Register) {
            self.not_registered(client);
        }
    }

    /// Has a client ask again to be registered, or give up what waits for it.
    fn not_registered(&mut self, client: usize) {
        let state = &mut self.named.clients[client];
        state.refused += 1;
        if state.refused < MOST_TRIES && !self.calm {
            return self.plan_later(Plan::Register(client));
        }
        state.registering = false;
        for operation in std::mem::take(&mut state.waiting) {
            self.settle(operation);
        }
    }

    fn registered(&mut self, client: usize, id: (GenesisId, Index)) {
        let state = &mut self.named.clients[client];
        state.id = Some(id);
        state.registering = false;
        state.next = 0;
        state.open.clear();
        for operation in std::mem::take(&mut state.waiting) {
            let peer = self.draw_peer(Plan::Try(operation));
            self.name_and_try(operation, peer);
        }
    }

    /// Gives an operation its name and tries it, now and then through two peers at once.
    fn name_and_try(&mut self, operation: usize, peer: usize) {
        let named = &mut self.named;
        let Some(job) = named.jobs.get_mut(&operation) else {
            return;
        };
        let client = &mut named.clients[job.client];
        let Some(id) = client.id else {
            return;
        };
        // Numbers may be left out.
        let number = client.next + u64::from(job.dice.below(8) == 0);
        client.next = number + 1;
        client.open.insert(number);
        job.name = Some((id, number));
        let name = ClientSequence {
            client: id.1,
            sequence: number,
            open: 0,
        };
        let twice = job.dice.below(10) == 0;
        let ledger = self.checkers.clients.ledger(id.0);
        ledger.names.name(name, operation);
        if twice {
            self.plan_try(operation);
        }
        self.try_once(operation, peer);
    }

    fn plan_try(&mut self, operation: usize) {
        if let Some(job) = self.named.jobs.get_mut(&operation) {
            job.pending += 1;
            self.plan_later(Plan::Try(operation));
        }
    }

    /// Tries an operation through a peer.
    fn try_once(&mut self, operation: usize, peer: usize) {
        let named = &mut self.named;
        let Some(job) = named.jobs.get_mut(&operation) else {
            return;
        };
        let Some((id, sequence)) = job.name else {
            return;
        };
        job.tries += 1;
        job.pending += 1;
        let client = &named.clients[job.client];
        let lowest = match client.open.first() {
            Some(lowest) if client.id == Some(id) && !client.hasty => *lowest,
            _ => sequence,
        };
        let name = ClientSequence {
            client: id.1,
            sequence,
            open: lowest.min(sequence),
        };
        let command = Command {
            client: name,
            bytes: job.command.clone(),
        };
        let patience = job.patience;
        let plan = Plan::Try(operation);
        if !self.request(plan, peer, patience, Asking::Write(command)) {
            // Nobody is there: nothing was sent.
            self.again(operation);
        }
    }

    /// Takes the answer to a request of a named client.
    pub(crate) fn try_done(&mut self, peer: usize, request: u64, reply: &Reply) {
        let Some((plan, _)) = self.named.tries.remove(&request) else {
            let detail = format!("try {request} is answered {reply:?}, without having asked");
            return self.found_at(peer, "answered-once", detail);
        };
        let spot = self.spot(peer);
        match plan {
            Plan::Register(client) => {
                let genesis = self.checkers.genesis(peer).unwrap_or(GenesisId([0; 16]));
                let ledger = self.checkers.clients.ledger(genesis);
                match ledger.names.registered(reply) {
                    Ok(Some(id)) => self.registered(client, (genesis, id)),
                    Ok(None) => self.not_registered(client),
                    Err(found) => self.checkers.note(spot, Err(found)),
                }
            }
            Plan::Try(operation) => {
                if let Err(found) = self.try_answered(operation, peer, reply) {
                    self.checkers.note(spot, Err(found));
                }
            }
        }
    }

    fn try_answered(&mut self, operation: usize, peer: usize, reply: &Reply) -> Result<(), Found> {
        let Some(job) = self.named.jobs.get_mut(&operation) else {
            return Ok(());
        };
        let Some((id, sequence)) = job.name else {
            return Ok(());
        };
        let name = ClientSequence {
            client: id.1,
            sequence,
            open: 0,
        };
        let clients = &mut self.checkers.clients;
        let told = clients.try_answered(operation, (id.0, name), peer, reply)?;
        job.refused &= matches!(reply, Reply::Busy | Reply::Unavailable);
        if matches!(reply, Reply::Expired | Reply::Superseded) {
            let client = &mut self.named.clients[job.client];
            client.id = client.id.filter(|present| *present != id);
        }
        let repeats = matches!(told, Some(Told::Written(_))) && job.repeats > 0;
        if repeats {
            job.repeats -= 1;
        }
        let before = job.told;
        job.told = before.or(told);
        if repeats && !self.calm {
            self.plan_try(operation);
        }
        match job_told(&self.named, operation) {
            Some(_) => self.one_less(operation),
            None => self.again(operation),
        }
        Ok(())
    }

    /// Answers a named command as a driver does, if it names a client of another history than the
    /// peer's; tells whether it did.
    pub(crate) fn is_for_another_history(&mut self, peer: usize, input: &Input) -> bool {
        let Input::Client { request, op, .. } = input else {
            return false;
        };
        let Some((Plan::Try(operation), _)) = self.named.tries.get(&request.0).copied() else {
            return false;
        };
        let name = self.named.jobs.get(&operation).and_then(|job| job.name);
        let here = self.view(peer).and_then(|view| view.genesis);
        if !matches!(op, ClientOp::Write { .. }) || name.is_none_or(|(id, _)| Some(id.0) == here) {
            return false;
        }
        self.mark("client: of another history");
        self.named.tries.remove(&request.0);
        if let (Some((id, _)), Some(job)) = (name, self.named.jobs.get_mut(&operation))
            && here.is_some()
        {
            let client = &mut self.named.clients[job.client];
            client.id = client.id.filter(|present| *present != id);
            job.refused = false;
        }
        self.again(operation);
        true
    }

    /// Returns how many questions of named clients wait for an answer of a peer that is well: of
    /// one that asks to be registered no operation need know.
    pub(crate) fn tries(&self) -> usize {
        let peers = self.named.tries.values().map(|(_, peer)| peer);
        peers.filter(|peer| self.healed.contains(peer)).count()
    }

    /// Returns the peers that an operation of a named client waits for.
    pub(crate) fn asked_of(&self, operation: usize) -> impl Iterator<Item = usize> {
        let tries = self.named.tries.values();
        tries.filter_map(move |(plan, peer)| {
            let waits = match plan {
                Plan::Try(number) => *number == operation,
                Plan::Register(client) => self.named.clients[*client].waiting.contains(&operation),
            };
            waits.then_some(*peer)
        })
    }

    /// One request of an operation is over without a definite answer: another one follows.
    fn again(&mut self, operation: usize) {
        let calm = self.calm;
        if let Some(job) = self.named.jobs.get(&operation)
            && job.tries < MOST_TRIES
            && job.told.is_none()
            && !calm
        {
            self.plan_try(operation);
        }
        self.one_less(operation);
    }

    fn one_less(&mut self, operation: usize) {
        if let Some(job) = self.named.jobs.get_mut(&operation) {
            job.pending -= 1;
            if job.pending == 0 {
                self.settle(operation);
            }
        }
    }

    /// Ends an operation: its client asks no more, and its number is closed.
    fn settle(&mut self, operation: usize) {
        let Some(job) = self.named.jobs.remove(&operation) else {
            return;
        };
        if let Some((id, number)) = job.name {
            let client = &mut self.named.clients[job.client];
            if client.id == Some(id) {
                client.open.remove(&number);
            }
        }
        let unanswered = if job.refused {
            Told::Refused
        } else {
            Told::Unknown
        };
        let told = job.told.unwrap_or(unanswered);
        if let Err(found) = self.checkers.clients.settle(operation, told) {
            let spot = self.spot(usize::MAX);
            self.checkers.note(spot, Err(found));
        }
    }

    /// Takes the death of a peer: what was asked of it is answered no more.
    pub(crate) fn named_died(&mut self, peer: usize) {
        let lost: Vec<u64> = self
            .named
            .tries
            .iter()
            .filter(|(_, (_, at))| *at == peer)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            match self.named.tries.remove(&number) {
                Some((Plan::Register(client), _)) => self.not_registered(client),
                Some((Plan::Try(operation), _)) => {
                    if let Some(job) = self.named.jobs.get_mut(&operation) {
                        job.refused = false;
                    }
                    self.again(operation);
                }
                None => {}
            }
        }
    }
}

/// What a named client asks for.
enum Asking {
    Register,
    Write(Command),
}

fn job_told(named: &NamedClients, operation: usize) -> Option<Told> {
    named.jobs.get(&operation)?.told
}
