//! What is called the wrong way, or finds things not as they should be: said clearly, with the way
//! out and the right exit code, and never by hanging.

use std::{fs, net::TcpListener};

use crate::common::{World, mode};

#[test]
fn wrong_arguments_are_usage_errors_with_a_hint() {
    let world = World::new();
    let cases: [(&[&str], &str); 12] = [
        (&["up", "--expect", "0"], "use --expect 1 or more"),
        (&["up", "--expect", "-1"], "expected a number of peers"),
        (&["up", "--expect", "99"], "the rest join"),
        (
            &["up", "--expect", "3", "--form", "join"],
            "cannot be used with",
        ),
        (&["up", "--form", "maybe"], "possible values: alone, join"),
        (&["up", "--network", "../x"], "no dot in front"),
        (&["up", "--group", ""], "expected 1 to 64"),
        (&["up", "--listen", "localhost"], "such as 127.0.0.1:0"),
        (&["up", "--http", "0.0.0.0:0"], "--http-token-file"),
        (&["put", "k"], "<VALUE>"),
        (&["get", "k", "--timeout-ms", "0"], "from 1 to"),
        (
            &["get", "k", "--http", "https://x:1"],
            "--http 127.0.0.1:8080",
        ),
    ];
    for (arguments, hint) in cases {
        let ran = world.run(arguments).code(2);
        assert!(ran.err.contains(hint), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_key_file_that_is_damaged_or_open_is_refused() {
    let world = World::new();
    let up = |file: &str| world.run(&["up", "--key-file", file]);
    let short = world.secret("short", "0123456789abcdef");
    up(&short).fails(6, "cut short: 16 of 64", "copy it again");
    let other = world.secret("other", "a ticket, perhaps?");
    up(&other).fails(6, "is no key", "copy it again");
    let open = world.secret("open", &"0".repeat(64));
    mode(open.as_ref(), 0o644);
    up(&open).fails(1, "can be read by others", "chmod 600");
    let nowhere = world.secret("file", "");
    up(&format!("{nowhere}/key")).fails(1, "key", "--key-file FILE");
    let empty = world.secret("empty", "\n");
    world
        .run(&["up", "--http-token-file", &empty])
        .fails(6, "holds no token", "first line");
    world
        .run(&["up", "--http-token-file", "nowhere"])
        .fails(1, "cannot be read", "openssl rand");
}

#[test]
fn a_port_in_use_is_said_to_be() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = taken.local_addr().unwrap().to_string();
    world
        .run(&["up", "--http", &http])
        .fails(1, "HTTP cannot be served on", "--http 127.0.0.1:0");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    world.run(&["up", "--listen", &listen]).fails(
        1,
        "cannot be listened for on",
        "--listen 127.0.0.1:0",
    );
}

#[test]
fn a_rendezvous_directory_that_others_can_read_is_refused() {
    let world = World::new();
    let directory = world.runtime().join("quorate");
    fs::create_dir(&directory).unwrap();
    mode(&directory, 0o755);
    let says = "is open to others (mode 755): run `chmod 700";
    world.run(&["up"]).fails(1, says, "XDG_RUNTIME_DIR");
    world.run(&["get", "k"]).fails(1, says, "XDG_RUNTIME_DIR");
}

#[test]
fn where_no_peer_runs_the_way_to_one_is_said() {
    let world = World::new();
    for command in [
        &["put", "k", "v"][..],
        &["get", "k"],
        &["delete", "k"],
        &["watch"],
        &["status"],
        &["members"],
        &["leave"],
        &["member", "transfer-leader"],
    ] {
        world
            .run(command)
            .fails(1, "no peer of group kv in network default", "quorate up");
        let gone = [command, &["--http", "127.0.0.1:1"]].concat();
        world
            .run(&gone)
            .fails(1, "no peer answers at http://127.0.0.1:1", "quorate up");
    }
}

#[test]
fn a_foreign_server_is_no_peer() {
    let world = World::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = server.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "SSH-2.0-x\r\n",
        ] {
            let (mut client, _) = server.accept().unwrap();
            let mut asked = [0; 16];
            client.read_exact(&mut asked).unwrap();
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    let ask = || world.run(&["status", "--http", &http]);
    ask().fails(1, "not that of a peer", "same release");
    ask().fails(1, "broke the connection off", "--http ADDRESS");
    answering.join().unwrap();
}
