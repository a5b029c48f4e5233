//! The machine of sums as an application of Quorate writes it, and three peers that run it.
//!
//! Command and answer are those of [`crate::sums`]; the sums are items of the group's tree, where
//! everything that a machine of Quorate's remembers is.

use anyhow::Context as _;
use futures::future::try_join_all;
use quorate::{
    ApplyContext, Form, Group, GroupKey, ItemError, Network, StateMachine, Switchboard, Table, View,
};

use crate::sums::{COMMAND, added_to, read_command};

const PEERS: usize = 3;

const SUMS: Table<u64, u64> = Table::new(1);

/// The machine.
pub(crate) struct Summing;

impl StateMachine for Summing {
    type Command = [u8; COMMAND];
    type Outcome = Result<u64, ItemError>;
    type Query = ();
    type Answer = ();

    fn name(&self) -> &str {
        "bench.sums"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: [u8; COMMAND]) -> Result<u64, ItemError> {
        let (which, added) = read_command(command);
        let sum = added_to(SUMS.get(cx.view(), &which).unwrap_or(0), added);
        SUMS.insert(cx, &which, &sum)?;
        Ok(sum)
    }

    fn query(&self, _: View<'_>, (): ()) {}
}

/// The peers.
pub(crate) struct Peers {
    networks: Vec<Network>,
    leader: Group<Summing>,
}

impl Peers {
    /// Starts the peers and waits for a leader.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let switchboard = Switchboard::new();
        let peers = try_join_all((0..PEERS).map(|_| start(&switchboard))).await?;
        let elected = peers[0].1.when().leader_elected().await?.peer;
        let led = peers
            .iter()
            .find(|(_, group)| group.status().peer == elected);
        let leader = led.context("a stranger leads")?.1.clone();
        Ok(Self {
            networks: peers.into_iter().map(|(network, _)| network).collect(),
            leader,
        })
    }

    /// Returns the group as its leader sees it.
    pub(crate) fn leader(&self) -> &Group<Summing> {
        &self.leader
    }

    /// Stops the peers.
    pub(crate) async fn close(self) {
        for network in self.networks {
            network.close().await;
        }
    }
}

async fn start(switchboard: &Switchboard) -> anyhow::Result<(Network, Group<Summing>)> {
    let network = Network::builder("bench")
        .within(switchboard)
        .build()
        .await?;
    let group = network.group(GroupKey::named("sums")).machine(Summing);
    let group = group.form(Form::Expect(PEERS)).open().await?;
    Ok((network, group))
}
