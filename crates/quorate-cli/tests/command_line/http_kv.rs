//! The HTTP interface of one peer, as any program sees it: values, and what is refused.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Request, World};

/// The index of a cursor.
fn index(cursor: &str) -> u64 {
    let parts: Vec<&str> = cursor.split('/').collect();
    assert_eq!(parts.len(), 3, "{cursor}");
    let lower_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(
        parts[0].len() == 32 && parts[0].chars().all(lower_hex),
        "{cursor}"
    );
    parts[1].parse::<u64>().unwrap();
    parts[2].parse().unwrap()
}

#[test]
fn values_are_any_bytes_under_any_key() {
    let world = World::new();
    let up = world.alone();
    let values: [&[u8]; 4] = [b"world", b"", b"\0\xff\r\n", &[7; 100_000]];
    let keys = [
        "hello",
        "a%2Fb%20%25",
        "%ff%00",
        "cas",
        ".",
        "%C3%A9",
        "a+b",
    ];
    for key in keys {
        let path = format!("/v1/kv/{key}");
        for value in values {
            let put = Request::put(&path, value).send(up.http).unwrap();
            assert_eq!(put.status, 200, "{put:?}");
            let got = Request::get(&path).send(up.http).unwrap();
            assert_eq!((got.status, got.body.as_slice()), (200, value));
            assert_eq!(got.header("content-type"), Some("application/octet-stream"));
            assert!(index(got.cursor()) >= index(put.cursor()));
        }
    }
    let plus = Request::get("/v1/kv/a%20b").send(up.http).unwrap();
    assert_eq!(plus.error(404), "not_found", "a plus in a path is a plus");
}

#[test]
fn removing_is_well_also_for_an_absent_key() {
    let world = World::new();
    let up = world.alone();
    let absent = Request::get("/v1/kv/x").send(up.http).unwrap();
    assert_eq!(absent.error(404), "not_found");
    index(absent.cursor());
    let delete = || Request::delete("/v1/kv/x").send(up.http).unwrap();
    let nothing = delete();
    assert_eq!(
        (nothing.status, nothing.json()["existed"].clone()),
        (200, json!(false))
    );
    let first = Request::put("/v1/kv/x", "1").send(up.http).unwrap();
    assert_eq!(
        first.json(),
        json!({"cursor": first.cursor(), "existed": false})
    );
    let second = Request::put("/v1/kv/x", "2").send(up.http).unwrap();
    assert_eq!(second.json()["existed"], true);
    assert_eq!(index(second.cursor()), index(first.cursor()) + 1);
    assert_eq!(delete().json()["existed"], true);
    assert_eq!(Request::get("/v1/kv/x").send(up.http).unwrap().status, 404);
}

#[test]
fn a_value_is_replaced_only_if_it_is_the_expected_one() {
    let world = World::new();
    let up = world.alone();
    let cas = |expect, value| {
        let wish = json!({"expect": expect, "value": value});
        let answer = Request::post("/v1/kv/k/cas", &wish).send(up.http).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        index(answer.cursor());
        answer.json()
    };
    let (none, one, two) = (json!(null), json!("b25l"), json!("dHdv"));
    let told = |swapped: bool, current| json!({"swapped": swapped, "current": current});
    assert_eq!(cas(&one, &two), told(false, &none));
    assert_eq!(cas(&none, &one), told(true, &one));
    assert_eq!(Request::get("/v1/kv/k").send(up.http).unwrap().body, b"one");
    assert_eq!(cas(&none, &two), told(false, &one));
    assert_eq!(cas(&one, &two), told(true, &two));
    assert_eq!(cas(&two, &none), told(true, &none));
    assert_eq!(Request::get("/v1/kv/k").send(up.http).unwrap().status, 404);
    assert_eq!(cas(&none, &none), told(true, &none));
}

#[test]
fn what_is_malformed_is_refused_and_changes_nothing() {
    let world = World::new();
    let up = world.alone();
    let genesis = up.status()["genesis"].as_str().unwrap().to_owned();
    let post = |body: &str| {
        Request::new("POST", "/v1/kv/k/cas")
            .header("Content-Type", "application/json")
            .body(body)
    };
    let malformed = [
        post("{"),
        post("[]"),
        post("{\"expect\":null}"),
        post("{\"value\":null}"),
        post("{\"expect\":null,\"value\":null,\"more\":1}"),
        post("{\"expect\":\"b25\",\"value\":null}"),
        post("{\"expect\":\"b25l\\n\",\"value\":null}"),
        post("{\"expect\":1,\"value\":null}"),
        Request::new("POST", "/v1/kv/k/cas").body("{\"expect\":null,\"value\":\"\"}"),
        Request::put("/v1/kv/%zz", "x"),
        Request::put("/v1/kv/%f", "x"),
        Request::put("/v1/kv/", "x"),
        Request::put("/v1/kv/k?timeout_ms=0", "x"),
        Request::put("/v1/kv/k?timeout_ms=-1", "x"),
        Request::put("/v1/kv/k?timeout_ms=forever", "x"),
        Request::put("/v1/kv/k?timeout_ms=99999999999", "x"),
        Request::put("/v1/kv/k?timeout_ms=5&timeout_ms=5", "x"),
        Request::put("/v1/kv/k?consistency=local", "x"),
        Request::delete("/v1/kv/k?force"),
        Request::get("/v1/kv/k?consistency=strong"),
        Request::get("/v1/kv/k?consistency="),
        Request::get("/v1/kv/k?consistency=at_least:"),
        Request::get("/v1/kv/k?consistency=at_least:1/2"),
        Request::get(format!("/v1/kv/k?consistency=at_least:{genesis}/1/-2")),
        Request::get("/v1/watch?from=1/2/3"),
        Request::get("/v1/status?x=1"),
        Request::put(format!("/v1/kv/{}", "x".repeat(9_000)), "x"),
    ];
    for request in malformed {
        let answer = request.send(up.http).unwrap();
        assert_eq!(answer.error(400), "malformed", "{request:?}");
        index(answer.cursor());
    }
    let digest = Request::get("/v1/digest").send(up.http).unwrap().json();
    assert_eq!(
        Request::get("/v1/kv/k").send(up.http).unwrap().status,
        404,
        "{digest}"
    );
}

#[test]
fn other_addresses_and_methods_are_said_not_to_be_there() {
    let world = World::new();
    let up = world.alone();
    for path in [
        "/",
        "/v1",
        "/v1/kv",
        "/v2/kv/k",
        "/v1/kv/a/b",
        "/v1/kv/a/cas/b",
    ] {
        let answer = Request::get(path).send(up.http).unwrap();
        assert_eq!(answer.error(404), "no_such_address", "{path}");
    }
    let wrong = [
        Request::new("POST", "/v1/kv/k"),
        Request::get("/v1/kv/k/cas"),
        Request::put("/v1/status", ""),
        Request::delete("/healthz"),
    ];
    for request in wrong {
        assert_eq!(
            request.send(up.http).unwrap().error(405),
            "method",
            "{request:?}"
        );
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let world = World::new();
    let up = world.alone();
    let limit = 1 << 20;
    // Says what it will send, and sends nothing: nobody may wait for it.
    let began = Instant::now();
    let announced = Request::put("/v1/kv/k", "").header("Content-Length", "999999999999");
    assert_eq!(announced.send(up.http).unwrap().error(413), "too_large");
    let announced = Request::new("POST", "/v1/kv/k/cas")
        .header("Content-Type", "application/json")
        .header("Content-Length", "999999999999");
    assert_eq!(announced.send(up.http).unwrap().error(413), "too_large");
    assert!(began.elapsed() < Duration::from_secs(20));
    // Sends all of it before it listens, and is answered nevertheless.
    for size in [limit, limit + 1, 3 * limit] {
        let answer = Request::put("/v1/kv/k", vec![b'x'; size])
            .send(up.http)
            .unwrap();
        assert_eq!(answer.error(413), "too_large", "{size}");
        index(answer.cursor());
    }
    // Does not say how much it sends.
    let mut body = Vec::new();
    for _ in 0..40 {
        body.extend_from_slice(b"10000\r\n");
        body.extend_from_slice(&[b'x'; 0x10000]);
        body.extend_from_slice(b"\r\n");
    }
    let chunked = Request::put("/v1/kv/k", body)
        .header("Transfer-Encoding", "chunked")
        .without_length();
    assert_eq!(chunked.send(up.http).unwrap().error(413), "too_large");
    assert_eq!(Request::get("/v1/kv/k").send(up.http).unwrap().status, 404);
    let most = vec![b'x'; limit - 1_000];
    let fits = Request::put("/v1/kv/k", most.clone())
        .send(up.http)
        .unwrap();
    assert_eq!(fits.status, 200);
    assert_eq!(Request::get("/v1/kv/k").send(up.http).unwrap().body, most);
}

#[test]
fn reads_are_as_fresh_as_they_are_asked_to_be() {
    let world = World::new();
    let up = world.alone();
    let put = Request::put("/v1/kv/k", "1").send(up.http).unwrap();
    let cursor = put.cursor();
    let how = ["linearizable", "local", &format!("at_least:{cursor}")];
    for consistency in how {
        let path = format!("/v1/kv/k?consistency={consistency}&timeout_ms=2000");
        let got = Request::get(path).send(up.http).unwrap();
        assert_eq!(
            (got.status, got.body.as_slice()),
            (200, &b"1"[..]),
            "{consistency}"
        );
    }
    let (genesis, place) = cursor.split_once('/').unwrap();
    let (term, at) = place.split_once('/').unwrap();
    let future = format!("{genesis}/{term}/{}", at.parse::<u64>().unwrap() + 100);
    let path = format!("/v1/kv/k?consistency=at_least:{future}&timeout_ms=200");
    let late = Request::get(path).send(up.http).unwrap();
    assert_eq!(late.error(504), "not_here_yet");
    assert_eq!(late.cursor(), cursor);
    let foreign = format!("{}/{place}", "0".repeat(32));
    for path in [
        format!("/v1/kv/k?consistency=at_least:{foreign}"),
        format!("/v1/watch?from={foreign}"),
    ] {
        let gone = Request::get(path).send(up.http).unwrap();
        assert_eq!(gone.error(410), "gone");
        assert_eq!(gone.cursor(), cursor, "it says where to go on");
    }
}

#[test]
fn pages_of_foreign_sites_are_kept_out() {
    let world = World::new();
    let up = world.alone();
    let foreign = [
        Request::put("/v1/kv/k", "x").header("Origin", "http://evil.example"),
        Request::put("/v1/kv/k", "x").header("Origin", &format!("http://{}", up.http)),
        Request::put("/v1/kv/k", "x").header("Origin", "null"),
        Request::put("/v1/kv/k", "x").header("Host", "evil.example"),
        Request::put("/v1/kv/k", "x").header("Host", &format!("evil.example:{}", up.http.port())),
        Request::put("http://evil.example/v1/kv/k", "x"),
        Request::new("OPTIONS", "/v1/kv/k").header("Origin", "http://evil.example"),
    ];
    for request in foreign {
        assert_eq!(
            request.send(up.http).unwrap().error(403),
            "forbidden",
            "{request:?}"
        );
    }
    assert_eq!(Request::get("/v1/kv/k").send(up.http).unwrap().status, 404);
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:80"] {
        let own = Request::get("/v1/status").header("Host", host);
        assert_eq!(own.send(up.http).unwrap().status, 200, "{host}");
    }
}

#[test]
fn beyond_the_machine_a_token_is_needed() {
    let world = World::new();
    let token = world.secret("token", "s3cret\n");
    let up = world.up(&["--form", "alone", "--http-token-file", &token]);
    let ask = |shown: Option<&str>| {
        let request = Request::put("/v1/kv/k", "x");
        let request = match shown {
            Some(shown) => request.header("Authorization", shown),
            None => request,
        };
        request.send(up.http).unwrap()
    };
    for wrong in [
        None,
        Some("Bearer s3cre"),
        Some("Bearer s3cret2"),
        Some("s3cret"),
    ] {
        let answer = ask(wrong);
        assert_eq!(answer.error(401), "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(ask(Some("Bearer s3cret")).status, 200);
    let http = up.http.to_string();
    let get = ["get", "k", "--http", &http];
    world
        .run(&get)
        .fails(1, "wants a token", "--http-token-file");
    let with = world.run(&[&get[..], &["--http-token-file", &token]].concat());
    assert_eq!(with.code(0).out, "x");
}
