//! `put`, `get` and `delete`.

use std::{
    fs::File,
    io::{Read as _, stdin},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use data_encoding::BASE64;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use crate::{
    limits::BODY,
    outcome::{Code, Failure, Outcome},
    output::{self, Format, OutputArgs},
};

use super::{
    Target,
    call::{Question, segment},
    run, unprinted,
};

/// Options of `quorate put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate put hello world
  quorate put config --file config.json
  date | quorate put now -
")]
pub(crate) struct PutArgs {
    /// The key.
    key: String,
    /// The value; - takes it from stdin.
    #[arg(
        required_unless_present = "file",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    value: Option<String>,
    /// Take the value from a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `quorate get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate get hello
  quorate get hello --consistency local
  quorate get photo > photo.jpg
")]
pub(crate) struct GetArgs {
    /// The key.
    key: String,
    /// How fresh the value must be: linearizable, local, or `at_least:CURSOR`.
    #[arg(long, value_name = "HOW", default_value = "linearizable")]
    consistency: String,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `quorate delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate delete hello
")]
pub(crate) struct DeleteArgs {
    /// The key.
    key: String,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a write answers.
#[derive(Debug, Deserialize)]
struct Written {
    existed: bool,
}

/// Writes a value.
pub(crate) fn put(args: PutArgs) -> Outcome {
    run(async {
        let body = match (&args.file, args.value.as_deref()) {
            (Some(path), _) => from_file(path)?,
            (None, Some("-")) => limited(stdin().lock(), "stdin")?,
            (None, value) => value.unwrap_or_default().to_owned().into(),
        };
        let path = at(&args.key, &args.target, "");
        write(
            Method::PUT,
            path,
            body,
            &args.key,
            &args.target,
            args.output,
        )
        .await
    })
}

/// Removes a value.
pub(crate) fn delete(args: DeleteArgs) -> Outcome {
    run(async {
        let path = at(&args.key, &args.target, "");
        let (key, target) = (&args.key, &args.target);
        write(Method::DELETE, path, Bytes::new(), key, target, args.output).await
    })
}

async fn write(
    method: Method,
    path: String,
    body: Bytes,
    key: &str,
    target: &Target,
    output: OutputArgs,
) -> Result<(), Failure> {
    let done = if method == Method::PUT {
        "written"
    } else {
        "removed"
    };
    let peer = target.peer().await?;
    let question = Question {
        method,
        body,
        ..Question::get(path, target.timeout_ms)
    };
    let answer = peer.ask(question).await?;
    let Written { existed } = answer.json()?;
    let cursor = answer.cursor();
    let text = match output.format() {
        Format::Table => {
            let what = if done == "removed" && !existed {
                "was not there"
            } else {
                done
            };
            format!(
                "{key} {what}, at cursor {}\n",
                short(cursor, output.full_ids)
            )
        }
        Format::Json | Format::Jsonl => {
            output::line(&json!({"key": key, "existed": existed, "cursor": cursor}))
        }
    };
    output::print(text.as_bytes()).map_err(|error| unprinted(&error))
}

/// Reads a value.
pub(crate) fn get(args: GetArgs) -> Outcome {
    run(async {
        let consistency = format!("&consistency={}", segment(&args.consistency));
        let path = at(&args.key, &args.target, &consistency);
        let peer = args.target.peer().await?;
        let answer = peer
            .ask(Question::get(path, args.target.timeout_ms))
            .await?;
        let printed = match args.output.format() {
            Format::Table => {
                let on_a_screen = output::is_terminal() && !answer.body.ends_with(b"\n");
                let end: &[u8] = if on_a_screen { b"\n" } else { b"" };
                output::print(&answer.body).and_then(|()| output::print(end))
            }
            Format::Json | Format::Jsonl => output::print(
                output::line(&json!({
                    "key": args.key,
                    "value": BASE64.encode(&answer.body),
                    "cursor": answer.cursor(),
                }))
                .as_bytes(),
            ),
        };
        printed.map_err(|error| unprinted(&error))
    })
}

/// Returns the path of a key with the parameters of a request.
fn at(key: &str, target: &Target, more: &str) -> String {
    let ms = target.timeout_ms.as_millis();
    format!("/v1/kv/{}?timeout_ms={ms}{more}", segment(key))
}

/// Shows a cursor: without its history, which rarely changes, unless all of it is wanted.
fn short(cursor: Option<&str>, full: bool) -> String {
    match cursor {
        Some(cursor) if full => cursor.to_owned(),
        Some(cursor) => {
            let place = cursor.split_once('/').map_or(cursor, |(_, place)| place);
            format!("({})", place.replace('/', ", "))
        }
        None => "unknown".to_owned(),
    }
}

fn from_file(path: &Path) -> Result<Bytes, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("{name} cannot be read: {error}"),
            "name a file that exists and that you may read",
        )
    })?;
    limited(file, &name)
}

/// Reads a value; what is larger than any command may be is refused here already.
fn limited(source: impl std::io::Read, name: &str) -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    let most = BODY as u64 + 1;
    source.take(most).read_to_end(&mut value).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("{name} cannot be read: {error}"),
            "check it and try again",
        )
    })?;
    if value.len() > BODY {
        return Err(Failure::new(
            Code::Failed,
            format!("{name} is larger than {BODY} bytes, the largest value"),
            "split it over several keys",
        ));
    }
    Ok(value.into())
}
