//! Peers with data directories: what they acknowledged survives them, and they come back as
//! themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::common::{fill, meeting_place, soon};
use quorate::{
    BuildError, Form, Group, GroupKey, Incarnation, Network, PeerId, Read,
    data_dir::{self, DataDirError},
};
use tempfile::TempDir;

/// Three data directories and a place where their peers meet.
struct Ground {
    meeting: TempDir,
    data: TempDir,
}

struct Running {
    net: Network,
    group: Group,
}

impl Ground {
    fn new() -> Self {
        Self {
            meeting: meeting_place(),
            data: tempfile::tempdir().unwrap(),
        }
    }

    fn directory(&self, nth: usize) -> PathBuf {
        self.data.path().join(nth.to_string())
    }

    async fn build(&self, nth: usize) -> Result<Network, BuildError> {
        Network::builder("test")
            .rendezvous(self.meeting.path())
            .data_dir(self.directory(nth))
            .build()
            .await
    }

    async fn start(&self, nth: usize) -> Running {
        // The disk of whoever used the directory before may still do what it was asked for.
        let net = soon(async {
            loop {
                match self.build(nth).await {
                    Err(BuildError::DataDir(DataDirError::Locked { .. })) => {}
                    built => break built.unwrap(),
                }
            }
        });
        let net = net.await;
        let group = net.group(GroupKey::named("durable")).form(Form::Expect(3));
        let group = soon(group.open()).await.unwrap();
        Running { net, group }
    }

    async fn start_all(&self) -> Vec<Running> {
        let mut peers = Vec::new();
        for nth in 0..3 {
            peers.push(self.start(nth).await);
        }
        peers
    }
}

impl Running {
    fn peer(&self) -> PeerId {
        self.net.peer()
    }

    fn life(&self) -> Incarnation {
        self.net.recovery().unwrap().incarnation
    }

    async fn len(&self) -> u64 {
        let map = self.group.map::<u64, u64>("n");
        soon(map.len(Read::Linearizable)).await.unwrap()
    }
}

/// The files of a directory's log that begin with `prefix`, the newest last.
fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("log")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(prefix))
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_one).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_all_at_once() {
    let ground = Ground::new();
    let mut total = 0;
    let mut ids: Option<Vec<(PeerId, Incarnation)>> = None;
    for round in 0..3 {
        let peers = ground.start_all().await;
        let now: Vec<_> = peers
            .iter()
            .map(|peer| (peer.peer(), peer.life()))
            .collect();
        let before = ids.get_or_insert_with(|| now.clone());
        assert_eq!(*before, now, "they come back as themselves");
        assert_eq!(peers[round].len().await, total);
        fill(&peers[round].group.map("n"), total..total + 500).await;
        total += 500;
        // Nobody says goodbye.
        drop(peers);
    }
    let peers = ground.start_all().await;
    assert_eq!(peers[1].len().await, total);
    for peer in &peers {
        assert!(!peer.net.recovery().unwrap().fresh);
        soon(peer.net.close()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_in_good_order_keeps_its_seat_and_hands_over() {
    let ground = Ground::new();
    let mut peers = ground.start_all().await;
    fill(&peers[0].group.map("n"), 0..300).await;
    let leader = soon(peers[0].group.when().leader_elected()).await.unwrap();
    let leader = leader.peer;
    let at = peers.iter().position(|peer| peer.peer() == leader).unwrap();
    let gone = peers.remove(at);
    let life = gone.life();
    soon(gone.net.close()).await;
    drop(gone);
    fill(&peers[0].group.map("n"), 300..400).await;
    let status = peers[0].group.status();
    assert!(status.configuration.is_voter(quorate::Member {
        peer: leader,
        incarnation: life
    }));
    let back = ground.start(at).await;
    assert_eq!((back.peer(), back.life()), (leader, life));
    let report = back.net.recovery().unwrap();
    assert!(
        report.torn.is_none() && report.damage.is_empty(),
        "{report:?}"
    );
    assert!(report.entries >= 300, "{report:?}");
    assert_eq!(back.len().await, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut_and_damage_is_fetched_from_the_others() {
    let ground = Ground::new();
    let peers = ground.start_all().await;
    fill(&peers[0].group.map("n"), 0..1_000).await;
    for peer in &peers {
        soon(peer.net.close()).await;
    }
    drop(peers);
    // One peer lost the end of what it was writing; another one has a bit flipped below its seal.
    let torn = files(&ground.directory(1), "log-").pop().unwrap();
    let mut bytes = fs::read(&torn).unwrap();
    bytes.extend_from_slice(&bytes.clone()[40..100]);
    fs::write(&torn, bytes).unwrap();
    let damaged = files(&ground.directory(2), "log-").remove(0);
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let bad_copy = files(&ground.directory(0), "superblock-a").remove(0);
    fs::write(&bad_copy, "nothing of a superblock").unwrap();

    let inspected = data_dir::inspect(&ground.directory(2)).unwrap();
    assert!(inspected.is_damaged() && inspected.log.damage[0].index.is_some());
    let inspected = data_dir::inspect(&ground.directory(1)).unwrap();
    assert!(!inspected.is_damaged() && inspected.log.torn.is_some());
    let inspected = data_dir::inspect(&ground.directory(0)).unwrap();
    assert!(!inspected.is_damaged() && inspected.log.bad_copies == 1);

    let peers = ground.start_all().await;
    let reports: Vec<_> = peers
        .iter()
        .map(|peer| peer.net.recovery().unwrap())
        .collect();
    assert_eq!((reports[0].bad_copies, reports[0].ended), (1, false));
    assert!(reports[1].torn.is_some() && reports[1].damage.is_empty());
    assert!(!reports[2].damage.is_empty());
    for peer in &peers {
        assert_eq!(peer.len().await, 1_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_without_a_good_superblock_is_another_life_and_joins() {
    let ground = Ground::new();
    let peers = ground.start_all().await;
    fill(&peers[0].group.map("n"), 0..200).await;
    let life = peers[2].life();
    drop(peers);
    for path in files(&ground.directory(2), "superblock-") {
        fs::write(path, "gone").unwrap();
    }
    let peers = ground.start_all().await;
    let report = peers[2].net.recovery().unwrap();
    assert!(report.ended && report.incarnation != life, "{report:?}");
    assert_eq!(peers[2].len().await, 200);
    soon(peers[2].group.when().voter()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_that_are_not_this_peers_are_refused_and_left_as_they_are() {
    let ground = Ground::new();
    let refusal = |built: Result<Network, BuildError>| match built {
        Err(BuildError::DataDir(error)) => error,
        other => panic!("{other:?}"),
    };
    let first = soon(ground.build(0)).await.unwrap();
    let error = refusal(soon(ground.build(0)).await);
    let pid = Some(std::process::id());
    assert!(
        matches!(error, DataDirError::Locked { holder, .. } if holder == pid),
        "{error}"
    );
    soon(first.close()).await;
    drop(first);

    let other = Network::builder("another").without_rendezvous();
    let other = other.data_dir(ground.directory(0)).build().await;
    let error = refusal(other);
    assert!(
        error
            .to_string()
            .contains("belongs to network \"test\", not to \"another\"")
    );

    let other = Network::builder("test")
        .without_rendezvous()
        .secret_key([9; 32]);
    let error = refusal(other.data_dir(ground.directory(0)).build().await);
    assert!(matches!(error, DataDirError::OtherPeer { .. }), "{error}");

    // Neither for a file that happens to be called as one of ours.
    fs::create_dir(ground.directory(1)).unwrap();
    fs::write(ground.directory(1).join("lock"), "mine").unwrap();
    let mine = ground.directory(1).join("thesis.txt");
    fs::write(&mine, "mine").unwrap();
    let error = refusal(soon(ground.build(1)).await);
    assert!(matches!(error, DataDirError::Foreign { .. }), "{error}");
    assert_eq!(fs::read_dir(ground.directory(1)).unwrap().count(), 2);
    let lock = fs::read_to_string(ground.directory(1).join("lock")).unwrap();
    assert_eq!(lock, "mine");

    let begun = soon(ground.build(2)).await.unwrap();
    soon(begun.close()).await;
    let log = ground.directory(2).join("log");
    fs::rename(&log, ground.directory(2).join("elsewhere")).unwrap();
    let error = refusal(soon(ground.build(2)).await);
    assert!(
        error.to_string().contains("the log that was in it is gone"),
        "{error}"
    );
    fs::rename(ground.directory(2).join("elsewhere"), &log).unwrap();
    for name in ["identity-a", "identity-b"] {
        fs::remove_file(ground.directory(2).join(name)).unwrap();
    }
    let error = refusal(soon(ground.build(2)).await);
    assert!(matches!(error, DataDirError::Damaged { .. }), "{error}");
    assert_eq!(files(&ground.directory(2), "superblock-").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_a_crash_left_half_made_is_begun_again() {
    let ground = Ground::new();
    let whole = soon(ground.build(0)).await.unwrap();
    let peer = whole.peer();
    soon(whole.close()).await;
    drop(whole);
    // As a crash leaves it: before anything, with a lock, with an identity, with an empty log.
    let copy = |nth: usize, names: &[&str]| {
        fs::create_dir(ground.directory(nth)).unwrap();
        for name in names {
            let (from, to) = (
                ground.directory(0).join(name),
                ground.directory(nth).join(name),
            );
            if *name == "log" {
                fs::create_dir(to).unwrap();
            } else {
                fs::copy(from, to).unwrap();
            }
        }
    };
    copy(1, &[]);
    copy(2, &["lock"]);
    copy(3, &["lock", "log"]);
    copy(4, &["lock", "log", "identity-a"]);
    for nth in 1..5 {
        let net = soon(ground.build(nth)).await.unwrap();
        assert!(net.recovery().unwrap().fresh, "{nth}");
        assert_eq!(net.peer() == peer, nth == 4);
        soon(net.close()).await;
        drop(net);
        let again = soon(ground.build(nth)).await.unwrap();
        assert!(!again.recovery().unwrap().fresh, "{nth}");
        soon(again.close()).await;
    }
}
