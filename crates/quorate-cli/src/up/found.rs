//! What a peer found in its data directory, in words.

use quorate::RecoveryReport;

use super::story::Story;

/// Tells what a peer found in its data directory; nothing if that was new.
pub(super) fn tell(found: &RecoveryReport, story: &Story) {
    let path = found.path.display();
    if found.ended {
        story.tell(format!(
            "ALARM: the earlier life of {path} is over, for it was copied, brought back, or its \
             superblock was bad; this peer joins as a new member and gets the state from the others"
        ));
    } else if !found.fresh {
        let entries = found.entries;
        let plural = if entries == 1 { "entry" } else { "entries" };
        let seconds = found.took.as_secs_f64();
        story.tell(format!(
            "{entries} {plural} of the log read in {seconds:.2} s"
        ));
    }
    if let Some(torn) = found.torn {
        let bytes = torn.bytes;
        story.tell(format!(
            "a torn tail of {bytes} bytes was cut: what was being written when the peer ended, and \
             was acknowledged to nobody"
        ));
    }
    if !found.damage.is_empty() {
        story.tell(format!(
            "ALARM: the log in {path} was damaged; this peer gets what is missing from the others \
             (`quorate log inspect` tells more of a directory)"
        ));
    }
    if found.bad_copies == 1 && !found.ended {
        story.tell("one copy of the superblock was bad and is written anew");
    }
}
