//! Watching over HTTP: every change once and in order, also after coming back, also through a peer
//! that was handed a snapshot.

use serde_json::{Value, json};

use crate::common::{Request, Stream, Up, World, eventually, http::Event};

fn watch(up: &Up, parameters: &str) -> Stream {
    let stream = Request::get(format!("/v1/watch{parameters}"))
        .open(up.http)
        .unwrap();
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    stream
}

fn put(up: &Up, key: &str, value: &str) -> String {
    let answer = Request::put(format!("/v1/kv/{key}"), value)
        .send(up.http)
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.cursor().to_owned()
}

fn delete(up: &Up, key: &str) -> String {
    let answer = Request::delete(format!("/v1/kv/{key}"))
        .send(up.http)
        .unwrap();
    answer.cursor().to_owned()
}

fn event(cursor: &str, kind: &str, data: Value) -> Event {
    Event {
        id: Some(cursor.to_owned()),
        kind: kind.to_owned(),
        data: Some(data),
    }
}

#[test]
fn every_change_comes_once_with_its_cursor() {
    let world = World::new();
    let up = world.alone();
    let mut stream = watch(&up, "");
    assert_eq!(
        stream.event().unwrap().id.as_deref(),
        stream.header("quorate-cursor")
    );
    let first = put(&up, "a", "1");
    let second = put(&up, "%ff", "2");
    let third = delete(&up, "a");
    let one = event(&first, "put", json!({"key": "a", "value": "MQ=="}));
    let two = event(
        &second,
        "put",
        json!({"key_base64": "/w==", "value": "Mg=="}),
    );
    let three = event(&third, "delete", json!({"key": "a", "value": null}));
    for wanted in [&one, &two, &three] {
        assert_eq!(stream.change().as_ref(), Some(wanted));
    }
    // Comes back, in both ways.
    let mut resumed = watch(&up, &format!("?from={first}"));
    assert_eq!(resumed.header("quorate-cursor"), Some(first.as_str()));
    assert_eq!(resumed.change().as_ref(), Some(&two));
    let mut resumed = Request::get("/v1/watch")
        .header("Last-Event-ID", &second)
        .open(up.http)
        .unwrap();
    assert_eq!(resumed.change().as_ref(), Some(&three));
    // Only what was asked for.
    let mut some = watch(&up, &format!("?prefix=us%65rs%2F&from={third}"));
    put(&up, "other", "1");
    let last = put(&up, "users%2Fbo", "3");
    let wanted = event(&last, "put", json!({"key": "users/bo", "value": "Mw=="}));
    assert_eq!(some.change(), Some(wanted));
}

#[test]
fn what_is_no_longer_remembered_is_gone() {
    let world = World::new();
    let up = world.alone();
    let old = put(&up, "first", "1");
    let large = "x".repeat(1_000_000);
    let mut last = old.clone();
    for n in 0..10 {
        last = put(&up, &format!("k{n}"), &large);
    }
    let gone = Request::get(format!("/v1/watch?from={old}"))
        .send(up.http)
        .unwrap();
    assert_eq!(gone.error(410), "gone");
    assert_eq!(gone.cursor(), last);
    let mut stream = watch(&up, &format!("?from={}", gone.cursor()));
    let next = put(&up, "next", "1");
    assert_eq!(stream.change().unwrap().id, Some(next));
}

#[test]
fn a_watch_from_the_future_is_not_begun() {
    let world = World::new();
    let up = world.alone();
    let now = put(&up, "k", "1");
    let (place, index) = now.rsplit_once('/').unwrap();
    let future = format!("{place}/{}", index.parse::<u64>().unwrap() + 100);
    let late = Request::get(format!("/v1/watch?from={future}&timeout_ms=200")).send(up.http);
    assert_eq!(late.unwrap().error(504), "not_here_yet");
}

#[test]
fn watchers_are_limited_in_number_and_end_with_the_peer() {
    let world = World::new();
    let mut up = world.alone();
    let mut streams: Vec<Stream> = (0..256).map(|_| watch(&up, "")).collect();
    let refused = Request::get("/v1/watch").send(up.http).unwrap();
    assert_eq!(refused.error(429), "busy");
    drop(streams.split_off(200));
    // A peer notices that a watcher is gone when it has something to tell.
    eventually("there is room again", || {
        put(&up, "k", "1");
        Request::get("/v1/watch")
            .open(up.http)
            .filter(|stream| stream.status == 200)
    });
    let (status, took) = up.stop("TERM");
    assert_eq!(status.code(), Some(0));
    assert!(took.as_secs() < 3, "{took:?}");
    for mut stream in streams {
        while stream.event().is_some() {}
    }
}

/// Waits until `peer` misses the one called `id`: as long as it seems to follow, the log is kept
/// for it.
fn wait_missed(peer: &Up, id: &Value) {
    eventually("it is missed", || {
        let status = peer.status();
        let mut seen = status["peers"].as_array().unwrap().iter();
        let link = seen.find(|seen| seen["peer"] == *id).unwrap()["link"].clone();
        (link != "up").then_some(())
    });
}

/// Waits until the log of the leader among `peers` no longer holds the entry at `cursor`.
fn wait_pruned(peers: &[&Up], cursor: &str) {
    let index: u64 = cursor.rsplit('/').next().unwrap().parse().unwrap();
    eventually("the log is pruned", || {
        let leader = peers
            .iter()
            .find(|peer| peer.status()["role"] == "leader")?;
        let metrics = Request::get("/metrics").send(leader.http)?;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let mut lines = text.lines();
        let base = lines.find(|line| line.starts_with("quorate_group_base_index"))?;
        let base: u64 = base.rsplit(' ').next()?.parse().ok()?;
        (base > index).then_some(())
    });
}

#[test]
fn a_watcher_that_a_snapshot_passes_over_is_told_the_difference() {
    let world = World::new();
    let peers = world.group(3);
    let leader = eventually("a leader", || {
        let status = peers[0].status();
        status["leader"].as_str().map(str::to_owned)
    });
    let late = peers
        .iter()
        .find(|peer| peer.status()["peer"] != leader.as_str())
        .unwrap();
    let other = peers.iter().find(|peer| peer.pid() != late.pid()).unwrap();
    put(other, "stays", "same");
    put(other, "goes", "1");
    let changed = put(other, "changes", "1");
    let mut stream = watch(late, &format!("?from={changed}"));
    assert_eq!(stream.event().unwrap().id, Some(changed.clone()));
    let id = late.status()["peer"].clone();
    late.signal("STOP");
    for peer in peers.iter().filter(|peer| peer.pid() != late.pid()) {
        wait_missed(peer, &id);
    }
    // More than the log keeps for those who lag.
    let large = "x".repeat(1_000_000);
    for _ in 0..12 {
        put(other, "big", &large);
    }
    put(other, "changes", "2");
    delete(other, "goes");
    let living: Vec<&Up> = peers.iter().filter(|it| it.pid() != late.pid()).collect();
    wait_pruned(&living, &changed);
    late.signal("CONT");

    // What was on its way to it comes as it did before.
    let reset = loop {
        let change = stream.change().unwrap();
        if change.kind == "reset" {
            break change;
        }
        assert_eq!((change.kind.as_str(), change.id.is_some()), ("put", true));
        assert_eq!(change.data.unwrap()["key"], "big");
    };
    assert_eq!(reset.id, None);
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 3 {
        let change = stream.change().unwrap();
        assert_eq!(
            change.id, None,
            "nobody may come back from within a difference"
        );
        let data = change.data.unwrap();
        let key = data["key"].as_str().unwrap().to_owned();
        assert!(
            seen.insert(key, (change.kind, data["value"].clone()))
                .is_none()
        );
    }
    assert_eq!(seen["goes"], ("delete".to_owned(), Value::Null));
    assert_eq!(seen["changes"], ("put".to_owned(), json!("Mg==")));
    assert_eq!(seen["big"].0, "put");
    let next = put(late, "next", "1");
    let change = stream.change().unwrap();
    assert_eq!(
        (change.id, change.data.unwrap()["key"].clone()),
        (Some(next), json!("next"))
    );
}
