//! What a map promises to its users.

use std::{collections::BTreeMap, time::Duration};

use crate::common::{assert_equal, fill, soon};
use futures::{StreamExt, future::join_all};
use quorate::{
    Change, ChangesError, Exchange, GenesisId, Map, Position, Read, ReadError, Since, WriteError,
    testing::Cluster,
};

/// Operations must be able to move to other tasks.
fn assert_movable<T: Send + 'static>(operation: T) -> T {
    operation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_answer_what_was_there() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let map = cluster.peer(1).group.map::<String, u64>("stock");
    let apple = || "apple".to_owned();
    let insert = assert_movable(map.insert(apple(), 7));
    assert_eq!(soon(insert).await.unwrap().outcome, None);
    assert_eq!(soon(map.insert(apple(), 8)).await.unwrap().outcome, Some(7));

    let failed = soon(map.compare_exchange(apple(), Some(7), Some(9)))
        .await
        .unwrap();
    let kept = Exchange {
        swapped: false,
        current: Some(8),
    };
    assert_eq!(failed.outcome, kept);
    let swapped = soon(map.compare_exchange(apple(), Some(8), Some(9)))
        .await
        .unwrap();
    assert_eq!(
        swapped.outcome,
        Exchange {
            swapped: true,
            current: Some(9)
        }
    );
    let created = soon(map.compare_exchange("pear".to_owned(), None, Some(1)))
        .await
        .unwrap();
    assert_eq!(
        created.outcome,
        Exchange {
            swapped: true,
            current: Some(1)
        }
    );
    let removed = soon(map.compare_exchange(apple(), Some(9), None))
        .await
        .unwrap();
    assert_eq!(
        removed.outcome,
        Exchange {
            swapped: true,
            current: None
        }
    );

    assert_eq!(
        soon(map.remove("pear".to_owned())).await.unwrap().outcome,
        Some(1)
    );
    let done = soon(map.remove("pear".to_owned())).await.unwrap();
    assert_eq!(done.outcome, None);
    assert_eq!(
        soon(assert_movable(map.len(Read::AtLeast(done.cursor)))).await,
        Ok(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_as_fresh_as_they_were_asked_to_be() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let maps: Vec<Map<u64, u64>> = (0..3).map(|i| cluster.peer(i).group.map("n")).collect();
    for round in 0..50 {
        let writer = &maps[round as usize % 3];
        let reader = &maps[(round as usize + 1) % 3];
        let done = soon(writer.insert(1, round)).await.unwrap();
        let read = match round % 2 {
            0 => Read::AtLeast(done.cursor),
            _ => Read::Linearizable,
        };
        assert_eq!(soon(reader.get(&1, read)).await, Ok(Some(round)));
    }
    let local = soon(maps[0].get(&1, Read::Local)).await.unwrap();
    assert!(local.is_some_and(|value| value <= 49));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iteration_is_in_key_order_and_over_one_moment() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let map = cluster.peer(2).group.map::<i64, String>("signed");
    let mut model = BTreeMap::new();
    let writes = (-600..600).step_by(7).map(|key: i64| {
        model.insert(key, key.to_string());
        map.insert(key, key.to_string())
    });
    let written = soon(join_all(writes)).await;
    let last = written
        .into_iter()
        .map(|done| done.unwrap().cursor)
        .max()
        .unwrap();
    let iter = map.iter(Read::AtLeast(last)).await.unwrap();
    assert!(iter.cursor() >= last);
    // What is written while somebody iterates does not show.
    soon(map.insert(-1_000, "late".to_owned())).await.unwrap();
    soon(map.remove(-600)).await.unwrap();
    let items: Vec<_> = iter.map(|item| item.unwrap()).collect();
    assert_eq!(items, model.into_iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maps_of_one_group_are_apart_and_types_are_checked() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let group = &cluster.peer(0).group;
    let numbers = group.map::<String, u64>("a");
    let texts = group.map::<String, String>("b");
    soon(numbers.insert("x".to_owned(), 300)).await.unwrap();
    soon(texts.insert("x".to_owned(), "text".to_owned()))
        .await
        .unwrap();
    assert_eq!(soon(numbers.len(Read::Local)).await, Ok(1));
    assert_eq!(
        soon(texts.get("x", Read::Local)).await,
        Ok(Some("text".to_owned()))
    );

    let wrong = group.map::<String, String>("a");
    let read = soon(wrong.get("x", Read::Local)).await;
    assert!(matches!(read, Err(ReadError::Decoding { .. })), "{read:?}");
    match soon(wrong.insert("x".to_owned(), "now a text".to_owned())).await {
        Err(error @ WriteError::Decoding { .. }) => assert!(!error.is_surely_not_applied()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_the_group_goes_on() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let map = cluster.peer(0).group.map::<String, Vec<u8>>("big");
    let huge = soon(map.insert("huge".to_owned(), vec![1; 2 << 20])).await;
    assert!(matches!(huge, Err(WriteError::TooLarge)), "{huge:?}");
    let large = soon(map.insert("large".to_owned(), vec![1; 900 << 10]))
        .await
        .unwrap();
    let key = soon(map.insert("k".repeat(9 << 10), vec![])).await;
    assert!(matches!(key, Err(WriteError::Refused(_))), "{key:?}");
    let name = cluster.peer(0).group.map::<String, u64>(&"n".repeat(200));
    let named = soon(name.insert("k".to_owned(), 1)).await;
    assert!(matches!(named, Err(WriteError::Refused(_))), "{named:?}");
    for i in 0..3 {
        let map = cluster.peer(i).group.map::<String, Vec<u8>>("big");
        let read = soon(map.get("large", Read::AtLeast(large.cursor)))
            .await
            .unwrap();
        assert_eq!(read.map(|value| value.len()), Some(900 << 10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_in_order_on_every_peer_and_resume_where_they_stopped() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let feeds: Vec<_> = (0..3)
        .map(|i| {
            cluster
                .peer(i)
                .group
                .map::<u64, u64>("n")
                .changes(Since::Now)
        })
        .collect();
    let map = cluster.peer(0).group.map::<u64, u64>("n");
    let other = cluster.peer(1).group.map::<u64, u64>("other");
    let mut model = BTreeMap::new();
    let mut expected = Vec::new();
    for round in 0..200 {
        let key = round % 10;
        let (cursor, value) = if round % 3 == 0 {
            (soon(map.remove(key)).await.unwrap().cursor, None)
        } else {
            (
                soon(map.insert(key, round)).await.unwrap().cursor,
                Some(round),
            )
        };
        soon(other.insert(round, round)).await.unwrap();
        let before = match value {
            Some(value) => model.insert(key, value),
            None => model.remove(&key),
        };
        // A remove of what is not there changes nothing.
        if value.is_some() || before.is_some() {
            expected.push(Change { cursor, key, value });
        }
    }
    for feed in feeds {
        let seen: Vec<_> = soon(feed.take(expected.len()).map(|c| c.unwrap()).collect()).await;
        assert_eq!(seen, expected);
    }
    let half = expected.len() / 2;
    let resumed = map.changes(Since::Cursor(expected[half].cursor));
    let seen: Vec<_> = resumed
        .take(expected.len() - half - 1)
        .map(|c| c.unwrap())
        .collect()
        .await;
    assert_eq!(seen, expected[half + 1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_what_it_misses() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let map = cluster.peer(0).group.map::<u64, u64>("n");
    let first = soon(map.insert(0, 0)).await.unwrap().cursor;
    let mut slow = map.changes(Since::Now);
    let many = quorate::limits::SUBSCRIBER_CHANGES as u64 + 10;
    fill(&map, 1..many).await;
    let lagged = match soon(slow.next()).await {
        Some(Err(ChangesError::Missed(cursor))) => cursor,
        other => panic!("{other:?}"),
    };
    // What was missed is in the state, and the stream goes on right behind it.
    let iter = map.iter(Read::AtLeast(lagged)).await.unwrap();
    assert!(iter.cursor() >= lagged);
    let mut last = lagged;
    for _ in 0..5 {
        let change = soon(slow.next()).await.unwrap().unwrap();
        assert_eq!(change.cursor.index.0, last.index.0 + 1);
        last = change.cursor;
    }
    let status = cluster.peer(0).group.status();
    let mut past = map.changes(Since::Position(status.at(first).unwrap()));
    let kept = match soon(past.next()).await {
        Some(Err(ChangesError::Forgotten { asked, first })) if asked < first => first,
        other => panic!("{other:?}"),
    };
    assert!(soon(past.next()).await.is_none());
    let mut resumed = map.changes(Since::Cursor(kept));
    let next = soon(resumed.next()).await.unwrap().unwrap();
    assert_eq!(next.cursor.index, kept.index.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_another_history_is_no_place_to_begin() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let map = cluster.peer(0).group.map::<u64, u64>("n");
    let first = soon(map.insert(0, 0)).await.unwrap().cursor;
    soon(map.insert(1, 1)).await.unwrap();
    let here = cluster.peer(0).group.status().at(first).unwrap();
    let shown: Position = here.to_string().parse().unwrap();
    let mut resumed = map.changes(Since::Position(shown));
    assert_eq!(soon(resumed.next()).await.unwrap().unwrap().key, 1);
    let elsewhere = Position::new(GenesisId([0; 16]), first);
    let mut refused = map.changes(Since::Position(elsewhere));
    let error = soon(refused.next()).await.unwrap().unwrap_err();
    let expected = ChangesError::OtherHistory {
        asked: elsewhere.genesis,
        here: Some(here.genesis),
    };
    assert_eq!(error, expected);
    assert!(soon(refused.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_can_be_had_of_the_keys_under_a_prefix() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let texts = cluster.peer(0).group.map::<String, u64>("texts");
    let bytes = cluster.peer(0).group.map::<Vec<u8>, u64>("bytes");
    let mut under_text = texts.changes_under("us", Since::Now);
    let mut under_bytes = bytes.changes_under(&b"\0\xff"[..], Since::Now);
    for (i, key) in ["u", "us", "use", "ut", "user"].into_iter().enumerate() {
        soon(texts.insert(key.to_owned(), i as u64)).await.unwrap();
    }
    for key in [&b"\0"[..], b"\0\xfe", b"\0\xff", b"\0\xff\0", b"\x01"] {
        soon(bytes.insert(key.to_vec(), 0)).await.unwrap();
    }
    for key in ["us", "use", "user"] {
        assert_eq!(soon(under_text.next()).await.unwrap().unwrap().key, key);
    }
    for key in [&b"\0\xff"[..], b"\0\xff\0"] {
        assert_eq!(soon(under_bytes.next()).await.unwrap().unwrap().key, key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_writes_under_way_are_all_answered() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let fills = (0..3_u64).map(|i| {
        let map = cluster.peer(i as usize).group.map("n");
        async move { fill(&map, i * 5_000..(i + 1) * 5_000).await }
    });
    join_all(fills).await;
    let map = cluster.peer(0).group.map::<u64, u64>("n");
    assert_eq!(soon(map.len(Read::Linearizable)).await, Ok(15_000));
    assert_equal(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_writes_at_once_than_wait_for_a_turn_find_room_one_after_the_other() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let map = cluster.peer(0).group.map::<u64, u64>("n");
    let many = quorate::limits::DOOR_REQUESTS as u64 * 5 / 2;
    // All are polled before the first is answered.
    let writes = (0..many).map(|key| map.insert(key, key).timeout(Duration::from_secs(60)));
    for done in soon(join_all(writes)).await {
        done.unwrap();
    }
    assert_eq!(soon(map.len(Read::Linearizable)).await, Ok(many));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_write_leaves_nothing_behind_before_it_is_polled() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let map = cluster.peer(0).group.map::<u64, u64>("n");
    drop(map.insert(1, 1));
    let late = map.insert(2, 2).timeout(Duration::from_secs(60));
    soon(late).await.unwrap();
    assert_eq!(soon(map.get(&1, Read::Linearizable)).await, Ok(None));
    assert_eq!(soon(map.get(&2, Read::Local)).await, Ok(Some(2)));
}
