//! The chat as people use it: each in a terminal, the README's story line by line.
//!
//! Every program runs in a pseudo-terminal. The next line is typed once everybody's screen shows
//! what the last one led to, so the screens do not depend on timing, and in the end they must be
//! what the README shows.

use std::path::Path;

use quorate_tests::{
    terminal::{Terminal, all_see, meeting_place},
    transcript::{Transcript, transcripts},
};

const README: &str = include_str!("../README.md");

#[test]
fn three_people_talk_one_leaves_and_comes_back() {
    let place = meeting_place();
    let shown = transcripts(README);
    let [ada_shown, grace_shown, alan_shown, again_shown] = &shown[..] else {
        panic!("the README shows four terminals: {shown:?}");
    };
    let mut ada = start(place.path(), ada_shown);
    ada.sees("ada came");
    ada.types("hello, is anybody here?");
    ada.sees("ada: hello");
    let mut grace = start(place.path(), grace_shown);
    all_see([&mut ada, &mut grace], "grace came");
    grace.types("I am");
    all_see([&mut ada, &mut grace], "grace: I am");
    let mut alan = start(place.path(), alan_shown);
    all_see([&mut ada, &mut grace, &mut alan], "alan came");
    alan.types("back in a minute");
    all_see([&mut ada, &mut grace, &mut alan], "alan: back");
    alan.types("/quit");
    all_see([&mut ada, &mut grace], "alan left");
    alan.ends_as(alan_shown);

    ada.types("he says that every time");
    all_see([&mut ada, &mut grace], "ada: he says");
    let mut again = start(place.path(), again_shown);
    // He came once before, and sees that too.
    again.sees("ada: he says");
    all_see([&mut ada, &mut grace, &mut again], "alan came");
    again.types("I can read that, you know");
    all_see([&mut ada, &mut grace, &mut again], "alan: I can");
    again.types("/who");
    again.sees("-- grace, since");
    again.types("/quit");
    all_see([&mut ada, &mut grace], "alan left");
    again.ends_as(again_shown);
    grace.types("/quit");
    ada.sees("grace left");
    grace.ends_as(grace_shown);
    ada.types("/quit");
    ada.ends_as(ada_shown);
}

/// Runs the command that the README shows.
fn start(place: &Path, shown: &Transcript) -> Terminal {
    let arguments = shown.arguments_of("-p chat");
    Terminal::start(env!("CARGO_BIN_EXE_chat"), &arguments, place)
}
