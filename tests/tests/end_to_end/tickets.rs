//! Tickets, notes and identities: how peers beyond one directory find each other.

use std::time::Duration;

use crate::common::{meeting_place, soon};
use quorate::{
    BuildError, Form, Network, NetworkBuilder, Read, Ticket, TicketError,
    rendezvous::{RendezvousError, live},
};

const SECRET: [u8; 32] = [42; 32];

fn builder(directory: &tempfile::TempDir) -> NetworkBuilder {
    Network::builder("shop").rendezvous(directory.path())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_lets_a_peer_of_another_directory_in() {
    let (here, there) = (meeting_place(), meeting_place());
    let first = builder(&here).build().await.unwrap();
    let ticket = first.ticket(SECRET);
    let key = ticket.group_key("orders");
    let group = first.group(key).form(Form::Alone).open().await.unwrap();
    let stock = group.map::<String, u64>("stock");
    let done = soon(stock.insert("apple".to_owned(), 7)).await.unwrap();

    // The ticket travels as text.
    let ticket: Ticket = ticket.to_string().parse().unwrap();
    let second = builder(&there).ticket(&ticket).build().await.unwrap();
    let key = ticket.group_key("orders");
    let joined = second.group(key).open().await.unwrap();
    assert_eq!(joined.id(), group.id());
    soon(joined.when().caught_up()).await.unwrap();
    let stock = joined.map::<String, u64>("stock");
    let read = stock.get("apple", Read::AtLeast(done.cursor));
    assert_eq!(soon(read).await.unwrap(), Some(7));

    for net in [second, first] {
        net.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_came_by_tickets_get_to_know_each_other_and_survive_the_first() {
    let places = [meeting_place(), meeting_place(), meeting_place()];
    let first = builder(&places[0]).build().await.unwrap();
    let ticket = first.ticket(SECRET);
    let open = |net: &Network| net.group(ticket.group_key("orders"));
    let founder = open(&first).form(Form::Alone).open().await.unwrap();
    soon(founder.when().leader_elected()).await.unwrap();
    let second = builder(&places[1]).ticket(&ticket).build().await.unwrap();
    let early = open(&second).open().await.unwrap();
    soon(early.when().caught_up()).await.unwrap();
    // Whoever joined by a ticket lets others in by its own: the leader is somebody else.
    let other = second.ticket(SECRET);
    let third = builder(&places[2]).ticket(&other).build().await.unwrap();
    let late = open(&third).open().await.unwrap();
    // Not as long as the old voters count, too.
    soon(late.when().voters(3)).await.unwrap();
    let map = early.map::<u64, u64>("n");
    soon(map.insert(1, 1)).await.unwrap();

    // Without a link between the other two there would be no majority.
    drop((first, founder));
    let elected = late.when().leader_other_than(ticket.peer);
    soon(elected).await.unwrap();
    let write = late.map::<u64, u64>("n").insert(2, 2);
    soon(write.timeout(Duration::from_secs(60))).await.unwrap();
    third.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_another_network_is_refused_by_both_names() {
    let directory = meeting_place();
    let net = Network::builder("bar").rendezvous(directory.path());
    let net = net.build().await.unwrap();
    let ticket = net.ticket(SECRET);
    let error = builder(&directory).ticket(&ticket).build().await;
    let error = error.unwrap_err();
    assert!(matches!(error, BuildError::TicketOfAnotherNetwork { .. }));
    let said = error.to_string();
    assert!(
        said.contains("\"bar\"") && said.contains("\"shop\""),
        "{said}"
    );
    let text = ticket.to_string();
    let cut = text[..text.len() / 2].parse::<Ticket>();
    assert_eq!(cut.unwrap_err(), TicketError::CutShort);
    net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_is_in_use_once_on_a_machine() {
    let directory = meeting_place();
    let identity = || builder(&directory).secret_key([7; 32]);
    let first = identity().build().await.unwrap();
    let error = soon(Box::pin(identity().build())).await.unwrap_err();
    let own = std::process::id();
    match &error {
        BuildError::IdentityInUse { peer, pid } => {
            assert_eq!((*peer, *pid), (first.peer(), own));
        }
        other => panic!("{other:?}"),
    }
    let said = error.to_string();
    assert!(said.contains(&first.peer().short()), "{said}");
    assert!(said.contains(&own.to_string()), "{said}");

    // Whoever takes another's place waits until it has gone.
    let (again, ()) = tokio::join!(identity().build(), first.close());
    let again = again.unwrap();
    assert_eq!(again.peer(), first.peer());
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_are_found_by_whoever_looks_and_go_with_the_peer() {
    let directory = meeting_place();
    let look = |network| live(network, Some(directory.path())).unwrap();
    assert_eq!(look("shop"), []);
    let net = builder(&directory)
        .note("http", "127.0.0.1:1")
        .note("group", "the big one")
        .note("http", "127.0.0.1:8080")
        .build()
        .await
        .unwrap();
    let found = look("shop");
    assert_eq!(found.len(), 1);
    let (peer, card) = &found[0];
    assert_eq!(*peer, net.peer());
    assert_eq!(card.addresses, net.addresses());
    assert_eq!(card.notes["http"], "127.0.0.1:8080");
    assert_eq!(card.notes["group"], "the big one");
    assert_eq!(look("bar"), []);
    net.close().await;
    assert_eq!(look("shop"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_peer_can_be_made_of_is_refused_by_name() {
    let directory = meeting_place();
    for name in ["pid", "two words", ""] {
        let error = builder(&directory).note(name, "text").build().await;
        assert!(error.unwrap_err().to_string().contains(name));
    }
    let long = Network::builder(&"n".repeat(256)).rendezvous(directory.path());
    let error = long.build().await.unwrap_err();
    assert!(matches!(error, BuildError::NetworkName { len: 256 }));
    // A directory that others can read.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let refused = live("shop", Some(directory.path())).unwrap_err();
    assert!(matches!(refused, RendezvousError::Open { .. }), "{refused}");
    assert!(builder(&directory).build().await.is_err());
}
