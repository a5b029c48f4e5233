//! The driver: one task per network that owns the peer's state machine and all it acts on.
//!
//! It takes no decision. What happens (requests from handles, the transport's events, sightings of
//! peers, timers, finished work) becomes inputs of [`Peer::step`]; what the peer wants done is
//! carried out in the order in which it was asked for. One task, because every input of a peer
//! goes through one state machine anyway: locks around it would only add waiting.
//!
//! A turn takes what has gathered, steps the peer through it, settles once, and then follows up on
//! work that is done at once (the memory log, states of groups) until nothing is left or the turn
//! has had its share. So a busy peer batches and an idle one answers at once. Slices of long work
//! (hashing a snapshot, freeing one) get one per turn.
//!
//! Invariant: a reply that says "fresh enough" is turned into the read itself before the next
//! step, while the state is what the reply speaks of.

mod acquaintances;
pub(crate) mod clock;
pub(crate) mod door;
mod founder;
mod history;
mod host;
pub(crate) mod log;
pub(crate) mod request;
mod trace;
mod turn;
mod waiters;

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
};

use quorate_core::{DiskOp, Effects, Event, GroupId, Input, Now, Peer, PeerId, Reply, Time};
use quorate_net::{
    Address, Carrier,
    rendezvous::{Registration, Rendezvous, Sighting, Sightings},
};
use quorate_store::DiskCompletion;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, Sleep},
};

use crate::{
    feed::{Feed, Limit},
    hall::Hall,
    limits::{LONG_TURN, SUBSCRIBER_EVENTS},
    sight::Sight,
};
use acquaintances::Acquaintances;
use clock::Clock;
use host::Host;
use log::Log;
use request::{Answer, Query, Request};
use waiters::Waiters;

/// One peer at work.
#[derive(Debug)]
pub(crate) struct Driver {
    hall: Arc<Hall>,
    peer: Peer,
    log: Log,
    carrier: Carrier,
    events: quorate_net::Events,
    finding: Option<Finding>,
    /// Where peers were seen.
    addresses: BTreeMap<PeerId, Vec<Address>>,
    acquaintances: Acquaintances,
    /// How the links to them stand, for people.
    sight: Sight,
    hosts: BTreeMap<GroupId, Host>,
    waiters: Waiters<Waiter>,
    /// Subscribers to the events of all groups.
    feed: Feed<Event, ()>,
    /// Work that is done, in order; inputs of the next round.
    done: VecDeque<Input>,
    /// How many requests were answered since the driver last waited.
    answered: usize,
    /// What woke the driver and was taken from its queue by it.
    first: Option<quorate_net::Event>,
    sighted: Option<Sighting>,
    /// Ends when the driver may go on, if it is to do nothing now.
    pause: Option<oneshot::Receiver<()>>,
    /// Whether the peer's incarnation has ended: its next one is that of the network that the
    /// application opens next, in the same data directory or in memory.
    over: bool,
    /// When the present round of the turn began.
    now: Now,
    // Kept to keep their memory.
    effects: Effects,
    disk: Vec<DiskOp>,
    written: Vec<DiskCompletion>,
    batch: Vec<Request>,
}

/// Who waits for a reply of the peer.
#[derive(Debug)]
enum Waiter {
    Write {
        group: GroupId,
        /// When it came in.
        since: Time,
        reply: oneshot::Sender<Reply>,
    },
    /// Somebody who is told the reply as it is.
    Told(oneshot::Sender<Reply>),
    Fed {
        /// Given back with the waiter.
        _room: OwnedSemaphorePermit,
        /// Who waits until the command is taken; nobody after that.
        taken: Option<oneshot::Sender<Result<(), Reply>>>,
    },
    /// Whoever closes the network, until all groups have been left; told by its end.
    Leaving { _done: Arc<oneshot::Sender<()>> },
    Read {
        group: GroupId,
        query: Query,
        reply: oneshot::Sender<Result<Answer, Reply>>,
    },
}

/// How a peer finds others, and is found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) sightings: Sightings,
    /// The directory where they meet, and what keeps this peer's card in it; none at a switchboard.
    pub(crate) place: Option<(Rendezvous, Registration)>,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) hall: Arc<Hall>,
    pub(crate) peer: Peer,
    pub(crate) log: Log,
    pub(crate) carrier: Carrier,
    pub(crate) events: quorate_net::Events,
    pub(crate) finding: Option<Finding>,
    /// Peers that need not be found: they are known from the start.
    pub(crate) known: Vec<(PeerId, Vec<Address>)>,
}

impl Driver {
    /// Puts a driver together; it does nothing before [`Self::run`].
    pub(crate) fn new(parts: Parts) -> Self {
        let done = parts.known.iter().map(|(peer, _)| Input::Found(*peer));
        let now = parts.hall.clock.now();
        let mut sight = Sight::default();
        for (peer, _) in &parts.known {
            sight.found(*peer, Clock::date(now));
        }
        Self {
            sight,
            now,
            done: done.collect(),
            hall: parts.hall,
            peer: parts.peer,
            log: parts.log,
            carrier: parts.carrier,
            events: parts.events,
            finding: parts.finding,
            addresses: parts.known.into_iter().collect(),
            acquaintances: Acquaintances::default(),
            hosts: BTreeMap::new(),
            waiters: Waiters::default(),
            feed: Feed::new(Limit {
                items: SUBSCRIBER_EVENTS,
                bytes: usize::MAX,
            }),
            answered: 0,
            first: None,
            sighted: None,
            pause: None,
            over: false,
            effects: Effects::new(),
            disk: Vec::new(),
            written: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// Works until a handle asks it to stop, or the peer's incarnation ends, or forever.
    ///
    /// Dropping it is what a crash of the process would be to the other peers.
    pub(crate) async fn run(mut self) {
        let mut alarm = Alarm::new();
        let stopped = loop {
            let began = Instant::now();
            if let Some(done) = self.turn() {
                break Some(done);
            }
            if self.over {
                // That it is must be durable before anybody can know.
                self.log.close(self.hall.clock.time()).await;
                break None;
            }
            if let Some(until) = self.pause.take() {
                // Fails when the other end is dropped, which is what it waits for.
                until.await.unwrap_or_default();
            }
            // Other tasks of this thread have waited as long as the turn took.
            if !self.is_idle() || began.elapsed() >= LONG_TURN {
                tokio::task::yield_now().await;
            }
            if self.is_idle() {
                self.wait(&mut alarm).await;
                self.let_clients_speak().await;
            }
        };
        self.stop().await;
        if let Some(stopped) = stopped {
            // The caller may have gone; then nobody waits for the end.
            stopped.send(()).unwrap_or_default();
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, alarm: &mut Alarm) {
        let due = self.peer.deadline().into_iter().chain(self.log.deadline());
        alarm.set(due.min(), &self.hall);
        let finding = self.finding.as_mut();
        tokio::select! {
            () = poll_fn(|cx| self.hall.door.poll_ready(cx)) => {}
            event = self.events.recv() => self.first = event,
            () = self.log.ready() => {}
            sighting = next_sighting(finding) => self.sighted = Some(sighting),
            () = alarm.ring() => {}
        }
    }

    /// Lets the clients that were just answered come back with what they want next, once.
    ///
    /// The first of them wakes the driver, and tokio runs what was woken last first: without this a
    /// turn would be taken for one request while the others, ready to run, wait behind it.
    async fn let_clients_speak(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        if self.hall.door.waiting().0 < answered {
            tokio::task::yield_now().await;
        }
    }

    /// Says goodbye to all: handles get their answers, peers a close with a reason.
    async fn stop(&mut self) {
        self.hall.door.close();
        for host in std::mem::take(&mut self.hosts).into_values() {
            host.close();
        }
        // Whoever waits for a reply learns from its dropped sender that there will be none.
        self.waiters = Waiters::default();
        self.finding = None;
        self.carrier.shutdown().await;
        self.log.close(self.hall.clock.time()).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.hall.finished.close();
        self.hall.door.close();
        for host in std::mem::take(&mut self.hosts).into_values() {
            host.close();
        }
    }
}

async fn next_sighting(finding: Option<&mut Finding>) -> Sighting {
    if let Some(finding) = finding
        && let Some(sighting) = finding.sightings.recv().await
    {
        return sighting;
    }
    std::future::pending().await
}

/// The timer of the peer's deadline; set anew only when the deadline moves.
struct Alarm {
    at: Option<Time>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new() -> Self {
        Self {
            at: None,
            sleep: Box::pin(tokio::time::sleep_until(Instant::now())),
        }
    }

    fn set(&mut self, at: Option<Time>, hall: &Hall) {
        let at = at.filter(|at| *at != Time::NEVER);
        if self.at == at {
            return;
        }
        self.at = at;
        if let Some(instant) = at.and_then(|at| hall.clock.instant(at)) {
            self.sleep.as_mut().reset(instant);
        } else {
            self.at = None;
        }
    }

    async fn ring(&mut self) {
        match self.at {
            Some(_) => self.sleep.as_mut().await,
            None => std::future::pending().await,
        }
    }
}
