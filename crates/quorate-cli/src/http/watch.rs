//! `GET /v1/watch`: changes as they are applied, as server-sent events.
//!
//! ```text
//! id: GENESIS/2/17
//! event: put
//! data: {"key":"hello","value":"d29ybGQ="}
//!
//! id: GENESIS/2/18
//! event: delete
//! data: {"key":"hello","value":null}
//! ```
//!
//! The id of an event is the cursor of the entry that made the change, and whoever has seen it has
//! seen everything before: a client that comes back with `from`, or with the header
//! `Last-Event-ID` as browsers and most libraries do by themselves, misses nothing and sees
//! nothing twice, whichever peer it asks. A block of an id alone says from where to come back
//! although nothing has happened; clients take it without being told.
//!
//! Where this peer was handed a snapshot in the place of entries, a `reset` event says up to which
//! cursor, and the difference to what was sent before follows as ordinary events. They have no
//! ids, up to the first change after them: whoever is cut off in the middle must come back from
//! before the reset. A key that is not UTF-8 stands in base64 in `key_base64`.
//!
//! A watcher that does not read is not gathered for without end: its queue is bounded where the
//! changes come from, and when that runs over, the answer ends. Silence is broken by comments, so
//! that both sides notice when the other is gone.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use data_encoding::BASE64;
use futures::{FutureExt as _, StreamExt as _, stream};
use quorate::{Change, Changes, ChangesError, Cursor, Position, Since};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};

use crate::{
    blob::Blob,
    limits::{TIMEOUT, WATCH_ALIVE, WATCH_BYTES},
};

use super::{
    app::{App, mark},
    error::ApiError,
    params::{self, Params},
};

/// A change, as an event's data.
#[derive(Debug, Serialize)]
struct ChangeBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<String>,
}

/// What a reset's data says.
#[derive(Debug, Serialize)]
struct ResetBody {
    /// Changes up to here are not sent one by one.
    cursor: String,
}

type Item = Result<Change<Vec<u8>, Blob>, ChangesError>;

/// Begins to send changes.
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::of(request.uri(), &["prefix", "from", "timeout_ms"])?;
    let here = app.joined()?;
    let from = match last_event_id(request.headers()) {
        Some(id) => Some(params::of_this_history(&app, id)?),
        None => params.from(&app)?,
    };
    let permit = Arc::clone(&app.watchers).try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::busy())?;
    let start = from.unwrap_or(here);
    // Only from a state that has all up to there can a difference be told.
    let applied = app.group.when();
    let applied = timeout(params.timeout()?, applied.applied(start.cursor));
    match applied.await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(ApiError::stopping()),
        Err(_) => return Err(ApiError::not_here_yet(start.cursor, here.cursor)),
    }
    let prefix = params.bytes("prefix").unwrap_or_default();
    let mut changes = app.kv.changes_under(prefix, Since::Position(start));
    // The driver answers in the order in which it is asked: once it has answered this, it has
    // looked for the beginning of the changes too.
    app.group.events().await.map_err(|_| ApiError::stopping())?;
    let first = match changes.next().now_or_never() {
        Some(Some(Err(error))) if refuses(&error) => {
            return Err(params::gone(
                error.to_string(),
                "read the state again, then watch from the Quorate-Cursor of that answer",
            ));
        }
        Some(None) => return Err(ApiError::stopping()),
        Some(Some(item)) => Some(item),
        None => None,
    };
    let watcher = Watcher {
        changes,
        held: first,
        seen: start,
        reset: None,
        told: None,
        stopping: app.stopping.clone(),
        app: Arc::clone(&app),
        _permit: permit,
    };
    let pieces = stream::unfold(watcher, |mut watcher| async {
        let piece = watcher.next_piece().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), watcher))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    mark(&mut response, Some(start));
    Ok(response)
}

/// Returns where a client that comes back was.
fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    (!id.is_empty()).then_some(id)
}

/// Tells whether a stream cannot begin where it was asked to.
fn refuses(error: &ChangesError) -> bool {
    matches!(
        error,
        ChangesError::Forgotten { .. } | ChangesError::OtherHistory { .. }
    )
}

/// One watcher, on the side that sends.
struct Watcher {
    changes: Changes<Vec<u8>, Blob>,
    /// What was taken and not sent yet.
    held: Option<Item>,
    /// Up to where all was sent that is wanted.
    seen: Position,
    /// Where a snapshot was cut of which the difference is being sent; it has no end of its own.
    reset: Option<Cursor>,
    /// What the watcher was told last to come back to.
    told: Option<Position>,
    stopping: watch::Receiver<bool>,
    app: Arc<App>,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Waits for what is to be sent next; nothing at the end.
    async fn next_piece(&mut self) -> Option<Bytes> {
        if self.told.is_none() {
            // Tells at once where to come back to, and that there is somebody.
            return Some(self.place());
        }
        let item = match self.held.take() {
            Some(item) => item,
            None => match self.wait().await {
                Waited::Item(item) => item,
                Waited::Silence => return Some(self.silence()),
                Waited::End => return None,
            },
        };
        match item {
            Ok(change) => Some(self.gather(change)),
            Err(ChangesError::Lagged(anchor)) => self.reset(anchor).await,
            // Too slow, or values of another type: what follows would not be complete.
            Err(_) => None,
        }
    }

    async fn wait(&mut self) -> Waited {
        let (changes, stopping) = (&mut self.changes, &mut self.stopping);
        let next = timeout(WATCH_ALIVE, changes.next());
        tokio::select! {
            // Whoever would tell of the stop is gone: it has stopped.
            _ = stopping.wait_for(|stopping| *stopping) => Waited::End,
            item = next => match item {
                Ok(Some(item)) => Waited::Item(item),
                Ok(None) => Waited::End,
                Err(_) => Waited::Silence,
            },
        }
    }

    /// Puts together what is there: `change` and what comes without waiting.
    fn gather(&mut self, mut change: Change<Vec<u8>, Blob>) -> Bytes {
        let mut piece = String::new();
        loop {
            let next = self.changes.next().now_or_never().flatten();
            // All changes of an entry share its cursor: only the last one may say it.
            let last = !matches!(&next, Some(Ok(next)) if next.cursor == change.cursor);
            if self.reset != Some(change.cursor) && last {
                self.reset = None;
                self.seen.cursor = change.cursor;
                self.told = Some(self.seen);
                line(&mut piece, "id", &self.seen.to_string());
            }
            put(&mut piece, &change);
            match next {
                Some(Ok(next)) if piece.len() < WATCH_BYTES => change = next,
                next => {
                    self.held = next;
                    return piece.into();
                }
            }
        }
    }

    /// Says that a snapshot took the place of entries; nothing if it is not known of which
    /// history.
    async fn reset(&mut self, anchor: Cursor) -> Option<Bytes> {
        if anchor == Cursor::ZERO {
            // The group has another history now.
            let (when, old) = (self.app.group.when(), self.seen.genesis);
            let other = when.holds(|status| status.genesis.is_some_and(|now| now != old));
            self.seen.genesis = timeout(TIMEOUT, other).await.ok()?.ok()?.genesis?;
        }
        self.reset = Some(anchor);
        let position = Position::new(self.seen.genesis, anchor);
        let data = ResetBody {
            cursor: position.to_string(),
        };
        let mut piece = String::new();
        event(&mut piece, "reset", &data);
        Some(piece.into())
    }

    /// Says after a silence from where to come back: nothing wanted has happened up to here.
    fn silence(&mut self) -> Bytes {
        let status = self.app.group.status();
        // What was applied before the queue was seen empty is known to have been sent.
        self.held = self.changes.next().now_or_never().flatten();
        let same = status.genesis == Some(self.seen.genesis);
        if same && self.held.is_none() && self.reset.is_none() {
            self.seen.cursor = self.seen.cursor.max(status.applied);
        }
        self.place()
    }

    /// Says where to come back to, or at least that there is somebody.
    fn place(&mut self) -> Bytes {
        if self.told == Some(self.seen) {
            return Bytes::from_static(b": alive\n\n");
        }
        self.told = Some(self.seen);
        format!("id: {}\n\n", self.seen).into()
    }
}

/// What a watcher waited for.
enum Waited {
    Item(Item),
    /// Nothing, for a while.
    Silence,
    End,
}

fn put(piece: &mut String, change: &Change<Vec<u8>, Blob>) {
    let key = std::str::from_utf8(&change.key).ok();
    let data = ChangeBody {
        key,
        key_base64: key.is_none().then(|| BASE64.encode(&change.key)),
        value: change
            .value
            .as_ref()
            .map(|Blob(value)| BASE64.encode(value)),
    };
    let kind = if change.value.is_some() {
        "put"
    } else {
        "delete"
    };
    event(piece, kind, &data);
}

fn event(piece: &mut String, kind: &str, data: &impl Serialize) {
    let data = serde_json::to_string(data).expect("these types have only string keys");
    line(piece, "event", kind);
    line(piece, "data", &data);
    piece.push('\n');
}

fn line(piece: &mut String, name: &str, value: &str) {
    writeln!(piece, "{name}: {value}").expect("writing to a String cannot fail");
}
