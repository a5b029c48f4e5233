//! Asking the group for a seat, or to be let go.
//!
//! Both are questions that are put again until somebody replicates to this peer, or says that it is
//! out: to the leader if one is known, else to peers that are seen to be in the group, who pass
//! them on. What the leader makes of them is the consensus' business.

use std::time::Duration;

use crate::{
    id::{GenesisId, Member},
    out::Out,
    raft::Raft,
    time::Time,
    wire::{Message, Standing},
};

use super::{group::Group, meeting::preference};

/// How often a peer that nobody replicates to asks to join, and one that leaves to be let go.
const ASK_EVERY: Duration = Duration::from_millis(200);

impl Group {
    /// Tells whether nobody replicates to this peer, although it does not want to go.
    pub(super) fn wants_in(&self) -> bool {
        !self.left
            && self.raft.as_ref().is_none_or(|raft| {
                raft.leader().is_none() && !raft.is_leaving() && !raft.has_left()
            })
    }

    /// Tells whether this peer waits to be let go.
    pub(super) fn wants_out(&self) -> bool {
        self.raft.as_ref().is_some_and(Raft::wants_out)
    }

    /// Asks the group to let this peer in, when nobody replicates to it, or out, when it leaves.
    pub(super) fn ask_the_group(&mut self, now: Time, out: &mut Out) {
        let wants_out = self.wants_out();
        if !(wants_out || self.wants_in()) || now < self.ask_at {
            return;
        }
        self.ask_at = now.after(ASK_EVERY);
        // Said again until somebody leads here: what was lost on the way is not missed for ever.
        self.told = None;
        let member = self.me;
        let wish = self.raft.as_ref().map_or(0, Raft::leave_wish);
        if let Some(leader) = self.raft.as_ref().and_then(Raft::leader) {
            out.send(leader, Message::Leave { member, wish });
            return;
        }
        let genesis = self.genesis;
        let mut hosts: Vec<(Member, Standing)> = self
            .formation
            .established_peers()
            .filter(|(_, standing)| match genesis {
                None => !standing
                    .genesis
                    .is_some_and(|one| self.meeting.is_dissolved(one)),
                _ => standing.genesis == genesis,
            })
            .collect();
        hosts.sort_by_key(|(member, standing)| preference(*member, standing));
        // Whoever leaves asks one after the other: not all vouch for it.
        let place = if wants_out {
            self.asked += 1;
            self.asked % hosts.len().max(1)
        } else {
            0
        };
        if let Some((host, standing)) = hosts.get(place) {
            let history = standing.genesis.unwrap_or(GenesisId([0; 16]));
            let message = if wants_out {
                Message::Leave { member, wish }
            } else {
                self.has_asked = true;
                Message::Join { member }
            };
            out.send_to_history(*host, history, message);
        }
    }
}
