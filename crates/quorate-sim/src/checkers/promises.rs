//! A promise leaves a peer only after what it promises is durable.
//!
//! Reads what peers send: a granted vote must be the durable ballot, an ack must not exceed the
//! durable log nor speak of a term that a crash could take back. The checker sits where the frame
//! leaves, so a promise that was lost on the way, and did no harm this time, is found all the same.

use quorate_core::{
    Member, PeerId,
    wire::{Control, Envelope, Message},
};

use super::{Found, synced::DurableLog};

/// Judges one message that `from`, with this durable log of the group, sends to the peer `to`.
pub(crate) fn judge(
    from: Member,
    to: PeerId,
    message: &Control,
    log: Option<&DurableLog>,
) -> Result<(), Found> {
    let Control::Group(Envelope { address, message }) = message else {
        return Ok(());
    };
    match message {
        Message::Voted {
            term,
            granted: true,
        } => {
            let ballot = log.map(|log| log.ballot).unwrap_or_default();
            // A later ballot keeps the promise of an earlier one.
            let kept = ballot.term > *term
                || (ballot.term == *term
                    && ballot.voted_for
                        == Some(Member {
                            peer: to,
                            incarnation: address.to,
                        }));
            if !kept {
                return Err(Found::new(
                    "promise-after-sync",
                    format!("{from:?} votes for {to:?} in {term:?} while {ballot:?} is durable"),
                ));
            }
        }
        Message::Ack { term, matched, .. } => {
            let durable = log.map(|log| log.ballot).unwrap_or_default();
            if durable.term < *term {
                return Err(Found::new(
                    "promise-after-sync",
                    format!("{from:?} follows {to:?} in {term:?} while {durable:?} is durable"),
                ));
            }
            let last = log.map(|log| log.last()).unwrap_or_default();
            if last < *matched {
                return Err(Found::new(
                    "promise-after-sync",
                    format!("{from:?} acks {matched:?} to {to:?} while {last:?} is durable"),
                ));
            }
        }
        Message::Accept(genesis) if log.and_then(|log| log.genesis) != Some(*genesis) => {
            return Err(Found::new(
                "promise-after-sync",
                format!("{from:?} accepts {genesis:?}, which is not durable"),
            ));
        }
        _ => {}
    }
    Ok(())
}
