//! A memory peer that was killed comes back as somebody else with the same key.

use crate::common::{assert_equal, fill, small_reserve, soon};
use quorate::{Incarnation, PeerId, Read, testing::Cluster};

fn life_of(cluster: &Cluster, i: usize, peer: PeerId) -> Option<Incarnation> {
    let status = cluster.peer(i).group.status();
    status
        .configuration
        .life_of(peer)
        .map(|member| member.incarnation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_memory_peer_is_a_new_life_a_learner_and_a_voter_again() {
    let cluster = Cluster::builder(3).profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..2_000).await;
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let again = (leader + 1) % 3;
    let peer = cluster.peer(again).net.peer();
    let before = life_of(&cluster, leader, peer).unwrap();
    cluster.kill(again);
    fill(&cluster.peer(leader).group.map("n"), 2_000..3_000).await;
    cluster.restart(again).await.unwrap();
    assert_eq!(cluster.peer(again).net.peer(), peer);

    let status = soon(cluster.peer(again).group.when().voter())
        .await
        .unwrap();
    let me = status.me.unwrap();
    assert_ne!(me.incarnation, before);
    let replaced = |status: &quorate::GroupStatus| {
        let configuration = &status.configuration;
        status.configuration_committed
            && !configuration.is_joint()
            && configuration.is_voter(me)
            && configuration.members().len() == 3
    };
    for i in cluster.living() {
        soon(cluster.peer(i).group.when().holds(replaced))
            .await
            .unwrap();
    }
    let map = cluster.peer(again).group.map::<u64, u64>("n");
    assert_eq!(soon(map.len(Read::Linearizable)).await, Ok(3_000));
    assert_equal(&cluster).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_leader_comes_back_while_another_leads() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    fill(&cluster.peer(1).group.map("n"), 0..500).await;
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    cluster.kill(leader);
    let (other, next) = soon(cluster.leader()).await.unwrap();
    assert!(next > term);
    fill(&cluster.peer(other).group.map("n"), 500..600).await;
    cluster.restart(leader).await.unwrap();
    soon(cluster.peer(leader).group.when().voter())
        .await
        .unwrap();
    let map = cluster.peer(leader).group.map::<u64, u64>("n");
    assert_eq!(soon(map.len(Read::Linearizable)).await, Ok(600));
    assert_equal(&cluster).await;
    cluster.close().await;
}
