//! Server-sent events, on the side that reads: bytes in, events out.

use crate::{
    limits::EVENT,
    outcome::{Code, Failure},
};

/// One event. A block of an id alone comes as an event without kind and data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Event {
    /// From where to come back once it is seen.
    pub(super) id: Option<String>,
    /// What happened.
    pub(super) kind: String,
    /// The rest.
    pub(super) data: String,
}

/// Events in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// How many of them have been taken.
    taken: usize,
    event: Event,
}

impl Events {
    /// Adds what has come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole event.
    ///
    /// # Errors
    /// It is larger than any event of a peer.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Failure> {
        while let Some(end) = self.bytes[self.taken..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line = &self.bytes[self.taken..self.taken + end];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            self.taken += end + 1;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if event != Event::default() {
                    return Ok(Some(event));
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => self.event.id = Some(value.to_owned()),
                "event" => self.event.kind = value.to_owned(),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // Comments, and what is not known.
                _ => {}
            }
        }
        if self.bytes.len() - self.taken + self.event.data.len() > EVENT {
            return Err(Failure::new(
                Code::Failed,
                format!("an event of the watch is larger than {EVENT} bytes"),
                "check that the address is that of a peer",
            ));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_however_the_bytes_are_cut() {
        let text = b": hello\n\nid: 7\n\nid: 8\nevent: put\ndata: {\"a\":1}\n\n\
                     data: x\r\ndata: y\r\n\r\nid";
        let event = |id: Option<&str>, kind: &str, data: &str| Event {
            id: id.map(str::to_owned),
            kind: kind.to_owned(),
            data: data.to_owned(),
        };
        let wanted = [
            event(Some("7"), "", ""),
            event(Some("8"), "put", "{\"a\":1}"),
            event(None, "", "x\ny"),
        ];
        for size in 1..text.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for part in text.chunks(size) {
                events.feed(part);
                while let Some(event) = events.next().unwrap() {
                    found.push(event);
                }
            }
            assert_eq!(found, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_not_gathered_for_ever() {
        let mut events = Events::default();
        events.feed(&vec![b'x'; EVENT + 1]);
        assert!(events.next().is_err());
    }
}
