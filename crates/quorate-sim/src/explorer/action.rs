//! What may happen next in a cluster, and how often.

use std::fmt;

use super::shelf::Place;

/// How many peers an exploration has.
pub(super) const HOSTS: usize = 3;

/// The pairs of hosts, in the order of their bits.
pub(super) const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

/// Which of a link's lanes a frame is on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Way {
    /// Small messages, in order.
    Control,
    /// Entries, in order.
    Entries,
    /// Chunks, in no order.
    Bulk,
}

/// Something that keeps an order: what is in it can be held back together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Queue {
    /// A lane from one host to another.
    Lane { from: u8, to: u8, way: Way },
    /// A place of a host's disk.
    Disk { host: u8, place: Place },
    /// A host's state.
    State { host: u8 },
}

/// One thing that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// The frame at this place of the lane from one host to another arrives.
    Deliver {
        from: u8,
        to: u8,
        way: Way,
        place: u8,
    },
    /// A disk finishes its oldest operation of a place.
    Finish { host: u8, place: Place },
    /// A state does the next thing it was asked for.
    Work { host: u8 },
    /// The peer's next deadline comes, and it is woken.
    Wake { host: u8 },
    /// As long as the longest election timeout passes everywhere, and nobody is woken yet.
    Elapse,
    /// A client writes.
    Write { host: u8 },
    /// A process dies; of what its disk had under way, that many operations are done.
    Crash { host: u8, log: u8, ballots: u8 },
    /// A process dies and its disk is lost.
    Wipe { host: u8 },
    /// A process is started.
    Start { host: u8 },
    /// The link of a pair is lost, with what is on its way.
    Cut { pair: u8 },
    /// A pair gets a link, and the two greet.
    Join { pair: u8 },
    /// A queue stands still until it is released.
    Hold { queue: Queue },
    /// A queue that was held goes on.
    Release { queue: Queue },
}

impl Action {
    /// Returns the queue that the action takes from, and the host that it happens to.
    pub(super) fn queue(&self) -> Option<(Queue, u8)> {
        match *self {
            Self::Deliver { from, to, way, .. } => Some((Queue::Lane { from, to, way }, to)),
            Self::Finish { host, place } => Some((Queue::Disk { host, place }, host)),
            Self::Work { host } => Some((Queue::State { host }, host)),
            _ => None,
        }
    }
}

/// How often something may happen that nothing before it asked for.
///
/// What follows from it (frames, disk operations, work of the state, restarts, new links) is not
/// limited: with these limits there is an end of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Bounds {
    /// How often each peer is woken at its deadline.
    pub wakes: [u8; HOSTS],
    /// How often as long as an election timeout passes unseen.
    pub elapses: u8,
    /// How many writes clients ask for.
    pub writes: u8,
    /// How many processes die and come back with their disks.
    pub crashes: u8,
    /// How many processes die and come back without.
    pub wipes: u8,
    /// How many links are lost with what is on its way.
    pub cuts: u8,
    /// Nothing: whatever is under way may come in any order. Else a host that comes to run takes
    /// all that there is for it, hosts run in any order, and that many queues (a lane, a disk) are
    /// held back, each for any length of time.
    pub holds: Option<u8>,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.wakes;
        write!(f, "wakes {first}+{second}+{third}")?;
        let rest = [
            ("elapses", self.elapses),
            ("writes", self.writes),
            ("crashes", self.crashes),
            ("wipes", self.wipes),
            ("cuts", self.cuts),
        ];
        for (name, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {name} {count}")?;
        }
        match self.holds {
            None => write!(f, ", any order"),
            Some(holds) => write!(f, ", holds {holds}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Deliver {
                from,
                to,
                way,
                place,
            } => {
                write!(f, "{from} -> {to}: {way:?}")?;
                if place > 0 {
                    write!(f, ", overtaking {place}")?;
                }
                Ok(())
            }
            Self::Finish { host, place } => write!(f, "{host}: the disk finishes ({place:?})"),
            Self::Work { host } => write!(f, "{host}: the state answers"),
            Self::Wake { host } => write!(f, "{host}: is woken at its deadline"),
            Self::Elapse => write!(f, "an election timeout passes everywhere"),
            Self::Write { host } => write!(f, "{host}: a client writes"),
            Self::Crash { host, log, ballots } => write!(
                f,
                "{host}: crashes; {log} unfinished log writes and {ballots} ballots stay"
            ),
            Self::Wipe { host } => write!(f, "{host}: crashes and loses its disk"),
            Self::Start { host } => write!(f, "{host}: starts"),
            Self::Cut { pair } => {
                let (one, other) = PAIRS[usize::from(pair)];
                write!(f, "{one} -- {other}: the link is lost")
            }
            Self::Join { pair } => {
                let (one, other) = PAIRS[usize::from(pair)];
                write!(f, "{one} -- {other}: a link, and both greet")
            }
            Self::Hold { queue } => write!(f, "from now on held: {queue:?}"),
            Self::Release { queue } => write!(f, "no longer held: {queue:?}"),
        }
    }
}
