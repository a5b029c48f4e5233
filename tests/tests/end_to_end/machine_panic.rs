//! A machine that panics costs its peer the state of its group, and nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::common::{
    bank::{Ask, bank, deposit_to},
    meeting_place, soon, wait_for,
};
use quorate::{
    ApplyContext, Form, GroupEvent, GroupKey, Network, Read, StateMachine, Table, View, WriteError,
};

const COUNT: Table<u64, u64> = Table::new(1);

/// Counts; panics in the middle of a command when it is told to.
struct Fragile {
    panics_once: Arc<AtomicBool>,
}

/// The command that it always panics at.
const POISON: u64 = u64::MAX;

impl StateMachine for Fragile {
    type Command = u64;
    type Outcome = u64;
    type Query = ();
    type Answer = u64;

    fn name(&self) -> &str {
        "test.fragile"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, more: u64) -> u64 {
        let before = COUNT.get(cx.view(), &0).unwrap_or(0);
        let now = before.saturating_add(more);
        COUNT.insert(cx, &0, &now).unwrap();
        assert!(!self.panics_once.swap(false, Ordering::Relaxed), "once");
        assert!(more != POISON, "always at this command");
        now
    }

    fn query(&self, view: View<'_>, (): ()) -> u64 {
        COUNT.get(view, &0).unwrap_or(0)
    }
}

fn lost(event: GroupEvent) -> Option<String> {
    match event {
        GroupEvent::StateLost { text, .. } => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_panics_costs_its_peer_the_state_and_nothing_else() {
    let directory = meeting_place();
    let net = Network::builder("fragile").rendezvous(directory.path());
    let net = net.build().await.unwrap();
    let panics_once = Arc::new(AtomicBool::new(false));
    let machine = Fragile {
        panics_once: Arc::clone(&panics_once),
    };
    let key = GroupKey::named("fragile");
    let group = net.group(key).machine(machine).form(Form::Alone);
    let group = group.open().await.unwrap();
    let mut events = net.events().await.unwrap();
    for count in 1..=20 {
        assert_eq!(soon(group.execute(1)).await.unwrap().outcome, count);
    }
    panics_once.store(true, Ordering::Relaxed);
    // What becomes of the command that met the panic is not said, or is once it was applied again.
    let met = soon(group.execute(1)).await;
    assert!(matches!(met, Ok(_) | Err(WriteError::Unknown)), "{met:?}");
    assert_eq!(soon(wait_for(&mut events, lost)).await, "once");
    let next = soon(group.execute(1)).await.unwrap();
    assert_eq!(next.outcome, 22, "nothing is lost and nothing twice");
    let count = soon(group.query((), Read::Linearizable)).await;
    assert_eq!(count, Ok(22));
    assert_eq!(group.status().poisoned, None);

    // Where it panics each time, the group here ends; another group of the peer does not.
    let refused = soon(group.execute(POISON)).await;
    assert!(refused.is_err(), "{refused:?}");
    let poisoned = |event| matches!(event, GroupEvent::Poisoned { .. }).then_some(());
    soon(wait_for(&mut events, poisoned)).await;
    let late = soon(group.execute(1)).await;
    let closed = matches!(late, Err(WriteError::Closed { value: 1 }));
    assert!(closed, "{late:?}");
    let bank = bank(&net).form(Form::Alone).open().await.unwrap();
    soon(bank.execute(deposit_to("alice", 5))).await.unwrap();
    assert_eq!(soon(bank.query(Ask::Total, Read::Local)).await, Ok(5));
    net.close().await;
}
