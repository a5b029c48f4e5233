//! The real driver beside the crate `openraft`: three peers of one process, and a number of client
//! tasks that each wait for their write before they begin the next.
//!
//! Neither has a network: `openraft`'s nodes call each other, Quorate's peers are plugged in at one
//! switchboard. Both apply the same commands to sums and answer with the sum; where the sums are
//! differs, as it does for whoever uses the libraries: in a table of `openraft`'s machine, in the
//! group's Merkle tree here.

use std::{sync::Arc, time::Instant};

use crate::{openraft_nodes::Nodes, sample::median, summing::Peers, sums::command};

const ROUNDS: usize = 5;

/// Both libraries' writes per second.
pub(crate) struct Pair {
    pub(crate) quorate: f64,
    pub(crate) openraft: f64,
}

/// Measures with this many clients.
pub(crate) async fn per_s(clients: u64) -> anyhow::Result<Pair> {
    let peers = Peers::start().await?;
    let nodes = Arc::new(Nodes::start().await?);
    let each = (40_960 / clients).clamp(40, 4_000);
    let (mut quorate, mut openraft) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let written = peers.leader().clone();
        let one = run(clients, each, move |number| {
            let write = written.execute(command(number));
            async move {
                write.await?.outcome?;
                Ok(())
            }
        })
        .await?;
        let written = Arc::clone(&nodes);
        let other = run(clients, each, move |number| {
            let write = written.write(number);
            async move { write.await.map(drop) }
        })
        .await?;
        if round > 0 {
            quorate.push(one);
            openraft.push(other);
        }
    }
    peers.close().await;
    if let Some(nodes) = Arc::into_inner(nodes) {
        nodes.close().await?;
    }
    Ok(Pair {
        quorate: median(quorate),
        openraft: median(openraft),
    })
}

/// Has `clients` tasks write `each` times; returns how many writes were answered per second.
async fn run<W>(
    clients: u64,
    each: u64,
    write: impl Fn(u64) -> W + Clone + Send + 'static,
) -> anyhow::Result<f64>
where
    W: Future<Output = anyhow::Result<()>> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let write = write.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    write(client + number * clients).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((clients * each) as f64 / began.elapsed().as_secs_f64())
}
