//! The last events of each peer, as people read them.

use std::collections::VecDeque;

use quorate_core::{
    Body, ClientOp, DiskWrite, Effect, Entry, Input, Lane, StateDone, StateOp,
    wire::{self, Control, Replication},
};

/// How much of one event is kept.
const WIDTH: usize = 240;

/// One lane of events per peer.
#[derive(Debug)]
pub(crate) struct Narration {
    lanes: Vec<VecDeque<String>>,
    most: usize,
}

impl Narration {
    /// Starts with nothing to tell of `peers` peers; keeps the last `most` events of each.
    pub(crate) fn new(peers: usize, most: usize) -> Self {
        Self {
            lanes: vec![VecDeque::new(); peers],
            most,
        }
    }

    /// Returns the last events of each peer, oldest first.
    pub(crate) fn lanes(&self) -> Vec<Vec<String>> {
        self.lanes
            .iter()
            .map(|lane| lane.iter().cloned().collect())
            .collect()
    }

    pub(crate) fn input(&mut self, at: u64, peer: usize, input: &Input) {
        self.tell(at, peer, '>', tell_input(input));
    }

    pub(crate) fn effect(&mut self, at: u64, peer: usize, effect: &Effect) {
        self.tell(at, peer, '<', tell_effect(effect));
    }

    pub(crate) fn note(&mut self, at: u64, peer: usize, what: &str) {
        self.tell(at, peer, '*', what.to_owned());
    }

    fn tell(&mut self, at: u64, peer: usize, sign: char, mut text: String) {
        if text.len() > WIDTH {
            let end = (0..=WIDTH).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push_str("...");
        }
        let Some(lane) = self.lanes.get_mut(peer) else {
            return;
        };
        if lane.len() >= self.most {
            lane.pop_front();
        }
        let (seconds, micros) = (at / 1_000_000_000, at % 1_000_000_000 / 1_000);
        lane.push_back(format!("{seconds:>4}.{micros:06} {sign} {text}"));
    }
}

fn tell_input(input: &Input) -> String {
    match input {
        Input::Frame { link, lane, bytes } => {
            format!("{link:?} {}", tell_frame(*lane, bytes))
        }
        Input::Client { request, op, .. } => match op {
            ClientOp::Write { command, deadline } => format!(
                "{request:?} write of {} bytes until {deadline:?}",
                command.bytes.len()
            ),
            op => format!("{request:?} {op:?}"),
        },
        Input::State { done, .. } => match done {
            StateDone::Applied { last, outcomes, .. } => {
                format!("applied to {last:?}, {} outcomes", outcomes.len())
            }
            StateDone::Read {
                fetch,
                chunk,
                items,
            } => format!(
                "read {fetch:?}: {items} items, {:?} bytes",
                chunk.as_ref().map(bytes::Bytes::len)
            ),
            done => format!("{done:?}"),
        },
        input => format!("{input:?}"),
    }
}

fn tell_effect(effect: &Effect) -> String {
    match effect {
        Effect::Send { link, lane, frame } => {
            format!("{link:?} {}", tell_frame(*lane, frame))
        }
        Effect::Disk(op) => match &op.write {
            DiskWrite::Append { previous, entries } => format!(
                "{:?} append after {previous:?}: {}",
                op.id,
                tell_entries(entries)
            ),
            write => format!("{:?} {write:?}", op.id),
        },
        Effect::State { op, .. } => match op {
            StateOp::Apply { first, entries, .. } => {
                format!("apply from {first:?}: {}", tell_entries(entries))
            }
            StateOp::Verify {
                session,
                fetch,
                chunk,
                ..
            } => format!("verify {session:?} {fetch:?}: {} bytes", chunk.len()),
            op => format!("{op:?}"),
        },
        effect => format!("{effect:?}"),
    }
}

fn tell_frame(lane: Lane, frame: &bytes::Bytes) -> String {
    match lane {
        Lane::Control => match wire::decode_control(frame) {
            Ok(messages) => messages
                .iter()
                .map(|message| match message {
                    Control::Group(envelope) => format!("{:?}", envelope.message),
                    message => format!("{message:?}"),
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => format!("control frame of {} bytes: {error}", frame.len()),
        },
        Lane::Entries(_) => match wire::decode_replication(frame.clone()) {
            Ok((_, Replication::Append(append))) => format!(
                "Append {:?} run {} after {:?}, commit {:?}, read {}: {}",
                append.term,
                append.run & 0xffff,
                append.previous,
                append.commit,
                append.read,
                tell_entries(&append.entries)
            ),
            Ok((_, Replication::Forward(forward))) => format!(
                "Forward {:?} from number {}: {} proposals",
                forward.term,
                forward.first,
                forward.proposals.len()
            ),
            Ok((_, Replication::Outcomes(outcomes))) => format!("{outcomes:?}"),
            Err(error) => format!("entries frame of {} bytes: {error}", frame.len()),
        },
        Lane::Bulk => match wire::decode_bulk(frame.clone()) {
            Ok(chunk) => format!(
                "Chunk {:?} fetch {} of {:?}: {} bytes",
                chunk.session,
                chunk.fetch,
                chunk.anchor,
                chunk.chunk.len()
            ),
            Err(error) => format!("bulk frame of {} bytes: {error}", frame.len()),
        },
    }
}

fn tell_entries(entries: &[Entry]) -> String {
    let mut text = format!("{} entries", entries.len());
    for entry in entries.iter().take(4) {
        let body = match &entry.body {
            Body::Noop => "noop".to_owned(),
            Body::Command(command) => format!("{} bytes", command.len()),
            Body::Named(named) => format!("{:?} of {} bytes", named.client, named.bytes.len()),
            body => format!("{body:?}"),
        };
        text.push_str(&format!(" [{:?} {body}]", entry.term));
    }
    text
}
