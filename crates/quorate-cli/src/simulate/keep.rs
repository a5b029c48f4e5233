//! Writes what is kept of a run: its history, and the scenario that is left when a failing one is
//! cut down.

use std::{
    fs,
    io::{IsTerminal, Write as _},
    panic,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use quorate_sim::{
    Keep, Report, Scenario, ScenarioError, ScenarioFile, Shrunk, Violation, history, limits,
    run_scenario, run_told, shrink,
};

use super::summary::ShrunkDetail;

/// How long shrinking takes at most: what somebody waits for.
const PATIENCE: Duration = Duration::from_secs(110);

/// Reads a scenario.
pub(crate) fn read(path: &Path) -> anyhow::Result<ScenarioFile> {
    let name = path.display();
    let hint = || format!("{name} cannot be read; name a file that `--shrink` wrote");
    let size = fs::metadata(path).with_context(hint)?.len();
    if size > limits::FILE_BYTES as u64 {
        return Err(ScenarioError::TooLarge).with_context(|| format!("{name} is no scenario"));
    }
    let text = fs::read_to_string(path).with_context(hint)?;
    let parsed = ScenarioFile::parse(&text).and_then(|file| match file.scenario.subject {
        // The peers of this program run a map.
        Some(other) => Err(ScenarioError::Subject(other)),
        None => Ok(file),
    });
    parsed.with_context(|| format!("{name} is no scenario to run"))
}

/// Writes a history: one event a line.
pub(crate) fn write_history(path: &Path, events: &[history::Event]) -> anyhow::Result<()> {
    let write = || {
        let mut file = std::io::BufWriter::new(fs::File::create(path)?);
        for event in events {
            writeln!(file, "{}", event.to_json())?;
        }
        file.flush()
    };
    write().with_context(|| format!("the history cannot be written to {}", path.display()))
}

/// Returns where a failing scenario is written when it is cut down; what is there stays there.
pub(crate) fn place(report: &Report, violation: &Violation) -> anyhow::Result<PathBuf> {
    let name = format!("seed-{}-{}.json", report.seed, violation.invariant);
    let file = PathBuf::from(name);
    match file.symlink_metadata() {
        Ok(_) => anyhow::bail!(
            "{} is there already, and is not overwritten: move it away, or run this in another \
             directory",
            file.display()
        ),
        Err(_) => Ok(file),
    }
}

/// Cuts a failing scenario down, writes what is left beside the caller, and shows it.
pub(crate) fn shrink_and_write(
    scenario: Scenario,
    (report, violation): (&Report, Violation),
    file: &Path,
    json: bool,
) -> anyhow::Result<ShrunkDetail> {
    let before = (scenario.faults.len(), scenario.operations.len());
    let began = Instant::now();
    let tell = std::io::stderr().is_terminal() && !json;
    // Trials that panic are caught and counted; a backtrace for each would bury the result.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let run = |scenario: &Scenario| {
        let report = run_scenario(scenario.clone(), 0, Keep::Nothing);
        report.violations.into_iter().next()
    };
    let shrunk = shrink(scenario, violation, run, |trials| {
        if tell {
            eprint!("\rshrinking: {trials} trials ");
        }
        began.elapsed() < PATIENCE
    });
    panic::set_hook(hook);
    if tell {
        eprintln!();
    }
    write(&shrunk, report, file)?;
    let (faults, operations) = (
        shrunk.scenario.faults.len(),
        shrunk.scenario.operations.len(),
    );
    let mut smaller = run_told(&shrunk.scenario);
    smaller.replay = format!("quorate simulate --scenario {}", file.display());
    eprintln!(
        "shrunk in {} trials from {} faults and {} operations to {faults} and {operations}, and \
         written to {}:",
        shrunk.trials,
        before.0,
        before.1,
        file.display(),
    );
    eprintln!("{smaller}");
    Ok(ShrunkDetail {
        file: file.display().to_string(),
        invariant: shrunk.violation.invariant,
        faults,
        operations,
        peers: shrunk.scenario.peers.len(),
        trials: shrunk.trials,
    })
}

fn write(shrunk: &Shrunk, report: &Report, file: &Path) -> anyhow::Result<()> {
    let invariant = shrunk.violation.invariant;
    let scenario = ScenarioFile {
        story: format!("violates {invariant}; cut down from `{}`", report.replay),
        scenario: shrunk.scenario.clone(),
    };
    // Whoever came meanwhile is not overwritten either.
    fs::File::create_new(file)
        .and_then(|mut made| made.write_all(scenario.to_json().as_bytes()))
        .with_context(|| format!("the scenario cannot be written to {}", file.display()))
}
