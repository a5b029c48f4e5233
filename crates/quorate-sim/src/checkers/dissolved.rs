//! A history is given up by its own log, for one that stays longer, and never comes back.
//!
//! A peer buries a history only if the committed log of that history says so, and says for which
//! other one; that one exists, and is used or has the lower id, so that no two histories ever
//! dissolve into each other. From then on nobody who has buried it promises anything in it.

use quorate_core::{
    Fate, GenesisId, Member,
    wire::{Control, Envelope, Message},
};

use super::{Found, synced::Synced};

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

/// Judges that `from` sends `message`, by the histories it has buried.
pub(crate) fn judge_promise(
    from: Member,
    message: &Control,
    synced: Option<&Synced>,
) -> Result<(), Found> {
    let Control::Group(Envelope { address, message }) = message else {
        return Ok(());
    };
    let promises = match message {
        Message::Voted { granted, .. } | Message::PreVoted { granted, .. } => *granted,
        Message::Ack { .. } | Message::Heartbeat { .. } => true,
        _ => false,
    };
    let log = synced.and_then(|synced| synced.log(address.group));
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
