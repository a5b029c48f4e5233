//! The options of `quorate simulate`, read strictly: a misspelled name must not be a fault that
//! silently never happens.

use std::{collections::BTreeSet, ops::Range, path::PathBuf};

use clap::Args;
use quorate_sim::{BUDGET, Canary, Drawing, FaultKind, Kinds, SHORT};

use crate::outcome::Outcome;

/// Options of `quorate simulate`.
#[derive(Debug, Args)]
#[command(group(
    clap::ArgGroup::new("which")
        .required(true)
        .multiple(true)
        .args(["seed", "seeds", "scenario", "bug"])
))]
pub(crate) struct SimulateArgs {
    /// How many peers each cluster has.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 5,
        value_parser = nodes
    )]
    pub(crate) nodes: usize,
    /// The seed to run.
    #[arg(
        long,
        value_name = "S",
        allow_negative_numbers = true,
        conflicts_with_all = ["seeds", "scenario"]
    )]
    pub(crate) seed: Option<u64>,
    /// The seeds to run, from A to B, B not included.
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "scenario")]
    pub(crate) seeds: Option<Range<u64>>,
    /// A scenario to run, from a file that --shrink wrote.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["nodes", "seconds", "hours", "faults", "bug"]
    )]
    pub(crate) scenario: Option<PathBuf>,
    /// How many simulated seconds of faults each seed has, before everything must heal: 60, or 20
    /// with --bug alone.
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Option<u64>,
    /// The same in hours.
    #[arg(
        long,
        value_name = "H",
        allow_negative_numbers = true,
        conflicts_with = "seconds",
        value_parser = hours
    )]
    pub(crate) hours: Option<u64>,
    /// Which kinds of faults there are: a list with commas, `none`, or `all`, of which each seed
    /// switches some on.
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub(crate) faults: String,
    /// A bug to plant in every peer; ends with the first seed that shows it, of 0..2000 if none are
    /// named.
    #[arg(long, value_name = "NAME")]
    pub(crate) bug: Option<String>,
    /// Cut the first scenario that fails down to what it fails by, and write it to a file.
    #[arg(long)]
    pub(crate) shrink: bool,
    /// Write what the clients did and were told, as lines of JSON that checkers of histories read.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub(crate) history: Option<PathBuf>,
    /// Print one JSON object as the last line of stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

impl SimulateArgs {
    /// Tells whether nothing says which seeds to hunt a bug in.
    fn hunts(&self) -> bool {
        self.bug.is_some() && self.seed.is_none() && self.seeds.is_none()
    }

    /// Returns the seeds to run.
    pub(crate) fn range(&self) -> Result<Range<u64>, Outcome> {
        match (self.seed, &self.seeds) {
            (_, Some(seeds)) => Ok(seeds.clone()),
            (Some(u64::MAX), None) => {
                let text = format!("--seed must be below {}", u64::MAX);
                Err(Outcome::Usage(text))
            }
            (Some(seed), None) => Ok(seed..seed + 1),
            (None, None) if self.hunts() && self.history.is_some() => {
                let text = "a history is of one seed: name --seed S".to_owned();
                Err(Outcome::Usage(text))
            }
            (None, None) if self.hunts() => Ok(0..BUDGET),
            (None, None) => Err(Outcome::Usage("name --seed S or --seeds A..B".to_owned())),
        }
    }

    /// Returns how many seconds of faults each seed has.
    fn length(&self) -> u64 {
        let hours = self.hours.map(|hours| hours * 3_600);
        let otherwise = if self.hunts() { SHORT.1 } else { SECONDS };
        hours.or(self.seconds).unwrap_or(otherwise)
    }

    /// Returns what seeds are drawn for; an unknown name ends the command.
    pub(crate) fn drawing(&self) -> Result<Drawing, Outcome> {
        Ok(Drawing {
            nodes: self.nodes,
            seconds: self.length(),
            faults: kinds(&self.faults)?,
            bug: self.bug.as_deref().map(bug).transpose()?,
        })
    }
}

/// Seconds of a seed where nothing says how many.
const SECONDS: u64 = 60;

/// Refuses a name, and says which there are, one alone a line.
fn unknown(what: &str, name: &str, names: &[&str]) -> Outcome {
    let names = names.join("\n");
    Outcome::Usage(format!("no {what} is called '{name}'; there are\n{names}"))
}

fn bug(name: &str) -> Result<Canary, Outcome> {
    Canary::named(name).ok_or_else(|| unknown("bug", name, &Canary::ALL.map(Canary::name)))
}

fn kinds(list: &str) -> Result<Kinds, Outcome> {
    match list {
        "all" => return Ok(Kinds::Swarm),
        "none" => return Ok(Kinds::Only(BTreeSet::new())),
        _ => {}
    }
    let known = |name: &str| {
        FaultKind::NAMES
            .into_iter()
            .find(|known| *known == name.trim())
    };
    let kind = |name| known(name).ok_or_else(|| unknown("fault", name, &FaultKind::NAMES));
    Ok(Kinds::Only(
        list.split(',').map(kind).collect::<Result<_, _>>()?,
    ))
}

fn nodes(text: &str) -> Result<usize, String> {
    let most = quorate_sim::limits::PEERS;
    match text.parse() {
        Ok(0) => Err("a cluster has at least one peer: use --nodes 1 or more".to_owned()),
        Ok(n) if n > most => Err(format!("a group has at most {most} voters: use fewer")),
        Ok(n) => Ok(n),
        Err(_) => Err(format!("expected a number of peers from 1 to {most}")),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("nothing happens in no time: use --seconds 1 or more".to_owned()),
        Ok(n) if n > MOST_SECONDS => Err(format!("at most {MOST_SECONDS}, a day: run more seeds")),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a number of seconds, such as 60".to_owned()),
    }
}

fn hours(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("nothing happens in no time: use --hours 1 or more".to_owned()),
        Ok(n) if n > MOST_SECONDS / 3_600 => Err("at most 24, a day: run more seeds".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a number of hours, such as 2".to_owned()),
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let hint = "expected A..B with A below B, such as 0..200";
    let (from, to) = text.split_once("..").ok_or(hint)?;
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from < to => Ok(from..to),
        (Ok(from), Ok(to)) => Err(format!("{from}..{to} holds no seed: {hint}")),
        _ => Err(hint.to_owned()),
    }
}

/// Simulated seconds of one seed: a day, whose operations (five million) fit in memory.
const MOST_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_their_end_out_and_reversed_ones_are_refused() {
        assert_eq!(seeds("3..7"), Ok(3..7));
        for text in ["7..3", "3..3", "3", "..", "a..b", "3..", "-1..2"] {
            assert!(seeds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults_are_named_by_a_list_or_a_word() {
        let only = |names: &[&'static str]| Kinds::Only(names.iter().copied().collect());
        assert_eq!(kinds("all").unwrap(), Kinds::Swarm);
        assert_eq!(kinds("none").unwrap(), only(&[]));
        assert_eq!(
            kinds("crash,slow-disk").unwrap(),
            only(&["crash", "slow-disk"])
        );
        for list in ["", "crash,", "crush", "crash,none"] {
            assert!(matches!(kinds(list), Err(Outcome::Usage(_))), "{list}");
        }
    }
}
