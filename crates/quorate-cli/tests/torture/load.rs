//! Writers that use a group hard and believe nothing.
//!
//! Each writer is a registered client. It sends a request under a name to any peer, and sends it
//! again, under the same name and to another peer, until some peer says that it was applied. What
//! it writes shows whatever goes wrong:
//!
//! - a new key with a value of its own: an acknowledged write that is lost;
//! - one key again and again, with growing numbers: a repeat that comes late, over a newer value;
//! - a counter of its own, by compare-and-set: a repeat that is applied anew would not swap;
//! - a counter that all share, by compare-and-set: its swaps are as many as it says in the end.
//!
//! Now and then an acknowledged request is repeated through another peer: it must be told the
//! same. After each round a writer reads its own writes, wherever it happens to ask.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::common::{PATIENCE, Request, Response, dice::Dice, settles};

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Written>>,
}

/// What writers were told is written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Written {
    /// What the keys hold.
    pub(crate) values: BTreeMap<String, String>,
    /// Increments of the counter that all share.
    pub(crate) increments: u64,
    /// Requests that were sent again because nobody knew what had become of them.
    pub(crate) repeats: u64,
}

/// What the writers and their test have in common.
#[derive(Debug, Default)]
struct Shared {
    addresses: Mutex<Vec<SocketAddr>>,
    stop: AtomicBool,
    /// When writes were acknowledged, and by whom.
    acknowledged: Mutex<Vec<(Instant, SocketAddr)>>,
    news: Condvar,
}

/// A registered client.
#[derive(Debug)]
struct Writer {
    number: usize,
    shared: Arc<Shared>,
    dice: Dice,
    client: String,
    sequence: u64,
    /// What the shared counter was last.
    together: Option<String>,
    written: Written,
}

/// The counter that all writers share.
const TOGETHER: &str = "together";

impl Load {
    /// Starts `writers` writers that ask the peers at `addresses`.
    pub(crate) fn start(writers: usize, addresses: &[SocketAddr], dice: &mut Dice) -> Self {
        let shared = Arc::new(Shared::default());
        *shared.addresses.lock().unwrap() = addresses.to_vec();
        let writers = (0..writers)
            .map(|number| {
                let writer = Writer {
                    number,
                    shared: Arc::clone(&shared),
                    dice: Dice::of(dice),
                    client: String::new(),
                    sequence: 0,
                    together: None,
                    written: Written::default(),
                };
                std::thread::spawn(|| writer.run())
            })
            .collect();
        Self { shared, writers }
    }

    /// Has the writers ask these peers from now on.
    pub(crate) fn ask(&self, addresses: &[SocketAddr]) {
        *self.shared.addresses.lock().unwrap() = addresses.to_vec();
    }

    /// Waits until `more` further writes are acknowledged.
    #[track_caller]
    pub(crate) fn wait(&self, more: usize) {
        let until = Instant::now() + PATIENCE;
        let mut acknowledged = self.shared.acknowledged.lock().unwrap();
        let wanted = acknowledged.len() + more;
        while acknowledged.len() < wanted {
            let stopped = self.writers.iter().any(JoinHandle::is_finished);
            assert!(!stopped, "a writer saw something wrong");
            let left = until.saturating_duration_since(Instant::now());
            let missing = wanted - acknowledged.len();
            assert!(
                !left.is_zero(),
                "{missing} of {more} writes were not acknowledged"
            );
            acknowledged = self.shared.news.wait_timeout(acknowledged, left).unwrap().0;
        }
    }

    /// Returns the longest time after `since` in which peers other than `gone` acknowledged
    /// nothing.
    pub(crate) fn longest_silence(&self, since: Instant, gone: SocketAddr) -> Duration {
        let acknowledged = self.shared.acknowledged.lock().unwrap();
        let of_others = acknowledged
            .iter()
            .filter(|(at, by)| *at > since && *by != gone)
            .map(|(at, _)| *at);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for at in of_others {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }

    /// Has the writers end what they are at; returns all that is written.
    pub(crate) fn finish(self) -> Written {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for writer in self.writers {
            let written = writer.join().unwrap_or_else(|wrong| resume_unwind(wrong));
            all.values.extend(written.values);
            all.increments += written.increments;
            all.repeats += written.repeats;
        }
        all.values
            .insert(TOGETHER.to_owned(), all.increments.to_string());
        all
    }
}

impl Written {
    /// Checks that the peer at `address` has it all.
    pub(crate) fn check(&self, address: SocketAddr) {
        let what = format!("{address} serves a linearizable read");
        settles(&what, || {
            let asked = Request::get("/healthz?timeout_ms=1000").send(address);
            let served = asked
                .as_ref()
                .is_some_and(|response| response.status == 200);
            if served {
                Ok(())
            } else {
                Err(format!("{asked:?}"))
            }
        });
        // What it has now is at least as fresh.
        for (key, value) in &self.values {
            let path = format!("/v1/kv/{key}?consistency=local");
            let read = Request::get(path).send(address).unwrap();
            assert_eq!(read.status, 200, "{key} is lost at {address}: {read:?}");
            assert_eq!(
                String::from_utf8_lossy(&read.body),
                *value,
                "{key} at {address}"
            );
        }
    }
}

impl Writer {
    fn run(mut self) -> Written {
        let registered = self.until_answered(&Request::new("POST", "/v1/clients?timeout_ms=1000"));
        self.client = registered.json()["client"].as_str().unwrap().to_owned();
        let number = self.number;
        for n in 1_u64.. {
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let value = format!("{number}:{n}:{}", self.dice.below(usize::MAX));
            self.put(format!("once-{number}-{n}"), value);
            self.put(format!("again-{number}"), n.to_string());
            self.count_alone(n);
            self.count_together();
            self.read_again(n);
        }
        self.written
    }

    fn put(&mut self, key: String, value: String) {
        let path = format!("/v1/kv/{key}?timeout_ms=1000");
        self.named(Request::put(path, value.clone()));
        self.written.values.insert(key, value);
    }

    /// Counts in a counter of its own: nobody else writes it, so it must be what was left there.
    fn count_alone(&mut self, n: u64) {
        let key = format!("alone-{}", self.number);
        let before = (n > 1).then(|| (n - 1).to_string());
        let answer = self.exchange(&key, before, n.to_string());
        assert_eq!(answer["swapped"], true, "{key} at {n}: {answer}");
        self.written.values.insert(key, n.to_string());
    }

    /// Tries to count in the counter of all.
    fn count_together(&mut self) {
        let before = self.together.clone();
        let count: u64 = before.as_ref().map_or(0, |count| count.parse().unwrap());
        let answer = self.exchange(TOGETHER, before, (count + 1).to_string());
        self.written.increments += u64::from(answer["swapped"] == true);
        let current = answer["current"].as_str();
        self.together = current.map(|text| {
            let bytes = BASE64.decode(text.as_bytes()).unwrap();
            String::from_utf8(bytes).unwrap()
        });
    }

    fn exchange(&mut self, key: &str, before: Option<String>, after: String) -> Value {
        let encoded = |text: String| BASE64.encode(text.as_bytes());
        let wish = json!({"expect": before.map(encoded), "value": encoded(after)});
        let path = format!("/v1/kv/{key}/cas?timeout_ms=1000");
        self.named(Request::post(path, &wish)).json()
    }

    /// Reads what it wrote last.
    fn read_again(&mut self, n: u64) {
        let path = format!("/v1/kv/again-{}?timeout_ms=1000", self.number);
        let read = self.until_answered(&Request::get(path));
        assert_eq!(
            String::from_utf8_lossy(&read.body),
            n.to_string(),
            "a stale read"
        );
    }

    /// Writes under a new name.
    fn named(&mut self, request: Request) -> Response {
        self.sequence += 1;
        let name = format!("{}/{}", self.client, self.sequence);
        let request = request.header("Quorate-Request", &name);
        let first = self.until_answered(&request);
        if self.dice.below(8) == 0 {
            let again = self.until_answered(&request);
            assert_eq!(again.cursor(), first.cursor(), "{name}: {request:?}");
            assert_eq!(again.body, first.body, "{name}: {request:?}");
        }
        first
    }

    /// Asks one peer after the other until one of them has done it.
    fn until_answered(&mut self, request: &Request) -> Response {
        let start = self.dice.below(1 << 16);
        let mut tries = start..;
        let what = format!("writer {} is answered {request:?}", self.number);
        settles(&what, || {
            let addresses = self.shared.addresses.lock().unwrap().clone();
            let at = tries.next().unwrap_or_default();
            let address = addresses[at % addresses.len()];
            let response = request.send(address);
            match response {
                Some(response) if response.status == 200 => {
                    let mut acknowledged = self.shared.acknowledged.lock().unwrap();
                    acknowledged.push((Instant::now(), address));
                    self.shared.news.notify_all();
                    return Ok(response);
                }
                // Surely not applied.
                Some(Response {
                    status: 429 | 503 | 409,
                    ..
                }) => {}
                // Nobody knows: perhaps the peer has died.
                None
                | Some(Response {
                    status: 500..=599, ..
                }) => self.written.repeats += 1,
                Some(other) => panic!("{what}: {other:?}"),
            }
            Err(format!("{address}: {response:?}"))
        })
    }
}
