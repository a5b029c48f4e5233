//! Finding peers on one machine through a directory.

use std::{fs, time::Duration};

use quorate_net::{
    Address, GroupId, NetworkId, PeerId,
    rendezvous::{Card, Found, Rendezvous, RendezvousError, Sighting},
};

const ALICE: PeerId = PeerId([0xa1; 32]);
const BOB: PeerId = PeerId([0xb0; 32]);

fn card(port: u16) -> Card {
    Card::here(vec![Address::Ip(([127, 0, 0, 1], port).into())])
}

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self, network: &str) -> Rendezvous {
        let root = self.root.path().join("quorate");
        Rendezvous::open(Some(&root), NetworkId::from_name(network)).unwrap()
    }
}

#[test]
fn peers_of_one_network_see_each_other_and_no_others() {
    let place = Place::new();
    let shop = place.open("shop");
    assert_eq!(shop.scan().unwrap(), []);
    let _alice = shop.register(ALICE, &card(1)).unwrap();
    let _bob = place
        .open("shop")
        .register(BOB, &card(2).note("http", "127.0.0.1:80"))
        .unwrap();
    let _other = place.open("bar").register(BOB, &card(3)).unwrap();
    let found = shop.scan().unwrap();
    assert_eq!(
        found.iter().map(|found| found.peer).collect::<Vec<_>>(),
        [ALICE, BOB]
    );
    assert_eq!(found[0].card.addresses, card(1).addresses);
    assert_eq!(found[1].card.notes["http"], "127.0.0.1:80");
}

#[test]
fn a_card_goes_with_its_registration_and_changes_with_it() {
    let place = Place::new();
    let shop = place.open("shop");
    let mut alice = shop.register(ALICE, &card(1)).unwrap();
    alice.update(&card(7)).unwrap();
    assert_eq!(
        shop.scan().unwrap(),
        [Found {
            peer: ALICE,
            card: card(7)
        }]
    );
    drop(alice);
    assert_eq!(shop.scan().unwrap(), []);
    assert!(!shop.path().join(ALICE.to_string()).exists());
}

#[test]
fn the_card_of_a_dead_process_is_swept_out() {
    let place = Place::new();
    let shop = place.open("shop");
    let _bob = shop.register(BOB, &card(2)).unwrap();
    let stale = shop.path().join(ALICE.to_string());
    fs::write(&stale, card(1).to_string()).unwrap();
    let found = shop.scan().unwrap();
    assert_eq!(
        found.iter().map(|found| found.peer).collect::<Vec<_>>(),
        [BOB]
    );
    assert!(!stale.exists());
}

#[test]
fn one_living_process_has_an_identity() {
    let place = Place::new();
    let (shop, again) = (place.open("shop"), place.open("shop"));
    let mut first = shop.register(ALICE, &card(1)).unwrap();
    for port in 3..5 {
        match again.register(ALICE, &card(2)) {
            Err(RendezvousError::Taken { peer, pid }) => {
                assert_eq!((peer, pid), (ALICE, std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            fs::read_dir(shop.path()).unwrap().count(),
            2,
            "a card and a lock"
        );
        first.update(&card(port)).unwrap();
        let found = shop.scan().unwrap();
        assert_eq!(found[0].card.addresses, card(port).addresses);
    }
    drop(first);
    let _second = again.register(ALICE, &card(2)).unwrap();
    assert_eq!(shop.scan().unwrap()[0].card.addresses, card(2).addresses);
}

#[test]
fn whoever_only_looks_makes_nothing() {
    let place = Place::new();
    let root = place.root.path().join("quorate");
    let find = |network: &str| Rendezvous::find(Some(&root), NetworkId::from_name(network));
    assert!(find("shop").unwrap().is_none());
    assert!(!root.exists());
    let shop = place.open("shop");
    let _alice = shop.register(ALICE, &card(1)).unwrap();
    assert!(find("bar").unwrap().is_none());
    assert_eq!(find("shop").unwrap().unwrap().scan().unwrap().len(), 1);
}

#[test]
fn what_is_no_card_is_passed_over_and_left_alone() {
    let place = Place::new();
    let shop = place.open("shop");
    let names = ["notes.txt".to_owned(), "\u{e9}".repeat(32), "zz".repeat(32)];
    for name in &names {
        fs::write(shop.path().join(name), "quorate-peer 1\n").unwrap();
    }
    // A live card of a version to come.
    let newer = shop.path().join(BOB.to_string());
    fs::write(&newer, "quorate-peer 2\n").unwrap();
    let owner = fs::File::open(&newer).unwrap();
    owner.lock().unwrap();
    assert_eq!(shop.scan().unwrap(), []);
    assert!(newer.exists());
    assert!(names.iter().all(|name| shop.path().join(name).exists()));
}

#[test]
fn a_card_that_others_would_not_read_whole_is_refused() {
    let place = Place::new();
    let shop = place.open("shop");
    let huge = card(1).note("motto", &"x".repeat(20_000));
    let refused = shop.register(ALICE, &huge).unwrap_err();
    assert!(
        matches!(refused, RendezvousError::CardTooLarge { .. }),
        "{refused}"
    );
    assert_eq!(shop.scan().unwrap(), []);
}

#[test]
fn one_peer_at_a_time_may_found_a_group() {
    let place = Place::new();
    let (shop, again) = (place.open("shop"), place.open("shop"));
    let (stock, orders) = (GroupId([1; 16]), GroupId([2; 16]));
    let first = shop.try_founder_lock(stock).unwrap();
    assert!(first.is_some());
    assert!(again.try_founder_lock(stock).unwrap().is_none());
    assert!(again.try_founder_lock(orders).unwrap().is_some());
    drop(first);
    assert!(again.try_founder_lock(stock).unwrap().is_some());
}

#[cfg(unix)]
#[test]
fn a_directory_open_to_others_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let shop = place.open("shop");
    let root = shop.path().parent().unwrap();
    for mode in [0o755, 0o750, 0o701, 0o770] {
        fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
        let refused = Rendezvous::open(Some(root), NetworkId::from_name("shop")).unwrap_err();
        assert!(matches!(refused, RendezvousError::Open { mode: m, .. } if m == mode));
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Rendezvous::open(Some(root), NetworkId::from_name("shop")).is_ok());
}

#[cfg(unix)]
#[test]
fn new_directories_are_private_and_links_are_not_followed() {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new();
    let shop = place.open("shop");
    for dir in [shop.path(), shop.path().parent().unwrap()] {
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700);
    }
    let link = place.root.path().join("link");
    std::os::unix::fs::symlink(shop.path(), &link).unwrap();
    let refused = Rendezvous::open(Some(&link), NetworkId::from_name("shop")).unwrap_err();
    assert!(
        matches!(refused, RendezvousError::Foreign { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_watcher_tells_who_comes_and_goes() {
    let place = Place::new();
    let shop = place.open("shop");
    let _me = shop.register(ALICE, &card(1)).unwrap();
    let mut bob = shop.register(BOB, &card(2)).unwrap();
    let mut sightings = shop.watch(ALICE);
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(30), sightings.recv())
            .await
            .unwrap()
            .unwrap()
    };
    let at = |port| card(port).addresses;
    assert!(
        matches!(next().await, Sighting::Found(f) if f.peer == BOB && f.card.addresses == at(2))
    );
    bob.update(&card(3)).unwrap();
    assert!(
        matches!(next().await, Sighting::Found(f) if f.peer == BOB && f.card.addresses == at(3))
    );
    drop(bob);
    assert_eq!(next().await, Sighting::Lost(BOB));
}
