//! Whoever knocks with nonsense loses the own link; the group does not notice.

use std::time::Duration;

use crate::common::{meeting_place, peer_in, soon};
use futures::StreamExt;
use quorate::{
    ALPN, CloseCode, Event, Form, GroupKey, GroupProfile, Network, NetworkId,
    iroh::{
        Endpoint, EndpointAddr, EndpointId,
        endpoint::{Connection, ConnectionError, RecvStream, SendStream},
    },
    presets::Loopback,
    testing::{Cluster, ClusterPeer},
};
use quorate_core::Lineage;
use quorate_core::wire::{Control, Hello, PROTOCOL_VERSION, encode_control};

/// The tag that a control stream begins with.
const CONTROL: u8 = 1;

async fn stranger() -> Endpoint {
    Endpoint::builder(Loopback::default()).bind().await.unwrap()
}

/// Connects to a peer and opens the control stream.
async fn knock(from: &Endpoint, at: &ClusterPeer) -> (Connection, SendStream, RecvStream) {
    let id = EndpointId::from_bytes(&at.net.peer().0).unwrap();
    let addresses = at.net.addresses().into_iter().map(Into::into);
    let addr = EndpointAddr::from_parts(id, addresses);
    let connection = soon(from.connect(addr, ALPN)).await.unwrap();
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(&[CONTROL]).await.unwrap();
    (connection, send, recv)
}

fn framed(frame: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(frame.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(frame);
    bytes
}

fn hello(version: u16, network: &str) -> Vec<u8> {
    let hello = Hello {
        version,
        network: NetworkId::from_name(network),
        incarnation: quorate::Incarnation(1),
        lineage: Lineage::from_parts(1, vec![1], false).unwrap(),
        proofs: Vec::new(),
    };
    let mut frame = Vec::new();
    encode_control(&[Control::Hello(hello)], |bytes| {
        frame.extend_from_slice(&bytes)
    });
    framed(&frame)
}

/// Says `bytes` to a peer and returns what the peer answers by closing the link.
async fn told_by(at: &ClusterPeer, bytes: &[u8]) -> Option<CloseCode> {
    let endpoint = stranger().await;
    // A dropped receiving end would tell the peer to stop speaking.
    let (connection, mut send, _recv) = knock(&endpoint, at).await;
    // The peer may close the link while we still speak.
    send.write_all(bytes).await.unwrap_or_default();
    let closed = soon(connection.closed()).await;
    endpoint.close().await;
    match closed {
        ConnectionError::ApplicationClosed(close) => {
            CloseCode::from_number(u32::try_from(close.error_code.into_inner()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_closes_the_link_it_came_over_and_nothing_else() {
    // Patient, so that the lead changes for no busy machine but only for what is sent here.
    let cluster = Cluster::builder(3)
        .network("hostile")
        .profile(GroupProfile::wan())
        .start();
    let mut cluster = soon(cluster).await.unwrap();
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    let mut events = cluster.events(leader);
    let target = cluster.peer(leader).clone();
    let nothing = told_by(&target, &framed(&[0xff; 40])).await;
    assert_eq!(nothing, Some(CloseCode::BadFrame));
    let empty = told_by(&target, &[0, 0, 0, 0]).await;
    assert_eq!(empty, Some(CloseCode::BadFrame));
    let oversized = told_by(&target, &u32::MAX.to_le_bytes()).await;
    assert_eq!(oversized, Some(CloseCode::TooLarge));
    let version = told_by(&target, &hello(PROTOCOL_VERSION + 1, "hostile")).await;
    assert_eq!(version, Some(CloseCode::UnknownVersion));
    let network = told_by(&target, &hello(PROTOCOL_VERSION, "another")).await;
    assert_eq!(network, Some(CloseCode::WrongNetwork));
    let silent = told_by(&target, &hello(PROTOCOL_VERSION, "hostile")).await;
    assert_eq!(silent, Some(CloseCode::Stranger));

    // The group went on: the same leader in the same term, no link of its own lost.
    let map = cluster.peer((leader + 1) % 3).group.map::<u64, u64>("n");
    soon(map.insert(1, 1)).await.unwrap();
    assert_eq!(soon(cluster.leader()).await.unwrap(), (leader, term));
    let members: Vec<_> = (0..3).map(|i| cluster.peer(i).net.peer()).collect();
    target.net.close().await;
    while let Some(event) = soon(events.next()).await {
        if let Ok(Event::PeerDown { peer, code }) = event {
            // Two that dialed each other at once when they met still give up one of their links.
            let lawful = [Some(CloseCode::Shutdown), Some(CloseCode::Duplicate)];
            let ours = members.contains(&peer) && !lawful.contains(&code);
            assert!(!ours, "{peer:?} {code:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_group_key_is_named_on_both_sides_and_lets_nobody_in() {
    let directory = meeting_place();
    let right = GroupKey::secret("orders", [1; 32]);
    let wrong = GroupKey::secret("orders", [2; 32]);
    let profile = GroupProfile::lan;
    let (net, group) = peer_in(directory.path(), right, Form::Alone, profile()).await;
    soon(group.when().leader_elected()).await.unwrap();
    let mut events = net.events().await.unwrap();
    let (other, stranger) = peer_in(directory.path(), wrong, Form::Join, profile()).await;

    let refused = soon(stranger.when().holds(|status| status.refused.is_some()))
        .await
        .unwrap();
    assert_eq!(refused.refused, Some((net.peer(), CloseCode::WrongKey)));
    assert!(refused.genesis.is_none());
    let seen = soon(async {
        loop {
            if let Some(Ok(Event::PeerRefused { peer, code })) = events.next().await {
                return (peer, code);
            }
        }
    })
    .await;
    assert_eq!(seen, (other.peer(), CloseCode::WrongKey));
    assert!(CloseCode::WrongKey.reason().contains("same group key"));
    let status = soon(group.when().members(1)).await.unwrap();
    assert_eq!(status.configuration.members().len(), 1);
    other.close().await;
    net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_network_is_another_world() {
    let directory = meeting_place();
    let key = GroupKey::named("same key");
    let build = |name| Network::builder(name).rendezvous(directory.path()).build();
    let (red, blue) = (build("red").await.unwrap(), build("blue").await.unwrap());
    let one = red
        .group(key.clone())
        .form(Form::Alone)
        .open()
        .await
        .unwrap();
    let two = blue.group(key).form(Form::Join).open().await.unwrap();
    soon(one.when().leader_elected()).await.unwrap();
    let write = two
        .map::<u64, u64>("n")
        .insert(1, 1)
        .timeout(Duration::from_millis(500));
    assert!(soon(write).await.is_err());
    assert!(two.status().genesis.is_none());
    red.close().await;
    blue.close().await;
}
