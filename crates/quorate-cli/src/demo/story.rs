//! What the user reads while the demonstration runs.

use std::{
    fmt,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Tells the steps as they happen, and shows a bar during the catch-up.
#[derive(Debug)]
pub(crate) struct Story {
    started: Instant,
    /// Whether stdout is kept for JSON.
    aside: bool,
    bar: Option<ProgressBar>,
}

impl Story {
    /// Starts a story; with `aside` it goes to stderr.
    pub(crate) fn new(started: Instant, aside: bool) -> Self {
        Self {
            started,
            aside,
            bar: None,
        }
    }

    /// Tells one step.
    pub(crate) fn tell(&self, step: impl AsRef<str>) {
        let line = format!(
            "{:>8.3} s  {}\n",
            self.started.elapsed().as_secs_f64(),
            step.as_ref()
        );
        match &self.bar {
            Some(bar) => bar.suspend(|| self.write(&line)),
            None => self.write(&line),
        }
    }

    /// Tells a part of the step before.
    pub(crate) fn detail(&self, detail: impl AsRef<str>) {
        let line = format!("            {}\n", detail.as_ref());
        match &self.bar {
            Some(bar) => bar.suspend(|| self.write(&line)),
            None => self.write(&line),
        }
    }

    /// Shows how far the catch-up is, if a person is looking.
    pub(crate) fn progress(&mut self, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr_with_hz(20);
            let bar = ProgressBar::with_draw_target(Some(total), target);
            let style = "            {bar:40} {human_pos}/{human_len} items, {rate}, {eta} left";
            let style =
                ProgressStyle::with_template(style).map(|style| style.with_key("rate", whole_rate));
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub(crate) fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn write(&self, text: &str) {
        // A reader that has gone away is no reason to stop: the exit code still counts.
        if self.aside {
            std::io::stderr()
                .write_all(text.as_bytes())
                .unwrap_or_default();
        } else {
            std::io::stdout()
                .write_all(text.as_bytes())
                .unwrap_or_default();
        }
    }
}

/// A count with thousands set apart.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A duration for people.
pub(crate) fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// So many per second, for people.
pub(crate) fn rate(n: u64, time: Duration) -> String {
    let per_second = n as f64 / time.as_secs_f64().max(1e-6);
    format!("{}/s", count(per_second as u64))
}

/// Writes how many items come per second, without fractions of items.
fn whole_rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    let rate = format!("{}/s", count(state.per_sec() as u64));
    // A rate that cannot be written is a rate that is not shown.
    out.write_str(&rate).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(10_800_000), "10.8 MB");
        assert_eq!(span(Duration::from_millis(312)), "312 ms");
        assert_eq!(rate(500, Duration::from_millis(250)), "2,000/s");
    }
}
