//! A group's state as the core sees it: it executes the core's operations and answers them.
//!
//! The real driver and the simulator run this same type, each operation in the order asked, so
//! nothing is decided outside the simulated world. It holds the tree, the machine that works on
//! it, the snapshots being served (clones of the tree, each O(1)), and at most one restore.
//!
//! Nothing here may take long for its place between two steps: digests and frees run in slices,
//! and every operation frees a slice of what was dropped, so that memory comes back even if nobody
//! asks for a sweep. The exceptions are named: applying a batch costs what its commands cost, and
//! an install builds the inner nodes (some 50 ms for a million items).

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use quorate_core::{
    Applied, Body, Canary, ClientSequence, Cursor, Entry, Fate, Genesis, GenesisId, Index, Named,
    Part, Planted, Restored, SessionId, StateDone, StateOp, Verdict, limits::FAILURE_TEXT,
};

use crate::{
    clients::{self, Admission, ClientLimits},
    limits,
    machine::{ApplyContext, Change, Machine, View},
    space,
    tree::{
        Assembly, Digesting, Graveyard, Salt, Tree,
        assembly::{Accepted, piece_of},
        chunk::Want,
    },
};

/// A machine, its state, and the snapshots and restores of that state.
pub struct Replica {
    machine: Arc<dyn Machine>,
    tree: Tree,
    applied: Cursor,
    /// What has become of the history, as the tree says too.
    fate: Fate,
    clients: ClientLimits,
    snapshots: BTreeMap<Cursor, Snapshot>,
    restore: Option<Restore>,
    graveyard: Graveyard,
    /// Changes since they were last taken, if anybody watches.
    changes: Option<Vec<Change>>,
    /// Whether the machine failed: until a history begins, nothing is done.
    failed: bool,
    planted: Planted,
}

/// The state at one cursor, kept to be served.
#[derive(Clone, Debug)]
struct Snapshot {
    tree: Tree,
    /// The digest under way; nothing once it is known, the tree remembers it then.
    digesting: Option<Digesting>,
}

/// A state being received.
#[derive(Clone, Debug)]
struct Restore {
    session: SessionId,
    anchor: Cursor,
    assembly: Assembly,
}

/// A copy is the same state at the same point, and goes on by itself; it shares every node until
/// one of the two changes it. What the original has yet to free stays with the original.
impl Clone for Replica {
    fn clone(&self) -> Self {
        Self {
            machine: self.machine.clone(),
            tree: self.tree.clone(),
            applied: self.applied,
            fate: self.fate,
            clients: self.clients,
            snapshots: self.snapshots.clone(),
            restore: self.restore.clone(),
            graveyard: Graveyard::default(),
            changes: self.changes.clone(),
            failed: self.failed,
            planted: self.planted,
        }
    }
}

impl Replica {
    /// Makes the replica of a group that runs `machine`; its history begins with
    /// [`StateOp::Begin`].
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self {
            machine,
            tree: Tree::new(Salt([0; 32])),
            applied: Cursor::ZERO,
            fate: Fate::Empty,
            clients: ClientLimits::default(),
            snapshots: BTreeMap::new(),
            restore: None,
            graveyard: Graveyard::default(),
            changes: None,
            failed: false,
            planted: Planted::default(),
        }
    }

    /// Plants a bug, for simulations; without the feature `canary` there is none to plant.
    #[must_use]
    pub fn with_planted(mut self, planted: Planted) -> Self {
        self.planted = planted;
        self
    }

    /// Sets the limits of the client table, before anything is applied.
    ///
    /// They decide what is applied, so all replicas of a group must have the same: for simulations.
    #[must_use]
    pub fn with_client_limits(mut self, limits: ClientLimits) -> Self {
        self.clients = limits;
        self
    }

    /// Returns the machine.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// Tells whether the machine has failed: the state is gone until a history begins.
    ///
    /// Whoever was granted a read of a state meanwhile must be told to ask again.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Returns the cursor of the last entry applied.
    pub fn applied(&self) -> Cursor {
        self.applied
    }

    /// Returns the state as of [`Replica::applied`]; a clone of it is an O(1) snapshot.
    ///
    /// A clone that is kept makes the next writes copy the nodes they touch.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the machine's items as of [`Replica::applied`].
    pub fn view(&self) -> View<'_> {
        View::new(&self.tree)
    }

    /// Starts or stops collecting changes.
    pub fn watch(&mut self, on: bool) {
        match (on, &self.changes) {
            (true, None) => self.changes = Some(Vec::new()),
            (false, _) => self.changes = None,
            (true, Some(_)) => {}
        }
    }

    /// Takes the changes collected since the last call, in order.
    ///
    /// To be called after each batch: their number is bounded only by what a batch changes. An
    /// install is no change; whoever watches learns of it from [`StateDone::Installed`].
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Executes one operation; returns its answer, if it has one.
    ///
    /// A machine that panics takes its state with it, and nothing else: that is told, and until the
    /// next [`StateOp::Begin`] nothing is done and nothing answered.
    pub fn execute(&mut self, op: StateOp) -> Option<StateDone> {
        if self.failed && !matches!(op, StateOp::Begin { .. }) {
            return None;
        }
        let done = self.dispatch(op);
        if !matches!(done, Some(StateDone::Swept { .. })) {
            self.graveyard.sweep(limits::SWEEP_SLICE);
        }
        done
    }

    fn dispatch(&mut self, op: StateOp) -> Option<StateDone> {
        match op {
            StateOp::Begin { genesis } => {
                self.begin(genesis);
                Some(StateDone::Begun { genesis })
            }
            StateOp::Apply {
                first,
                entries,
                outcomes,
            } => Some(self.apply_or_fail(first, &entries, outcomes)),
            StateOp::Recall { names } => Some(self.recall(&names)),
            StateOp::Cut { anchor } => Some(self.cut(anchor)),
            StateOp::Hash { anchor } => Some(self.hash(anchor)),
            StateOp::Forget { anchor } => {
                self.forget(anchor);
                None
            }
            StateOp::Sweep => Some(StateDone::Swept {
                more: self.graveyard.sweep(limits::SWEEP_SLICE),
            }),
            StateOp::Read {
                fetch,
                anchor,
                part,
                max_items,
                max_bytes,
            } => {
                let read = self.read(anchor, part, max_items, max_bytes);
                let items = read.as_ref().map_or(0, |(_, items)| *items);
                let chunk = read.map(|(chunk, _)| chunk);
                Some(StateDone::Read {
                    fetch,
                    chunk,
                    items,
                })
            }
            StateOp::Restore {
                session,
                anchor,
                items,
                digest,
                genesis,
            } => {
                let assembly = Assembly::new(digest, items, salt(genesis));
                self.begin_restore(session, anchor, assembly);
                None
            }
            StateOp::Verify {
                session,
                fetch,
                part,
                chunk,
            } => Some(StateDone::Verified {
                session,
                fetch,
                verdict: self.verify(session, part, &chunk),
            }),
            StateOp::Install { session } => Some(StateDone::Installed {
                session,
                restored: self.install(session).map(Box::new),
            }),
            StateOp::Abandon { session } => {
                if self.restore.as_ref().is_some_and(|r| r.session == session) {
                    self.bury_restore();
                }
                None
            }
        }
    }

    fn begin(&mut self, genesis: GenesisId) {
        self.bury_restore();
        for snapshot in std::mem::take(&mut self.snapshots).into_values() {
            self.graveyard.bury(snapshot.tree);
        }
        let before = std::mem::replace(&mut self.tree, Tree::new(salt(genesis)));
        self.graveyard.bury(before);
        self.failed = false;
        self.applied = Cursor::ZERO;
        self.fate = Fate::Empty;
    }

    fn apply_or_fail(&mut self, first: Cursor, entries: &[Entry], wanted: bool) -> StateDone {
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply(first, entries, wanted)));
        applied.unwrap_or_else(|panic| {
            let at = self.applied;
            // Half an entry must not be seen by anybody.
            self.begin(GenesisId([0; 16]));
            self.take_changes();
            self.failed = true;
            StateDone::Failed {
                at,
                text: said(panic.as_ref()),
            }
        })
    }

    fn apply(&mut self, first: Cursor, entries: &[Entry], wanted: bool) -> StateDone {
        let mut version = space::machine_version(&self.tree);
        let mut outcomes = Vec::with_capacity(if wanted { entries.len() } else { 0 });
        if let Some(changes) = &mut self.changes {
            changes.reserve(entries.len());
        }
        let mut index = first.index;
        for entry in entries {
            let cursor = Cursor::new(entry.term, index);
            version = self.upgrade(version, &entry.body);
            let outcome = self.apply_one(cursor, version, entry, wanted);
            if wanted {
                outcomes.push(outcome);
            }
            self.applied = cursor;
            index = index.next();
        }
        StateDone::Applied {
            last: self.applied,
            outcomes,
            fate: self.fate,
            items: self.tree.len(),
            bytes: self.tree.bytes(),
        }
    }

    /// Notes in the state that a higher version is in effect, if the entry says so; returns the one
    /// that is.
    fn upgrade(&mut self, before: u32, body: &Body) -> u32 {
        let version = body.version_after(before);
        if version != before {
            space::set_machine_version(&mut self.tree, version);
        }
        version
    }

    fn apply_one(&mut self, cursor: Cursor, version: u32, entry: &Entry, heard: bool) -> Applied {
        debug_assert!(
            cursor.index == self.applied.index.next() || self.applied.index == Index(0),
            "{cursor} after {}",
            self.applied
        );
        let fate = match entry.body {
            Body::Dissolve { into } if self.planted.has(Canary::UsedDissolves) => {
                Fate::Dissolved { into }
            }
            _ => self.fate.after(&entry.body),
        };
        if fate != self.fate {
            self.fate = fate;
            space::set_fate(&mut self.tree, fate);
        }
        match &entry.body {
            Body::Command(_) | Body::Named(_) | Body::Register { .. }
                if fate.dissolved_into().is_some() =>
            {
                Applied::Superseded
            }
            Body::Command(command) => Applied::Outcome(self.run(cursor, version, command, heard)),
            Body::Named(named) => self.apply_named(cursor, version, named),
            Body::Register { at } => self.clients.register(&mut self.tree, cursor, *at),
            Body::Configuration(configuration) => {
                space::set_configuration(&mut self.tree, configuration);
                Applied::Silent
            }
            Body::Noop | Body::Marker(_) | Body::Dissolve { .. } | Body::Upgrade { .. } => {
                Applied::Silent
            }
        }
    }

    fn run(&mut self, cursor: Cursor, version: u32, command: &[u8], heard: bool) -> Bytes {
        let feed = self.changes.as_mut();
        let mut cx = ApplyContext::new(&mut self.tree, cursor, version, feed);
        if !heard {
            cx = cx.unheard();
        }
        self.machine.apply(&mut cx, command)
    }

    fn apply_named(&mut self, cursor: Cursor, version: u32, named: &Named) -> Applied {
        let name = named.client;
        match self.clients.admit(&mut self.tree, cursor, name, named.at) {
            Admission::Apply(admitted) => {
                // Remembered, on every peer, so heard on every peer.
                let outcome = self.run(cursor, version, &named.bytes, true);
                self.clients
                    .remember(&mut self.tree, admitted, cursor, name, &outcome);
                Applied::Outcome(outcome)
            }
            Admission::Refused(applied) => applied,
        }
    }

    fn recall(&self, names: &[ClientSequence]) -> StateDone {
        let recall = |name| self.clients.recall(&self.tree, self.applied.index, name);
        StateDone::Recalled {
            recalled: names.iter().map(|name| (*name, recall(*name))).collect(),
        }
    }

    fn cut(&mut self, anchor: Cursor) -> StateDone {
        debug_assert_eq!(anchor, self.applied, "a snapshot is of the present state");
        let tree = self.tree.clone();
        let (items, bytes) = (tree.len(), tree.bytes());
        let digesting = Some(tree.digesting());
        let snapshot = Snapshot { tree, digesting };
        if let Some(before) = self.snapshots.insert(anchor, snapshot) {
            self.graveyard.bury(before.tree);
        }
        StateDone::Cut {
            anchor,
            items,
            bytes,
        }
    }

    fn hash(&mut self, anchor: Cursor) -> StateDone {
        let digest = self.snapshots.get_mut(&anchor).and_then(|snapshot| {
            let Some(digesting) = &mut snapshot.digesting else {
                return Some(snapshot.tree.digest());
            };
            let digest = digesting.advance(limits::HASH_SLICE)?;
            snapshot.digesting = None;
            Some(digest)
        });
        StateDone::Hashed { anchor, digest }
    }

    fn forget(&mut self, anchor: Cursor) {
        if let Some(snapshot) = self.snapshots.remove(&anchor) {
            // The digest under way shares the snapshot's nodes: it must not be their last owner.
            drop(snapshot.digesting);
            self.graveyard.bury(snapshot.tree);
        }
    }

    fn read(
        &self,
        anchor: Cursor,
        part: Part,
        max_items: u64,
        max_bytes: u64,
    ) -> Option<(Bytes, u64)> {
        let tree = &self.snapshots.get(&anchor)?.tree;
        match part {
            Part::Items { start, end, offset } => {
                let want = Want {
                    start,
                    end,
                    offset,
                    max_items,
                    max_bytes,
                };
                let chunk = tree.read_range(&want).ok()?;
                let items = match chunk.next_offset {
                    // The last part of a leaf brings its items.
                    Some(_) => 0,
                    None => chunk.ranks.end - chunk.ranks.start,
                };
                Some((chunk.encoded, items))
            }
            Part::Piece { rank, piece } => Some((tree.read_piece(rank, piece).ok()?, 0)),
        }
    }

    fn begin_restore(&mut self, session: SessionId, anchor: Cursor, mut assembly: Assembly) {
        if self.planted.has(Canary::MixedAnchors)
            && let Some(before) = &self.restore
        {
            assembly.mix_in(&before.assembly);
        }
        self.bury_restore();
        self.restore = Some(Restore {
            session,
            anchor,
            assembly,
        });
    }

    fn verify(&mut self, session: SessionId, part: Part, chunk: &[u8]) -> Verdict {
        const ANOTHER_PART: Verdict = Verdict::Wrong {
            reason: "the chunk is not the part that was asked for",
        };
        let restore = self.restore.as_mut().filter(|r| r.session == session);
        let Some(restore) = restore else {
            return Verdict::Known;
        };
        if let Part::Piece { rank, piece } = part
            && piece_of(chunk) != Some((rank, piece))
        {
            return ANOTHER_PART;
        }
        match restore.assembly.offer(chunk) {
            // What is new is true and kept, whoever asked for it, and the session must know of it:
            // it would ask for it for ever otherwise, and always hear that it is known.
            Ok(accepted) if !accepted.new && !answers(&accepted, part) => ANOTHER_PART,
            // A known part of a leaf that is not whole still says where to go on.
            Ok(accepted) if !accepted.new && accepted.unfinished.is_none() => Verdict::Known,
            Ok(accepted) => kept(accepted),
            Err(rejected) => Verdict::Wrong {
                reason: rejected.reason(),
            },
        }
    }

    fn install(&mut self, session: SessionId) -> Option<Restored> {
        let restore = self.restore.as_mut().filter(|r| r.session == session)?;
        let finished = restore.assembly.finish().ok();
        let anchor = restore.anchor;
        self.bury_restore();
        let mut tree = finished?;
        if self.planted.has(Canary::ClientTableDropped) {
            clients::items::drop_all(&mut tree);
        }
        let (Some(configuration), Some(fate)) = (space::configuration(&tree), space::fate(&tree))
        else {
            // Every history begins with a configuration: what was voted for is no state of ours.
            self.graveyard.bury(tree);
            return None;
        };
        let restored = Restored {
            anchor,
            configuration,
            fate,
            version: space::machine_version(&tree),
            items: tree.len(),
            bytes: tree.bytes(),
        };
        let before = std::mem::replace(&mut self.tree, tree);
        self.graveyard.bury(before);
        self.applied = anchor;
        self.fate = fate;
        Some(restored)
    }

    fn bury_restore(&mut self) {
        if let Some(restore) = self.restore.take() {
            self.graveyard.bury_assembly(restore.assembly);
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("machine", &self.machine.name())
            .field("applied", &self.applied)
            .field("items", &self.tree.len())
            .field("snapshots", &self.snapshots.keys())
            .finish_non_exhaustive()
    }
}

/// The salt of a history's tree.
pub fn salt(genesis: GenesisId) -> Salt {
    Salt(Genesis::salt(genesis))
}

/// Tells whether what a chunk covers begins where it was asked to.
fn answers(accepted: &Accepted, part: Part) -> bool {
    match part {
        Part::Items { start, .. } => {
            accepted.ranks.contains(&start)
                || accepted.unfinished.is_some_and(|(leaf, _)| leaf <= start)
        }
        Part::Piece { .. } => true,
    }
}

fn kept(accepted: Accepted) -> Verdict {
    let count = |len: u64| len.div_ceil(limits::PIECE as u64);
    Verdict::Kept {
        items: (accepted.ranks.start, accepted.ranks.end),
        unfinished: accepted.unfinished,
        pieces: accepted
            .wanted
            .into_iter()
            .map(|(rank, len)| (rank, count(len)))
            .collect(),
        bytes: accepted.bytes,
    }
}

/// Returns what a panic said, as far as it is text, cut to its limit.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    let mut end = text.len().min(FAILURE_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
