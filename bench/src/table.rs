//! How rows are printed: a table for people, lines of JSON for programs.

use serde::Serialize;

use crate::{
    row::{Row, Target},
    version,
};

/// Prints rows as they are measured.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
}

/// A row for programs.
#[derive(Debug, Serialize)]
struct Line {
    row: &'static str,
    value: f64,
    unit: &'static str,
    /// What was measured, with its version.
    of: String,
    /// The bound in the same unit; nothing if nothing is asked of the row.
    target: Option<f64>,
}

impl Output {
    /// Starts the output.
    pub(crate) fn new(json: bool) -> Self {
        if !json {
            println!(
                "{:<24} {:>12} {:<8} {:<26} target",
                "row", "value", "unit", "of"
            );
        }
        Self { json }
    }

    /// Prints one row.
    pub(crate) fn print(&mut self, row: Row, value: f64, target: Option<Target>) {
        if self.json {
            let line = Line {
                row: row.name(),
                value: round(value),
                unit: row.unit(),
                of: version::of(row.package()),
                target: target.map(|target| match target {
                    Target::AtMost(bound) | Target::AtLeast(bound) => round(bound),
                }),
            };
            let line = serde_json::to_string(&line).expect("names and numbers become JSON");
            println!("{line}");
        } else {
            let (name, value, unit) = (row.name(), number(value), row.unit());
            let of = version::of(row.package());
            println!(
                "{name:<24} {value:>12} {unit:<8} {of:<26} {}",
                verdict(target)
            );
        }
    }
}

fn verdict(target: Option<Target>) -> String {
    match target {
        None => String::new(),
        Some(Target::AtMost(bound)) => format!("<= {}", number(bound)),
        Some(Target::AtLeast(bound)) => format!(">= {}", number(bound)),
    }
}

/// Keeps one digit behind the point: the machine does not repeat more.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Writes a number with its thousands set apart.
fn number(value: f64) -> String {
    let rounded = round(value);
    let whole = rounded.trunc().abs().to_string();
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if rounded < 1_000.0 && rounded.fract() != 0.0 {
        text.push_str(&format!(".{:.0}", rounded.fract().abs() * 10.0));
    }
    text
}
