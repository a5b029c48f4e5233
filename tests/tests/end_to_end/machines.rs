//! Groups that run an application's own machine.

use std::sync::Arc;

use crate::common::{
    bank::{Ask, Bank, Refused, bank, banker, bankers, deposit_to},
    meeting_place, small_reserve, soon, wait_for,
};
use futures::{StreamExt, future::join_all};
use quorate::{
    ApplyContext, Form, GroupEvent, GroupKey, Network, OpenError, Read, StateMachine, View,
    WriteError,
};

use crate::common::bank::Order;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_commands_have_typed_outcomes_through_every_peer() {
    let directory = meeting_place();
    let peers = bankers(directory.path(), 3).await;
    let mut sum = 0;
    for (_, group) in &peers {
        sum += 100;
        let done = soon(group.execute(deposit_to("alice", 100))).await;
        assert_eq!(done.unwrap().outcome, Ok(sum));
    }
    let pay = |amount| Order::Transfer {
        from: "alice".to_owned(),
        to: "bob".to_owned(),
        amount,
    };
    let group = &peers[1].1;
    let refused = soon(group.execute(pay(301))).await.unwrap();
    assert_eq!(refused.outcome, Err(Refused::Balance(300)));
    let paid = soon(group.execute(pay(1))).await.unwrap();
    assert_eq!(paid.outcome, Ok(1));
    for (_, group) in &peers {
        let ask = |of: &str, read| soon(group.query(Ask::Balance(of.to_owned()), read));
        assert_eq!(ask("alice", Read::AtLeast(paid.cursor)).await, Ok(299));
        assert_eq!(ask("bob", Read::Linearizable).await, Ok(1));
        assert_eq!(ask("carol", Read::Local).await, Ok(0));
    }
    join_all(peers.iter().map(|(net, _)| net.close())).await;
    match soon(group.execute(pay(2))).await {
        Err(WriteError::Closed { value }) => assert_eq!(value, pay(2)),
        other => panic!("{other:?}"),
    }
    match soon(group.feed(pay(3))).await {
        Err(WriteError::Closed { value }) => assert_eq!(value, pay(3)),
        other => panic!("{other:?}"),
    }
    assert!(
        soon(group.query(Ask::Total, Read::Linearizable))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_peer_restores_the_state_of_an_own_machine() {
    let directory = meeting_place();
    let peers = bankers(directory.path(), 3).await;
    let group = peers[0].1.clone();
    let orders = (0..2_000).map(|i| group.execute(deposit_to(&format!("account {}", i % 500), 1)));
    let mut under_way = futures::stream::iter(orders).buffer_unordered(256);
    while let Some(done) = soon(under_way.next()).await {
        assert!(done.unwrap().outcome.is_ok());
    }

    let net = Network::builder("test").rendezvous(directory.path());
    let net = net.build().await.unwrap();
    let mut events = net.events().await.unwrap();
    let late = bank(&net).form(Form::Join).profile(small_reserve());
    let late = late.open().await.unwrap();
    let restored = wait_for(&mut events, |event| match event {
        GroupEvent::Restored { anchor, .. } => Some(anchor),
        _ => None,
    });
    soon(restored).await;
    soon(late.when().caught_up()).await.unwrap();
    assert_eq!(soon(late.query(Ask::Total, Read::Local)).await, Ok(2_000));
    let seven = Ask::Balance("account 7".to_owned());
    assert_eq!(soon(late.query(seven, Read::Local)).await, Ok(4));

    // It applies what comes after like everybody else.
    let done = soon(late.execute(deposit_to("account 7", 1)))
        .await
        .unwrap();
    assert_eq!(done.outcome, Ok(5));
    soon(group.when().applied(done.cursor)).await.unwrap();
    soon(late.when().applied(done.cursor)).await.unwrap();
    let (one, other) = (soon(group.digest()).await, soon(late.digest()).await);
    let (one, other) = (one.unwrap(), other.unwrap());
    if one.cursor == other.cursor {
        assert_eq!(one, other);
    }
    net.close().await;
    join_all(peers.iter().map(|(net, _)| net.close())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fed_arrives_and_whoever_feeds_is_held_back() {
    const MANY: u64 = 3 * quorate::limits::FED_COMMANDS as u64;
    let directory = meeting_place();
    let peers = bankers(directory.path(), 3).await;
    let feeders = peers.iter().take(2).map(|(_, group)| {
        let group = group.clone();
        tokio::spawn(async move {
            for _ in 0..MANY {
                group.feed(deposit_to("pot", 1)).await.unwrap();
            }
        })
    });
    for feeder in soon(join_all(feeders)).await {
        feeder.unwrap();
    }
    // Nobody says when what was fed is applied: a command after it does.
    for (_, group) in peers.iter().take(2) {
        soon(group.execute(deposit_to("pot", 0))).await.unwrap();
    }
    let total = peers[2].1.query(Ask::Total, Read::Linearizable);
    assert_eq!(soon(total).await, Ok(2 * MANY));
    let huge = deposit_to(&"x".repeat(17 << 20), 1);
    let refused = soon(peers[0].1.feed(huge)).await.unwrap_err();
    assert!(matches!(refused, WriteError::TooLarge), "{refused}");
    join_all(peers.iter().map(|(net, _)| net.close())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machines_name_is_part_of_the_groups_identity() {
    struct Named(&'static str);

    impl StateMachine for Named {
        type Command = ();
        type Outcome = ();
        type Query = ();
        type Answer = Arc<str>;

        fn name(&self) -> &str {
            self.0
        }

        fn apply(&self, _: &mut ApplyContext<'_>, (): ()) {}

        fn query(&self, _: View<'_>, (): ()) -> Arc<str> {
            self.0.into()
        }
    }

    let directory = meeting_place();
    let (net, bank) = banker(directory.path(), Form::Alone, small_reserve()).await;
    let key = || net.group(GroupKey::named("bank")).form(Form::Alone);
    let open = |name| key().machine(Named(name)).open();
    let one = open("one").await.unwrap();
    let ids = [bank.id(), one.id(), key().open().await.unwrap().id()];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    assert_eq!(open("one").await.unwrap().id(), one.id());
    // An answer is never encoded: it may be of any type.
    assert_eq!(soon(one.query((), Read::Local)).await.as_deref(), Ok("one"));
    soon(one.execute(())).await.unwrap();
    for name in ["", "quorate.collections", "quorate.mine"] {
        match open(name).await {
            Err(OpenError::MachineName { name: refused }) => assert_eq!(refused, name),
            other => panic!("{other:?}"),
        }
    }
    // Its commands are none of the bank's.
    assert_eq!(soon(bank.query(Ask::Total, Read::Local)).await, Ok(0));
    let _: &quorate::Group<Bank> = &bank;
    net.close().await;
}
