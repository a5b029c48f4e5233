//! One turn of the driver: inputs in, effects out, until nothing follows.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use quorate_core::{
    ClientOp, Command, Effect, Event, Form, GroupId, Input, LinkId, Now, OpenGroup, Reply,
    RequestId, Role, Time,
};
use quorate_net::{CarrierBatch, rendezvous::Sighting};
use quorate_state::Machine;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Driver, Waiter,
    acquaintances::Whereabouts,
    clock::Clock,
    founder,
    host::Host,
    request::{FeedRequest, ReadRequest, Request, WriteRequest, concerns},
    trace,
};
use crate::{
    event::EventsTap,
    group::Seat,
    limits::{TURN_EVENTS, TURN_ROUNDS, TURN_STATE},
    name::RequestName,
};

impl Driver {
    /// Does what there is to do now; returns who waits for the end if it is to stop.
    pub(super) fn turn(&mut self) -> Option<oneshot::Sender<()>> {
        let now = self.hall.clock.now();
        self.now = now;
        self.hall.meters.driver.turns.inc();
        let stop = self.take_requests(now);
        self.take_events(now);
        self.take_sighting(now);
        if self.peer.deadline().is_some_and(|due| due <= now.time) {
            self.step(now, Input::Wake);
        }
        self.settle(now);
        let until = Instant::now() + TURN_STATE;
        for host in self.hosts.values_mut() {
            host.begin_turn();
        }
        for _ in 0..TURN_ROUNDS {
            if !self.round(until) {
                break;
            }
        }
        self.show();
        stop
    }

    /// Tells whether nothing waits that could be done now.
    pub(super) fn is_idle(&self) -> bool {
        self.done.is_empty() && self.hosts.values().all(Host::is_idle)
    }

    /// Follows up on finished work and does what groups' states were asked; false if there was
    /// nothing.
    fn round(&mut self, until: Instant) -> bool {
        let now = self.hall.clock.now();
        self.now = now;
        self.take_written();
        let mut any = false;
        for _ in 0..self.done.len() {
            if let Some(input) = self.done.pop_front() {
                any = true;
                self.step(now, input);
            }
        }
        any |= self.work(until);
        if any {
            self.settle(now);
        }
        any
    }

    /// Lets the groups' states work until their share of the turn is used up.
    fn work(&mut self, until: Instant) -> bool {
        let mut any = false;
        for (group, host) in &mut self.hosts {
            while let Some(done) = host.work() {
                any = true;
                if let Some(done) = done {
                    self.done.push_back(Input::State {
                        group: *group,
                        done,
                    });
                }
                if Instant::now() >= until {
                    return any;
                }
            }
        }
        any
    }

    fn step(&mut self, now: Now, input: Input) {
        self.peer.step(now, input, &mut self.effects);
        self.execute();
    }

    fn settle(&mut self, now: Now) {
        self.peer.settle(now, &mut self.effects);
        self.execute();
    }

    /// Carries out what the peer wants, in order.
    fn execute(&mut self) {
        if self.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        let carrier = self.carrier.clone();
        // What one step sends leaves together.
        let mut batch = carrier.batch();
        for effect in effects.drain(..) {
            self.carry_out(effect, &mut batch);
        }
        drop(batch);
        self.effects = effects;
        if !self.disk.is_empty() || self.log.has_more() {
            let ops = self.disk.drain(..);
            self.log.submit_all(ops, self.now.time, &mut self.written);
            self.note_written();
        }
    }

    /// Takes what the disk has done meanwhile.
    fn take_written(&mut self) {
        self.log.work(self.now.time, &mut self.written);
        self.note_written();
        if let Some(enough) = self.log.space() {
            self.done.push_back(Input::Space { enough });
        }
    }

    fn note_written(&mut self) {
        let done = self.written.drain(..).map(|done| Input::Disk {
            id: done.id,
            result: done.result,
        });
        self.done.extend(done);
    }

    fn carry_out(&mut self, effect: Effect, batch: &mut CarrierBatch<'_>) {
        match effect {
            Effect::Send { link, lane, frame } => {
                // A link that does not take a frame is down or going down: that comes as an event.
                batch.send(link, lane, frame).unwrap_or_default();
            }
            // Gathered, so that one write takes all that one step asked for.
            Effect::Disk(op) => self.disk.push(op),
            Effect::Remember(boots) => self.log.remember(boots),
            Effect::EndIncarnation => {
                self.log.end_incarnation();
                self.over = true;
                self.hall.over.store(true, Ordering::Release);
            }
            Effect::State { group, op } => {
                if let Some(host) = self.hosts.get_mut(&group) {
                    host.ask(op);
                }
            }
            Effect::Reply { request, reply } => self.reply(request, reply),
            Effect::Event(event) => self.tell(&event),
            Effect::Dial(peer) => {
                let addresses = self.addresses.get(&peer).cloned().unwrap_or_default();
                if self.carrier.dial(peer, addresses).is_err() {
                    self.done.push_back(Input::DialFailed(peer));
                }
            }
            Effect::Authenticated(link) => {
                self.carrier.authenticate(link);
                let me = (self.hall.peer, self.carrier.addresses());
                let tell = self.acquaintances.proven(link, me);
                self.carrier.introduce(link, &tell);
            }
            Effect::Close { link, code } => self.carrier.close(link, code, code.reason()),
            Effect::Mark(what) => tracing::trace!(target: "quorate::mark", what),
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        let Some(waiter) = self.waiters.take(request) else {
            return;
        };
        self.answered += 1;
        // Whoever dropped the receiving end does not want to know.
        match waiter {
            Waiter::Write {
                group,
                since,
                reply: waiting,
            } => {
                if let (Reply::Committed { .. }, Some(host)) = (&reply, self.hosts.get_mut(&group))
                {
                    host.committed(self.now.time.since(since));
                }
                waiting.send(reply).unwrap_or_default();
            }
            Waiter::Told(waiting) => waiting.send(reply).unwrap_or_default(),
            Waiter::Fed {
                taken: Some(taken), ..
            } => {
                let taking = match reply {
                    Reply::Committed { .. } => Ok(()),
                    refused => Err(refused),
                };
                taken.send(taking).unwrap_or_default();
            }
            Waiter::Fed { taken: None, .. } => {
                if !matches!(reply, Reply::Committed { .. }) {
                    tracing::debug!(target: "quorate::group", ?reply, "a fed command is lost");
                }
            }
            Waiter::Leaving { .. } => {}
            Waiter::Read {
                group,
                query,
                reply: waiting,
            } => {
                let answer = match (&reply, self.hosts.get_mut(&group)) {
                    (Reply::Fresh { .. }, Some(host)) => host.answer(&query),
                    _ => Err(reply),
                };
                waiting.send(answer).unwrap_or_default();
            }
        }
    }

    /// Tells an event to those it concerns.
    fn tell(&mut self, event: &Event) {
        self.feed.push(event, 0, &());
        let date = Clock::date(self.now);
        let mut news = true;
        match event {
            Event::PeerUp { peer } => self.sight.up(*peer, date),
            Event::PeerDown { peer, code } => self.sight.down(*peer, *code, date),
            Event::PeerRefused { peer, code } => news = self.sight.refused(*peer, *code, date),
            _ => {}
        }
        trace::link(event, news);
        for (group, host) in &mut self.hosts {
            if concerns(event, *group) {
                host.tell(event, self.now);
            }
        }
    }

    fn take_requests(&mut self, now: Now) -> Option<oneshot::Sender<()>> {
        let mut batch = std::mem::take(&mut self.batch);
        self.hall.door.take(&mut batch);
        let mut stop = None;
        for request in batch.drain(..) {
            match request {
                Request::Stop { done } => stop = Some(done),
                request => self.take_request(now, request),
            }
        }
        self.batch = batch;
        stop
    }

    fn take_request(&mut self, now: Now, request: Request) {
        match request {
            Request::Write(write) => self.take_write(now, write),
            Request::Feed(feed) => self.take_fed(now, feed),
            Request::Read(read) => self.take_read(now, read),
            Request::Wish { group, op, reply } => {
                self.wish(now, group, *op, Waiter::Told(reply));
            }
            Request::Open {
                group,
                open,
                machine,
                reply,
            } => {
                let seat = self.open(now, group, open, machine);
                reply.send(seat).unwrap_or_default();
            }
            Request::Founder { group, lock } => {
                if let Some(host) = self.hosts.get_mut(&group) {
                    host.keep(lock);
                    self.step(now, Input::Founder(group));
                }
            }
            Request::Leave { deadline, done } => self.leave(now, deadline, done),
            watch => self.take_watch(watch),
        }
    }

    /// Takes a request of those that the peer need not know of.
    fn take_watch(&mut self, request: Request) {
        match request {
            Request::Events { group, reply } => {
                if let Some(tap) = self.subscribe(group) {
                    reply.send(tap).unwrap_or_default();
                }
            }
            Request::Changes {
                group,
                prefix,
                since,
                reply,
            } => {
                if let Some(host) = self.hosts.get_mut(&group) {
                    // Whoever dropped the receiving end does not want to know.
                    reply.send(host.changes(prefix, since)).unwrap_or(());
                }
            }
            Request::Pause { paused, until } => {
                self.pause = Some(until);
                paused.send(()).unwrap_or_default();
            }
            _ => {}
        }
    }

    fn take_write(&mut self, now: Now, write: WriteRequest) {
        let WriteRequest {
            group,
            command,
            name,
            deadline,
            reply,
        } = write;
        match self.named(group, command, name.as_deref()) {
            Ok(command) => {
                let op = ClientOp::Write { command, deadline };
                let since = now.time;
                let waiter = Waiter::Write {
                    group,
                    since,
                    reply,
                };
                self.wish(now, group, op, waiter);
            }
            Err(refused) => reply.send(refused).unwrap_or_default(),
        }
    }

    fn take_fed(&mut self, now: Now, feed: FeedRequest) {
        let FeedRequest {
            group,
            command,
            deadline,
            room,
            taken,
        } = feed;
        let command = Command::anonymous(command);
        let op = ClientOp::Write { command, deadline };
        let waiter = Waiter::Fed {
            _room: room,
            taken: Some(taken),
        };
        let request = self.wish(now, group, op, waiter);
        // If it was not refused at once, this peer has it.
        if let Some(Waiter::Fed { taken, .. }) = self.waiters.get_mut(request)
            && let Some(taken) = taken.take()
        {
            taken.send(Ok(())).unwrap_or_default();
        }
    }

    /// Asks something of the peer on behalf of `waiter`.
    fn wish(&mut self, now: Now, group: GroupId, op: ClientOp, waiter: Waiter) -> RequestId {
        let request = self.waiters.add(waiter);
        self.step(now, Input::Client { group, request, op });
        request
    }

    /// Puts a name to a command, or says why it can have none.
    fn named(
        &self,
        group: GroupId,
        bytes: Bytes,
        name: Option<&RequestName>,
    ) -> Result<Command, Reply> {
        let Some(name) = name else {
            return Ok(Command::anonymous(bytes));
        };
        let view = self.peer.view(group).ok_or(Reply::Closed)?;
        // A client is known in the history that registered it and in no other.
        let genesis = view.genesis.ok_or(Reply::Unavailable)?;
        let client = name.sequence().filter(|_| name.client.genesis == genesis);
        let client = client.ok_or(Reply::Expired)?;
        Ok(Command { client, bytes })
    }

    /// Gives up this peer's seats, or, if it comes back as itself, the lead; whoever waits is told
    /// by the end of `done`.
    fn leave(&mut self, now: Now, deadline: Time, done: oneshot::Sender<()>) {
        let done = Arc::new(done);
        for group in self.hosts.keys().copied().collect::<Vec<_>>() {
            let view = self.peer.view(group);
            let leads = view.is_some_and(|view| view.role == Role::Leader);
            let op = if !self.hall.on_disk {
                let dissolve = false;
                ClientOp::Leave { dissolve, deadline }
            } else if leads {
                ClientOp::Transfer { to: None, deadline }
            } else {
                continue;
            };
            let _done = Arc::clone(&done);
            self.wish(now, group, op, Waiter::Leaving { _done });
        }
    }

    /// Answers a read that asks for no freshness; the peer says when to answer the others.
    fn take_read(&mut self, now: Now, read: ReadRequest) {
        let ReadRequest {
            group,
            freshness,
            deadline,
            query,
            reply,
        } = read;
        let Some(freshness) = freshness else {
            let host = self.hosts.get_mut(&group);
            let answer = host.map_or(Err(Reply::Closed), |host| host.answer(&query));
            return reply.send(answer).unwrap_or_default();
        };
        let request = self.waiters.add(Waiter::Read {
            group,
            query,
            reply,
        });
        let op = ClientOp::Read {
            freshness,
            deadline,
        };
        self.step(now, Input::Client { group, request, op });
    }

    fn open(
        &mut self,
        now: Now,
        group: GroupId,
        open: Box<OpenGroup>,
        machine: Arc<dyn Machine>,
    ) -> Arc<Seat> {
        if let Some(host) = self.hosts.get(&group) {
            return host.seat();
        }
        let mut open = open;
        // A state that no checkpoint holds is made anew from the log.
        open.profile.keep_log |= self.hall.on_disk;
        let host = Host::new(&self.hall, group, &open, machine);
        let seat = host.seat();
        if let (Form::Auto { locked: true }, Some(finding)) = (open.form, &self.finding)
            && let Some((rendezvous, _)) = &finding.place
        {
            founder::seek(rendezvous, &self.hall, &seat);
        }
        self.hosts.insert(group, host);
        self.step(now, Input::Open(open));
        seat
    }

    fn subscribe(&mut self, group: Option<GroupId>) -> Option<EventsTap> {
        match group {
            None => Some(self.feed.subscribe()),
            Some(group) => self.hosts.get_mut(&group).map(Host::subscribe),
        }
    }

    fn take_events(&mut self, now: Now) {
        let mut next = self.first.take().or_else(|| self.events.try_recv());
        for _ in 0..TURN_EVENTS {
            let Some(event) = next else {
                return;
            };
            self.take_event(now, event);
            next = self.events.try_recv();
        }
        self.first = next;
    }

    fn take_event(&mut self, now: Now, event: quorate_net::Event) {
        match &event {
            quorate_net::Event::LinkUp { link, peer, .. } => self.acquaintances.up(*link, *peer),
            quorate_net::Event::LinkDown { link, .. } => self.acquaintances.down(*link),
            quorate_net::Event::DialFailed { peer, .. } if self.acquaintances.failed(*peer) => {
                self.addresses.remove(peer);
                self.sight.lost(*peer, Clock::date(now));
                self.step(now, Input::Lost(*peer));
            }
            _ => {}
        }
        match event {
            quorate_net::Event::Introduced { link, peers } => self.hear(now, link, peers),
            event => self.step(now, input_of(event)),
        }
    }

    /// Takes note of where peers can be reached, and passes on what is to be.
    fn hear(&mut self, now: Now, link: LinkId, peers: Vec<Whereabouts>) {
        let (me, addresses) = (self.hall.peer, &self.addresses);
        let knows = |peer| addresses.contains_key(&peer);
        let news = self.acquaintances.hear(link, me, peers, knows);
        if let Some((peer, links)) = news.pass_on {
            let list = [peer];
            for link in links {
                self.carrier.introduce(link, &list);
            }
        }
        for (peer, addresses) in news.found {
            self.addresses.insert(peer, addresses);
            self.sight.found(peer, Clock::date(now));
            self.step(now, Input::Found(peer));
        }
    }

    fn take_sighting(&mut self, now: Now) {
        match self.sighted.take() {
            Some(Sighting::Found(found)) => {
                self.acquaintances.sighted(found.peer);
                self.addresses.insert(found.peer, found.card.addresses);
                self.sight.found(found.peer, Clock::date(now));
                self.step(now, Input::Found(found.peer));
            }
            Some(Sighting::Lost(peer)) => {
                self.acquaintances.lost(peer);
                self.addresses.remove(&peer);
                self.sight.lost(peer, Clock::date(now));
                self.step(now, Input::Lost(peer));
            }
            None => {}
        }
    }

    /// Shows how the groups stand.
    fn show(&mut self) {
        let date = Clock::date(self.now);
        for (group, host) in &mut self.hosts {
            if let Some(view) = self.peer.view(*group) {
                let members = view.members();
                for other in &members {
                    self.sight.expect(other.member.peer, date);
                }
                host.show(&view, &members, &self.sight.show(), date);
            }
        }
    }
}

fn input_of(event: quorate_net::Event) -> Input {
    match event {
        quorate_net::Event::LinkUp {
            link,
            peer,
            dialed,
            exporter,
        } => Input::LinkUp {
            link,
            peer,
            dialed,
            exporter,
        },
        quorate_net::Event::Frame { link, lane, bytes } => Input::Frame { link, lane, bytes },
        quorate_net::Event::LinkDown { link, code, .. } => Input::LinkDown { link, code },
        quorate_net::Event::DialFailed { peer, .. } => Input::DialFailed(peer),
        _ => Input::Wake,
    }
}
