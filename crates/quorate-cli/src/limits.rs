//! Every limit of the command, with the reason for its number.

use std::time::Duration;

/// Bytes of a request's body: as many as the largest command has. What is a little smaller may
/// still be too large, with its key and its frame; the group decides that.
pub(crate) const BODY: usize = 1 << 20;

/// Bytes of a compare-and-set's body: a largest command's values in base64, and the JSON around.
pub(crate) const CAS_BODY: usize = BODY / 3 * 4 + (4 << 10);

/// Bytes of a body that says a word or two.
pub(crate) const SMALL_BODY: usize = 4 << 10;

/// Bytes of a body that was refused for its size which are still read and dropped, so that a
/// client that sends before it listens gets its answer instead of a broken connection.
pub(crate) const DRAIN: usize = 16 << 20;

/// How long such a body is still read.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long the bytes of a body may take: a megabyte over a bad wireless link.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(30);

/// How long the head of a request may take, or a connection may be idle.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(60);

/// Bytes of a request's head: a key of the largest size, percent-encoded, and the headers.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// HTTP connections open at a time; others wait to be accepted.
pub(crate) const CONNECTIONS: usize = 1_024;

/// Watchers at a time: each may have a queue of changes behind it.
pub(crate) const WATCHERS: usize = 256;

/// Silence on a watch after which a comment is sent: well below what proxies take for death.
pub(crate) const WATCH_ALIVE: Duration = Duration::from_secs(10);

/// Bytes of changes put into one piece of a watch's answer.
pub(crate) const WATCH_BYTES: usize = 64 << 10;

/// How long an operation waits unless it is told otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest an operation may be told to wait.
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the client that a peer is itself may rest before it is replaced: well below the
/// quarter of an hour after which a group may forget it.
pub(crate) const OWN_CLIENT_IDLE: Duration = Duration::from_secs(300);

/// How long an orderly stop may take in all.
pub(crate) const STOP_TIME: Duration = Duration::from_secs(2);

/// How long a client waits for a connection.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(2);

/// How much longer than the operation itself a client waits for the answer.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Bytes of an answer that a client takes: the largest value, in base64, with room.
pub(crate) const ANSWER: usize = 4 << 20;

/// Bytes of one event of a watch: the largest key and value in base64, with room.
pub(crate) const EVENT: usize = 4 << 20;

/// How long a watch that lost its peer looks for another.
pub(crate) const WATCH_RETRY: Duration = Duration::from_secs(30);

/// Bytes of a key file or a token file: more is another kind of file.
pub(crate) const SECRET_FILE: usize = 4 << 10;

/// Letters of a network's or a group's name.
pub(crate) const NAME: usize = 64;
