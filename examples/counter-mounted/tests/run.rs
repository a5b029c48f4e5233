//! The program as people run it: what the README shows.

use quorate_tests::{
    terminal::{Terminal, meeting_place},
    transcript::transcripts,
};

#[test]
fn two_protocols_share_an_endpoint() {
    let place = meeting_place();
    let shown = &transcripts(include_str!("../README.md"))[0];
    let arguments = shown.arguments_of("-p counter-mounted");
    let program = env!("CARGO_BIN_EXE_counter-mounted");
    Terminal::start(program, &arguments, place.path()).ends_as(shown);
}
