//! The cluster as a whole: its states, what may happen in each, and what it leads to.
//!
//! A state is small: it names its hosts, frames and books, which are kept once each. What becomes
//! of a host is remembered with the host and the happening, because most ways through the cluster
//! differ in their order only and meet the same hosts again and again.

mod links;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use quorate_core::Lane;

use super::{
    action::{Action, Bounds, HOSTS, PAIRS, Queue, Way},
    books::{Books, Facts, Models},
    host::{Ground, Happening, Host, Sent, Told},
    shelf::Place,
    stable::Stable,
};
use crate::checkers::Found;

/// A frame on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Flight {
    from: u8,
    to: u8,
    way: Way,
    frame: u32,
}

impl Flight {
    fn wire(&self) -> (u8, u8, Way) {
        (self.from, self.to, self.way)
    }
}

/// One state of the cluster.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    hosts: [u32; HOSTS],
    /// By wire, and on each wire in the order sent.
    flights: Vec<Flight>,
    /// Which pairs have a link, by bit.
    links: u8,
    /// Which pairs get none for now, by bit.
    apart: u8,
    /// What may still happen unasked.
    left: Bounds,
    /// Which queues stand still, in order.
    held: Vec<Queue>,
    /// Which host runs, where hosts take all that there is for them.
    running: Option<u8>,
    books: u32,
}

impl State {
    /// Lets every pair have links again.
    pub(super) fn reunite(&mut self) {
        self.apart = 0;
    }

    /// Returns which pairs get no links for now.
    pub(super) fn apart(&self) -> u8 {
        self.apart
    }

    /// Says which pairs get no links for now.
    pub(super) fn keep_apart(&mut self, pairs: u8) {
        self.apart = pairs;
    }

    /// Allows other things to happen from here on.
    pub(super) fn allow(&mut self, bounds: Bounds) {
        self.left = bounds;
    }
}

/// A host with what is often asked of it.
#[derive(Debug)]
struct Seat {
    host: Host,
    facts: Rc<Facts>,
    runs: bool,
    log: u8,
    ballots: u8,
    works: bool,
    due: bool,
    leads: bool,
}

#[derive(Clone, Debug)]
struct Step {
    host: u32,
    sent: Rc<[Flight]>,
    told: Rc<[Told]>,
}

/// Every host, frame and book met so far, and what became of them.
pub(super) struct Cluster {
    pub(super) ground: Ground,
    seats: Vec<Rc<Seat>>,
    seat_names: BTreeMap<u128, u32>,
    frames: Vec<Bytes>,
    frame_names: BTreeMap<u128, u32>,
    books: Vec<Rc<Books>>,
    book_names: BTreeMap<u128, u32>,
    steps: BTreeMap<(u32, u128), Step>,
    judged: BTreeMap<u128, u32>,
    models: Models,
    /// How often each named situation was reached, by hosts that differ.
    pub(super) marks: BTreeMap<&'static str, u64>,
}

impl Cluster {
    /// Makes a cluster of machines on which nothing runs yet.
    pub(super) fn new(ground: Ground) -> (Self, State) {
        let mut cluster = Self {
            ground,
            seats: Vec::new(),
            seat_names: BTreeMap::new(),
            frames: Vec::new(),
            frame_names: BTreeMap::new(),
            books: Vec::new(),
            book_names: BTreeMap::new(),
            steps: BTreeMap::new(),
            judged: BTreeMap::new(),
            models: Models::default(),
            marks: BTreeMap::new(),
        };
        let hosts = std::array::from_fn(|number| {
            let host = Host::new(number, &cluster.ground);
            cluster.seat(host)
        });
        let state = State {
            hosts,
            flights: Vec::new(),
            links: 0,
            apart: 0,
            left: Bounds::default(),
            held: Vec::new(),
            running: None,
            books: cluster.book(Books::default()),
        };
        (cluster, state)
    }

    /// Returns how many hosts that differ were met.
    pub(super) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// Looks at a host of a state.
    pub(super) fn host(&self, state: &State, number: usize) -> &Host {
        &self.seats[state.hosts[number] as usize].host
    }

    /// Looks at the books of a state.
    pub(super) fn books(&self, state: &State) -> &Books {
        &self.books[state.books as usize]
    }

    /// Tells whether no host goes by a configuration of which a quorum has lost its disks.
    pub(super) fn has_quorums(&self, state: &State) -> bool {
        let facts = state
            .hosts
            .map(|seat| self.seats[seat as usize].facts.clone());
        let lives = |member| facts.iter().any(|one| one.me == member);
        facts
            .iter()
            .all(|one| one.configuration.voters.is_empty() || one.configuration.quorum(lives))
    }

    /// Returns a cluster that knows nothing but one state, to go on from there aside.
    pub(super) fn aside(&self, state: &State) -> (Self, State) {
        let (mut cluster, mut start) = Self::new(self.ground.clone());
        start.hosts = state
            .hosts
            .map(|seat| cluster.seat(self.seats[seat as usize].host.clone()));
        for flight in &state.flights {
            let frame = cluster.frame(&self.frames[flight.frame as usize]);
            start.flights.push(Flight { frame, ..*flight });
        }
        start.links = state.links;
        start.apart = state.apart;
        start.books = cluster.book(self.books(state).clone());
        cluster.models = self.models.clone();
        (cluster, start)
    }

    /// Returns the frame that an action delivers, if it delivers one.
    pub(super) fn flight_of(&self, state: &State, action: Action) -> Option<(Lane, Bytes)> {
        let Action::Deliver {
            from,
            to,
            way,
            place,
        } = action
        else {
            return None;
        };
        let wire = (from, to, way);
        let start = state.flights.partition_point(|flight| flight.wire() < wire);
        let flight = state.flights.get(start + usize::from(place))?;
        Some((self.lane(way), self.frames[flight.frame as usize].clone()))
    }

    fn lane(&self, way: Way) -> Lane {
        match way {
            Way::Control => Lane::Control,
            Way::Entries => Lane::Entries(self.ground.group),
            Way::Bulk => Lane::Bulk,
        }
    }

    fn seat(&mut self, host: Host) -> u32 {
        let name = Stable::of(&host);
        if let Some(known) = self.seat_names.get(&name) {
            return *known;
        }
        let count = |place| u8::try_from(host.shelf.under_way(place)).unwrap_or(u8::MAX);
        let view = host.view(&self.ground);
        let seat = Seat {
            facts: Rc::new(Facts::of(&host, &self.ground)),
            runs: host.peer.is_some(),
            log: count(Place::Log),
            ballots: count(Place::Ballot),
            works: !host.asked.is_empty(),
            due: host.deadline().is_some(),
            leads: view.is_some_and(|view| view.role == quorate_core::Role::Leader),
            host,
        };
        let id = number(self.seats.len());
        self.seats.push(Rc::new(seat));
        self.seat_names.insert(name, id);
        id
    }

    fn frame(&mut self, frame: &Bytes) -> u32 {
        let name = Stable::of(frame);
        let next = number(self.frames.len());
        let id = *self.frame_names.entry(name).or_insert(next);
        if id == next {
            self.frames.push(frame.clone());
        }
        id
    }

    fn book(&mut self, books: Books) -> u32 {
        let name = Stable::of(&books);
        let next = number(self.books.len());
        let id = *self.book_names.entry(name).or_insert(next);
        if id == next {
            self.books.push(Rc::new(books));
        }
        id
    }

    /// Lists what may happen next.
    pub(super) fn actions(&self, state: &State) -> Vec<Action> {
        let mut queued = self.queued(state);
        let Some(holds) = state.left.holds else {
            for host in 0..HOSTS as u8 {
                self.unasked_of(state, host, &mut queued);
            }
            self.unasked(state, &mut queued);
            return queued;
        };
        queued.retain(|action| {
            let queue = action.queue().map(|(queue, _)| queue);
            queue.is_none_or(|queue| !state.held.contains(&queue))
        });
        let mut actions = Vec::new();
        let runs = |action: &Action| action.queue().map(|(_, host)| host);
        let running = state
            .running
            .filter(|host| queued.iter().any(|action| runs(action) == Some(*host)));
        for host in (0..HOSTS as u8).filter(|host| running.is_none_or(|one| one == *host)) {
            let first = queued.iter().find(|action| runs(action) == Some(host));
            if let Some((action, (queue, _))) = first.and_then(|one| Some((*one, one.queue()?))) {
                actions.push(action);
                if holds > 0 {
                    actions.push(Action::Hold { queue });
                }
            }
            self.unasked_of(state, host, &mut actions);
        }
        if running.is_some() {
            actions.retain(|action| !matches!(action, Action::Wake { .. } | Action::Write { .. }));
            return actions;
        }
        for queue in &state.held {
            actions.push(Action::Release { queue: *queue });
        }
        self.unasked(state, &mut actions);
        actions
    }

    /// Tells whether a host has something to take that is not held.
    fn has_work(&self, state: &State, host: u8) -> bool {
        self.queued(state).iter().any(|action| {
            let queue = action.queue();
            queue.is_some_and(|(queue, to)| to == host && !state.held.contains(&queue))
        })
    }

    /// Lists what follows from what has happened, in the order of hosts and queues.
    fn queued(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for host in 0..HOSTS as u8 {
            let seat = &self.seats[state.hosts[usize::from(host)] as usize];
            for (place, count) in [(Place::Log, seat.log), (Place::Ballot, seat.ballots)] {
                if count > 0 && seat.runs {
                    actions.push(Action::Finish { host, place });
                }
            }
            if seat.works && seat.runs {
                actions.push(Action::Work { host });
            }
        }
        let mut at = 0;
        while let Some(flight) = state.flights.get(at) {
            let wire = flight.wire();
            let same = state.flights[at..].iter();
            let length = same.take_while(|other| other.wire() == wire).count();
            let reach = if flight.way == Way::Bulk { length } else { 1 };
            for place in 0..reach {
                actions.push(Action::Deliver {
                    from: flight.from,
                    to: flight.to,
                    way: flight.way,
                    place: u8::try_from(place).unwrap_or(u8::MAX),
                });
            }
            at += length;
        }
        actions
    }

    /// Lists what may happen to pairs and to all.
    fn unasked(&self, state: &State, actions: &mut Vec<Action>) {
        for (pair, (one, other)) in (0_u8..).zip(PAIRS) {
            let run = [one, other]
                .into_iter()
                .all(|number| self.seats[state.hosts[number] as usize].runs);
            if state.links & (1 << pair) == 0 {
                if run && state.apart & (1 << pair) == 0 {
                    actions.push(Action::Join { pair });
                }
            } else if state.left.cuts > 0 {
                actions.push(Action::Cut { pair });
            }
        }
        if state.left.elapses > 0 {
            actions.push(Action::Elapse);
        }
    }

    /// Lists what may happen to a host that nothing under way asked for.
    fn unasked_of(&self, state: &State, host: u8, actions: &mut Vec<Action>) {
        let seat = &self.seats[state.hosts[usize::from(host)] as usize];
        let left = state.left;
        if !seat.runs {
            actions.push(Action::Start { host });
            return;
        }
        if seat.due && left.wakes[usize::from(host)] > 0 {
            actions.push(Action::Wake { host });
        }
        if seat.leads && left.writes > 0 {
            actions.push(Action::Write { host });
        }
        if left.crashes > 0 {
            for log in 0..=seat.log {
                for ballots in 0..=seat.ballots {
                    actions.push(Action::Crash { host, log, ballots });
                }
            }
        }
        if left.wipes > 0 {
            actions.push(Action::Wipe { host });
        }
    }

    /// Returns the state that an action leads to, or what does not hold in it.
    pub(super) fn after(&mut self, state: &State, action: Action) -> Result<State, Found> {
        let mut state = state.clone();
        if state.left.holds.is_some() {
            state.running = action.queue().map_or(state.running, |(_, host)| Some(host));
        }
        let left = &mut state.left;
        match action {
            Action::Deliver {
                from,
                to,
                way,
                place,
            } => {
                let wire = (from, to, way);
                let start = state.flights.partition_point(|flight| flight.wire() < wire);
                let flight = state.flights.remove(start + usize::from(place));
                self.deliver(&mut state, flight)?;
            }
            Action::Finish { host, place } => {
                self.happen(&mut state, usize::from(host), &Happening::Finish(place))?;
            }
            Action::Work { host } => {
                self.happen(&mut state, usize::from(host), &Happening::Work)?
            }
            Action::Wake { host } => {
                left.wakes[usize::from(host)] -= 1;
                self.happen(&mut state, usize::from(host), &Happening::Wake)?;
            }
            Action::Elapse => {
                left.elapses -= 1;
                self.pass(&mut state, self.ground.profile.election_max)?;
            }
            Action::Write { host } => {
                let value = left.writes;
                left.writes -= 1;
                self.happen(&mut state, usize::from(host), &Happening::Write(value))?;
            }
            Action::Crash { host, log, ballots } => {
                left.crashes -= 1;
                let (log, ballots) = (usize::from(log), usize::from(ballots));
                let crash = Happening::Crash { log, ballots };
                self.stop(&mut state, usize::from(host), &crash)?;
            }
            Action::Wipe { host } => {
                left.wipes -= 1;
                self.wipe(&mut state, usize::from(host))?;
            }
            Action::Start { host } => {
                self.happen(&mut state, usize::from(host), &Happening::Start)?;
            }
            Action::Cut { pair } => {
                left.cuts -= 1;
                self.part(&mut state, usize::from(pair))?;
            }
            Action::Join { pair } => self.join(&mut state, usize::from(pair))?,
            Action::Hold { queue } => {
                left.holds = left.holds.map(|left| left - 1);
                let place = state.held.partition_point(|held| *held < queue);
                state.held.insert(place, queue);
            }
            Action::Release { queue } => state.held.retain(|held| *held != queue),
        }
        if state
            .running
            .is_some_and(|host| !self.has_work(&state, host))
        {
            state.running = None;
        }
        Ok(state)
    }

    /// Has a process die and its disk lost.
    pub(super) fn wipe(&mut self, state: &mut State, host: usize) -> Result<(), Found> {
        let facts = self.seats[state.hosts[host] as usize].facts.clone();
        let mut books = self.books(state).clone();
        books.lose(&facts);
        state.books = self.book(books);
        self.stop(state, host, &Happening::Wipe)
    }

    /// Lets time pass everywhere.
    pub(super) fn pass(&mut self, state: &mut State, time: Duration) -> Result<(), Found> {
        for host in 0..HOSTS {
            self.happen(state, host, &Happening::Pass(time))?;
        }
        Ok(())
    }

    /// Has something happen to one host, and judges what it leads to.
    pub(super) fn happen(
        &mut self,
        state: &mut State,
        number: usize,
        happening: &Happening,
    ) -> Result<(), Found> {
        let before = state.hosts[number];
        let key = (before, Stable::of(happening));
        let step = match self.steps.get(&key) {
            Some(step) => step.clone(),
            None => {
                let step = self.work_out(before, happening.clone())?;
                self.steps.insert(key, step.clone());
                step
            }
        };
        state.hosts[number] = step.host;
        for flight in step.sent.iter() {
            let wire = flight.wire();
            let end = state.flights.partition_point(|other| other.wire() <= wire);
            state.flights.insert(end, *flight);
        }
        self.judge(state, number, before)?;
        if !step.told.is_empty() {
            let mut books = self.books(state).clone();
            for told in step.told.iter() {
                books.hear(*told)?;
            }
            state.books = self.book(books);
        }
        Ok(())
    }

    fn work_out(&mut self, seat: u32, happening: Happening) -> Result<Step, Found> {
        let seat = self.seats[seat as usize].clone();
        let outcome = seat.host.after(&self.ground, happening);
        if let Some(found) = outcome.found {
            return Err(found);
        }
        for mark in outcome.marks {
            *self.marks.entry(mark).or_insert(0) += 1;
        }
        let from = u8::try_from(seat.host.number).unwrap_or(u8::MAX);
        let mut sent = Vec::new();
        for Sent { to, lane, frame } in &outcome.sent {
            sent.push(Flight {
                from,
                to: u8::try_from(*to).unwrap_or(u8::MAX),
                way: match lane {
                    Lane::Control => Way::Control,
                    Lane::Entries(_) => Way::Entries,
                    Lane::Bulk => Way::Bulk,
                },
                frame: self.frame(frame),
            });
        }
        Ok(Step {
            host: self.seat(outcome.host),
            sent: sent.into(),
            told: outcome.told.into(),
        })
    }

    fn judge(&mut self, state: &mut State, changed: usize, before: u32) -> Result<(), Found> {
        let facts = |seat: u32| &self.seats[seat as usize].facts;
        let was = facts(before).clone();
        if was.name == facts(state.hosts[changed]).name {
            return Ok(());
        }
        let all = state.hosts.map(|seat| facts(seat).clone());
        let names = [all[0].name, all[1].name, all[2].name];
        let key = Stable::of(&(state.books, changed, was.name, names));
        if let Some(books) = self.judged.get(&key) {
            state.books = *books;
            return Ok(());
        }
        let mut books = (*self.books[state.books as usize]).clone();
        let all = [&*all[0], &*all[1], &*all[2]];
        books.judge(changed, &was, &all, &mut self.models)?;
        if !self.ground.apart {
            books.judge_histories()?;
        }
        state.books = self.book(books);
        self.judged.insert(key, state.books);
        Ok(())
    }

    fn deliver(&mut self, state: &mut State, flight: Flight) -> Result<(), Found> {
        let happening = Happening::Frame {
            from: usize::from(flight.from),
            lane: self.lane(flight.way),
            frame: self.frames[flight.frame as usize].clone(),
        };
        self.happen(state, usize::from(flight.to), &happening)
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("the bound on states comes long before")
}
