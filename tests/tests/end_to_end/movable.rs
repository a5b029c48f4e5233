//! Every operation can be moved to another task: its future is `Send` and borrows nothing.
//!
//! This is checked by the compiler; nothing here runs.
#![allow(dead_code)] // Nothing here runs.

use std::time::Duration;

use futures::Stream;
use quorate::{
    Client, Cursor, Group, GroupBuilder, Map, Network, NetworkBuilder, Read, RequestName, Role,
    Since, StateMachine, iroh::Endpoint,
};

/// What an application hands to `tokio::spawn`.
fn movable<F: Future<Output: Send> + Send + 'static>(_: F) {}

fn movable_stream<S: Stream<Item: Send> + Send + Unpin + 'static>(_: S) {}

fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}

fn networks(builder: &NetworkBuilder, endpoint: Endpoint, net: &Network) {
    shared(builder);
    shared(net);
    movable(builder.clone().build());
    movable(builder.clone().mount(endpoint));
    movable(net.events());
    movable(net.close());
    movable(async {
        let net = Network::builder("any").build().await.unwrap();
        movable_stream(net.events().await.unwrap());
    });
}

fn groups(builder: GroupBuilder, group: &Group, client: &Client) {
    shared(group);
    shared(client);
    movable(builder.open());
    movable(group.events());
    movable(group.snapshot(Read::Local));
    movable(group.digest());
    movable(group.client());
    movable(group.leave(false).timeout(Duration::MAX));
    movable(group.transfer_leader(None).timeout(Duration::MAX));
    let when = group.when();
    shared(&when);
    movable(when.leader_elected());
    movable(when.leader_other_than(group.status().peer));
    movable(when.caught_up());
    movable(when.members(3));
    movable(when.voters(3));
    movable(when.applied(Cursor::ZERO));
    movable(when.role(Role::Leader));
    movable(when.voter());
    movable(when.holds(|status| status.closed));
}

fn maps(map: &Map<String, u64>, client: &Client, name: RequestName) {
    shared(map);
    let insert = || map.insert("apple".to_owned(), 1);
    movable(insert());
    movable(insert().timeout(Duration::MAX).named(name));
    movable(client.write(insert()));
    movable(map.remove("apple".to_owned()));
    movable(map.compare_exchange("apple".to_owned(), None, None));
    movable(map.get("apple", Read::Local).timeout(Duration::MAX));
    movable(map.len(Read::Linearizable));
    movable(map.iter(Read::AtLeast(Cursor::ZERO)));
    movable_stream(map.changes(Since::Now));
}

fn machines<M: StateMachine>(
    builder: GroupBuilder<M>,
    group: &Group<M>,
    command: impl Fn() -> M::Command,
    query: M::Query,
    client: &Client,
) {
    shared(group);
    movable(builder.open());
    movable(group.execute(command()));
    movable(client.write(group.execute(command())));
    movable(group.feed(command()));
    movable(group.query(query, Read::Local));
}
