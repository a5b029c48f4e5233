//! Opening a group: with which key, which machine, and how it comes to be.

use std::{fmt, sync::Arc, time::Duration};

use quorate_core::{Form, GroupId, GroupKey, GroupProfile, OpenGroup, Versions};
use quorate_state::{Collections, Machine, StateMachine, Typed};

use crate::{
    driver::request::Request,
    group::{Group, request},
    hall::Hall,
};

/// How a group is to be opened; made by [`crate::Network::group`].
#[must_use = "a group is opened by `open`"]
pub struct GroupBuilder<M = Collections> {
    hall: Arc<Hall>,
    key: GroupKey,
    form: Option<Form>,
    profile: GroupProfile,
    machine: Arc<M>,
    /// The same, as the driver runs it.
    runs: Arc<dyn Machine>,
    /// Whether it is one of this crate's.
    own: bool,
}

/// A group could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The network is closed on this peer.
    #[error("the network is closed on this peer")]
    Closed,
    /// A group must be expected to have at least one peer.
    #[error("a group is founded by at least one peer: expect 1 or more")]
    NobodyExpected,
    /// More founders are expected than a group may have voters.
    #[error("a group is founded by at most {most} peers: expect fewer and let the rest join")]
    TooManyExpected {
        /// As many as there may be.
        most: usize,
    },
    /// A machine of the application has no name, or one of this crate's machines'.
    #[error(
        "{name:?} cannot be the name of a machine: give it one that is not empty and does not \
         begin with {RESERVED:?}"
    )]
    MachineName {
        /// Its name.
        name: String,
    },
    /// The machine runs no version, or one before the first, which is 1.
    #[error("a machine runs at least one version, from 1 on: not {first}..={last}")]
    MachineVersions {
        /// The first version that it says it runs.
        first: u32,
        /// The last one.
        last: u32,
    },
}

/// How names of this crate's own machines begin.
const RESERVED: &str = "quorate.";

impl GroupBuilder {
    pub(crate) fn new(hall: Arc<Hall>, key: GroupKey) -> Self {
        Self {
            hall,
            key,
            form: None,
            profile: GroupProfile::lan(),
            machine: Arc::new(Collections),
            runs: Arc::new(Collections),
            own: true,
        }
    }
}

impl<M> GroupBuilder<M> {
    /// Runs the application's own machine in the group, in the place of collections.
    ///
    /// The machine's name is part of the group's identity: peers that open one key with machines
    /// of different names are in different groups.
    pub fn machine<N: StateMachine>(self, machine: N) -> GroupBuilder<N> {
        let machine = Arc::new(machine);
        GroupBuilder {
            hall: self.hall,
            key: self.key,
            form: self.form,
            profile: self.profile,
            runs: Arc::new(Typed(Arc::clone(&machine))),
            machine,
            own: false,
        }
    }

    /// Says how the group comes to be where there is none yet.
    ///
    /// Unless it is said: a peer that was given a ticket joins. Of the peers that find each other
    /// in a rendezvous directory one founds the group alone if it sees none for half a second, and
    /// the others join; it is picked by a lock, so there is never a second one. Without a
    /// rendezvous directory it is the lowest peer in sight, which is a guess: a network that is
    /// split at that moment may found two groups.
    pub fn form(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// Sets the operational parameters; [`GroupProfile::lan`] unless said otherwise.
    pub fn profile(mut self, profile: GroupProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets how many applied entries, and how many bytes of them, the log keeps for peers that
    /// lag a little.
    pub fn reserve(mut self, entries: u64, bytes: u64) -> Self {
        self.profile.reserve_entries = entries;
        self.profile.reserve_bytes = bytes;
        self
    }

    /// Sets how long a snapshot is kept after its last valid fetch.
    pub fn snapshot_ttl(mut self, ttl: Duration) -> Self {
        self.profile.snapshot_ttl = ttl;
        self
    }

    /// Returns the id of the group: it follows from the key and the machine's name.
    pub fn id(&self) -> GroupId {
        self.key.group_id(self.runs.name())
    }

    /// Opens the group and returns its handle, without waiting for peers: see [`Group::when`].
    ///
    /// A group that is open already is returned as it was opened first. Cancel-safe: a group may
    /// be open although nobody waited for it.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was opened.
    pub async fn open(self) -> Result<Group<M>, OpenError> {
        self.check()?;
        let open = OpenGroup {
            machine: self.runs.name().to_owned(),
            versions: self.versions()?,
            form: self.effective_form(),
            key: self.key,
            profile: self.profile,
        };
        let group = open.key.group_id(&open.machine);
        let open = Box::new(open);
        let runs = self.runs;
        let seat = request(&self.hall, |reply| Request::Open {
            group,
            open,
            machine: runs,
            reply,
        });
        let seat = seat.await.ok_or(OpenError::Closed)?;
        Ok(Group::new(self.hall, seat, self.machine))
    }

    /// Returns the versions that the machine runs.
    fn versions(&self) -> Result<Versions, OpenError> {
        let runs = self.runs.versions();
        let (first, last) = (*runs.start(), *runs.end());
        Versions::new(runs).ok_or(OpenError::MachineVersions { first, last })
    }

    /// Refuses what cannot be.
    fn check(&self) -> Result<(), OpenError> {
        let most = quorate_core::limits::VOTERS;
        match self.form {
            Some(Form::Expect(0)) => return Err(OpenError::NobodyExpected),
            Some(Form::Expect(n)) if n > most => return Err(OpenError::TooManyExpected { most }),
            _ => {}
        }
        let name = self.runs.name();
        if !self.own && (name.is_empty() || name.starts_with(RESERVED)) {
            let name = name.to_owned();
            return Err(OpenError::MachineName { name });
        }
        Ok(())
    }

    fn effective_form(&self) -> Form {
        // A lock that nobody takes would never pick anybody.
        let auto = Form::Auto {
            locked: self.hall.meets,
        };
        match self.form {
            Some(Form::Auto { .. }) => auto,
            Some(form) => form,
            None if self.hall.invited => Form::Join,
            None => auto,
        }
    }
}

impl<M> Clone for GroupBuilder<M> {
    fn clone(&self) -> Self {
        Self {
            hall: Arc::clone(&self.hall),
            key: self.key.clone(),
            form: self.form,
            profile: self.profile.clone(),
            machine: Arc::clone(&self.machine),
            runs: Arc::clone(&self.runs),
            own: self.own,
        }
    }
}

impl<M> fmt::Debug for GroupBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder")
            .field("key", &self.key)
            .field("machine", &self.runs.name())
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
