//! How things are called when people read them.

use quorate::{GroupStatus, LinkState, Network, PeerStatus, Role, StandstillCause, WhyLearner};

/// Says what an acknowledged write survives.
pub(crate) fn durability(network: &Network, status: &GroupStatus) -> &'static str {
    if network.recovery().is_none() {
        "memory: survives while a majority keeps running"
    } else if status.base.index.0 > 0 {
        "memory: this peer came late, and what was before its log is on its disk not yet"
    } else {
        "disk: survives the end of every process, and power loss"
    }
}

/// Returns what a peer is in its group, in one word.
pub(crate) fn role(status: &GroupStatus) -> &'static str {
    if status.is_learner() {
        return "learner";
    }
    if !status.is_voter() {
        return "joiner";
    }
    match status.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// Says why a group cannot decide, if it cannot: who is missing, since when, and what would help.
pub(crate) fn standstill(status: &GroupStatus) -> Option<String> {
    let standstill = status.standstill()?;
    // The group decides; only this peer is behind.
    let elsewhere = matches!(standstill.cause, StandstillCause::CatchingUp { .. });
    (!elsewhere).then(|| standstill.to_string())
}

/// Says what is wrong with the disk of a peer's log, if anything is.
pub(crate) fn disk(status: &GroupStatus) -> Option<&'static str> {
    let text = "no space is left: this peer does not lead and takes no entries until there is some";
    status.lacks_space.then_some(text)
}

/// Says how the link to a peer stands.
pub(crate) fn link(peer: &PeerStatus) -> String {
    let state = match peer.link {
        LinkState::Up => "up",
        LinkState::Down => "down",
        _ if peer.said_goodbye() => return "stopped".to_owned(),
        _ => "out of sight",
    };
    match peer.ended {
        Some(code) if peer.link != LinkState::Up => format!("{state}: {}", code.reason()),
        _ => state.to_owned(),
    }
}

/// Says why a learner does not vote.
pub(crate) fn why_learner(why: WhyLearner) -> &'static str {
    match why {
        WhyLearner::NotCaughtUp => "it has not caught up",
        WhyLearner::NotSteady => "it was silent not long ago",
        WhyLearner::Enough => "there are enough voters",
        WhyLearner::Odd => "one more voter would make their number even: it waits for another",
        WhyLearner::Leaving => "it is leaving",
        WhyLearner::Reader => "it only reads",
        WhyLearner::OtherVersion => {
            "its program cannot run the version of the state machine in effect"
        }
        WhyLearner::Next => "it becomes a voter next",
    }
}

/// Shortens an id for people, unless they want all of it.
pub(crate) fn id(id: &str, full: bool) -> &str {
    if full { id } else { id.get(..10).unwrap_or(id) }
}
