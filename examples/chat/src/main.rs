//! A chat without a server.
//!
//! Start it in a few terminals of one machine:
//!
//! ```text
//! cargo run -p chat -- --name ada
//! cargo run -p chat -- --name grace
//! ```
//!
//! Every process is a peer and holds the whole chat. There is no first one: whoever starts finds
//! the others, and whoever stays keeps what was said. The program has three parts, and what they
//! do with the library is all there is to it:
//!
//! - this file: becoming a peer, opening the group, leaving;
//! - `room.rs`: what a message is, how it gets a place among the others, how it is read;
//! - `terminal.rs`: lines in, lines out; nothing of the library.

#![forbid(unsafe_code)]
// A chat prints.
#![allow(clippy::print_stdout)]

mod room;
mod terminal;

use std::time::Duration;

use clap::Parser;
use quorate::prelude::*;
use tokio::sync::mpsc;

use crate::{
    room::{News, Room, What},
    terminal::{Line, note, show},
};

/// Lines that wait to be said: nobody types more before the first has its place.
const UNSAID: usize = 64;

/// How long finding the others may take before the program says what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// A chat without a server, for the terminals of one machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What the others call you
    #[arg(long, value_parser = terminal::name)]
    name: String,
    /// Where you meet them
    #[arg(long, default_value = "lobby", value_parser = terminal::name)]
    room: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // A peer of the network called "chat". It has a key of its own, listens on a free port of
    // 127.0.0.1, and finds the network's other peers on this machine by itself.
    let net = Network::builder("chat").build().await?;
    // A room is a group: its members replicate one log. Nobody says who founds it. If there is
    // one, this peer joins it; if not, one peer founds it and the others join.
    let group = net.group(GroupKey::named(&arguments.room)).open().await?;
    let room = Room::new(&net, &group, &arguments.name);
    let result = chat(&room, &group, &arguments).await;
    // In good order: the others need not find out by themselves that this peer is gone.
    net.close().await;
    result
}

/// Enters, talks until the user leaves, and says so to the others.
async fn chat(room: &Room, group: &Group, arguments: &Arguments) -> anyhow::Result<()> {
    let mut lines = terminal::lines();
    let place = &arguments.room;
    note(&format!("looking for the {place} on this machine"));
    if !enter(group, &mut lines).await? {
        return Ok(());
    }
    note(&format!(
        "you are {} in the {place}; /who tells who is here, /quit leaves",
        arguments.name
    ));
    let mut news = room.news().await?;
    // Saying may have to wait for a new leader. A task of its own waits, so that what the others
    // say shows meanwhile; it takes one line after the other, so that they stay in order.
    let (unsaid, waiting) = mpsc::channel(UNSAID);
    let mut talker = tokio::spawn(talk(room.clone(), waiting));
    let result = converse(room, &mut news, &mut lines, unsaid).await;
    // What was typed before is still said, and a goodbye, but nobody waits for it for long.
    if tokio::time::timeout(PATIENCE, &mut talker).await.is_err() {
        talker.abort();
        note("the others were not told that you leave: nobody answers");
    }
    result
}

/// Waits until this peer holds what the room holds; false if the user does not want to wait.
async fn enter(group: &Group, lines: &mut mpsc::Receiver<Line>) -> anyhow::Result<bool> {
    let when = group.when();
    let mut told = false;
    loop {
        tokio::select! {
            entered = tokio::time::timeout(PATIENCE, when.caught_up()) => match entered {
                Ok(status) => return Ok(status.map(|_| true)?),
                Err(_) if told => {}
                Err(_) => {
                    // Why it takes long, in words: who is missing, and what would help.
                    if let Some(why) = group.status().standstill() {
                        note(&format!("{why}"));
                    }
                    note("still waiting; Ctrl-C gives up");
                    told = true;
                }
            },
            line = lines.recv() => match line {
                Some(Line::Quit) | None => return Ok(false),
                Some(_) => note("not yet: nobody would hear it"),
            },
        }
    }
}

/// Shows what happens and passes on what the user says, until the user leaves.
async fn converse(
    room: &Room,
    news: &mut News,
    lines: &mut mpsc::Receiver<Line>,
    unsaid: mpsc::Sender<String>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            said = news.next() => match said? {
                Some(said) => show(&said),
                None => return Ok(()),
            },
            line = lines.recv() => match line {
                Some(Line::Said(text)) => {
                    if unsaid.try_send(text).is_err() {
                        note("not said: much else still waits to be said");
                    }
                }
                Some(Line::Who) => terminal::list(&room.people().await?),
                Some(Line::Unknown(command)) => {
                    note(&format!("no such command: {command}; there are /who and /quit"));
                }
                Some(Line::Quit) | None => return Ok(()),
            },
        }
    }
}

/// Says that the user came, one line after the other, and that the user left.
async fn talk(room: Room, mut unsaid: mpsc::Receiver<String>) {
    if let Err(error) = room.come().await {
        note(&format!("the others were not told that you came: {error}"));
    }
    while let Some(text) = unsaid.recv().await {
        if let Err(error) = room.say(What::Said(text.clone())).await {
            note(&format!("not said: {text}: {error}"));
        }
    }
    if let Err(error) = room.leave().await {
        note(&format!("the others were not told that you left: {error}"));
    }
}
