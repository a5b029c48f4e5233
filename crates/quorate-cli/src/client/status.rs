//! `status` and `members`.

use std::{io::IsTerminal as _, time::Duration};

use chrono::{DateTime, Local};
use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    http::{PeerBody, StatusBody},
    outcome::{Failure, Outcome},
    output::{self, Format, OutputArgs, columns},
    words,
};

use super::{
    Target,
    call::{Peer, Question},
    run, unprinted,
};

/// Options of `quorate status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate status
  quorate status --watch
  quorate status -o json
")]
pub(crate) struct StatusArgs {
    /// Go on: print it again whenever it changes, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `quorate members`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate members
  quorate members -o jsonl
")]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// A member, as `members` lists it.
#[derive(Debug, Serialize)]
struct MemberLine<'a> {
    peer: &'a str,
    /// Voter or learner.
    counts: &'static str,
    leads: bool,
    /// Whether it is the peer that was asked.
    asked: bool,
    link: Option<&'a str>,
    since: Option<&'a str>,
    /// Of a learner, why it does not vote; the leader knows.
    why: Option<&'a str>,
}

/// Between two looks of `status --watch`.
const LOOK: Duration = Duration::from_millis(250);

/// Prints how the group stands.
pub(crate) fn status(args: StatusArgs) -> Outcome {
    run(async {
        let peer = args.target.peer().await?;
        if args.watch {
            return watch(peer, &args).await;
        }
        let status = ask(&peer, &args.target).await?;
        output::print(shown(&status, args.output).as_bytes()).map_err(|error| unprinted(&error))
    })
}

/// Prints who belongs to the group.
pub(crate) fn members(args: MembersArgs) -> Outcome {
    run(async {
        let peer = args.target.peer().await?;
        let status = ask(&peer, &args.target).await?;
        let lines = member_lines(&status);
        let text = match args.output.format() {
            Format::Table => member_table(&lines, args.output.full_ids),
            Format::Json => output::line(&serde_json::json!({"members": lines})),
            Format::Jsonl => lines.iter().map(output::line).collect(),
        };
        output::print(text.as_bytes()).map_err(|error| unprinted(&error))
    })
}

async fn ask(peer: &Peer, target: &Target) -> Result<StatusBody, Failure> {
    let answer = peer
        .ask(Question::get("/v1/status", target.timeout_ms))
        .await?;
    answer.json()
}

/// Prints the status again and again: in its place on a terminal, below otherwise.
///
/// A peer that goes away is replaced by another, if another can be found.
async fn watch(mut peer: Peer, args: &StatusArgs) -> Result<(), Failure> {
    let in_place = args.output.format() == Format::Table && std::io::stdout().is_terminal();
    let mut last = String::new();
    loop {
        let status = match ask(&peer, &args.target).await {
            Ok(status) => status,
            Err(_) => {
                eprintln!("{peer} is gone; looking for another peer");
                peer = args.target.peer().await?;
                ask(&peer, &args.target).await?
            }
        };
        let text = shown(&status, args.output);
        if text != last {
            let text = match (in_place, last.is_empty()) {
                // Clears the screen and goes to its first line.
                (true, _) => format!("\u{1b}[2J\u{1b}[H{text}"),
                (false, false) if args.output.format() == Format::Table => format!("\n{text}"),
                _ => text.clone(),
            };
            output::print(text.as_bytes()).map_err(|error| unprinted(&error))?;
        }
        last = text;
        sleep(LOOK).await;
    }
}

fn shown(status: &StatusBody, output: OutputArgs) -> String {
    match output.format() {
        Format::Table => table(status, output.full_ids),
        Format::Json | Format::Jsonl => output::line(status),
    }
}

fn table(status: &StatusBody, full: bool) -> String {
    let id = |id: &str| words::id(id, full).to_owned();
    let ids = |list: &[String]| list.iter().map(|one| id(one)).collect::<Vec<_>>().join(" ");
    let genesis = status.genesis.as_deref().map(id);
    let group = match genesis {
        Some(genesis) => format!(
            "{} of network {}, genesis {genesis}",
            status.group, status.network
        ),
        None => format!(
            "{} of network {}, not joined yet",
            status.group, status.network
        ),
    };
    let mut rows = vec![
        ("peer", format!("{}, {}", id(&status.peer), status.role)),
        ("group", group),
        ("deciding", deciding(status, full)),
        ("voters", ids(&status.voters)),
    ];
    if !status.learners.is_empty() {
        rows.push(("learners", ids(&status.learners)));
    }
    rows.push((
        "log",
        format!(
            "committed up to {}, applied up to {}, begins after {}",
            status.commit, status.applied, status.base
        ),
    ));
    rows.push((
        "state",
        format!(
            "{} items with the group's own, {} bytes",
            status.items, status.bytes
        ),
    ));
    if status.version > quorate::Versions::BEGINNING {
        rows.push(("version", status.version.to_string()));
    }
    rows.push(("durability", status.durability.clone()));
    if let Some(session) = &status.session {
        let of = format!("{} of {} items", session.items, session.items_total);
        rows.push(("catch-up", of));
    }
    if let Some(other) = &status.conflict {
        rows.push(("CONFLICT", format!("the history {other} is in use too")));
    }
    if let Some(what) = &status.disk {
        rows.push(("DISK", what.clone()));
    }
    if let Some(reason) = &status.poisoned {
        rows.push(("ALARM", format!("takes no part any more: {reason}")));
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, text)| vec![name.to_owned(), text])
        .collect();
    let mut text = columns(&rows);
    if !status.peers.is_empty() {
        text.push('\n');
        text.push_str(&peer_table(&status.peers, full));
    }
    text
}

/// Says whether the group can decide, and why not.
fn deciding(status: &StatusBody, full: bool) -> String {
    match (&status.standstill, &status.leader) {
        (Some(why), _) => format!("no: {why}"),
        (None, Some(leader)) if *leader == status.peer => {
            format!("yes: this peer leads in term {}", status.term)
        }
        (None, Some(leader)) => {
            format!(
                "yes: {} leads in term {}",
                words::id(leader, full),
                status.term
            )
        }
        (None, None) => "not now: no leader is known".to_owned(),
    }
}

fn peer_table(peers: &[PeerBody], full: bool) -> String {
    let head = ["OTHER PEER", "LINK", "SINCE"].map(str::to_owned).to_vec();
    let rows = peers.iter().map(|peer| {
        vec![
            words::id(&peer.peer, full).to_owned(),
            peer.link.clone(),
            local(&peer.since),
        ]
    });
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn member_lines(status: &StatusBody) -> Vec<MemberLine<'_>> {
    let voters = status.voters.iter().map(|peer| (peer, "voter"));
    let learners = status.learners.iter().map(|peer| (peer, "learner"));
    voters
        .chain(learners)
        .map(|(peer, counts)| {
            let seen = status.peers.iter().find(|seen| seen.peer == *peer);
            MemberLine {
                peer,
                counts,
                leads: status.leader.as_ref() == Some(peer),
                asked: *peer == status.peer,
                link: seen.map(|seen| seen.link.as_str()),
                since: seen.map(|seen| seen.since.as_str()),
                why: status
                    .waiting
                    .iter()
                    .find(|waiting| waiting.peer == *peer)
                    .map(|waiting| waiting.why.as_str()),
            }
        })
        .collect()
}

fn member_table(lines: &[MemberLine<'_>], full: bool) -> String {
    let head = ["PEER", "COUNTS AS", "LEADS", "LINK", "SINCE"]
        .map(str::to_owned)
        .to_vec();
    let rows = lines.iter().map(|line| {
        let link = match (line.asked, line.link) {
            (true, _) => "the peer that was asked",
            (false, Some(link)) => link,
            (false, None) => "-",
        };
        vec![
            words::id(line.peer, full).to_owned(),
            match line.why {
                Some(why) => format!("{}: {why}", line.counts),
                None => line.counts.to_owned(),
            },
            if line.leads { "leads" } else { "-" }.to_owned(),
            link.to_owned(),
            line.since.map_or_else(|| "-".to_owned(), local),
        ]
    });
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Shows a time as it is here.
fn local(time: &str) -> String {
    match DateTime::parse_from_rfc3339(time) {
        Ok(time) => time.with_timezone(&Local).format("%F %T").to_string(),
        Err(_) => time.to_owned(),
    }
}
