//! A peer's turn: inputs in, effects out, as a driver does it.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    ClientOp, Command, Effect, Effects, Event, Freshness, GroupEvent, Input, Lane, LinkId, Reply,
    RequestId,
};

use quorate_store::{
    DiskCompletion,
    limits::{SEAL_IDLE, SPACE_RETRY},
};

use crate::{
    checkers::Asked,
    checkers::Spot,
    inject::Lift,
    named::TRIES,
    network::nanos,
    operation::Action,
    operator::ERRANDS,
    world::{Happening, World},
};

/// Turns in a row, at most, in which a peer that asked to be woken at once does nothing.
const IDLE_TURNS: u32 = 3;

/// Inputs that a peer takes before it settles, at most.
const TURN_INPUTS: u64 = 32;

impl World {
    /// Names the present moment at a peer.
    pub(crate) fn spot(&self, peer: usize) -> Spot {
        Spot {
            at: self.at,
            event: self.trace.events(),
            peer,
        }
    }

    /// Lets a peer take what is in its inbox.
    pub(crate) fn turn(&mut self, number: usize, life: u64) {
        let node = &mut self.nodes[number];
        let paused = node.paused > 0;
        // How much has gathered before a driver looks is a matter of chance.
        let most = node.dice.steps.between(1, TURN_INPUTS);
        let delay = node.step_delay();
        let Some(living) = node.living(life) else {
            return;
        };
        living.awake = false;
        if paused {
            return;
        }
        let mut idle = true;
        let mut effects = std::mem::take(&mut self.effects);
        for _ in 0..most {
            let Some(input) = self.nodes[number]
                .living(life)
                .and_then(|living| living.inbox.pop_front())
            else {
                break;
            };
            idle &= matches!(input, Input::Wake);
            idle &= self.step(number, life, input, &mut effects) == 0;
        }
        idle &= self.let_settle(number, life, &mut effects) == 0;
        self.effects = effects;
        let Some(living) = self.nodes[number].living(life) else {
            return;
        };
        let now = living.clock.now(self.at).time;
        let late = living.peer.deadline().filter(|due| *due <= now);
        living.idle_turns = match late {
            Some(_) if idle => living.idle_turns + 1,
            _ => 0,
        };
        if let Some(due) = late.filter(|_| living.idle_turns > IDLE_TURNS) {
            let detail = format!("woken at {now:?} again, it still wants to be woken at {due:?}");
            return self.found_at(number, "a-wake-is-used", detail);
        }
        if !living.inbox.is_empty() {
            living.awake = true;
            self.schedule(self.at + delay, Happening::Turn { peer: number, life });
        }
        self.plan_wake(number, life);
    }

    /// Wakes a peer if its deadline has come.
    pub(crate) fn wake(&mut self, number: usize, life: u64) {
        let at = self.at;
        let node = &mut self.nodes[number];
        let paused = node.paused > 0;
        let Some(living) = node.living(life) else {
            return;
        };
        if living.wake == at {
            living.wake = u64::MAX;
        }
        let due = living.peer.deadline();
        if paused || due.is_none_or(|due| living.clock.now(at).time < due) {
            // A deadline that has moved, or that nobody looks at.
            self.plan_wake(number, life);
            return;
        }
        self.give(number, life, Input::Wake);
    }

    /// Schedules the next wake-up, unless an earlier one is scheduled.
    fn plan_wake(&mut self, number: usize, life: u64) {
        let node = &mut self.nodes[number];
        if node.paused > 0 {
            return;
        }
        let Some(living) = node.living(life) else {
            return;
        };
        let due = living.peer.deadline();
        let Some(due) = due.and_then(|due| living.clock.when(due)) else {
            return;
        };
        let due = due.max(self.at);
        if due < living.wake {
            living.wake = due;
            self.schedule(due, Happening::Wake { peer: number, life });
        }
    }

    /// Lets a paused peer go on.
    pub(crate) fn resume(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.paused = node.paused.saturating_sub(1);
        if node.paused > 0 {
            return;
        }
        let Some(living) = node.life.as_mut() else {
            return;
        };
        let life = living.number;
        if !living.awake {
            living.awake = true;
            self.schedule(self.at, Happening::Turn { peer: number, life });
        }
    }

    /// Gives a peer one input; carries out what it wants, and says how much that was.
    ///
    /// `effects` is room for them: empty before and after.
    fn step(&mut self, number: usize, life: u64, input: Input, effects: &mut Effects) -> usize {
        if self.violation().is_some() {
            return 0;
        }
        if self.is_for_another_history(number, &input) {
            return 1;
        }
        let at = self.at;
        let Some(living) = self.nodes[number].living(life) else {
            return 0;
        };
        let now = living.clock.now(at);
        self.trace.input(at, number, &input);
        living.peer.step(now, input, effects);
        self.stepped(number, life, effects)
    }

    /// Lets a peer settle, as [`World::step`] gives it an input.
    fn let_settle(&mut self, number: usize, life: u64, effects: &mut Effects) -> usize {
        if self.violation().is_some() {
            return 0;
        }
        let at = self.at;
        let Some(living) = self.nodes[number].living(life) else {
            return 0;
        };
        let now = living.clock.now(at);
        living.peer.settle(now, effects);
        self.stepped(number, life, effects)
    }

    /// Looks at a peer after a step, and carries out what it wants.
    fn stepped(&mut self, number: usize, life: u64, effects: &mut Effects) -> usize {
        let spot = self.spot(number);
        if let Some(living) = self.nodes[number].life.as_ref()
            && let Some(view) = &living.peer.view(self.group)
        {
            self.checkers.observe(spot, view);
        }
        let wanted = effects.len();
        if wanted > 0 {
            self.carry_out_all(number, life, effects);
        }
        wanted
    }

    fn carry_out_all(&mut self, number: usize, life: u64, effects: &mut Effects) {
        for effect in effects.drain(..) {
            if let Some((left, away)) = self.nodes[number].doomed {
                self.nodes[number].doomed = Some((left.saturating_sub(1), away));
                if left == 0 && self.crash(number, away) {
                    break;
                }
            }
            self.trace.effect(self.at, number, &effect);
            self.carry_out(number, life, effect);
            if self.nodes[number].living(life).is_none() {
                // An answer was the last thing that it was kept for.
                break;
            }
        }
    }

    fn carry_out(&mut self, number: usize, life: u64, effect: Effect) {
        let at = self.at;
        match effect {
            Effect::Send { link, lane, frame } => self.send(number, life, (link, lane, frame)),
            Effect::Disk(op) => {
                let spot = self.spot(number);
                self.checkers.submitted(spot, &op);
                let mut done = Vec::new();
                self.nodes[number].disk.submit(op, &mut done);
                self.finish_disk(number, life, done);
            }
            Effect::Remember(boots) => {
                let mut done = Vec::new();
                self.nodes[number].disk.remember(boots, &mut done);
                self.finish_disk(number, life, done);
            }
            Effect::EndIncarnation => {
                let mut done = Vec::new();
                self.nodes[number].disk.end_incarnation(&mut done);
                self.finish_disk(number, life, done);
            }
            Effect::State { op, .. } => {
                if let Some(living) = self.nodes[number].living(life) {
                    living.asked.push_back(op);
                    if living.asked.len() == 1 {
                        self.plan_state(number, life);
                    }
                }
            }
            Effect::Reply { request, reply } if request.0 >= ERRANDS => {
                self.errand_done(number, request.0, reply);
            }
            Effect::Reply { request, reply } if request.0 >= TRIES => {
                self.try_done(number, request.0, &reply);
            }
            Effect::Reply { request, reply } => self.answered(number, request, &reply),
            Effect::Dial(peer) => {
                if let Some(to) = self.numbers.get(&peer).copied() {
                    self.network.dial(at, number, life, to, &mut self.later);
                    self.schedule_network();
                }
            }
            Effect::Close { link, code } => {
                self.judge_close(number, link, code);
                self.close(number, life, link, code);
            }
            Effect::Event(event) => {
                self.judge_blame(number, &event);
                self.mark_event(&event);
                self.take_event(number, event);
            }
            Effect::Mark(name) => self.mark(name),
            Effect::Authenticated(_) => {}
        }
    }

    fn send(&mut self, number: usize, life: u64, (link, lane, frame): (LinkId, Lane, Bytes)) {
        let Some(living) = self.nodes[number].living(life) else {
            return;
        };
        let Some((link, side)) = living.links.get(&link).copied() else {
            return;
        };
        let spot = self.spot(number);
        self.checkers.count_frame(spot);
        if let Some(end) = self.network.far_end(link, side) {
            let to = self.nodes[end].peer;
            self.checkers.sent(spot, to, lane, &frame);
        }
        if let Some(sent) = self.as_sent(number, lane, frame) {
            let at = self.at;
            let sent = (lane, sent);
            self.network.send(at, link, side, sent, &mut self.later);
            self.schedule_network();
        }
    }

    fn answered(&mut self, number: usize, request: RequestId, reply: &Reply) {
        let spot = self.spot(number);
        if let Some(living) = self.nodes[number].life.as_ref() {
            // The state that it may read is gone, as a driver would see.
            let gone = matches!(reply, Reply::Fresh { .. }) && living.replica.has_failed();
            let reply = if gone { &Reply::Unavailable } else { reply };
            let operation = usize::try_from(request.0).unwrap_or(usize::MAX);
            self.checkers
                .replied(spot, operation, reply, &living.replica);
        }
    }

    fn close(&mut self, number: usize, life: u64, link: LinkId, code: quorate_core::CloseCode) {
        let Some(living) = self.nodes[number].living(life) else {
            return;
        };
        if let Some((link, side)) = living.links.remove(&link) {
            let code = Some(code);
            self.network
                .close(self.at, link, side, code, &mut self.later);
            self.schedule_network();
        }
    }

    /// Counts a named situation.
    pub(crate) fn mark(&mut self, name: &'static str) {
        *self.marks.entry(name).or_insert(0) += 1;
    }

    /// Hears an event; a process that is poisoned is ended by whoever runs it.
    fn take_event(&mut self, number: usize, event: Event) {
        if let Event::Group {
            event: GroupEvent::Poisoned { .. },
            ..
        } = event
        {
            self.poisoned(number);
        }
        self.hear(number, event);
    }

    fn mark_event(&mut self, event: &Event) {
        let name = match event {
            Event::PeerUp { .. } => "event: peer up",
            Event::PeerDown { .. } => "event: peer down",
            Event::PeerRefused { .. } => "event: peer refused",
            Event::IncarnationEnded => "event: incarnation ended",
            Event::Group { event, .. } => match event {
                GroupEvent::Formed { .. } => "event: formed",
                GroupEvent::Dissolved { .. } => "event: dissolved",
                GroupEvent::Conflict { .. } => "event: conflict",
                GroupEvent::LeaderChanged { .. } => "event: leader changed",
                GroupEvent::RoleChanged { .. } => "event: role changed",
                GroupEvent::ConfigurationChanged { .. } => "event: configuration changed",
                GroupEvent::SnapshotCut { .. } => "event: snapshot cut",
                GroupEvent::SnapshotForgotten { .. } => "event: snapshot forgotten",
                GroupEvent::FetchRefused { .. } => "event: fetch refused",
                GroupEvent::SessionStarted { .. } => "event: session started",
                GroupEvent::RestoreStarted { .. } => "event: restore started",
                GroupEvent::RestoreProgress { .. } => "event: restore progress",
                GroupEvent::ProviderSetAside { .. } => "event: provider set aside",
                GroupEvent::Restored { .. } => "event: restored",
                GroupEvent::CaughtUp { .. } => "event: caught up",
                GroupEvent::Diverged { .. } => "event: diverged",
                GroupEvent::CommittedTruncationRefused { .. } => "event: truncation refused",
                GroupEvent::StateLost { .. } => "event: state lost",
                GroupEvent::Upgraded { .. } => "event: upgraded",
                GroupEvent::CannotRun { .. } => "event: cannot run",
                GroupEvent::Poisoned { .. } => "event: poisoned",
                _ => "event: other",
            },
            _ => "event: other",
        };
        self.mark(name);
    }

    fn plan_disk(&mut self, number: usize, life: u64) {
        let node = &mut self.nodes[number];
        let delay = node.disk_delay();
        let busy = node.disk.is_busy();
        let needs_seal = node.disk.needs_seal();
        let Some(living) = node.living(life) else {
            return;
        };
        let seal = needs_seal && !living.sealing;
        living.sealing |= needs_seal;
        if busy && !living.writing {
            living.writing = true;
            self.schedule(self.at + delay, Happening::Disk { peer: number, life });
        }
        if seal {
            let at = self.at + nanos(SEAL_IDLE);
            self.schedule(at, Happening::Seal { peer: number, life });
        }
    }

    /// Lets a peer's disk do its next piece of work.
    pub(crate) fn work_disk(&mut self, number: usize, life: u64) {
        let node = &mut self.nodes[number];
        let Some(living) = node.living(life) else {
            return;
        };
        living.writing = false;
        let mut done = Vec::new();
        node.disk.work(&mut done);
        self.finish_disk(number, life, done);
    }

    /// Seals a peer's log, if nothing has been written since that was planned.
    pub(crate) fn seal_disk(&mut self, number: usize, life: u64) {
        let node = &mut self.nodes[number];
        let Some(living) = node.living(life) else {
            return;
        };
        living.sealing = false;
        let mut done = Vec::new();
        node.disk.seal(&mut done);
        self.finish_disk(number, life, done);
    }

    fn finish_disk(&mut self, number: usize, life: u64, done: Vec<DiskCompletion>) {
        // Also where no operation of the peer waits for what failed: the process sees to its disk.
        if self.nodes[number].disk.has_failed() && self.checkers.disk_failed(number) {
            self.mark("disk: failed under a peer");
            self.lift_after(Duration::from_millis(1), Lift::DiskLost(number, life));
        }
        for DiskCompletion { id, result } in done {
            if result.is_ok() {
                self.checkers.finished(number, id);
            }
            let input = Input::Disk { id, result };
            let node = &mut self.nodes[number];
            match node.late_reports {
                None => self.give(number, life, input),
                // Each by itself, so that they overtake each other.
                Some(span) => {
                    let late = nanos(node.dice.reports.span(span));
                    self.tell(self.at + late, number, life, input);
                }
            }
        }
        if self.nodes[number].disk.has_ended() {
            return self.begin_anew(number);
        }
        self.tell_space(number, life);
        self.plan_disk(number, life);
    }

    /// Tells a peer whether there is space, if that has changed; while there is none, has the disk
    /// try again.
    fn tell_space(&mut self, number: usize, life: u64) {
        let full = self.nodes[number].disk.is_short_of_space();
        let Some(living) = self.nodes[number].living(life) else {
            return;
        };
        if full != std::mem::replace(&mut living.full, full) {
            self.give(number, life, Input::Space { enough: !full });
            if full {
                self.schedule_retry(number, life);
            }
        }
    }

    fn schedule_retry(&mut self, number: usize, life: u64) {
        let at = self.at + nanos(SPACE_RETRY);
        self.schedule(at, Happening::Space { peer: number, life });
    }

    /// Lets a disk that was full try again.
    pub(crate) fn retry_disk(&mut self, number: usize, life: u64) {
        let node = &mut self.nodes[number];
        if node.living(life).is_none() || !node.disk.is_short_of_space() {
            return;
        }
        let mut done = Vec::new();
        node.disk.retry(&mut done);
        self.finish_disk(number, life, done);
        self.schedule_retry(number, life);
    }

    fn plan_state(&mut self, number: usize, life: u64) {
        let delay = self.nodes[number].state_delay();
        self.schedule(self.at + delay, Happening::State { peer: number, life });
    }

    /// Lets a peer's replica do its next operation.
    pub(crate) fn work_state(&mut self, number: usize, life: u64) {
        let spot = self.spot(number);
        let Some(living) = self.nodes[number].living(life) else {
            return;
        };
        let Some(op) = living.asked.pop_front() else {
            return;
        };
        let more = !living.asked.is_empty();
        self.checkers.asked(spot, &living.replica, &op);
        let before = living.replica.applied();
        let done = match &self.tested {
            None => living.replica.execute(op),
            Some(tested) => {
                let (done, result) = tested.execute(&mut living.replica, op);
                self.checkers.note(spot, result);
                done
            }
        };
        if let Some(done) = &done {
            self.checkers.executed(spot, &living.replica, before, done);
        }
        if more {
            self.plan_state(number, life);
        }
        if let Some(done) = done {
            let group = self.group;
            self.give(number, life, Input::State { group, done });
        }
    }

    /// Begins a client's operation at a peer that runs.
    pub(crate) fn begin(&mut self, number: usize, action: Action, patience: Duration) -> usize {
        let here = (number, self.checkers.genesis(number));
        let (operation, asked) = self.checkers.clients.begin(here, action, false);
        let Some(living) = self.nodes[number].life.as_ref() else {
            return operation;
        };
        let deadline = living.clock.now(self.at).time.after(patience);
        let op = match asked {
            Asked::Write(bytes) => ClientOp::Write {
                command: Command::anonymous(bytes),
                deadline,
            },
            Asked::Read { at_least } => ClientOp::Read {
                freshness: at_least.map_or(Freshness::Linearizable, Freshness::AtLeast),
                deadline,
            },
        };
        let input = Input::Client {
            group: self.group,
            request: RequestId(operation as u64),
            op,
        };
        let life = living.number;
        self.give(number, life, input);
        operation
    }
}
