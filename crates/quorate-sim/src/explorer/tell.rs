//! States and ways in words, for whoever reads of a violation.

use quorate_core::{Lane, wire};

use super::{
    action::{Action, HOSTS},
    cluster::{Cluster, State},
    host::Host,
};

impl Cluster {
    /// Describes the hosts of a state, a line each.
    pub(super) fn describe(&self, state: &State) -> String {
        let line = |number| format!("{number}: {}", self.describe_host(self.host(state, number)));
        (0..HOSTS).map(line).collect::<Vec<_>>().join("\n")
    }

    /// Describes the hosts that are others in `after` than in `before`.
    pub(super) fn difference(&self, before: &State, after: &State) -> Vec<String> {
        (0..HOSTS)
            .filter_map(|number| {
                let was = self.describe_host(self.host(before, number));
                let is = self.describe_host(self.host(after, number));
                (was != is).then(|| format!("{number} is now: {is}"))
            })
            .collect()
    }

    fn describe_host(&self, host: &Host) -> String {
        let Some(view) = host.view(&self.ground) else {
            return format!("does not run; last life {:?}", host.member());
        };
        format!(
            "{:?} {:?} {:?}, history {:?}, log {}..{} (durable {}), committed {}, applied {}, \
             voters {:?} {:?}, learners {:?}, session {:?}",
            view.me,
            view.role,
            view.ballot,
            view.genesis,
            view.base.index.0,
            view.last,
            view.durable.0,
            view.commit.0,
            view.applied.index.0,
            view.configuration.voters,
            view.configuration.outgoing,
            view.configuration.learners,
            view.session(),
        )
    }

    /// Says what an action delivers, if it delivers a frame.
    pub(super) fn tell_flight(&self, state: &State, action: Action) -> String {
        let Some((lane, frame)) = self.flight_of(state, action) else {
            return String::new();
        };
        match lane {
            Lane::Control => match wire::decode_control(&frame) {
                Ok(messages) => format!(" {messages:?}"),
                Err(error) => format!(" {error}"),
            },
            Lane::Entries(_) => match wire::decode_replication(frame) {
                Ok((_, message)) => format!(" {message:?}"),
                Err(error) => format!(" {error}"),
            },
            Lane::Bulk => format!(" a chunk in {} bytes", frame.len()),
        }
    }
}
