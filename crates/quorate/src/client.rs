//! Clients: writes that are applied once, whatever happens to leaders and links on the way.
//!
//! A write whose answer is lost leaves its writer with two bad choices: write again, perhaps
//! twice, or not, perhaps never. A registered client has a third: it numbers its writes, the group
//! remembers what came of the numbers that the client has not closed yet, and a repeat is told what
//! the first one came to.
//!
//! ```text
//! number    1  2  3  4  5  6
//!           closed |  open   next
//!                  `- the lowest open number travels with every write: what is below is forgotten
//! ```
//!
//! A number is taken when a write is first polled, and closed when its future ends, by an answer
//! or by being dropped: nobody can repeat it then. So what a group must remember is bounded by
//! what its clients have under way.
//!
//! The peer sends a named write again by itself when a leader is lost; what is left to do here is
//! to wait a little and repeat what was refused for want of room, until the deadline. What came
//! back as unknown may have been applied, and from then on no refusal of a repeat says otherwise.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
    time::Duration,
};

use quorate_core::{ClientOp, Reply};
use tokio::time::{Instant, Sleep};

use crate::{
    ask::{Ask, Unasked},
    group::Seat,
    hall::Hall,
    name::{ClientId, RequestName},
    wish::WishDraft,
    write::{Committed, Write, WriteDraft, WriteError},
};

/// A registered client of a group; clones are handles to the same, and share its numbers.
///
/// Writes through it are applied once. A client that writes nothing for a quarter of an hour, while
/// ten thousand entries pass, is forgotten: then writes end in [`WriteError::Expired`], and a new
/// client is to be registered.
#[derive(Clone)]
pub struct Client {
    hall: Arc<Hall>,
    id: ClientId,
    numbers: Arc<Mutex<Numbers>>,
}

/// A client could not be registered, as far as is known; trying again is harmless.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A limit was reached: too much is under way, or as many clients are registered as may be.
    #[error("too much is under way, or too many clients are registered: try again later")]
    Busy,
    /// No leader or no quorum until the deadline.
    #[error("no leader or no quorum until the deadline: no client was registered")]
    Unavailable,
    /// The deadline came, or the network was closed here, while the registration was under way.
    #[error("it is not known whether a client was registered")]
    Unknown,
    /// The network is closed on this peer.
    #[error("the network is closed on this peer")]
    Closed,
}

/// The numbers of a client's writes.
#[derive(Debug, Default)]
struct Numbers {
    /// The last number taken.
    last: u64,
    open: BTreeSet<u64>,
}

/// One number of a client; closed when it is dropped.
#[derive(Debug)]
struct Number {
    numbers: Arc<Mutex<Numbers>>,
    sequence: u64,
}

/// Registers a client.
pub(crate) fn register(
    hall: &Arc<Hall>,
    seat: &Arc<Seat>,
) -> impl Future<Output = Result<Client, ClientError>> + Send + use<> {
    let (hall, seat) = (Arc::clone(hall), Arc::clone(seat));
    let before = seat.status.borrow().genesis;
    let make = |deadline| ClientOp::Register { deadline };
    let asking = Ask::new(&hall, WishDraft::new(seat.group, make));
    async move {
        let cursor = match asking.await {
            Ok(Reply::Registered { cursor }) => cursor,
            Ok(Reply::Busy) | Err(Unasked::Busy) => return Err(ClientError::Busy),
            Ok(Reply::Unavailable) => return Err(ClientError::Unavailable),
            Ok(Reply::Closed) | Err(Unasked::Closed) => return Err(ClientError::Closed),
            Ok(_) | Err(Unasked::Gone) => return Err(ClientError::Unknown),
        };
        // The status is shown at the end of the turn in which the reply was given.
        let mut status = seat.status.clone();
        let shown = status.wait_for(|status| status.genesis.is_some() || status.closed);
        let genesis = shown.await.ok().and_then(|status| status.genesis);
        // An id is good in the history of its registration; if that was given up meanwhile, the
        // one that is shown now is another one.
        let same = genesis.filter(|now| before.is_none_or(|before| before == *now));
        let genesis = same.ok_or(ClientError::Unknown)?;
        let id = ClientId {
            genesis,
            index: cursor.index,
        };
        let numbers = Arc::default();
        Ok(Client { hall, id, numbers })
    }
}

impl Client {
    /// Returns the client's id.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Gives a write the next number, and sends it until it is answered or its deadline comes: it
    /// is applied once, or not at all.
    ///
    /// Of a map or a machine of the client's own group: another group does not know the client, and
    /// answers [`WriteError::Expired`]. Any number may be under way at a time; numbers do not order
    /// them.
    pub fn write<I, O>(&self, write: Write<I, O>) -> ClientWrite<I, O> {
        ClientWrite {
            client: self.clone(),
            write,
            course: None,
            in_doubt: false,
        }
    }

    /// Takes the next number.
    fn number(&self) -> Number {
        let mut numbers = lock(&self.numbers);
        // 2^64 writes take longer than any client lives.
        numbers.last = numbers.last.saturating_add(1);
        let sequence = numbers.last;
        numbers.open.insert(sequence);
        Number {
            numbers: Arc::clone(&self.numbers),
            sequence,
        }
    }
}

impl Number {
    /// Returns the name of the write, with the lowest number that is open now.
    fn name(&self, client: ClientId) -> RequestName {
        let numbers = lock(&self.numbers);
        RequestName {
            client,
            sequence: self.sequence,
            open: numbers.open.first().copied().unwrap_or(self.sequence),
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        lock(&self.numbers).open.remove(&self.sequence);
    }
}

fn lock(numbers: &Mutex<Numbers>) -> MutexGuard<'_, Numbers> {
    numbers
        .lock()
        .expect("nothing panics while it holds a client's numbers")
}

/// A client's write under way, as a future.
///
/// It does nothing before it is first polled. Dropping it later closes its number: it may or may
/// not be applied, at most once, and is not sent again. The deadline counts from the first poll and
/// is the write's own: see [`Write::timeout`]. [`WriteError::Unknown`] comes at the deadline only.
#[must_use = "a write does nothing unless it is awaited"]
pub struct ClientWrite<I, O> {
    client: Client,
    write: Write<I, O>,
    /// Nothing before the first poll.
    course: Option<Course>,
    /// Whether an earlier attempt may have been applied.
    in_doubt: bool,
}

/// A write between its first poll and its end.
struct Course {
    number: Number,
    draft: WriteDraft,
    until: Instant,
    /// Between two attempts.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Between two attempts: many of them in an election, few of them in a person's patience.
const PAUSE: Duration = Duration::from_millis(20);

impl<I, O> ClientWrite<I, O> {
    /// Takes a number and makes the first attempt; nothing to do if the write cannot be encoded.
    fn begin(&mut self) {
        let Some((draft, timeout)) = self.write.plan() else {
            return;
        };
        let now = Instant::now();
        self.course = Some(Course {
            number: self.client.number(),
            draft,
            until: now.checked_add(timeout).unwrap_or(now + FAR),
            pause: None,
        });
        self.attempt();
    }

    fn attempt(&mut self) {
        let Some(course) = &mut self.course else {
            return;
        };
        course.pause = None;
        let mut draft = course.draft.clone();
        draft.name(course.number.name(self.client.id));
        let rest = course.until.saturating_duration_since(Instant::now());
        self.write.ask_again(&self.client.hall, draft, rest);
    }

    /// Tells whether an answer calls for another attempt, and notes what it leaves open.
    fn is_to_be_repeated(&mut self, answer: &Result<Reply, Unasked>) -> bool {
        let unknown = matches!(answer, Ok(Reply::Unknown | Reply::Superseded));
        self.in_doubt |= unknown;
        let repeat = unknown
            || matches!(
                answer,
                Ok(Reply::Busy | Reply::Unavailable) | Err(Unasked::Busy)
            );
        let Some(course) = &mut self.course else {
            return false;
        };
        let next = Instant::now() + PAUSE;
        if !repeat || next >= course.until {
            return false;
        }
        course.pause = Some(Box::pin(tokio::time::sleep_until(next)));
        true
    }
}

/// Until when a write waits whose timeout is beyond all clocks.
const FAR: Duration = Duration::from_secs(1 << 30);

impl<I, O> Unpin for ClientWrite<I, O> {}

impl<I, O> Future for ClientWrite<I, O> {
    type Output = Result<Committed<O>, WriteError<I>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.course.is_none() {
            this.begin();
        }
        loop {
            if let Some(course) = &mut this.course
                && let Some(pause) = &mut course.pause
            {
                ready!(pause.as_mut().poll(cx));
                this.attempt();
            }
            let answer = ready!(this.write.poll_answer(cx));
            if let Some(answer) = &answer
                && this.is_to_be_repeated(answer)
            {
                continue;
            }
            // Closes the number: nobody repeats it from now on.
            this.course = None;
            let done = this.write.judge(answer);
            return Poll::Ready(match done {
                Err(error) if this.in_doubt && !is_about_it(&error) => Err(WriteError::Unknown),
                done => done,
            });
        }
    }
}

/// Tells whether an error of a repeat says what became of the write as a whole.
fn is_about_it<I>(error: &WriteError<I>) -> bool {
    matches!(
        error,
        WriteError::Unknown
            | WriteError::Dropped { .. }
            | WriteError::Refused(_)
            | WriteError::Decoding { .. }
    )
}

impl<I, O> fmt::Debug for ClientWrite<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientWrite")
            .field("client", &self.client.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{GenesisId, Index};

    use super::*;

    #[test]
    fn the_lowest_open_number_travels_with_every_name() {
        let id = ClientId {
            genesis: GenesisId([1; 16]),
            index: Index(3),
        };
        let numbers: Arc<Mutex<Numbers>> = Arc::default();
        let take = || {
            let mut held = lock(&numbers);
            held.last += 1;
            let sequence = held.last;
            held.open.insert(sequence);
            Number {
                numbers: Arc::clone(&numbers),
                sequence,
            }
        };
        let (first, second, third) = (take(), take(), take());
        assert_eq!(third.name(id).to_string(), format!("{id}/3/1"));
        drop(second);
        assert_eq!(third.name(id).open, 1);
        drop(first);
        assert_eq!(third.name(id).to_string(), format!("{id}/3"));
        drop(third);
        assert_eq!(take().name(id).to_string(), format!("{id}/4"));
    }
}
