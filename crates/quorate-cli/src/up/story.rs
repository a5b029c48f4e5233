//! What happens to a peer, in words, while it runs.
//!
//! Two things are told: what happened (the group formed, somebody else leads, a catch-up ended),
//! and what the peer waits for, once it has waited for a moment. When all is well, nothing is.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate::{CloseCode, Event, Form, Group, GroupEvent, GroupStatus, PeerId, StandstillCause};
use tokio::time::timeout;

use crate::words;

use super::UpArgs;

/// Tells what happens to a peer.
#[derive(Debug)]
pub(super) struct Story {
    group: Group,
    words: Words,
    bar: Option<ProgressBar>,
    /// The state that was told last.
    told: State,
    /// Who was told to be refused last.
    refused: Option<(PeerId, CloseCode)>,
}

/// How long a state must last before it is worth a line: an election is shorter.
const LASTING: Duration = Duration::from_millis(300);

/// How long it may take to be let into a group before that is worth a line.
const ADMISSION: Duration = Duration::from_secs(3);

const LOOKING: &str = "looking for a group to join; founds one if there is none";

impl Story {
    pub(super) fn new(group: Group, args: &UpArgs) -> Self {
        Self {
            group,
            words: Words {
                full_ids: args.full_ids,
            },
            bar: None,
            told: State::default(),
            refused: None,
        }
    }

    /// Tells one thing.
    pub(super) fn tell(&self, what: impl AsRef<str>) {
        let line = format!(
            "{}  {}\n",
            chrono::Local::now().format("%H:%M:%S"),
            what.as_ref()
        );
        // A reader that has gone away is no reason to stop.
        let write = || {
            std::io::stderr()
                .write_all(line.as_bytes())
                .unwrap_or_default()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Tells what happens until the peer has stopped.
    pub(super) async fn run(&mut self) {
        let Ok(mut events) = self.group.events().await else {
            return;
        };
        let status = self.group.status();
        self.told = self.words.state(&status);
        if status.genesis.is_none() && matches!(status.form, Form::Auto { .. }) {
            self.told = State::of(LOOKING.to_owned());
        }
        self.tell(&self.told.text);
        loop {
            let state = lasting(&self.group, &self.words, &self.told);
            tokio::select! {
                state = state => match state {
                    Some(state) => {
                        self.tell(&state.text);
                        self.told = state;
                    }
                    None => return,
                },
                event = events.next() => match event {
                    Some(Ok(event)) => self.event(event),
                    Some(Err(_)) => {}
                    None => return,
                },
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::PeerDown { peer, code } if self.is_member(peer) => {
                let what = match code {
                    Some(CloseCode::Shutdown) => "has stopped",
                    _ => "is gone",
                };
                self.tell(format!("peer {} {what}", self.words.peer(peer)));
            }
            Event::PeerRefused { peer, code } if self.refused != Some((peer, code)) => {
                self.refused = Some((peer, code));
                let (peer, why) = (self.words.peer(peer), code.reason());
                self.tell(format!("peer {peer} was refused: {why}"));
            }
            Event::Group { event, .. } => self.group_event(event),
            _ => {}
        }
    }

    fn group_event(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::RestoreStarted {
                items, providers, ..
            } => {
                self.tell(format!(
                    "catching up: {}, from {} so far",
                    count(items, "item"),
                    count(providers as u64, "peer"),
                ));
                self.progress(0, items);
            }
            GroupEvent::RestoreProgress {
                verified, total, ..
            } => self.progress(verified, total),
            GroupEvent::Restored { anchor, .. } => {
                self.end_progress();
                self.tell(format!(
                    "caught up with cursor {anchor}; following the rest"
                ));
            }
            GroupEvent::CaughtUp { .. } => self.end_progress(),
            GroupEvent::Diverged { anchor, peer } => self.tell(format!(
                "ALARM: peer {} has other data at cursor {anchor}: compare `quorate status` and \
                 the digests of all peers",
                self.words.peer(peer)
            )),
            GroupEvent::CommittedTruncationRefused { peer } => self.tell(format!(
                "ALARM: peer {} asked to drop what is committed; nothing was changed",
                self.words.peer(peer)
            )),
            GroupEvent::StateLost { at, text } => self.tell(format!(
                "ALARM: the machine panicked after cursor {at} ({text}); its state is made anew"
            )),
            GroupEvent::Upgraded { version } => self.tell(format!(
                "the group's state machine is at version {version} from here on"
            )),
            GroupEvent::CannotRun { version, runs } => self.tell(format!(
                "ALARM: the group's state machine is at version {version}, this program runs \
                 {runs}: it keeps the log and votes, and applies nothing more"
            )),
            GroupEvent::Poisoned { reason } => self.tell(format!(
                "ALARM: this peer takes no part any more ({reason}): stop it, see to what is \
                 wrong, and start it again"
            )),
            _ => {}
        }
    }

    fn is_member(&self, peer: PeerId) -> bool {
        let status = self.group.status();
        status.configuration.life_of(peer).is_some()
    }

    /// Shows how far a catch-up is, if a person is looking.
    fn progress(&mut self, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr_with_hz(20);
            let bar = ProgressBar::with_draw_target(Some(total), target);
            let style = "          {bar:40} {human_pos} of {human_len} items, {eta} left";
            let style = ProgressStyle::with_template(style);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Waits until the group has been in a state other than `told` for a moment; nothing once the
/// peer has stopped.
async fn lasting(group: &Group, words: &Words, told: &State) -> Option<State> {
    let mut state = words.state(&group.status());
    loop {
        let when = group.when();
        let other = when.holds(|status| words.state(status) != state);
        let status = if state == *told {
            other.await
        } else {
            match timeout(state.lasting, other).await {
                Ok(status) => status,
                Err(_) => return Some(state),
            }
        };
        state = words.state(&status.ok()?);
    }
}

/// How a group stands: what is told, and what it is about.
#[derive(Clone, Debug, Default)]
struct State {
    key: String,
    text: String,
    /// How long it must last before it is told.
    lasting: Duration,
}

impl State {
    fn of(text: String) -> Self {
        Self {
            key: text.clone(),
            text,
            lasting: LASTING,
        }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// How this peer's user wants things called.
#[derive(Debug)]
struct Words {
    full_ids: bool,
}

impl Words {
    /// Says how the group stands here: what is waited for, or that all is well.
    fn state(&self, status: &GroupStatus) -> State {
        if let Some(what) = words::disk(status) {
            return State::of(format!("ALARM: the disk: {what}"));
        }
        let Some(standstill) = status.standstill() else {
            return State::of(self.ready(status));
        };
        let alone = standstill.cause == StandstillCause::NobodyInSight;
        let text = match &standstill.cause {
            _ if standstill.refused.is_some() => standstill.to_string(),
            StandstillCause::NobodyInSight | StandstillCause::NoGroup { .. } => match status.form {
                Form::Join => "waiting for a group to join: start one with `quorate up`, or name \
                               a peer of one elsewhere with --peer TICKET"
                    .to_owned(),
                _ if alone => LOOKING.to_owned(),
                _ => "waiting for a peer in sight to let this one into its group; if it cannot, \
                      `quorate status` says why"
                    .to_owned(),
            },
            StandstillCause::Founding { wanted, here } if here >= wanted => {
                "founding the group".to_owned()
            }
            StandstillCause::Founding { wanted, here } => format!(
                "waiting for founders: {here} of {wanted} are here; start the others with \
                 `quorate up --expect {wanted}`"
            ),
            // It has just begun: for how long is not worth a word yet.
            _ => standstill.to_string().replace(" for 0 s", ""),
        };
        // What is counted, and for how long, changes all the time; what it is about does not.
        let missing = standstill.missing.iter().map(|peer| peer.peer.short());
        let missing: Vec<String> = missing.collect();
        let about = match &standstill.cause {
            StandstillCause::CatchingUp { phase, .. } => format!("{phase:?}"),
            StandstillCause::NoGroup { .. } => String::new(),
            cause => format!("{cause:?}"),
        };
        State {
            key: format!("{about} {missing:?} {:?}", standstill.refused),
            text,
            lasting: match standstill.cause {
                StandstillCause::NoGroup { .. } => ADMISSION,
                _ => LASTING,
            },
        }
    }

    fn ready(&self, status: &GroupStatus) -> String {
        let leads = match status.leader {
            Some(leader) if !status.is_leader() => format!("{} leads", self.peer(leader.peer)),
            _ => "this peer leads".to_owned(),
        };
        let configuration = &status.configuration;
        let voters = count(configuration.voters.len() as u64, "voter");
        let learners = match configuration.learners.len() {
            0 => String::new(),
            n => format!(" and {}", count(n as u64, "learner")),
        };
        let me = if status.is_learner() {
            ", this peer among them"
        } else {
            ""
        };
        format!(
            "ready: {leads} in term {}; {voters}{learners}{me}",
            status.term.0
        )
    }

    fn peer(&self, peer: PeerId) -> String {
        words::id(&peer.to_string(), self.full_ids).to_owned()
    }
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
