//! What comes from other peers, and which part of the consensus it goes to.
//!
//! Nothing is decided here but one thing: a term that no election can have reached is not believed.

use crate::{
    cursor::Term,
    id::Member,
    limits,
    out::Out,
    time::Time,
    wire::{Message, Replication},
};

use super::Raft;

impl Raft {
    /// Takes a control message from `from`.
    pub(crate) fn on_message(&mut self, now: Time, from: Member, message: Message, out: &mut Out) {
        if self.poisoned.is_some() || !self.believes(from, message_term(&message), out) {
            return;
        }
        match message {
            Message::PreVote { term, last } => self.on_pre_vote(now, from, term, last, out),
            Message::PreVoted {
                asked,
                term,
                granted,
            } => {
                self.on_pre_voted(now, from, asked, term, granted, out);
            }
            Message::Vote { term, last } => self.on_vote(now, from, term, last, out),
            Message::Voted { term, granted } => self.on_voted(now, from, term, granted, out),
            Message::Heartbeat {
                term,
                run,
                commit,
                read,
            } => {
                self.on_heartbeat(now, from, (term, run), (commit, read), out);
            }
            Message::Ack {
                term,
                run,
                matched,
                read,
                reader,
                stateless,
                versions,
            } => {
                let says = (reader, stateless, versions);
                self.on_ack(now, from, (term, run), (matched, read), says, out);
            }
            Message::Reject {
                term,
                run,
                previous,
                hint,
            } => {
                self.on_reject(now, from, (term, run), (previous, hint), out);
            }
            Message::Behind {
                term,
                run,
                first,
                commit,
            } => {
                self.on_behind(now, from, (term, run), (first, commit), out);
            }
            Message::StageFrom { term, run, anchor } => {
                self.on_stage_from(now, from, term, run, anchor, out);
            }
            Message::Staged { term, run, upto } => self.on_staged(now, from, term, run, upto, out),
            Message::TimeoutNow { term } => self.on_timeout_now(now, from, term, out),
            Message::ReadIndex { id } => self.on_read_index(from, id, out),
            Message::ReadAt { id, index } => self.on_read_at(id, index),
            other => self.on_seat_message(now, from, other, out),
        }
    }

    /// Takes a message about who has which seat, and who leads.
    fn on_seat_message(&mut self, now: Time, from: Member, message: Message, out: &mut Out) {
        match message {
            Message::Join { member } => self.on_join(from, member, out),
            Message::Leave { member, wish } => self.on_leave(now, from, (member, wish), out),
            Message::Left {
                member,
                wish,
                term,
                index,
            } => self.on_left(now, from, (member, wish), (term, index), out),
            Message::Transfer { term, to } => self.on_transfer(now, from, term, to, out),
            Message::TransferRefused { to, last_voter } => {
                self.on_transfer_refused(from, to, last_voter, out);
            }
            // Formation and state sync are not of the consensus.
            _ => {}
        }
    }

    /// Takes a frame of the entries lane from `from`.
    pub(crate) fn on_replication(
        &mut self,
        now: Time,
        from: Member,
        message: Replication,
        out: &mut Out,
    ) {
        let term = match &message {
            Replication::Append(append) => append.term,
            Replication::Forward(_) | Replication::Outcomes(_) => Term(0),
        };
        if self.poisoned.is_some() || !self.believes(from, term, out) {
            return;
        }
        match message {
            Replication::Append(append) => self.on_append(now, from, append, out),
            Replication::Forward(forward) => self.on_forward(from, forward, out),
            Replication::Outcomes(outcomes) => self.on_outcomes(outcomes, out),
        }
    }

    /// Tells whether a term may be true.
    ///
    /// Terms grow by elections. One that is out of reach of elections would leave no term to
    /// campaign in; whoever names it costs itself its link, not the group its elections.
    fn believes(&mut self, from: Member, term: Term, out: &mut Out) -> bool {
        let believed = term.0.saturating_sub(self.ballot.term.0) <= limits::TERM_JUMP;
        if !believed {
            out.mark("raft.unbelievable_term");
            out.misbehaved.push(from.peer);
        }
        believed
    }
}

/// Returns the term that a message would make its receiver adopt; 0 if none.
fn message_term(message: &Message) -> Term {
    match message {
        Message::PreVote { term, .. }
        | Message::PreVoted { term, .. }
        | Message::Vote { term, .. }
        | Message::Voted { term, .. }
        | Message::Heartbeat { term, .. }
        | Message::Ack { term, .. }
        | Message::Reject { term, .. }
        | Message::Behind { term, .. }
        | Message::StageFrom { term, .. }
        | Message::Staged { term, .. }
        | Message::TimeoutNow { term } => *term,
        _ => Term(0),
    }
}
