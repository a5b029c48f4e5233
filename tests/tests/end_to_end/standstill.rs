//! A group that cannot decide says why, who is missing, and since when.

use crate::common::{fill, meeting_place, peer_in, small_reserve, soon};
use quorate::{
    Form, Group, GroupKey, GroupProfile, GroupStatus, LinkState, SessionPhase, Standstill,
    StandstillCause, testing::Cluster,
};

/// Waits until a group stands still for a reason of this kind.
async fn stands(group: &Group, kind: impl Fn(&StandstillCause) -> bool + Sync) -> Standstill {
    let still = |status: &GroupStatus| {
        let standstill = status.standstill();
        standstill.is_some_and(|it| kind(&it.cause))
    };
    let status = soon(group.when().holds(still)).await.unwrap();
    status.standstill().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_group_says_what_it_waits_for() {
    let place = meeting_place();
    let key = || GroupKey::named("orders");
    let lan = GroupProfile::lan;
    let (_first_net, first) = peer_in(place.path(), key(), Form::Expect(3), lan()).await;
    let founding = |here| StandstillCause::Founding { wanted: 3, here };
    stands(&first, |cause| *cause == founding(1)).await;
    let (_second_net, second) = peer_in(place.path(), key(), Form::Expect(3), lan()).await;
    stands(&first, |cause| *cause == founding(2)).await;
    let elsewhere = meeting_place();
    let (_lonely_net, lonely) = peer_in(elsewhere.path(), key(), Form::Join, lan()).await;
    let nobody = stands(&lonely, |cause| *cause == StandstillCause::NobodyInSight).await;
    assert!(
        nobody
            .to_string()
            .starts_with("waiting for peers: none in sight for ")
    );
    let (_third_net, _third) = peer_in(place.path(), key(), Form::Expect(3), lan()).await;
    for group in [&first, &second] {
        let decides = |status: &GroupStatus| status.standstill().is_none();
        soon(group.when().holds(decides)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_quorum_names_the_missing_and_a_goodbye_is_one() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    let ids: Vec<_> = (0..3).map(|i| cluster.peer(i).net.peer()).collect();
    let left = cluster.peer(0).group.clone();
    assert_eq!(left.status().standstill(), None);
    let linked = |status: &GroupStatus| {
        let up = |peer| status.peer(peer).is_some_and(|it| it.link == LinkState::Up);
        up(ids[1]) && up(ids[2])
    };
    soon(left.when().holds(linked)).await.unwrap();
    // Two voters crash: those who are left know nothing but that the links are gone.
    cluster.kill(1);
    cluster.kill(2);
    let standstill = stands(&left, |cause| {
        *cause == StandstillCause::NoQuorum { voters: 3 }
    });
    let standstill = standstill.await;
    let mut missing: Vec<_> = standstill.missing.iter().map(|it| it.peer).collect();
    missing.sort_unstable();
    let mut expected = ids[1..].to_vec();
    expected.sort_unstable();
    assert_eq!(missing, expected);
    assert!(standstill.missing.iter().all(|it| !it.said_goodbye()));
    let said = standstill.to_string();
    for peer in expected {
        assert!(said.contains(&peer.short()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_in_good_order_is_known_to_have() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let gone = &cluster.peer((leader + 1) % 3).net;
    let id = gone.peer();
    let stays = cluster.peer((leader + 2) % 3).group.clone();
    let up = |status: &GroupStatus| status.peer(id).is_some_and(|it| it.link == LinkState::Up);
    soon(stays.when().holds(up)).await.unwrap();
    soon(gone.close()).await;
    let goodbye = |status: &GroupStatus| status.peer(id).is_some_and(|it| it.said_goodbye());
    soon(stays.when().holds(goodbye)).await.unwrap();
    let closed = cluster.peer((leader + 1) % 3).group.status();
    assert_eq!(closed.standstill().unwrap().cause, StandstillCause::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_shows_how_far_it_is() {
    let cluster = Cluster::builder(3).profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..20_000).await;
    let late = cluster.add().await.unwrap();
    let group = cluster.peer(late).group.clone();
    let far = |status: &GroupStatus| {
        status.progress.as_ref().is_some_and(|progress| {
            let brought: u64 = progress.sources.iter().map(|it| it.bytes).sum();
            assert_eq!(brought, progress.bytes);
            assert!(progress.items <= progress.items_total);
            progress.phase == SessionPhase::Restoring && progress.items > 0
        })
    };
    let status = soon(group.when().holds(far)).await.unwrap();
    let progress = status.progress.clone().unwrap();
    assert!(
        progress.items_total >= 20_000 && progress.rate > 0,
        "{progress:?}"
    );
    assert!(
        progress.left.is_some() && progress.anchor.is_some(),
        "{progress:?}"
    );
    let over = soon(group.when().caught_up()).await.unwrap();
    assert_eq!(over.progress, None);
    assert_eq!(over.standstill(), None);
}
