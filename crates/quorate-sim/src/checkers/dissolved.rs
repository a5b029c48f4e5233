//! A history is given up by its own log, for one that stays longer, and never comes back.
//!
//! A peer buries a history only if the committed log of that history says so, and says for which
//! other one; that one exists, and is used or has the lower id, so that no two histories ever
//! dissolve into each other. From then on nobody who has buried it promises anything in it, or
//! founds another one.

use quorate_core::{
    DiskWrite, Fate, GenesisId, Member,
    wire::{Control, Envelope, Message},
};

use super::{Found, synced::DurableLog};

/// Judges a history that its committed log has just given up.
pub(crate) fn judge_end(
    genesis: GenesisId,
    into: GenesisId,
    fate_there: Option<Fate>,
) -> Result<(), Found> {
    let lower = into < genesis || fate_there.is_some_and(Fate::is_used);
    if lower && fate_there.is_some() {
        return Ok(());
    }
    Err(Found::new(
        "dissolves-downwards",
        format!("{genesis:?} dissolves into {into:?}, which is {fate_there:?}"),
    ))
}

/// Judges that a peer buries a history whose committed log says `fate`.
pub(crate) fn judge_burial(
    genesis: GenesisId,
    into: GenesisId,
    fate: Option<Fate>,
) -> Result<(), Found> {
    if fate == Some(Fate::Dissolved { into }) {
        return Ok(());
    }
    Err(Found::new(
        "dissolved-by-its-own-log",
        format!("a peer buries {genesis:?} for {into:?}; its log says {fate:?}"),
    ))
}

/// Judges what `me` writes, by the histories it has buried: it knows that there is another one.
pub(crate) fn judge_founding(
    me: Member,
    write: &DiskWrite,
    log: Option<&DurableLog>,
) -> Result<(), Found> {
    let DiskWrite::Genesis(genesis) = write else {
        return Ok(());
    };
    let own = genesis.voters.first() == Some(&me);
    if own && log.is_some_and(|log| !log.tombstones.is_empty()) {
        let id = genesis.id();
        let detail = format!("{me:?} founds {id:?} and has buried a history");
        return Err(Found::new("buried-for-good", detail));
    }
    Ok(())
}

/// Judges that `from` sends `message`, by the histories it has buried.
pub(crate) fn judge_promise(
    from: Member,
    message: &Control,
    log: Option<&DurableLog>,
) -> Result<(), Found> {
    let Control::Group(Envelope { address, message }) = message else {
        return Ok(());
    };
    let promises = match message {
        Message::Voted { granted, .. } | Message::PreVoted { granted, .. } => *granted,
        Message::Ack { .. } | Message::Heartbeat { .. } => true,
        _ => false,
    };
    if promises && log.is_some_and(|log| log.tombstones.contains(&address.genesis)) {
        return Err(Found::new(
            "buried-for-good",
            format!(
                "{from:?} sends {message:?} in {:?}, which it has buried",
                address.genesis
            ),
        ));
    }
    Ok(())
}
