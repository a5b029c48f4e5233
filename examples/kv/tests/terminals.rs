//! The two programs as people use them, each in two terminals: what the README shows.

use std::path::Path;

use quorate_tests::{
    terminal::{Terminal, meeting_place},
    transcript::{Transcript, transcripts},
};

const README: &str = include_str!("../README.md");

const MAP: (&str, &str) = (env!("CARGO_BIN_EXE_map"), "-p kv --bin map");
const MACHINE: (&str, &str) = (env!("CARGO_BIN_EXE_machine"), "-p kv --bin machine");

fn start((program, run): (&str, &str), shown: &Transcript, place: &Path) -> Terminal {
    let mut terminal = Terminal::start(program, &shown.arguments_of(run), place);
    terminal.sees("ready:");
    terminal
}

/// Types a line and waits for its answer.
fn ask(terminal: &mut Terminal, line: &str, answer: &str) {
    terminal.types(line);
    terminal.sees(&format!("{line}\n"));
    terminal.sees(answer);
}

#[test]
fn a_map_is_one_in_all_terminals() {
    let place = meeting_place();
    let shown = transcripts(README);
    let mut one = start(MAP, &shown[0], place.path());
    ask(&mut one, "put apple 7", "apple is 7");
    ask(&mut one, "put pear 3", "pear is 3");
    let mut two = start(MAP, &shown[1], place.path());
    ask(&mut two, "get apple", "Some(\"7\")");
    ask(&mut two, "put apple 8", "was Some(\"7\")");
    ask(&mut one, "get apple", "Some(\"8\")");
    ask(&mut one, "list", "pear is 3");
    ask(&mut two, "delete plum", "plum is gone");
    two.closes();
    two.ends_as(&shown[1]);
    one.closes();
    one.ends_as(&shown[0]);
}

#[test]
fn a_bank_refuses_what_it_must() {
    let place = meeting_place();
    let shown = transcripts(README);
    let mut one = start(MACHINE, &shown[2], place.path());
    ask(&mut one, "open ada 100", "Ok(100)");
    ask(&mut one, "open grace 20", "Ok(20)");
    ask(&mut one, "move ada grace 30", "Ok(70)");
    let mut two = start(MACHINE, &shown[3], place.path());
    ask(&mut two, "balance grace", "Some(50)");
    ask(&mut two, "open ada 1", "Err(Exists)");
    ask(&mut one, "move ada grace 80", "Err(Balance(70))");
    ask(&mut one, "move ada alan 1", "NoAccount");
    ask(&mut one, "sum", "Some(120)");
    two.closes();
    two.ends_as(&shown[3]);
    one.closes();
    one.ends_as(&shown[2]);
}
