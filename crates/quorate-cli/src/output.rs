//! How results are printed: for people, or for programs.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// The form of a command's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Table,
    /// One JSON object, on one line.
    Json,
    /// One JSON object per line and item.
    Jsonl,
}

/// Options of commands that print a result.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to print the result.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// The same as --output json.
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Print whole ids instead of their first ten digits.
    #[arg(long)]
    pub(crate) full_ids: bool,
}

impl OutputArgs {
    /// Returns the form asked for.
    pub(crate) fn format(self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// Prints a result to stdout.
///
/// # Errors
/// Nobody takes it; a reader that has gone away has had enough, and is none.
pub(crate) fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Puts a value on one line of JSON.
pub(crate) fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("these types have only string keys");
    line.push('\n');
    line
}

/// Tells whether a person looks at stdout.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Sets texts in columns, two blanks apart; the last column is not filled up.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let wide = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(wide)
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = columns(&[row(["a", "long", "x"]), row(["bbb", "c", ""])]);
        assert_eq!(text, "a    long  x\nbbb  c\n");
        assert_eq!(columns(&[]), "");
    }
}
