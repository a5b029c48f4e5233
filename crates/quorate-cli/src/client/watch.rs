//! `watch`: changes as they come, for as long as anybody looks.
//!
//! A peer that goes away does not end it: the command goes to another live peer and asks for what
//! comes after the last change it has printed, so that none is lost and none comes twice. Only
//! where no peer remembers that far does it stop, and says so.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use data_encoding::BASE64;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_encode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    limits::{ANSWER, WATCH_ALIVE, WATCH_RETRY},
    outcome::{Code, Failure, Outcome},
    output::{self, Format, OutputArgs},
};

use super::{
    Target, answer,
    call::{PLAIN, Peer, Question},
    run,
    sse::{Event, Events},
    unprinted,
};

/// Options of `quorate watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate watch
  quorate watch users/ -o jsonl
  quorate watch --from CURSOR        what came after an answer's Quorate-Cursor
")]
pub(crate) struct WatchArgs {
    /// Only keys that begin with this.
    prefix: Option<String>,
    /// Begin after this cursor instead of with what happens from now on.
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// Stop after so many changes.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// A change, as a peer tells it.
#[derive(Debug, Deserialize)]
struct ChangeBody {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
}

/// Prints changes.
pub(crate) fn watch(args: WatchArgs) -> Outcome {
    run(async {
        let mut watcher = Watcher {
            from: args.from.clone(),
            left: args.count,
            args,
        };
        watcher.run().await
    })
}

struct Watcher {
    args: WatchArgs,
    /// The cursor of the last change of which everything has been printed.
    from: Option<String>,
    /// How many changes are still wanted.
    left: Option<u64>,
}

/// How one connection ended.
enum Ended {
    /// As many changes have come as were wanted.
    Enough,
    /// The peer is gone.
    Lost,
}

impl Watcher {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut peer = self.args.target.peer().await?;
        let mut body = self.ask(&peer).await?;
        loop {
            match self.follow(body).await? {
                Ended::Enough => return Ok(()),
                Ended::Lost => {}
            }
            eprintln!("{peer} is gone; looking for another peer to go on with");
            (peer, body) = self.again().await?;
            eprintln!("going on with {peer}");
        }
    }

    /// Asks whichever peer can be found, for a while.
    async fn again(&self) -> Result<(Peer, Incoming), Failure> {
        let until = Instant::now() + WATCH_RETRY;
        loop {
            let asked = async {
                let peer = self.args.target.peer().await?;
                let body = self.ask(&peer).await?;
                Ok::<_, Failure>((peer, body))
            };
            match asked.await {
                // What is no longer remembered will not come back.
                Err(failure) if failure.code == Code::Damaged => return Err(failure),
                Err(failure) if Instant::now() >= until => return Err(failure),
                Err(_) => sleep(PAUSE).await,
                Ok(found) => return Ok(found),
            }
        }
    }

    async fn ask(&self, peer: &Peer) -> Result<Incoming, Failure> {
        let mut path = "/v1/watch?".to_owned();
        if let Some(prefix) = &self.args.prefix {
            path += &format!("prefix={}&", percent_encode(prefix.as_bytes(), PLAIN));
        }
        if let Some(from) = &self.from {
            path += &format!("from={}", percent_encode(from.as_bytes(), PLAIN));
        }
        let path = path.trim_end_matches(['?', '&']);
        let response = peer.send(Question::get(path, self.args.target.timeout_ms));
        let response = timeout(self.args.target.timeout_ms, response);
        let response = response.await.unwrap_or_else(|_| {
            Err(Failure::new(
                Code::Timeout,
                format!("{peer} does not answer"),
                "run `quorate status`, or ask another peer with --http",
            ))
        })?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let refused = answer::take(response, ANSWER).await?.judged();
        refused.map(|_| unreachable!("an answer of success was taken above"))
    }

    /// Prints what comes over one connection.
    async fn follow(&mut self, mut body: Incoming) -> Result<Ended, Failure> {
        let mut events = Events::default();
        loop {
            if self.left == Some(0) {
                return Ok(Ended::Enough);
            }
            if let Some(event) = events.next()? {
                self.event(event)?;
                continue;
            }
            match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => events.feed(frame.data_ref().map_or(&[], Bytes::as_ref)),
                Ok(None | Some(Err(_))) | Err(_) => return Ok(Ended::Lost),
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        if let Some(id) = &event.id {
            self.from = Some(id.clone());
        }
        match event.kind.as_str() {
            "put" | "delete" => {
                let change: ChangeBody = parse(&event.data)?;
                self.print(&event, &change)?;
                self.left = self.left.map(|left| left.saturating_sub(1));
                Ok(())
            }
            "reset" => {
                eprintln!("the peer was handed a snapshot: the difference follows");
                Ok(())
            }
            // Of a newer release.
            _ => Ok(()),
        }
    }

    fn print(&self, event: &Event, change: &ChangeBody) -> Result<(), Failure> {
        let text = match self.args.output.format() {
            Format::Table => {
                let key = change.key.as_ref().or(change.key_base64.as_ref());
                let key = key
                    .map(|key| key.escape_debug().to_string())
                    .unwrap_or_default();
                match &change.value {
                    Some(value) => format!("{key} = {}\n", readable(value, output::is_terminal())),
                    None => format!("{key} removed\n"),
                }
            }
            Format::Json | Format::Jsonl => {
                let mut line = json!({"change": event.kind, "cursor": event.id});
                match (&change.key, &change.key_base64) {
                    (Some(key), _) => line["key"] = json!(key),
                    (None, key) => line["key_base64"] = json!(key),
                }
                line["value"] = change.value.clone().map_or(Value::Null, Value::String);
                output::line(&line)
            }
        };
        output::print(text.as_bytes()).map_err(|error| unprinted(&error))
    }
}

/// Between two attempts to go on.
const PAUSE: Duration = Duration::from_millis(200);

/// Silence after which a peer is taken for gone: it would have said that it is there.
const SILENCE: Duration = WATCH_ALIVE.saturating_mul(3);

/// Letters of a value that are shown on a terminal.
const SHOWN: usize = 200;

/// Shows a value on one line; only its beginning, if a person looks and it is long.
fn readable(base64: &str, on_a_screen: bool) -> String {
    let Ok(bytes) = BASE64.decode(base64.as_bytes()) else {
        return base64.to_owned();
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) if on_a_screen && text.chars().count() > SHOWN => {
            let begins: String = text.chars().take(SHOWN).collect();
            format!("{begins:?}... ({} bytes; -o jsonl prints all)", bytes.len())
        }
        Ok(text) if !text.contains(|c: char| c.is_control()) => text.to_owned(),
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("({} bytes, no text; -o jsonl prints them)", bytes.len()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(data: &str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("an event of the watch cannot be read: {error}"),
            "check that the peer runs the same release",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_on_one_line() {
        let shown = |value: &[u8], screen| readable(&BASE64.encode(value), screen);
        assert_eq!(shown(b"two words", true), "two words");
        assert_eq!(shown(b"two\nlines", true), "\"two\\nlines\"");
        assert_eq!(shown(b"", false), "");
        assert!(shown(&[0xff; 9], false).starts_with("(9 bytes, no text"));
        let long = "x".repeat(SHOWN + 1);
        assert_eq!(shown(long.as_bytes(), false), long);
        assert!(shown(long.as_bytes(), true).ends_with("(201 bytes; -o jsonl prints all)"));
    }
}
