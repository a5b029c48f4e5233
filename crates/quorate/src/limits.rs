//! Every limit of the driver and the handles, with the reason for its number.

use std::time::Duration;

pub use quorate_core::limits::VOTERS as FOUNDERS;

/// Requests that wait for the driver's next turn: several turns' worth, so that a burst does not
/// make callers wait; beyond it they wait for room.
pub const DOOR_REQUESTS: usize = 16_384;

/// Bytes of commands that wait for the driver's next turn, for the same reason.
pub const DOOR_BYTES: usize = 16 << 20;

/// Transport events taken in one turn: enough to batch, few enough that timers stay punctual.
pub const TURN_EVENTS: usize = 2_048;

/// Times one turn goes from finished work to the work that follows from it, before it looks at
/// the network again. A write at a peer without others takes four.
pub const TURN_ROUNDS: usize = 16;

/// Time one turn spends on the states of groups: a small part of an election timeout, a large
/// part of what it costs to switch tasks.
pub const TURN_STATE: Duration = Duration::from_millis(2);

/// A turn after which other tasks come first: long beside a switch of tasks, short beside a round
/// trip between machines.
pub const LONG_TURN: Duration = Duration::from_micros(200);

/// Events that wait for a subscriber before it is told that it lags: a whole catch-up reports
/// fewer.
pub const SUBSCRIBER_EVENTS: usize = 4_096;

/// Changes that wait for a subscriber before it is told that it lags.
pub const SUBSCRIBER_CHANGES: usize = 65_536;

/// Bytes of keys and values of those changes.
pub const SUBSCRIBER_BYTES: usize = 32 << 20;

/// Changes that a group remembers for subscribers who resume from a cursor: as many as the log
/// keeps entries by default.
pub const REMEMBERED_CHANGES: usize = 8_192;

/// Bytes of keys and values of those changes.
pub const REMEMBERED_BYTES: usize = 8 << 20;

/// Differences between two states that are looked up together: each slice costs a look-up of where
/// to go on, and an application gets the first ones soon.
pub const SLICE_DIFFERENCES: usize = 1_024;

/// Bytes of keys and values of those differences.
pub const SLICE_BYTES: usize = 1 << 20;

/// Peers of which a status says how they stand; those out of sight for longest go first. As many as
/// a peer keeps links to.
pub const REMEMBERED_PEERS: usize = quorate_core::limits::PEERS;

/// Providers whose bytes are counted apart, per group: each is a series of its own for whoever
/// collects metrics, and peers without a disk have a new id at every start.
pub const METERED_PROVIDERS: usize = 256;

/// How long an operation waits unless it is told otherwise: many elections, few for a person.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an orderly stop may take in all.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Bytes of a network's name: a name is for people.
pub const NETWORK_NAME: usize = 255;

/// Addresses that a ticket carries: more than a machine has interfaces.
pub const TICKET_ADDRESSES: usize = 32;

/// Bytes of a ticket's text: those addresses, with relays among them, and a name, in base 32.
pub const TICKET_TEXT: usize = 16 << 10;

/// How long a peer waits for another one of its own identity to go, which it does if it is the
/// process that this one takes the place of.
pub const IDENTITY_TIME: Duration = Duration::from_secs(1);

/// Dials in a row after which a peer that was only told of is forgotten: half a minute.
pub const FORGET_DIALS: u32 = 16;

/// Commands that are fed to a group and of which nothing is known yet: as many as keep a leader
/// busy for a few round trips; beyond it whoever feeds waits.
pub const FED_COMMANDS: usize = 4_096;

/// Segments of the log that are open at a time: those of a start that reads one after another, and
/// the two that are written. A process has a few hundred files to open, and its sockets first.
pub const OPEN_SEGMENTS: usize = 16;

/// Messages between the driver and the thread of its disk, each way: the store has at most a batch
/// and a rewrite of the superblock under way, and removals of segments.
pub const DISK_MESSAGES: usize = 64;

/// How long a stop tries to hand over and to give up this peer's seats, of [`CLOSE_TIME`]; the
/// rest is for goodbyes.
pub const LEAVE_TIME: Duration = Duration::from_millis(1_200);
