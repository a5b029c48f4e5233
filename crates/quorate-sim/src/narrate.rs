//! The last events of each peer beside each other, as people read them.
//!
//! A failure is an order of events at several peers, so it is shown as one: time runs downwards,
//! each peer has a lane, and what goes wrong stands across them. An event is cut to its lane (a
//! message without the names of its fields); the last ones of the peer that failed follow in full.
//! Repetitions and wake-ups are left out, since twenty heartbeats would hide what matters.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::{
    Body, ClientOp, DiskWrite, Effect, Entry, Input, Lane, LinkId, PeerId, StateDone, StateOp,
    wire::{self, Control, Replication},
};

/// How much of one event is kept.
const WIDTH: usize = 400;

/// Columns of the whole diagram.
const COLUMNS: usize = 120;

/// Columns that the time takes, with the space behind it.
const TIME: usize = 12;

/// Lanes that have room beside each other; of more peers, those are shown that did something last.
const LANES: usize = 7;

/// Rows of the diagram: what fits on two or three screens.
const ROWS: usize = 80;

/// Faults that are listed, beside those in the diagram.
const FAULTS: usize = 20;

/// Among how many events of a peer one is looked for that it repeats: two for each other peer.
const RECENT: usize = 2 * (LANES - 1);

/// Events of one peer that are told in full.
const IN_FULL: usize = 12;

/// One lane of events per peer, and what went wrong.
#[derive(Debug)]
pub(crate) struct Narration {
    lanes: Vec<VecDeque<Told>>,
    faults: VecDeque<Told>,
    most: usize,
    order: u64,
    names: Vec<(String, String)>,
    /// Who is at the other end of each link.
    links: BTreeMap<(usize, LinkId), String>,
}

/// One event.
#[derive(Clone, Debug)]
struct Told {
    at: u64,
    order: u64,
    brief: String,
    full: String,
    again: u64,
}

impl Narration {
    /// Starts with nothing to tell of `peers` peers; keeps the last `most` events of each.
    pub(crate) fn new(peers: usize, most: usize) -> Self {
        Self {
            lanes: vec![VecDeque::new(); peers],
            faults: VecDeque::new(),
            most,
            order: 0,
            names: Vec::new(),
            links: BTreeMap::new(),
        }
    }

    /// Learns what peers are called: by their numbers.
    pub(crate) fn know(&mut self, numbers: &BTreeMap<PeerId, usize>) {
        let name = |(peer, number): (&PeerId, &usize)| (format!("{peer:?}"), format!("p{number}"));
        self.names = numbers.iter().map(name).collect();
    }

    /// Puts the numbers of peers in the place of their keys.
    pub(crate) fn named(&self, text: &str) -> String {
        let with = |text: String, (key, name): &(String, String)| text.replace(key, name);
        self.names.iter().fold(text.to_owned(), with)
    }

    /// Returns what went wrong last, oldest first.
    pub(crate) fn faults(&self) -> Vec<String> {
        let line = |told: &Told| format!("{} {}", time(told.at), told.brief);
        self.faults.iter().map(line).collect()
    }

    /// Returns the lanes beside each other, then the last events of `failed` in full.
    pub(crate) fn diagram(&self, failed: Option<usize>) -> Vec<String> {
        let shown = self.shown(failed);
        let width = (COLUMNS - TIME) / shown.len().max(1) - 1;
        let mut rows = vec![header(&shown, width, failed)];
        rows.extend(self.rows(&shown, width));
        if let Some(lane) = failed.and_then(|peer| self.lanes.get(peer)) {
            let peer = failed.unwrap_or_default();
            rows.push(format!("the last of them at peer {peer}, in full:"));
            let skipped = lane.len().saturating_sub(IN_FULL);
            for told in lane.iter().skip(skipped) {
                rows.push(format!("  {} {}", time(told.at), told.full));
            }
        }
        rows
    }

    /// Returns the peers that have a lane in the diagram, in order: of those that did something.
    fn shown(&self, failed: Option<usize>) -> Vec<usize> {
        let told = |peer: &usize| !self.lanes[*peer].is_empty();
        let mut peers: Vec<usize> = (0..self.lanes.len()).filter(told).collect();
        let last = |peer: &usize| self.lanes[*peer].back().map_or(0, |told| told.order);
        peers.sort_by_key(|peer| (Some(*peer) != failed, u64::MAX - last(peer)));
        peers.truncate(LANES);
        peers.sort_unstable();
        peers
    }

    fn rows(&self, shown: &[usize], width: usize) -> Vec<String> {
        let in_lanes = shown.iter().enumerate().flat_map(|(column, peer)| {
            self.lanes[*peer]
                .iter()
                .map(move |told| (told, Some(column)))
        });
        let across = self.faults.iter().map(|told| (told, None));
        let mut all: Vec<(&Told, Option<usize>)> = in_lanes.chain(across).collect();
        all.sort_by_key(|(told, _)| told.order);
        let skipped = all.len().saturating_sub(ROWS);
        let mut rows = Vec::new();
        let mut before = None;
        for (told, column) in &all[skipped..] {
            // The time stands where it changes.
            let stamp = time(told.at);
            let shown_time = if before.as_ref() == Some(&stamp) {
                ""
            } else {
                &stamp
            };
            let mut row = format!("{shown_time:<TIME$}");
            match column {
                Some(column) => {
                    let indent = column * (width + 1);
                    row.push_str(&" ".repeat(indent));
                    row.push_str(&fit(&told.line(), width));
                }
                None => row.push_str(&fit(&format!("---- {} ----", told.brief), COLUMNS - TIME)),
            }
            rows.push(row.trim_end().to_owned());
            before = Some(stamp);
        }
        rows
    }

    pub(crate) fn input(&mut self, at: u64, peer: usize, input: &Input) {
        if matches!(input, Input::Wake) {
            return;
        }
        if let Input::LinkUp {
            link, peer: other, ..
        } = input
        {
            let name = self.named(&format!("{other:?}"));
            self.links.insert((peer, *link), name);
        }
        let full = tell_input(input);
        let brief = match input {
            Input::Frame { link, lane, bytes } => {
                let text = brief_frame(*lane, bytes);
                format!("{}> {text}", self.other(peer, *link))
            }
            Input::Disk { id, result: Ok(()) } => format!("disk {} done", id.0),
            _ => format!("> {}", brief(&full)),
        };
        self.tell(at, peer, brief, format!("> {full}"));
    }

    pub(crate) fn effect(&mut self, at: u64, peer: usize, effect: &Effect) {
        let full = tell_effect(effect);
        let brief = match effect {
            Effect::Send { link, lane, frame } => {
                let text = brief_frame(*lane, frame);
                format!(">{} {text}", self.other(peer, *link))
            }
            Effect::Disk(op) => format!("disk {} {}", op.id.0, brief_write(&op.write)),
            Effect::Mark(name) => format!("* {name}"),
            _ => brief(&full),
        };
        self.tell(at, peer, brief, format!("< {full}"));
    }

    pub(crate) fn note(&mut self, at: u64, peer: usize, what: &str) {
        self.tell(at, peer, format!("== {what} =="), what.to_owned());
    }

    /// Takes something that goes wrong, or the end of it.
    pub(crate) fn fault(&mut self, at: u64, what: &str) {
        let told = self.told(at, brief(what), String::new());
        if self.faults.len() >= FAULTS {
            self.faults.pop_front();
        }
        self.faults.push_back(told);
    }

    fn other(&self, peer: usize, link: LinkId) -> String {
        let name = self.links.get(&(peer, link)).cloned();
        name.unwrap_or_else(|| format!("link {}", link.0))
    }

    fn told(&mut self, at: u64, brief: String, mut full: String) -> Told {
        self.order += 1;
        if full.len() > WIDTH {
            let end = (0..=WIDTH).rev().find(|end| full.is_char_boundary(*end));
            full.truncate(end.unwrap_or(0));
            full.push_str("...");
        }
        Told {
            at,
            order: self.order,
            brief: self.named(&brief),
            full: self.named(&full),
            again: 0,
        }
    }

    fn tell(&mut self, at: u64, peer: usize, brief: String, full: String) {
        let told = self.told(at, brief, full);
        let Some(lane) = self.lanes.get_mut(peer) else {
            return;
        };
        // Heartbeats and their answers come in turns, so not the last one alone is compared.
        let recent = lane.len().saturating_sub(RECENT)..lane.len();
        let same = recent.rev().find(|place| lane[*place].brief == told.brief);
        if let Some(earlier) = same.and_then(|place| lane.remove(place)) {
            let again = earlier.again + 1;
            lane.push_back(Told { again, ..told });
            return;
        }
        if lane.len() >= self.most {
            lane.pop_front();
        }
        lane.push_back(told);
    }
}

impl Told {
    fn line(&self) -> String {
        match self.again {
            0 => self.brief.clone(),
            again => format!("{}x {}", again + 1, self.brief),
        }
    }
}

fn header(shown: &[usize], width: usize, failed: Option<usize>) -> String {
    let mut row = " ".repeat(TIME);
    for peer in shown {
        let mark = if failed == Some(*peer) {
            " (failed)"
        } else {
            ""
        };
        let name = format!("-- peer {peer}{mark} ");
        row.push_str(&format!("{name:-<width$} "));
    }
    row.trim_end().to_owned()
}

fn time(at: u64) -> String {
    let (seconds, micros) = (at / 1_000_000_000, at % 1_000_000_000 / 1_000);
    format!("{seconds:>4}.{micros:06}")
}

/// Cuts a text to its column; a mark shows that something is missing.
fn fit(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    let end = (0..width).rev().find(|end| text.is_char_boundary(*end));
    format!("{}~", &text[..end.unwrap_or(0)])
}

/// Leaves the names of fields and what only Rust needs out of a value's text.
fn brief(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut label = "";
    for word in text.split_whitespace() {
        if let Some(name) = word.strip_suffix(':')
            && name
                .chars()
                .all(|sign| sign.is_ascii_lowercase() || sign == '_')
        {
            label = name;
            continue;
        }
        let word = word.trim_end_matches(',');
        match word {
            "{" | "}" | "[]" | "" => continue,
            "true" => words.push(label.to_owned()),
            "false" => words.push(format!("not-{label}")),
            _ if label == "run" => words.push(short_run(word)),
            _ => words.push(word.replace("Some(", "(")),
        }
        label = "";
    }
    words.join(" ")
}

/// Tells runs apart by their last digits.
fn short_run(word: &str) -> String {
    let run = word.parse::<u64>().unwrap_or_default();
    format!("r{:04x}", run & 0xffff)
}

fn brief_frame(lane: Lane, frame: &bytes::Bytes) -> String {
    match lane {
        Lane::Control => match wire::decode_control(frame) {
            Ok(messages) => {
                let texts: Vec<String> = messages.iter().map(brief_message).collect();
                texts.join("; ")
            }
            Err(_) => "unreadable".to_owned(),
        },
        Lane::Entries(_) => match wire::decode_replication(frame.clone()) {
            Ok((_, Replication::Append(append))) => {
                let (after, count) = (append.previous, append.entries.len());
                format!(
                    "{:?} after {after:?} +{count} c{:?}",
                    append.term, append.commit
                )
            }
            Ok((_, Replication::Forward(forward))) => {
                format!("forward {:?} {}", forward.term, forward.proposals.len())
            }
            Ok((_, Replication::Outcomes(_))) => "outcomes".to_owned(),
            Err(_) => "unreadable".to_owned(),
        },
        Lane::Bulk => format!("chunk {} bytes", frame.len()),
    }
}

fn brief_message(message: &Control) -> String {
    match message {
        Control::Group(envelope) => brief(&format!("{:?}", envelope.message)),
        Control::Hello(hello) => {
            let boot = hello.lineage.present().number;
            format!("hello {:?} boot {boot}", hello.incarnation)
        }
        Control::Disowned(known) => format!("disowned: boot {} is known", known.number),
        Control::Prove(_) => "prove".to_owned(),
        Control::Taken => "this boot is taken".to_owned(),
    }
}

fn brief_write(write: &DiskWrite) -> String {
    match write {
        DiskWrite::Append { previous, entries } => format!("{previous:?} +{}", entries.len()),
        write => brief(&format!("{write:?}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_its_field_names_is_brief() {
        let vote = "Vote { term: t3, last: (2, 57) }";
        assert_eq!(brief(vote), "Vote t3 (2 57)");
        let voted = "Voted { term: t3, granted: true }";
        assert_eq!(brief(voted), "Voted t3 granted");
        assert_eq!(
            brief("Voted { term: t3, granted: false }"),
            "Voted t3 not-granted"
        );
        let ack = "Ack { term: t3, run: 65537, matched: #8 }";
        assert_eq!(brief(ack), "Ack t3 r0001 #8");
    }

    #[test]
    fn the_diagram_fits_its_columns_and_keeps_the_order() {
        for peers in [1, 3, 5, 9] {
            let mut narration = Narration::new(peers, 40);
            for round in 0..30 {
                for peer in 0..peers {
                    let at = round * 1_000_000 + peer as u64;
                    narration.note(at, peer, &format!("a long word about round {round} here"));
                }
            }
            narration.fault(
                40_000_000,
                &"Partition { side: [1, 2], lasts: 4s } ".repeat(9),
            );
            narration.note(50_000_000, 0, "the end");
            let rows = narration.diagram(None);
            assert!(
                rows.iter().all(|row| row.len() <= COLUMNS),
                "{peers} peers: {rows:#?}"
            );
            assert!(rows.last().unwrap().contains("the end"));
            assert!(
                rows[rows.len() - 2].contains("Partition [1 2] 4s"),
                "{rows:#?}"
            );
            assert_eq!(rows[0].matches("peer").count(), peers.min(LANES));
        }
    }

    #[test]
    fn what_repeats_is_told_once() {
        let mut narration = Narration::new(1, 40);
        for at in 0..20 {
            narration.note(at, 0, "beats");
        }
        let rows = narration.diagram(Some(0));
        assert!(rows[1].contains("20x == beats =="), "{rows:#?}");
    }
}
