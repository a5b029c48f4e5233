//! The commands as people and scripts use them, against running peers.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::json;

use crate::common::{Request, Up, World, eventually};

#[test]
fn what_is_put_is_what_is_got() {
    let world = World::new();
    let up = world.alone();
    let http = up.http.to_string();
    let run = |arguments: &[&str]| world.run(&[arguments, &["--http", &http]].concat());
    let put = run(&["put", "hello", "world"]).code(0);
    assert!(
        put.out.starts_with("hello written, at cursor ("),
        "{}",
        put.out
    );
    assert_eq!(
        run(&["get", "hello"]).code(0).bytes,
        b"world",
        "nothing is added"
    );
    let file = world.path("file");
    fs::write(&file, b"\0\xff\n").unwrap();
    run(&["put", "a/b c%", "--file", file.to_str().unwrap()]).code(0);
    assert_eq!(run(&["get", "a/b c%"]).code(0).bytes, b"\0\xff\n");
    let put = ["put", "in", "-", "--http", &http];
    world.run_with(&put, b"from stdin\n").code(0);
    assert_eq!(run(&["get", "in"]).code(0).bytes, b"from stdin\n");
    run(&["put", "minus", "-1"]).code(0);
    assert_eq!(run(&["get", "minus"]).code(0).out, "-1");
    assert!(run(&["delete", "in"]).code(0).out.contains("in removed"));
    assert!(run(&["delete", "in"]).code(0).out.contains("was not there"));
    run(&["get", "in"]).fails(3, "there is no key \"in\"", "quorate put");
}

#[test]
fn programs_get_one_object_on_one_line() {
    let world = World::new();
    let up = world.alone();
    let http = up.http.to_string();
    let run = |arguments: &[&str]| {
        let ran = world.run(&[arguments, &["--http", &http]].concat()).code(0);
        assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
        ran.json()
    };
    let put = run(&["put", "k", "one", "-o", "json"]);
    let cursor = put["cursor"].as_str().unwrap().to_owned();
    assert_eq!(put, json!({"key": "k", "existed": false, "cursor": cursor}));
    let get = run(&["get", "k", "--json"]);
    assert_eq!(get, json!({"key": "k", "value": "b25l", "cursor": cursor}));
    let consistency = format!("at_least:{cursor}");
    let again = run(&["get", "k", "-o", "jsonl", "--consistency", &consistency]);
    assert_eq!(again, get);
    let status = run(&["status", "--json"]);
    assert_eq!(status, up.status());
    for (field, value) in [("network", "default"), ("group", "kv"), ("role", "leader")] {
        assert_eq!(status[field], value);
    }
    let durability = "memory: survives while a majority keeps running";
    assert_eq!(status["durability"], durability);
    assert_eq!(status["leader"], status["peer"]);
    assert_eq!(status["voters"], json!([status["peer"]]));
    assert_eq!(
        (&status["learners"], &status["peers"]),
        (&json!([]), &json!([]))
    );
    assert!(status["applied"].as_u64() >= Some(2) && status["applied"] == status["commit"]);
    let members = run(&["members", "--json"]);
    assert_eq!(members["members"][0]["peer"], status["peer"]);
    assert_eq!(members["members"][0]["counts"], "voter");
}

#[test]
fn a_value_above_the_limit_is_refused() {
    let world = World::new();
    let up = world.alone();
    let http = up.http.to_string();
    let put = ["put", "k", "-", "--http", &http];
    let limit = 1 << 20;
    let most = world.run_with(&put, &vec![b'x'; limit - 1_000]);
    most.code(0);
    let frame = world.run_with(&put, &vec![b'x'; limit]);
    frame.fails(1, "larger than", "split");
    let over = world.run_with(&put, &vec![b'x'; limit + 1]);
    over.fails(1, "larger than", "split");
}

#[test]
fn a_watch_prints_changes_until_it_has_enough() {
    let world = World::new();
    let up = world.alone();
    let http = up.http.to_string();
    let run = |arguments: &[&str]| world.run(&[arguments, &["--http", &http]].concat());
    let before = run(&["put", "a", "0", "--json"]).code(0).json();
    let from = before["cursor"].as_str().unwrap();
    run(&["put", "a", "one"]).code(0);
    run(&["put", "b", "two\n"]).code(0);
    run(&["delete", "a"]).code(0);
    let watched = run(&["watch", "--from", from, "--count", "3"]).code(0);
    assert_eq!(watched.out, "a = one\nb = \"two\\n\"\na removed\n");
    let watched = run(&["watch", "b", "--from", from, "--count", "1", "-o", "jsonl"]).code(0);
    let line = watched.json();
    let rest = json!({"change": "put", "key": "b", "value": "dHdvCg==", "cursor": line["cursor"]});
    assert_eq!(line, rest);
    let foreign = format!("{}/1/1", "0".repeat(32));
    run(&["watch", "--from", &foreign]).fails(6, "history", "Quorate-Cursor");
}

#[test]
fn a_watch_goes_on_with_another_peer() {
    let world = World::new();
    let mut peers = world.group(3);
    let client = Request::new("POST", "/v1/clients")
        .send(peers[0].http)
        .unwrap();
    let cursor = client.cursor().to_owned();
    let client = client.json()["client"].as_str().unwrap().to_owned();
    // Named, so that asking again does not write again.
    let put = |peers: &[Up], number: u64, key: &str| {
        let request = Request::put(format!("/v1/kv/{key}?timeout_ms=1000"), "1")
            .header("Quorate-Request", &format!("{client}/{number}"));
        eventually("the write is acknowledged", || {
            let mut answers = peers.iter().filter_map(|peer| request.send(peer.http));
            answers.find(|answer| answer.status == 200)
        });
    };
    let watch = ["watch", "--from", &cursor, "--count", "3"];
    let mut watch = world
        .command(&watch)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    put(&peers, 1, "a");
    assert_eq!(line(), "a = 1");
    // Clients ask the peer of the lowest id first.
    peers.sort_by_key(|peer| peer.status()["peer"].as_str().unwrap().to_owned());
    peers.remove(0).kill();
    put(&peers, 2, "b");
    assert_eq!(line(), "b = 1");
    put(&peers, 3, "c");
    assert_eq!(line(), "c = 1");
    let ended = watch.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(
        told.contains("is gone") && told.contains("going on with"),
        "{told}"
    );
}

#[test]
fn without_a_quorum_the_commands_say_so_and_who_is_missing() {
    let world = World::new();
    let mut peers = world.group(3);
    let left = peers.pop().unwrap();
    let gone: Vec<String> = peers
        .iter()
        .map(|peer| peer.status()["peer"].as_str().unwrap()[..10].to_owned())
        .collect();
    for peer in &mut peers {
        peer.kill();
    }
    let http = left.http.to_string();
    let run = |arguments: &[&str]| world.run(&[arguments, &["--http", &http]].concat());
    eventually("it notices", || {
        let standstill = left.status()["standstill"].as_str()?.to_owned();
        standstill.contains("2 of 3 voters missing").then_some(())
    });
    let put = run(&["put", "k", "v", "--timeout-ms", "500"]);
    let put = put.fails(4, "no leader or no quorum", "quorate status");
    let status = run(&["status"]).code(0);
    for id in &gone {
        assert!(status.out.contains(id), "{id} in {}", status.out);
        assert!(put.err.contains(id), "{id} in {}", put.err);
    }
    assert!(status.out.contains("no: no quorum for"), "{}", status.out);
    let get = run(&["get", "k", "--timeout-ms", "500"]);
    get.fails(4, "no leader or no quorum", "quorate status");
    run(&["get", "k", "--consistency", "local"]).fails(3, "no key", "quorate put");
    let health = Request::get("/healthz?timeout_ms=300").send(left.http);
    assert_eq!(health.unwrap().error(503), "no_quorum");
}

#[test]
fn a_status_that_is_watched_is_printed_again_when_it_changes() {
    let world = World::new();
    let up = world.alone();
    let http = up.http.to_string();
    // With its first write the peer also registers itself as a client.
    world.run(&["put", "k", "u", "--http", &http]).code(0);
    let mut command = world.command(&["status", "--watch", "-o", "jsonl", "--http", &http]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut applied = || {
        let line: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["applied"].as_u64().unwrap()
    };
    let before = applied();
    world.run(&["put", "k", "v", "--http", &http]).code(0);
    assert_eq!(applied(), before + 1);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn completions_know_the_commands() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = world.run(&["completions", shell]).code(0);
        for word in ["quorate", "simulate", "leave", "--key-file"] {
            let word = if shell == "fish" {
                word.trim_start_matches('-')
            } else {
                word
            };
            assert!(ran.out.contains(word), "{word} for {shell}");
        }
    }
    world.run(&["completions", "tcsh"]).code(2);
}

#[test]
fn a_peer_says_who_it_is_and_stops_in_good_order() {
    let world = World::new();
    for signal in ["INT", "TERM"] {
        let mut up = world.up(&["--form", "alone", "--json"]);
        let first: serde_json::Value =
            serde_json::from_str(&up.wait_line(|line| line.starts_with('{'))).unwrap();
        up.wait_ready();
        assert_eq!(first["peer"], up.status()["peer"]);
        assert_eq!(first["http"], format!("http://{}", up.http));
        let (status, took) = up.stop(signal);
        assert_eq!(status.code(), Some(0));
        assert!(took.as_secs() < 3, "{took:?}");
    }
    let up: Up = world.up(&["--form", "alone"]);
    up.wait_line(|line| line.starts_with("peer  "));
    up.wait_line(|line| line.starts_with("durability  memory"));
    up.wait_line(|line| line.contains("ready: this peer leads"));
    assert_eq!(
        fs::read_dir(world.home().join(".local/share/quorate/default"))
            .unwrap()
            .count(),
        1
    );
}
