//! Transcripts: what documentation shows of a terminal, compared with what happens.
//!
//! A page shows terminals as blocks with the info string `console`. The first line is the command,
//! behind a dollar sign; the rest is what the screen shows, as typed or as printed. What differs
//! from run to run (times of day, durations, the ids of peers, ports) is the same after
//! [`normal`], and everything else must agree to the letter: a page that shows what the program
//! does not print fails its test.

/// One terminal, as a page shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript {
    /// The line of the page on which it begins, counted from one.
    pub line: usize,
    /// The command that was typed, without the dollar sign.
    pub command: String,
    /// The lines that followed.
    pub screen: Vec<String>,
}

impl Transcript {
    /// Returns the arguments that the command gives to the program `package`, run by cargo: what
    /// stands behind the two dashes.
    ///
    /// # Panics
    /// If it runs something else.
    #[track_caller]
    pub fn arguments_of(&self, package: &str) -> Vec<&str> {
        let run = format!("cargo run {package}");
        let rest = self
            .command
            .strip_prefix(&run)
            .unwrap_or_else(|| panic!("line {} does not say `{run}`: {self:?}", self.line));
        let arguments = match rest.split_once(" -- ") {
            Some(("", arguments)) => arguments,
            None if rest.is_empty() => "",
            _ => panic!("line {}: not understood: {}", self.line, self.command),
        };
        arguments.split_whitespace().collect()
    }

    /// Checks that a screen shows what the page says it does.
    ///
    /// # Panics
    /// If it does not: with both.
    #[track_caller]
    pub fn assert_shown(&self, screen: &str) {
        let wanted: Vec<String> = self.screen.iter().map(|line| normal(line)).collect();
        let found: Vec<String> = screen.lines().map(|line| normal(line.trim_end())).collect();
        assert!(
            wanted == found,
            "the page shows (line {}):\n{}\nand the program, as the page should have it:\n{}",
            self.line,
            self.screen.join("\n"),
            screen
        );
    }
}

/// Returns the transcripts of a page, in order.
pub fn transcripts(page: &str) -> Vec<Transcript> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.trim_end() != "```console" {
            continue;
        }
        let mut block = lines
            .by_ref()
            .map(|(_, line)| line.trim_end())
            .take_while(|line| *line != "```");
        let first = block.next().unwrap_or_default();
        let screen = block.map(str::to_owned).collect();
        found.push(Transcript {
            line: at + 1,
            command: first.strip_prefix("$ ").unwrap_or(first).to_owned(),
            screen,
        });
    }
    found
}

/// Returns every command that a page tells people to type, with its line, counted from one: what
/// stands behind a dollar sign in its `console` blocks, continued lines put together.
pub fn commands(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut shown = false;
    let mut open: Option<(usize, String)> = None;
    for (at, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            shown = line.trim_end() == "```console";
            continue;
        }
        let (line_of, mut command) = match (open.take(), line.strip_prefix("$ ")) {
            (Some((line_of, begun)), _) => (line_of, format!("{begun} {}", line.trim())),
            (None, Some(command)) if shown => (at + 1, command.to_owned()),
            _ => continue,
        };
        // What stands behind two blanks and a hash is a remark for the reader.
        if let Some((typed, _)) = command.split_once("  #") {
            command = typed.trim_end().to_owned();
        }
        match command.strip_suffix('\\') {
            Some(begun) => open = Some((line_of, begun.trim_end().to_owned())),
            None => found.push((line_of, command)),
        }
    }
    found
}

/// Returns a line with everything replaced that differs from run to run: times of day by `HH:MM`,
/// durations by `DURATION`, ids of peers by `PEER`, ports of this machine by `PORT`.
pub fn normal(line: &str) -> String {
    let mut normal = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let inside = normal.ends_with(|c: char| c.is_ascii_alphanumeric());
        let (taken, instead) = match fleeting(rest) {
            Some(found) if !inside => found,
            _ => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        normal.push_str(instead);
        rest = &rest[taken..];
    }
    normal
}

/// Returns how long what differs from run to run at the front of `rest` is, and what stands for it.
fn fleeting(rest: &str) -> Option<(usize, &'static str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let word = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    if let Some(port) = rest.strip_prefix("127.0.0.1:") {
        return Some((rest.len() - port.len() + digits(port), "127.0.0.1:PORT"));
    }
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if (word == 10 || word == 64) && rest.bytes().take(word).all(hex) {
        return Some((word, "PEER"));
    }
    let first = digits(rest);
    let after = &rest[first..];
    if first == 2 && after.starts_with(':') && digits(&after[1..]) == 2 {
        return Some((5, "HH:MM"));
    }
    let fraction = after
        .strip_prefix('.')
        .map_or(0, |fraction| 1 + digits(fraction));
    let unit = &rest[first + fraction..];
    for name in [" ms", " us", " s"] {
        if first > 0 && unit.starts_with(name) && !unit[name.len()..].starts_with(is_word) {
            return Some((first + fraction + name.len(), "DURATION"));
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::{commands, normal, transcripts};

    #[test]
    fn what_differs_from_run_to_run_is_the_same_and_nothing_else_is() {
        let line = "12:04 peer 0123456789 took 17 ms or 0.25 s at 127.0.0.1:4711 and 3 steps";
        assert_eq!(
            normal(line),
            "HH:MM peer PEER took DURATION or DURATION at 127.0.0.1:PORT and 3 steps"
        );
        for kept in [
            "a12:04",
            "112:04",
            "0123456789a",
            "10.0.0.1:80",
            "12 seconds",
            "x3 s",
        ] {
            assert_eq!(normal(kept), kept);
        }
    }

    #[test]
    fn a_page_shows_commands_and_screens() {
        let page = "# A\n```console\n$ cargo run -p a -- b c\nd\n\ne\n```\n```text\n$ f\n```\n";
        let found = transcripts(page);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].screen.len()), (2, 3));
        assert_eq!(found[0].arguments_of("-p a"), ["b", "c"]);
        found[0].assert_shown("d\n\ne\n");
    }

    #[test]
    fn what_is_to_be_typed_is_found_and_nothing_else() {
        let page = "$ no\n```console\n$ a b   # and\nc\n$ d \\\n    e\n```\n```text\n$ f\n```\n";
        let found = commands(page);
        assert_eq!(found, [(3, "a b".to_owned()), (5, "d e".to_owned())]);
    }

    #[test]
    #[should_panic(expected = "as the page should have it")]
    fn a_page_that_is_not_true_fails() {
        transcripts("```console\n$ a\nb\n```\n")[0].assert_shown("c\n");
    }
}
