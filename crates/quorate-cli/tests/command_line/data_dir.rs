//! `up --data-dir` and `log`: a peer that comes back as itself, and directories that are refused.

use std::fs;

use crate::common::{Request, Up, World, mode};

/// Starts a peer that is a group of its own, with its log in `directory`.
fn alone(world: &World, directory: &str) -> Up {
    let up = world.up(&["--form", "alone", "--data-dir", directory]);
    up.wait_ready();
    up
}

fn directory(world: &World, name: &str) -> String {
    world.path(name).to_str().unwrap().to_owned()
}

#[test]
fn a_peer_comes_back_as_itself_with_all_it_had() {
    let world = World::new();
    let data = directory(&world, "data");
    let mut up = alone(&world, &data);
    up.wait_line(|line| line.starts_with("durability  disk"));
    up.wait_line(|line| line.starts_with("data        ") && line.ends_with(&data));
    assert!(
        up.status()["durability"]
            .as_str()
            .unwrap()
            .starts_with("disk")
    );
    let before = up.status()["peer"].clone();
    world.run(&["put", "k", "v"]).code(0);
    up.kill();
    // Without a word on the form: it has a history, and goes on with it.
    let mut up = world.up(&["--data-dir", &data]);
    up.wait_ready();
    assert_eq!(up.status()["peer"], before);
    up.wait_line(|line| line.contains("of the log read in"));
    assert_eq!(world.run(&["get", "k"]).code(0).out, "v");
    let (status, _) = up.stop("TERM");
    assert_eq!(status.code(), Some(0));
    let whole = world.run(&["log", "verify", &data]).code(0);
    assert!(whole.out.starts_with("whole  "), "{}", whole.out);
    let found = world
        .run(&["log", "inspect", &data, "--json"])
        .code(0)
        .json();
    assert_eq!((&found["peer"], &found["in_use"]), (&before, &false.into()));
    // No member has ever talked to it.
    assert_eq!(found["boot"], 1);
    assert_eq!(found["groups"].as_array().unwrap().len(), 1);
}

#[test]
fn a_directory_in_use_can_be_looked_into_and_not_opened() {
    let world = World::new();
    let data = directory(&world, "data");
    let up = alone(&world, &data);
    let looked = world.run(&["log", "inspect", &data]).code(0);
    assert!(looked.out.contains("in use     yes"), "{}", looked.out);
    let pid = format!("by process {}", up.pid());
    let refused = world.run(&["up", "--data-dir", &data]);
    refused.fails(7, &pid, "--data-dir DIR");
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    let world = World::new();
    let data = directory(&world, "data");
    alone(&world, &data).stop("TERM");
    let count = |path: &str| fs::read_dir(path).unwrap().count();
    let files = count(&data);
    world
        .run(&["up", "--network", "other", "--data-dir", &data])
        .fails(
            6,
            "belongs to network \"default\", not to \"other\"",
            "--network",
        );
    world
        .run(&["up", "--group", "other", "--data-dir", &data])
        .fails(6, "another group than \"other\"", "--group");
    let key = world.secret("key", &"7".repeat(64));
    world
        .run(&["up", "--key-file", &key, "--data-dir", &data])
        .fails(6, "another secret", "--key-file");
    assert_eq!(count(&data), files);
    // What is refused has not changed whose it is.
    alone(&world, &data).stop("TERM");

    let mine = directory(&world, "mine");
    fs::create_dir(&mine).unwrap();
    fs::write(world.path("mine/thesis.txt"), "mine").unwrap();
    for command in [&["up", "--data-dir", &mine][..], &["log", "verify", &mine]] {
        world
            .run(command)
            .fails(6, "no data directory", "name the directory");
    }
    assert_eq!(count(&mine), 1);
    let file = directory(&world, "mine/thesis.txt");
    world
        .run(&["up", "--data-dir", &file])
        .fails(1, &file, "that is a file");
    let none = directory(&world, "none");
    world
        .run(&["log", "inspect", &none])
        .fails(1, &none, "name a directory that is there");
    assert!(!world.path("none").exists());
}

#[test]
fn damage_is_named_and_the_exit_code_says_so() {
    let world = World::new();
    let data = directory(&world, "data");
    let mut up = alone(&world, &data);
    for n in 0..40 {
        let put = Request::put(format!("/v1/kv/{n}"), "v")
            .send(up.http)
            .unwrap();
        assert_eq!(put.status, 200);
    }
    up.stop("TERM");
    let segment = world.path("data/log/log-0000000001");
    let whole = fs::read(&segment).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 4;
    fs::write(&segment, &bytes).unwrap();
    for command in ["inspect", "verify"] {
        let ran = world.run(&["log", command, &data]).code(6);
        let named =
            ran.out.contains("DAMAGED  segment 1 at byte ") && ran.out.contains("from index");
        assert!(named, "{}", ran.out);
        assert!(
            ran.err.contains("is damaged") && ran.err.contains("hint: "),
            "{}",
            ran.err
        );
    }
    // Bytes behind the last sync are nobody's.
    let mut bytes = whole.clone();
    bytes.extend_from_slice(&whole[40..90]);
    fs::write(&segment, &bytes).unwrap();
    let torn = world.run(&["log", "verify", &data]).code(0);
    assert!(torn.out.contains("a torn tail of 50 bytes"), "{}", torn.out);
    let up = alone(&world, &data);
    up.wait_line(|line| line.contains("a torn tail of 50 bytes was cut"));
    assert_eq!(world.run(&["get", "39"]).code(0).out, "v");
}

#[test]
fn an_identity_is_kept_twice_and_without_it_nothing_starts_fresh() {
    let world = World::new();
    let data = directory(&world, "data");
    let mut up = alone(&world, &data);
    let peer = up.status()["peer"].clone();
    up.stop("TERM");
    fs::write(world.path("data/identity-a"), "cut sho").unwrap();
    let looked = world.run(&["log", "verify", &data]).code(0);
    assert!(
        looked.out.contains("one copy of the identity is bad"),
        "{}",
        looked.out
    );
    let mut up = alone(&world, &data);
    assert_eq!(up.status()["peer"], peer);
    up.stop("TERM");
    for name in ["data/identity-a", "data/identity-b"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    world.run(&["up", "--data-dir", &data]).fails(
        6,
        "identity-a is damaged",
        "move the directory away",
    );
    assert!(world.path("data/log/log-0000000001").exists());
}

#[test]
fn a_directory_without_permission_is_named() {
    let world = World::new();
    let data = directory(&world, "data");
    fs::create_dir(&data).unwrap();
    mode(&world.path("data"), 0o000);
    // Who may do everything may do this, too.
    if fs::read_dir(&data).is_err() {
        world
            .run(&["up", "--data-dir", &data])
            .fails(1, &data, "give this user the right");
    }
    mode(&world.path("data"), 0o700);
}
