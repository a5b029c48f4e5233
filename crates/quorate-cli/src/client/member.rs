//! `member`: what is done to the members of a group.

use clap::{Args, Subcommand};
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    outcome::Outcome,
    output::{self, Format, OutputArgs},
    words,
};

use super::{Target, call::Question, run, unprinted};

/// Options of `quorate member`.
#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    /// Have another voter lead.
    TransferLeader(TransferLeaderArgs),
}

/// Options of `quorate member transfer-leader`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate member transfer-leader               to the voter that is best caught up
  quorate member transfer-leader 7f9c24e8b1    to the voter whose id begins like this
")]
struct TransferLeaderArgs {
    /// The voter that is to lead: its id, or as much of its beginning as no other voter shares.
    ///
    /// [default: the voter that is best caught up]
    #[arg(value_name = "PEER")]
    to: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// Does what is asked of the members.
pub(crate) fn member(args: MemberArgs) -> Outcome {
    match args.command {
        MemberCommand::TransferLeader(args) => transfer_leader(args),
    }
}

fn transfer_leader(args: TransferLeaderArgs) -> Outcome {
    run(async {
        let peer = args.target.peer().await?;
        let ms = args.target.timeout_ms.as_millis();
        let path = format!("/v1/transfer-leader?timeout_ms={ms}");
        let kind = HeaderValue::from_static("application/json");
        let answer = peer
            .ask(Question {
                method: Method::POST,
                headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
                body: json!({"to": args.to}).to_string().into(),
                ..Question::get(path, args.target.timeout_ms)
            })
            .await?;
        let answer: Value = answer.json()?;
        let text = match args.output.format() {
            Format::Table => match answer["leader"].as_str() {
                Some(leader) => format!("{} leads\n", words::id(leader, args.output.full_ids)),
                None => "the lead was handed over\n".to_owned(),
            },
            Format::Json | Format::Jsonl => output::line(&answer),
        };
        output::print(text.as_bytes()).map_err(|error| unprinted(&error))
    })
}
