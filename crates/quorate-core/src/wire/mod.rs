//! What peers say to each other, byte by byte.
//!
//! A frame of the control lane is a run of [`Control`] messages in postcard, each complete, the
//! frame at most 4 KiB: a step's messages to one peer, of all groups, share frames. A frame of an
//! entries lane is one [`Replication`] message in a codec of our own, so that entries are slices of
//! the received frame and nothing is copied. A frame of the bulk lane is one [`BulkChunk`].
//!
//! Everything here may come from a stranger: decoding never panics and never allocates more than
//! the frame brought plus a constant; what cannot be read closes the link it came over.

mod codec;
mod control;
mod control_frame;
mod replication;

pub use codec::{Malformed, Reader, decode_entry, encode_entry, entry_size, put_bytes, put_varint};
pub use control::{
    Address, Control, Envelope, Founding, Hello, Message, PROTOCOL_VERSION, Proof, Standing,
};
pub use control_frame::{decode_control, encode_control};
pub(crate) use control_frame::{decode_control_into, encode_control_in};
pub(crate) use replication::Encoder;
pub use replication::{
    Append, BulkChunk, Forward, ForwardOutcome, Outcomes, Proposal, Replication, decode_bulk,
    decode_replication, encode_bulk, encode_replication,
};
