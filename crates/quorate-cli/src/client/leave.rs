//! `leave`: having a peer give up its seat and stop.

use clap::Args;
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::json;

use crate::{
    outcome::Outcome,
    output::{self, Format, OutputArgs},
};

use super::{Target, call::Question, run, unprinted};

/// Options of `quorate leave`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate leave --http 127.0.0.1:8080
  quorate leave --dissolve               ends the group, if this is its last voter
")]
pub(crate) struct LeaveArgs {
    /// End the group if the peer is its last voter.
    #[arg(long)]
    dissolve: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// Has a peer leave.
pub(crate) fn leave(args: LeaveArgs) -> Outcome {
    run(async {
        let peer = args.target.peer().await?;
        let ms = args.target.timeout_ms.as_millis();
        let path = format!("/v1/leave?timeout_ms={ms}");
        let kind = HeaderValue::from_static("application/json");
        peer.ask(Question {
            method: Method::POST,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
            body: json!({"dissolve": args.dissolve}).to_string().into(),
            ..Question::get(path, args.target.timeout_ms)
        })
        .await?;
        let text = match args.output.format() {
            Format::Table => format!("the peer at {peer} has given up its seat and stops\n"),
            Format::Json | Format::Jsonl => {
                output::line(&json!({"left": true, "http": peer.to_string()}))
            }
        };
        output::print(text.as_bytes()).map_err(|error| unprinted(&error))
    })
}
