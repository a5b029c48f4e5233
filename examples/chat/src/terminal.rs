//! Lines in, lines out.
//!
//! What a user types stands on the screen as it was typed; what appears with a time and a name is
//! what the room holds, in the order in which everybody sees it. Lines of the program itself
//! begin with two dashes.

use std::io::BufRead as _;

use chrono::{DateTime, Local};
use tokio::sync::mpsc;

use crate::room::{Person, Said, What};

/// Lines that were typed ahead of the program.
const TYPED: usize = 16;

/// The longest name, in characters.
const NAME: usize = 24;

/// One line of the user's.
#[derive(Debug)]
pub(crate) enum Line {
    /// To be said to all.
    Said(String),
    /// Who is here?
    Who,
    /// Leaves the chat; so do the end of the input and Ctrl-C.
    Quit,
    /// A command that there is not.
    Unknown(String),
}

/// Reads standard input on a thread of its own: such a read cannot be cancelled, and must keep
/// nothing else from ending.
pub(crate) fn lines() -> mpsc::Receiver<Line> {
    let (typed, lines) = mpsc::channel(TYPED);
    let interrupted = typed.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            // Nobody listens any more: the program ends anyhow.
            drop(interrupted.send(Line::Quit).await);
        }
    });
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Some(line) = parse(&line) else { continue };
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
        drop(typed.blocking_send(Line::Quit));
    });
    lines
}

fn parse(line: &str) -> Option<Line> {
    let line = line.trim();
    Some(match line {
        "" => return None,
        "/quit" => Line::Quit,
        "/who" => Line::Who,
        command if command.starts_with('/') => Line::Unknown(command.to_owned()),
        text => Line::Said(text.to_owned()),
    })
}

/// Accepts names that fit into a line: of people, and of rooms.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_alphanumeric() || ['-', '_', '.'].contains(&c);
    if text.is_empty() || text.chars().count() > NAME || !text.chars().all(fits) {
        return Err(format!(
            "1 to {NAME} letters, digits, dashes, dots and underscores"
        ));
    }
    Ok(text.to_owned())
}

/// Prints what the program itself has to say.
pub(crate) fn note(text: &str) {
    println!("-- {text}");
}

/// Prints a message as everybody has it.
pub(crate) fn show(said: &Said) {
    let (time, name) = (clock(said.at), clean(&said.name));
    match &said.what {
        What::Said(text) => println!("{time} {name}: {}", clean(text)),
        What::Came => println!("{time} {name} came"),
        What::Left => println!("{time} {name} left"),
    }
}

/// Prints who is here.
pub(crate) fn list(people: &[(Person, Option<i64>)]) {
    for (person, silent) in people {
        let (name, since) = (clean(&person.name), clock(person.since));
        match silent {
            None => note(&format!("{name}, since {since}")),
            Some(silent) => {
                let silent = clock(*silent);
                note(&format!("{name}, since {since}, silent since {silent}"));
            }
        }
    }
}

fn clock(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).map_or_else(
        || "--:--".to_owned(),
        |time| time.with_timezone(&Local).format("%H:%M").to_string(),
    )
}

/// Leaves out what would move the cursor or ring the bell: others write what is shown here.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Line, clean, name, parse};

    #[test]
    fn lines_are_told_apart() {
        assert!(parse("  ").is_none());
        assert!(matches!(parse("/quit "), Some(Line::Quit)));
        assert!(matches!(parse("/who"), Some(Line::Who)));
        assert!(matches!(parse("/when"), Some(Line::Unknown(command)) if command == "/when"));
        assert!(matches!(parse(" so /who"), Some(Line::Said(text)) if text == "so /who"));
    }

    #[test]
    fn what_others_write_moves_no_cursor() {
        assert_eq!(clean("a\u{1b}[2J\u{7}b\tc"), "a[2Jbc");
        assert!(name("ada.l-1").is_ok());
        for wrong in ["", "a b", "a\n", "abcdefghijklmnopqrstuvwxy"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }
}
