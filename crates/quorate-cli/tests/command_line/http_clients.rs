//! Named requests: sent twice, through any peer, and applied once.

use serde_json::json;

use crate::common::{Request, Response, Up, World};

fn register(up: &Up) -> String {
    let request = Request::new("POST", "/v1/clients").body("");
    let answer = request.send(up.http).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.cursor();
    let body = answer.json();
    let client = body["client"].as_str().unwrap().to_owned();
    let genesis = up.status()["genesis"].as_str().unwrap().to_owned();
    assert_eq!(client.split('/').next(), Some(genesis.as_str()));
    client
}

fn named(request: Request, name: &str, up: &Up) -> Response {
    request
        .header("Quorate-Request", name)
        .send(up.http)
        .unwrap()
}

#[test]
fn a_request_that_is_repeated_through_any_peer_is_applied_once() {
    let world = World::new();
    let peers = world.group(3);
    let client = register(&peers[0]);
    let cas = |expect, value| {
        let body = json!({"expect": expect, "value": value});
        Request::post("/v1/kv/k/cas", &body)
    };
    let first = named(
        cas(json!(null), json!("MQ==")),
        &format!("{client}/1"),
        &peers[0],
    );
    assert_eq!(first.json(), json!({"swapped": true, "current": "MQ=="}));
    // What another has written meanwhile is not overwritten by the repetition.
    let other = Request::put("/v1/kv/k", "2").send(peers[1].http).unwrap();
    assert_eq!(other.status, 200);
    for peer in &peers {
        let again = named(
            cas(json!(null), json!("MQ==")),
            &format!("{client}/1"),
            peer,
        );
        assert_eq!((again.status, again.cursor()), (200, first.cursor()));
        assert_eq!(again.body, first.body, "the first answer is kept");
        let read = Request::get("/v1/kv/k").send(peer.http).unwrap();
        assert_eq!(read.body, b"2");
    }
    let put = |name: &str, up| named(Request::put("/v1/kv/k", "3"), name, up);
    let delete = |name: &str, up| named(Request::delete("/v1/kv/k"), name, up);
    let second = put(&format!("{client}/2/2"), &peers[1]);
    assert_eq!(second.json()["existed"], true);
    let third = delete(&format!("{client}/3/3"), &peers[2]);
    assert_eq!(third.json()["existed"], true);
    assert_eq!(delete(&format!("{client}/3/3"), &peers[0]).body, third.body);
    // The client has said that it would not ask for these again.
    let dropped = put(&format!("{client}/2/2"), &peers[0]);
    assert_eq!(dropped.error(410), "answer_dropped");
    let read = Request::get("/v1/kv/k").send(peers[0].http).unwrap();
    assert_eq!(read.status, 404, "a refused request has changed nothing");
}

#[test]
fn an_unknown_client_or_a_name_that_is_none_is_refused() {
    let world = World::new();
    let up = world.alone();
    let client = register(&up);
    assert_ne!(client, register(&up));
    let (genesis, index) = client.split_once('/').unwrap();
    let put = |name: &str| named(Request::put("/v1/kv/k", "x"), name, &up);
    let unknown = format!("{genesis}/{}/1", index.parse::<u64>().unwrap() + 100);
    let foreign = format!("{}/{index}/1", "0".repeat(32));
    for name in [unknown, foreign] {
        let refused = put(&name);
        assert_eq!(refused.error(410), "client_expired", "{name}");
        refused.cursor();
    }
    let upper = client.to_uppercase();
    let broken = [
        String::new(),
        client.clone(),
        format!("{client}/"),
        format!("{client}/0"),
        format!("{client}/-1"),
        format!("{client}/1/2"),
        format!("{client}/1/1/1"),
        format!("{client}/99999999999999999999"),
    ];
    for name in broken {
        assert_eq!(put(&name).error(400), "malformed", "{name}");
    }
    if upper != client {
        assert_eq!(put(&format!("{upper}/1")).error(400), "malformed");
    }
    let twice = Request::put("/v1/kv/k", "x")
        .header("Quorate-Request", &format!("{client}/1"))
        .header("Quorate-Request", &format!("{client}/2"));
    assert_eq!(twice.send(up.http).unwrap().error(400), "malformed");
    assert_eq!(Request::get("/v1/kv/k").send(up.http).unwrap().status, 404);
}

#[test]
fn metrics_are_in_the_text_form_of_openmetrics() {
    let world = World::new();
    let up = world.alone();
    let metrics = Request::get("/metrics").send(up.http).unwrap();
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("# TYPE "), "{text}");
}
