//! Groups of processes that form by themselves, grow, and are left.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Request, Up, World, eventually};

fn voters(up: &Up) -> Vec<String> {
    let status = up.status();
    let voters = status["voters"].as_array().unwrap();
    voters
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn three_peers_without_a_word_are_one_group() {
    let world = World::new();
    let peers = [world.up(&[]), world.up(&[]), world.up(&[])];
    world.run(&["put", "hello", "world"]).code(0);
    assert_eq!(world.run(&["get", "hello"]).code(0).out, "world");
    for peer in &peers {
        peer.wait_line(|line| line.contains("ready: "));
        eventually("three voters", || (voters(peer).len() == 3).then_some(()));
        let got = Request::get("/v1/kv/hello").send(peer.http).unwrap();
        assert_eq!(got.body, b"world");
    }
    let genesis: Vec<Value> = peers
        .iter()
        .map(|peer| peer.status()["genesis"].clone())
        .collect();
    assert_eq!(genesis, vec![genesis[0].clone(); 3]);
    let members = world.run(&["members", "--json"]).code(0).json();
    assert_eq!(members["members"].as_array().unwrap().len(), 3);
    let digest = |peer: &Up| Request::get("/v1/digest").send(peer.http).unwrap().json();
    eventually("equal digests", || {
        (digest(&peers[0]) == digest(&peers[1]) && digest(&peers[0]) == digest(&peers[2]))
            .then_some(())
    });
}

#[test]
fn a_seat_is_given_up_and_the_rest_goes_on() {
    let world = World::new();
    let mut peers = world.group(3);
    let mut leaver = peers.remove(0);
    let id = leaver.status()["peer"].as_str().unwrap().to_owned();
    let http = leaver.http.to_string();
    let left = world.run(&["leave", "--http", &http, "--json"]).code(0);
    assert_eq!(left.json()["left"], true);
    assert_eq!(leaver.wait_end().code(), Some(0));
    assert!(
        leaver
            .lines()
            .iter()
            .any(|line| line.contains("given up its seat"))
    );
    for peer in &peers {
        eventually("two voters", || (!voters(peer).contains(&id)).then_some(()));
        peer.wait_ready();
    }
    // An orderly stop gives the seat up too: one is left, and decides alone.
    let (status, took) = peers[0].stop("TERM");
    assert_eq!(status.code(), Some(0));
    assert!(took.as_secs() < 3, "{took:?}");
    let mut last = peers.pop().unwrap();
    eventually("one voter", || (voters(&last).len() == 1).then_some(()));
    last.wait_ready();
    let leave = |dissolve: Value| Request::post("/v1/leave", &json!({"dissolve": dissolve}));
    let refused = leave(json!(false)).send(last.http).unwrap();
    assert_eq!(refused.error(409), "last_voter");
    assert_eq!(
        leave(json!("yes")).send(last.http).unwrap().error(400),
        "malformed"
    );
    let http = last.http.to_string();
    world
        .run(&["leave", "--http", &http])
        .fails(1, "last voter", "quorate leave --dissolve");
    world.run(&["leave", "--dissolve", "--http", &http]).code(0);
    assert_eq!(last.wait_end().code(), Some(0));
}

#[test]
fn the_lead_is_handed_over_from_any_peer_to_any_voter() {
    let world = World::new();
    let peers = world.group(3);
    eventually("three voters", || {
        (voters(&peers[0]).len() == 3).then_some(())
    });
    for (asked, to) in [(0, 1), (1, 2), (2, 0)] {
        let http = peers[asked].http.to_string();
        let id = peers[to].status()["peer"].as_str().unwrap().to_owned();
        let to = &id[..12];
        let done = ["member", "transfer-leader", to, "--http", &http, "--json"];
        assert_eq!(world.run(&done).code(0).json()["leader"], id);
        let put = Request::put("/v1/kv/k", "v")
            .send(peers[asked].http)
            .unwrap();
        assert_eq!(put.status, 200);
    }
    let before = peers[0].status()["leader"].clone();
    let http = peers[1].http.to_string();
    let done = world.run(&["member", "transfer-leader", "--http", &http, "--json"]);
    assert_ne!(done.code(0).json()["leader"], before);
    world
        .run(&["member", "transfer-leader", "nobody", "--http", &http])
        .fails(1, "no voter's id begins with", "quorate members");
    let wish = |to: Value| Request::post("/v1/transfer-leader", &json!({"to": to}));
    let refused = wish(json!("")).send(peers[0].http).unwrap();
    assert_eq!(refused.error(409), "not_voter");
    let malformed = wish(json!(7)).send(peers[0].http).unwrap();
    assert_eq!(malformed.error(400), "malformed");
}

#[test]
fn a_ticket_lets_a_peer_of_another_machine_in() {
    let (here, there) = (World::new(), World::new());
    let first = here.up(&["--network", "shop", "--group", "stock", "--form", "alone"]);
    first.wait_ready();
    let ticket = first.wait_line(|line| line.starts_with("ticket"));
    let ticket = ticket.split_whitespace().nth(1).unwrap().to_owned();
    let second = there.up(&["--group", "stock", "--peer", &ticket]);
    let put = Request::put("/v1/kv/k", "v").send(first.http).unwrap();
    assert_eq!(put.status, 200);
    second.wait_ready();
    let got = Request::get("/v1/kv/k").send(second.http).unwrap();
    assert_eq!(got.body, b"v");
    assert_eq!(second.status()["network"], "shop");
    let find = ["get", "k", "--network", "shop", "--group", "stock"];
    assert_eq!(there.run(&find).code(0).out, "v");
    let cut = &ticket[..ticket.len() / 2];
    let refused = there.run(&["up", "--peer", cut]).code(2);
    assert!(refused.err.contains("cut short"), "{}", refused.err);
    there
        .run(&["up", "--network", "other", "--peer", &ticket])
        .fails(
            2,
            "the ticket is of network \"shop\"",
            "leave --network out",
        );
    let key = there.secret("key", &"1".repeat(64));
    there
        .run(&["up", "--key-file", &key, "--peer", &ticket])
        .fails(6, "does not hold the secret", "leave --key-file out");
}

#[test]
fn whoever_finds_no_group_says_what_it_waits_for() {
    let world = World::new();
    let join = world.up(&["--form", "join"]);
    join.wait_line(|line| line.contains("waiting for a group to join: start one with"));
    let early = Request::get("/v1/kv/k").send(join.http).unwrap();
    assert_eq!(early.error(503), "no_quorum");
    assert_eq!(early.header("quorate-cursor"), None, "there is none yet");
    assert_eq!(join.status()["role"], "joiner");
    assert!(join.status()["standstill"].is_string());
    let http = join.http.to_string();
    let status = world.run(&["status", "--http", &http]).code(0);
    assert!(
        status.out.contains("no: waiting for peers"),
        "{}",
        status.out
    );
    let founders = world.up(&["--group", "other", "--expect", "2"]);
    founders.wait_line(|line| line.contains("waiting for founders: 1 of 2 are here"));
    let late = world.up(&["--form", "alone"]);
    late.wait_ready();
    join.wait_line(|line| line.contains("ready: "));
}

#[test]
fn what_dead_peers_left_behind_is_in_nobodys_way() {
    let world = World::new();
    let mut dead = world.alone();
    let id = dead.status()["peer"].as_str().unwrap().to_owned();
    dead.kill();
    let networks = fs::read_dir(world.runtime().join("quorate")).unwrap();
    let directories = networks.map(|entry| entry.unwrap().path());
    let directories: Vec<_> = directories.filter(|path| path.is_dir()).collect();
    let [directory] = &directories[..] else {
        panic!("{directories:?}");
    };
    let card = fs::read(directory.join(&id)).unwrap();
    for number in 0..300 {
        fs::write(directory.join(format!("{number:064x}")), &card).unwrap();
        fs::write(directory.join(format!(".card-{number}-0")), "half a ca").unwrap();
    }
    fs::write(directory.join("not-a-card"), "x").unwrap();
    world
        .run(&["get", "k"])
        .fails(1, "no peer of group kv", "quorate up");
    let up = world.up(&[]);
    up.wait_ready();
    world.run(&["put", "k", "v"]).code(0);
    assert_eq!(world.run(&["get", "k"]).code(0).out, "v");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let left = fs::read_dir(directory)
        .unwrap()
        .map(|entry| name(entry.unwrap()));
    let cards: Vec<String> = left.filter(|name| name.len() == 64).collect();
    assert_eq!(cards, [up.status()["peer"].as_str().unwrap()]);
}

#[test]
fn a_second_interrupt_ends_a_peer_at_once() {
    let world = World::new();
    let mut peers = world.group(3);
    // The others hang, so that nothing can be handed over.
    peers[1].signal("STOP");
    peers[2].signal("STOP");
    peers[0].signal("INT");
    peers[0].wait_line(|line| line.contains("stopping"));
    let (status, _) = peers[0].stop("INT");
    assert_eq!(status.code(), Some(0));
    peers[0].wait_line(|line| line.ends_with("stopped at once") || line.ends_with("stopped"));
}

#[test]
fn a_write_without_a_name_outlives_the_leader_it_was_sent_to() {
    let world = World::new();
    let mut peers = world.group(3);
    let leader = peers[0].status()["leader"].clone();
    let leads = |peer: &Up| peer.status()["peer"] == leader;
    let at = peers.iter().position(leads).unwrap();
    // A follower notices at the earliest when nobody answers any more: what it takes until then
    // is on its way to nobody.
    peers.remove(at).kill();
    for peer in &peers {
        let put = Request::put("/v1/kv/k?timeout_ms=60000", "v");
        let done = put.send(peer.http).unwrap();
        assert_eq!(done.status, 200, "{:?}", done.json());
    }
}
