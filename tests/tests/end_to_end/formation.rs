//! Peers find each other, form groups, and take writes through any of them.

use std::{collections::BTreeSet, time::Duration};

use crate::common::{assert_equal, meeting_place, peer_in, soon};
use futures::StreamExt;
use quorate::{
    Form, GroupKey, GroupProfile, Network, OpenError, Read, WriteError,
    iroh::{
        Endpoint,
        endpoint::Connection,
        protocol::{AcceptError, ProtocolHandler, Router},
    },
    testing::Cluster,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_of_a_formed_group_takes_writes() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    for i in 0..3 {
        let map = cluster.peer(i).group.map::<u64, String>("who");
        let done = soon(map.insert(i as u64, format!("peer {i}")))
            .await
            .unwrap();
        assert_eq!(done.outcome, None);
    }
    for i in 0..3 {
        let map = cluster.peer(i).group.map::<u64, String>("who");
        for key in 0..3 {
            let value = soon(map.get(&key, Read::Linearizable)).await.unwrap();
            assert_eq!(value, Some(format!("peer {key}")));
        }
    }
    assert_equal(&cluster).await;
    let voters = |i: usize| cluster.peer(i).group.status().configuration.voters.clone();
    assert_eq!(voters(0).len(), 3);
    assert_eq!(voters(0), voters(1));
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_alone_is_a_group() {
    let directory = meeting_place();
    let key = GroupKey::named("alone");
    let (net, group) = peer_in(directory.path(), key, Form::Alone, GroupProfile::lan()).await;
    soon(group.when().leader_elected()).await.unwrap();
    let map = group.map::<String, u64>("stock");
    let done = soon(map.insert("apple".to_owned(), 7)).await.unwrap();
    let seven = soon(map.get("apple", Read::AtLeast(done.cursor))).await;
    assert_eq!(seven.unwrap(), Some(7));
    net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joiners_become_voters_up_to_the_next_odd_number() {
    let mut cluster = soon(Cluster::local(1)).await.unwrap();
    cluster.add().await.unwrap();
    cluster.add().await.unwrap();
    let status = soon(cluster.peer(0).group.when().voters(3)).await.unwrap();
    let peers: BTreeSet<_> = status.configuration.voters.iter().map(|m| m.peer).collect();
    let living: BTreeSet<_> = cluster
        .living()
        .iter()
        .map(|i| cluster.peer(*i).net.peer())
        .collect();
    assert_eq!(peers, living);
    soon(cluster.peer(2).group.when().voter()).await.unwrap();
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_know_each_other_need_no_directory() {
    let first = Network::builder("known")
        .without_rendezvous()
        .build()
        .await
        .unwrap();
    let second = Network::builder("known")
        .without_rendezvous()
        .know(first.peer(), first.addresses())
        .build()
        .await
        .unwrap();
    let key = GroupKey::named("known");
    let one = first
        .group(key.clone())
        .form(Form::Alone)
        .open()
        .await
        .unwrap();
    let two = second.group(key).form(Form::Join).open().await.unwrap();
    soon(two.when().caught_up()).await.unwrap();
    let done = soon(two.map::<u64, u64>("n").insert(1, 2)).await.unwrap();
    let read = soon(one.map::<u64, u64>("n").get(&1, Read::AtLeast(done.cursor))).await;
    assert_eq!(read.unwrap(), Some(2));
    second.close().await;
    first.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_lives_beside_the_applications_own_protocols() {
    #[derive(Debug)]
    struct Echo;

    impl ProtocolHandler for Echo {
        async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
            let (mut send, mut recv) = connection.accept_bi().await?;
            let said = recv.read_to_end(64).await.map_err(AcceptError::from_err)?;
            send.write_all(&said).await.map_err(AcceptError::from_err)?;
            send.finish()?;
            connection.closed().await;
            Ok(())
        }
    }

    let directory = meeting_place();
    let endpoint = loopback().await;
    let builder = Network::builder("test").rendezvous(directory.path());
    let (net, protocol) = builder.mount(endpoint.clone()).await.unwrap();
    let router = Router::builder(endpoint.clone())
        .accept(b"/echo/1", Echo)
        .accept(quorate::ALPN, protocol)
        .spawn();
    let key = GroupKey::named("mounted");
    let group = net
        .group(key.clone())
        .form(Form::Expect(2))
        .open()
        .await
        .unwrap();
    let (other, joined) =
        peer_in(directory.path(), key, Form::Expect(2), GroupProfile::lan()).await;
    soon(joined.when().leader_elected()).await.unwrap();
    soon(group.map::<u64, u64>("n").insert(1, 1)).await.unwrap();

    let client = loopback().await;
    let echoing = soon(client.connect(endpoint.addr(), b"/echo/1"))
        .await
        .unwrap();
    let (mut send, mut recv) = echoing.open_bi().await.unwrap();
    send.write_all(b"still here").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(64)).await.unwrap(), b"still here");

    net.close().await;
    assert!(
        !endpoint.is_closed(),
        "the application's endpoint is its own"
    );
    other.close().await;
    soon(router.shutdown()).await.unwrap();
    client.close().await;
}

async fn loopback() -> Endpoint {
    let preset = quorate::presets::Loopback::default();
    Endpoint::builder(preset).bind().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_network_says_so_and_gives_the_value_back() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    let peer = cluster.peer(0).clone();
    let mut events = cluster.events(0);
    let map = peer.group.map::<String, u64>("stock");
    soon(map.insert("apple".to_owned(), 1)).await.unwrap();
    peer.net.close().await;
    match soon(map.insert("pear".to_owned(), 2)).await {
        Err(WriteError::Closed { value }) => assert_eq!(value, ("pear".to_owned(), 2)),
        other => panic!("{other:?}"),
    }
    assert!(soon(map.get("apple", Read::Local)).await.is_err());
    assert!(peer.group.status().closed);
    while soon(events.next()).await.is_some() {}
    let again = peer.net.group(GroupKey::named("more")).open().await;
    assert_eq!(again.unwrap_err(), OpenError::Closed);
    // The others are a majority and go on.
    let other = cluster.peer(1).group.map::<String, u64>("stock");
    let pear = other
        .insert("pear".to_owned(), 3)
        .timeout(Duration::from_secs(60));
    soon(pear).await.unwrap();
    peer.net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_write_is_refused_and_comes_back() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    let write = cluster.peer(0).group.map::<u64, u64>("n").insert(1, 1);
    let done = soon(write).await.unwrap();
    soon(cluster.applied(done.cursor)).await.unwrap();
    cluster.kill(1);
    cluster.kill(2);
    let alone = cluster.peer(0).group.clone();
    // A leader finds out that it has lost its quorum; a follower that it has lost its leader.
    soon(alone.when().holds(|status| status.leader.is_none()))
        .await
        .unwrap();
    let write = alone.map::<u64, u64>("n").insert(2, 2);
    match soon(write.timeout(Duration::from_millis(300))).await {
        Err(WriteError::Unavailable { value }) => assert_eq!(value, (2, 2)),
        other => panic!("{other:?}"),
    }
    let read = alone.map::<u64, u64>("n").get(&1, Read::Linearizable);
    assert!(
        soon(read.timeout(Duration::from_millis(300)))
            .await
            .is_err()
    );
    let local = soon(alone.map::<u64, u64>("n").get(&1, Read::Local)).await;
    assert_eq!(local.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_founders_are_refused_at_once() {
    let net = Network::builder("none")
        .without_rendezvous()
        .build()
        .await
        .unwrap();
    let group = |n| net.group(GroupKey::named("none")).form(Form::Expect(n));
    assert_eq!(
        group(0).open().await.unwrap_err(),
        OpenError::NobodyExpected
    );
    let many = group(1_000).open().await.unwrap_err();
    assert!(many.to_string().contains("15"), "{many}");
    net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_share_their_peers_and_nothing_else() {
    let directory = meeting_place();
    let mut nets = Vec::new();
    for _ in 0..3 {
        let net = Network::builder("test")
            .rendezvous(directory.path())
            .build()
            .await
            .unwrap();
        for name in ["red", "blue"] {
            let group = net.group(GroupKey::named(name)).form(Form::Expect(3));
            group.open().await.unwrap();
        }
        nets.push(net);
    }
    for name in ["red", "blue"] {
        // Opening it again finds it open.
        let group = nets[0].group(GroupKey::named(name)).open().await.unwrap();
        soon(group.when().leader_elected()).await.unwrap();
        let map = group.map::<u64, String>("name");
        soon(map.insert(1, name.to_owned())).await.unwrap();
    }
    for name in ["red", "blue"] {
        let group = nets[2].group(GroupKey::named(name)).open().await.unwrap();
        let map = group.map::<u64, String>("name");
        let value = soon(map.get(&1, Read::Linearizable)).await.unwrap();
        assert_eq!(value.as_deref(), Some(name));
    }
    for net in nets {
        net.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_many_groups_is_met_in_any_of_them() {
    let directory = meeting_place();
    let network = || Network::builder("test").rendezvous(directory.path());
    let name = |number: u32| GroupKey::named(&format!("group {number}"));
    let busy = network().build().await.unwrap();
    for number in 0..400 {
        let group = busy.group(name(number)).form(Form::Alone);
        group.open().await.unwrap();
    }
    // Its proofs of most of them do not fit into the first frame of a link.
    for number in [0, 200, 399] {
        let net = network().build().await.unwrap();
        let group = net.group(name(number)).form(Form::Join);
        let group = soon(group.open()).await.unwrap();
        let map = group.map::<u64, u64>("map");
        soon(map.insert(1, 1)).await.unwrap();
        net.close().await;
    }
    busy.close().await;
}
