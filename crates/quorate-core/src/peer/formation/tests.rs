//! When a genesis that was accepted is given up, and when not.

use super::*;
use crate::{
    cursor::{Cursor, Index, Term},
    disk_op::{Ballot, RecoveredGroup},
    entry::{Body, Entry},
    id::{GroupKey, Incarnation, SessionId},
    input::OpenGroup,
    peer::group::Group,
    profile::GroupProfile,
    state_op::Part,
    time::{Now, Wall},
    versions::Versions,
    wire::Address,
};

fn member(peer: u8, life: u64) -> Member {
    Member {
        peer: PeerId([peer; 32]),
        incarnation: Incarnation(life),
    }
}

/// Peer 3 of three founders, which holds their genesis.
struct Holder {
    formation: Formation,
    genesis: Genesis,
    /// Whether nothing follows the genesis in the log, and whether it has voted.
    log: (bool, bool),
}

impl Holder {
    fn new(voted: bool) -> Self {
        let me = member(3, 1);
        let genesis = Genesis {
            group: GroupId([9; 16]),
            nonce: 7,
            voters: vec![member(1, 1), member(2, 1), me],
        };
        let form = (Form::Expect(3), Planted::default());
        let mut formation = Formation::new(genesis.group, me, form, []);
        formation.resume(genesis.clone());
        Self {
            formation,
            genesis,
            log: (true, voted),
        }
    }

    fn sees(&mut self, peer: u8, life: u64, takes_part: bool) {
        let standing = Standing {
            genesis: takes_part.then(|| self.genesis.id()),
            established: false,
            used: false,
            leader: None,
            founding: Founding::Never,
        };
        self.formation.on_standing(member(peer, life), standing);
    }

    fn is_refused_by(&mut self, peer: u8) {
        self.formation.on_refuse(member(peer, 1), self.genesis.id());
    }

    /// Tells whether the genesis is dropped now.
    fn drops(&self) -> bool {
        let (mut formation, mut out) = (self.formation.clone(), Out::default());
        let mut random = Random::new(1, PeerId([3; 32]));
        let holds = Some(self.genesis.id());
        let step = formation.tick(Time(1), holds, self.log, &mut random, &mut out);
        matches!(step, Some(Step::Drop(_)))
    }
}

#[test]
fn it_is_dropped_once_refusals_and_newer_lives_leave_no_quorum() {
    let mut holder = Holder::new(false);
    holder.is_refused_by(1);
    assert!(!holder.drops(), "two of three may still take part");
    holder.sees(2, 8, false);
    assert!(holder.drops());
    holder.log.0 = false;
    assert!(!holder.drops(), "something follows it");
}

#[test]
fn an_older_life_that_is_heard_of_late_is_no_refusal() {
    let mut holder = Holder::new(false);
    holder.is_refused_by(1);
    holder.sees(2, 8, false);
    holder.sees(2, 1, true);
    assert!(!holder.drops(), "the life that the genesis names is there");
}

#[test]
fn whoever_has_joined_after_all_refuses_no_more() {
    let mut holder = Holder::new(false);
    holder.is_refused_by(1);
    holder.sees(2, 8, false);
    holder.sees(1, 1, true);
    assert!(!holder.drops());
}

#[test]
fn who_has_voted_drops_it_only_while_it_sees_those_outside() {
    let mut holder = Holder::new(true);
    holder.is_refused_by(1);
    holder.sees(2, 8, false);
    assert!(
        !holder.drops(),
        "a leader that was voted for may have had the one that refused join"
    );
    holder.sees(1, 1, false);
    assert!(holder.drops());
    holder.formation.on_gone(PeerId([1; 32]));
    assert!(!holder.drops());
}

/// Opens the group of a holder whose log ends with the genesis.
fn opened(holder: &Holder, floor: Option<Cursor>, out: &mut Out) -> Group {
    let genesis = &holder.genesis;
    let open = OpenGroup {
        key: GroupKey::named("founders"),
        machine: "test".to_owned(),
        versions: Versions::ONLY_THE_FIRST,
        form: Form::Expect(3),
        profile: GroupProfile::lan(),
    };
    let recovered = RecoveredGroup {
        group: genesis.group,
        genesis: Some(genesis.id()),
        founding: Some(genesis.clone()),
        refused: Vec::new(),
        tombstones: Vec::new(),
        ballot: Ballot::default(),
        base: Cursor::ZERO,
        configuration: genesis.configuration(),
        entries: vec![Entry {
            term: Genesis::CURSOR.term,
            body: Body::Configuration(Box::new(genesis.configuration())),
        }],
        floor,
    };
    let (me, random) = (member(3, 1), (1, Planted::default()));
    Group::open(
        &open,
        genesis.group,
        me,
        random,
        Some(recovered),
        Time(1),
        out,
    )
}

#[test]
fn a_log_that_damage_cut_back_to_its_genesis_is_never_dropped() {
    let holder = Holder::new(false);
    let mut out = Out::default();
    assert!(opened(&holder, None, &mut out).formation.holds_one());
    let floor = Cursor::new(Term(4), Index(9));
    let damaged = opened(&holder, Some(floor), &mut out);
    assert!(!damaged.formation.holds_one());
    assert_eq!(damaged.genesis, Some(holder.genesis.id()));
}

#[test]
fn who_is_poisoned_serves_nobody() {
    let holder = Holder::new(false);
    let now = Now {
        time: Time(2),
        wall: Wall(2),
    };
    let asked = |poisoned: bool| {
        let mut out = Out::default();
        let mut group = opened(&holder, None, &mut out);
        if poisoned {
            group.on_disk_lost(&mut out);
        }
        let mut out = Out::default();
        let address = Address {
            group: holder.genesis.group,
            genesis: holder.genesis.id(),
            to: Incarnation(1),
        };
        let fetch = Message::Fetch {
            session: SessionId(1),
            fetch: 1,
            anchor: Genesis::CURSOR,
            part: Part::Items {
                start: 0,
                end: 1,
                offset: 0,
            },
            max_items: 1,
            max_bytes: 1,
        };
        group.on_message(now, member(1, 1), address, fetch, &mut out);
        out
    };
    assert!(!asked(false).messages.is_empty(), "it refuses: no snapshot");
    assert!(asked(true).messages.is_empty());
}
