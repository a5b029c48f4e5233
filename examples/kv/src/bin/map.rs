//! A key-value store on equal peers: start it in as many terminals as you like.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // It answers on the terminal.

use quorate::prelude::*;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // One peer of the network "kv"; others on this machine are found by themselves.
    let net = Network::builder("kv").build().await?;
    // Joins the group if there is one; if not, one of the peers founds it.
    let group = net.group(GroupKey::named("stock")).open().await?;
    group.when().caught_up().await?;
    println!("ready: put KEY VALUE, get KEY, delete KEY, list");

    // One of the group's maps. They come to be by being written to.
    let stock = group.map::<String, String>("stock");
    // Waiting for a line blocks this task only: the peer runs in tasks of its own.
    for line in std::io::stdin().lines() {
        if let Err(error) = answer(&stock, &line?).await {
            println!("{error}");
        }
    }
    // In good order: the others need not find out by themselves.
    net.close().await;
    Ok(())
}

async fn answer(stock: &Map<String, String>, line: &str) -> anyhow::Result<()> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["put", key, value] => {
            // Returns once a majority of the voters has it: with its cursor, its place in the log,
            // and with its outcome, the value that was there.
            let done = stock.insert(key.to_owned(), value.to_owned()).await?;
            println!("{key} is {value}, was {:?}", done.outcome);
        }
        ["delete", key] => {
            let done = stock.remove(key.to_owned()).await?;
            println!("{key} is gone, was {:?}", done.outcome);
        }
        // Sees every write that was acknowledged anywhere before it began. `Read::Local` would
        // cost no message and see what this peer has; `Read::AtLeast(done.cursor)` one's own.
        ["get", key] => println!("{key} is {:?}", stock.get(key, Read::Linearizable).await?),
        ["list"] => {
            // One consistent snapshot, in the order of the keys, while writes go on.
            for item in stock.iter(Read::Linearizable).await? {
                let (key, value) = item?;
                println!("{key} is {value}");
            }
        }
        _ => println!("put KEY VALUE, get KEY, delete KEY, list"),
    }
    Ok(())
}
