//! What answers do to one stream.

use super::*;
use crate::cursor::Term;

const PATIENCE: Duration = Duration::from_millis(200);

/// A conversation that streams, with nothing on its way.
fn streaming() -> Conversation {
    let mut one = Conversation::new(7, Index(5), Time(1));
    one.restart(Mode::Replicate, Index(5));
    one
}

#[test]
fn a_probe_is_one_append_at_a_time() {
    let mut one = Conversation::new(7, Index(5), Time(1));
    assert!(one.has_room());
    one.probed = Cursor::new(Term(1), Index(4));
    one.sent(Index(4), 0, Time(1), PATIENCE);
    assert!(!one.has_room());
    // An answer from before the probe proves nothing of it.
    one.acked(Index(3), Index(0), Time(2), PATIENCE);
    assert_eq!(one.mode, Mode::Probe);
    one.acked(Index(4), Index(0), Time(3), PATIENCE);
    assert_eq!((one.mode, one.next), (Mode::Replicate, Index(5)));
}

#[test]
fn what_is_not_answered_in_time_is_sent_again_from_the_match_on_and_later_each_time() {
    let mut one = streaming();
    one.sent(Index(9), 10, Time(1), PATIENCE);
    let first = Time(1).after(PATIENCE);
    assert!(!one.timed_out(Time(first.0 - 1)));
    one.matched = Index(6);
    assert!(one.timed_out(first));
    one.resend();
    assert_eq!((one.mode, one.next), (Mode::Probe, Index(7)));
    one.sent(Index(7), 10, first, PATIENCE);
    assert!(!one.timed_out(first.after(PATIENCE)));
    assert!(one.timed_out(first.after(PATIENCE * 2)));
}

#[test]
fn a_match_never_goes_back() {
    let mut one = streaming();
    one.acked(Index(9), Index(0), Time(1), PATIENCE);
    one.acked(Index(5), Index(0), Time(2), PATIENCE);
    assert_eq!(one.matched, Index(9));
}

#[test]
fn a_pause_ends_what_counts_as_steady() {
    let pause = Duration::from_millis(250);
    let mut one = Conversation::new(7, Index(5), Time(1));
    let soon = Time(1).after(Duration::from_millis(100));
    one.heard(soon, pause);
    assert_eq!(one.stable_since, Time(1));
    let late = soon.after(Duration::from_millis(300));
    one.heard(late, pause);
    assert_eq!((one.stable_since, one.heard), (late, late));
}
