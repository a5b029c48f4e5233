//! Watching over HTTP: every change once and in order, also after coming back, also through a peer
//! that was handed a snapshot.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::{Request, Stream, Up, World, eventually, http::Event};
use serde_json::{Value, json};

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
