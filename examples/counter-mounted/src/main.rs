//! Quorate as a guest: on an endpoint and a router that the application owns.
//!
//! An application that already speaks iroh need not open a second socket, nor have a second
//! identity: it mounts the network on its endpoint, and puts the protocol that it gets back on its
//! router, beside its own. Here that is an echo. Three such nodes run in this one process; they
//! count together, and greet each other over the same connections' endpoint.
//!
//! ```text
//! node                               node
//!   endpoint, one key, one port  <---> endpoint
//!   router                             router
//!     quorate::ALPN    the group         quorate::ALPN
//!     b"/echo/1"       the echo          b"/echo/1"
//! ```

#![forbid(unsafe_code)]
// An example prints.
#![allow(clippy::print_stdout)]

mod echo;

use futures::future::{join_all, try_join_all};
use quorate::{
    iroh::{Endpoint, protocol::Router},
    prelude::*,
    presets::Loopback,
};

use crate::echo::Echo;

/// How often each node counts.
const COUNTS: u64 = 100;

/// One application: its endpoint and router, and its seat in the group.
struct Node {
    router: Router,
    net: Network,
    counter: Map<String, u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = try_join_all((0..3).map(|_| start())).await?;
    println!("3 nodes, each with one endpoint for two protocols");

    // All count at once, and no count is lost.
    try_join_all(nodes.iter().map(count)).await?;
    let counted = nodes[0].counter.get("total", Read::Linearizable).await?;
    println!("they counted to {} together", counted.unwrap_or(0));

    // The application's own protocol goes on beside it, on the same endpoints.
    let (first, last) = (&nodes[0].router, &nodes[2].router);
    let answer = echo::ask(first.endpoint(), last.endpoint().addr(), "are you there?").await?;
    println!("the echo between the first and the last says: {answer}");

    // The network is closed without the endpoint: that is the application's.
    join_all(nodes.iter().map(|node| node.net.close())).await;
    let answer = echo::ask(first.endpoint(), last.endpoint().addr(), "still there?").await?;
    println!("after the networks are closed it says: {answer}");
    try_join_all(nodes.iter().map(|node| node.router.shutdown())).await?;
    Ok(())
}

async fn start() -> anyhow::Result<Node> {
    // An endpoint as the application wants it: here on this machine only, without any relay.
    let endpoint = Endpoint::builder(Loopback::default()).bind().await?;
    let net = Network::builder("counter-mounted");
    let (net, protocol) = net.mount(endpoint.clone()).await?;
    let router = Router::builder(endpoint)
        .accept(echo::ALPN, Echo)
        .accept(quorate::ALPN, protocol)
        .spawn();
    // Three are expected: whoever comes first waits for the others, and they found it together.
    let group = net.group(GroupKey::named("count")).form(Form::Expect(3));
    let group = group.open().await?;
    group.when().caught_up().await?;
    let counter = group.map("counter");
    Ok(Node {
        router,
        net,
        counter,
    })
}

/// Counts on from whatever is there: the others do the same at the same time.
async fn count(node: &Node) -> anyhow::Result<()> {
    let mut seen = None;
    for _ in 0..COUNTS {
        loop {
            let next = seen.unwrap_or(0) + 1;
            let total = "total".to_owned();
            let done = node
                .counter
                .compare_exchange(total, seen, Some(next))
                .await?;
            // What is there now: our count, or that of another node, from which we go on.
            seen = done.outcome.current;
            if done.outcome.swapped {
                break;
            }
        }
    }
    Ok(())
}
