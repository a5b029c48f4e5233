//! A scenario as a file: what a failing run is kept, sent and repeated as.
//!
//! JSON with a format number, one fault and one operation a line, so that people read it, change
//! it, and see in a comparison what was changed. What a scenario is made of derives its own form,
//! so a new kind of fault can be written and read without a word here; durations alone are put
//! into text (`"1500ms"`) and back, because `{"secs": 1, "nanos": 500000000}` is for nobody.
//!
//! Reading is strict. A name that is misspelled must not be a fault that silently never happens:
//! unknown names are refused, and so are peers that do not exist, times out of order, and a cluster
//! in which nobody can ever found the group, which would pass every check by doing nothing. Each
//! refusal says where it is and what to do. A file may come from anybody, so it is bounded in every
//! direction before a world is built of it.

use std::{collections::BTreeSet, time::Duration};

use quorate_core::{Form, limits::COMMAND};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    broken::{self, StaysBroken},
    dice::MILLION,
    duration_text,
    fault::Fault,
    limits,
    network::Weather,
    operation::{Action, Operation},
    scenario::{PeerPlan, Scenario},
};

/// The newest format, which is the one that is written.
///
/// A field that is added later has a default, so that files kept before it still say what they
/// said; the number goes up when that is not possible.
pub(crate) const FORMAT: u64 = 1;

/// The fields that hold numbers of peers, in faults.
const PEER_FIELDS: [&str; 8] = [
    "peer", "one", "other", "to", "from", "side", "peers", "spared",
];

/// A scenario with its story, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScenarioFile {
    /// What it shows, in a line.
    pub story: String,
    /// What will be done.
    pub scenario: Scenario,
}

/// Why a file is no scenario that can be run; nothing was run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// It is larger than any scenario.
    #[error("the file has more than {} MiB; leave operations out", limits::FILE_BYTES >> 20)]
    TooLarge,
    /// It is not what a scenario looks like.
    #[error("{0}; `quorate simulate --seed S --shrink` writes files to start from")]
    Malformed(String),
    /// It was written by a newer program.
    #[error("the file has format {0}, and this program reads up to {FORMAT}: use a newer quorate")]
    Newer(u64),
    /// It names something that is not there, or is out of bounds.
    #[error("{0}")]
    Unfit(String),
    /// It is of a state machine that is not at hand.
    #[error(
        "it is of the state machine \"{0}\", which is not here: replay it with \
         `Simulation::replay` where that machine is"
    )]
    Subject(String),
    /// No quorum can ever be there, so nothing would be shown.
    #[error("no quorum can survive this: {0}")]
    NoQuorum(String),
}

impl ScenarioFile {
    /// Reads a file strictly.
    ///
    /// Costs memory in proportion to the text. Errors say where the file is wrong.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        if text.len() > limits::FILE_BYTES {
            return Err(ScenarioError::TooLarge);
        }
        let malformed = |error: serde_json::Error| ScenarioError::Malformed(error.to_string());
        let mut whole: Map<String, Value> = serde_json::from_str(text).map_err(malformed)?;
        match whole.remove("format").as_ref().map(Value::as_u64) {
            Some(Some(1..=FORMAT)) => {}
            Some(Some(newer)) if newer > FORMAT => return Err(ScenarioError::Newer(newer)),
            _ => {
                let what = format!("\"format\" must be a number from 1 to {FORMAT}");
                return Err(ScenarioError::Malformed(what));
            }
        }
        let body: Body = read_at("the file", Value::Object(whole))?;
        if body.story.len() > limits::STORY_BYTES {
            let most = limits::STORY_BYTES;
            return Err(ScenarioError::Unfit(format!(
                "the story has more than {most} bytes: tell less"
            )));
        }
        let mut value = body.scenario;
        durations_from_text(&mut value);
        let scenario = read_scenario(value)?;
        check(&scenario)?;
        Ok(Self {
            story: body.story,
            scenario,
        })
    }

    /// Writes the file; [`ScenarioFile::parse`] reads the same scenario from it.
    pub fn to_json(&self) -> String {
        let mut scenario = value_of(&self.scenario);
        durations_to_text(&mut scenario);
        let mut text = format!("{{\n  \"format\": {FORMAT},\n");
        text.push_str(&format!(
            "  \"story\": {},\n",
            Value::from(self.story.clone())
        ));
        text.push_str("  \"scenario\": {\n");
        let fields = scenario.as_object().into_iter().flatten();
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("    \"{name}\": {}", lines(value)))
            .collect();
        text.push_str(&fields.join(",\n"));
        text.push_str("\n  }\n}\n");
        text
    }
}

/// What a file holds beside its format.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    story: String,
    scenario: Value,
}

/// Returns the peers that a fault names, or changes them: a peer for which `change` gives nothing
/// is one that the fault cannot do without.
pub(crate) fn renumber(fault: &Fault, change: &dyn Fn(usize) -> Option<usize>) -> Option<Fault> {
    let mut value = value_of(fault);
    let kind = value.get_mut("kind")?.as_object_mut()?;
    for fields in kind.values_mut().filter_map(Value::as_object_mut) {
        for name in PEER_FIELDS {
            match fields.get_mut(name) {
                Some(Value::Array(list)) => {
                    let kept: Vec<Value> = list
                        .iter()
                        .filter_map(|peer| change(usize::try_from(peer.as_u64()?).ok()?))
                        .map(Value::from)
                        .collect();
                    if kept.is_empty() && !list.is_empty() {
                        return None;
                    }
                    *list = kept;
                }
                Some(number @ Value::Number(_)) => {
                    *number = Value::from(change(usize::try_from(number.as_u64()?).ok()?)?);
                }
                _ => {}
            }
        }
    }
    serde_json::from_value(value).ok()
}

fn value_of(data: &impl Serialize) -> Value {
    serde_json::to_value(data).expect("plain data with string keys has a form in JSON")
}

/// Reads a part, and says which one if it is not as it should be.
fn read_at<T: DeserializeOwned>(place: &str, value: Value) -> Result<T, ScenarioError> {
    serde_json::from_value(value).map_err(|error| malformed(place, &error))
}

/// Says where a part is not as it should be, and how.
fn malformed(place: &str, error: &serde_json::Error) -> ScenarioError {
    // What is expected is told by the names of types, which are not how things are written here.
    let duration = "a duration such as \"50ms\"";
    let what = error.to_string().replace("struct Duration", duration);
    ScenarioError::Malformed(format!("{place}: {what}"))
}

fn read_scenario(value: Value) -> Result<Scenario, ScenarioError> {
    for (name, most) in [
        ("peers", limits::PEERS),
        ("faults", limits::FAULTS),
        ("operations", limits::OPERATIONS),
    ] {
        let len = value
            .get(name)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        if len > most {
            let what = format!("{len} {name} are too many: at most {most}");
            return Err(ScenarioError::Unfit(what));
        }
    }
    let whole = match Scenario::deserialize(&value) {
        Ok(scenario) => return Ok(scenario),
        Err(error) => malformed("the scenario", &error),
    };
    // Which of a thousand lines is wrong is worth a second look.
    each_at::<PeerPlan>("peers", &value)?;
    each_at::<Fault>("faults", &value)?;
    each_at::<Operation>("operations", &value)?;
    Err(whole)
}

fn each_at<T: DeserializeOwned>(list: &str, value: &Value) -> Result<(), ScenarioError> {
    let items = value.get(list).and_then(Value::as_array);
    for (number, item) in items.into_iter().flatten().enumerate() {
        T::deserialize(item).map_err(|error| {
            let place = format!("{list}[{number}], {item}");
            malformed(&place, &error)
        })?;
    }
    Ok(())
}

/// Writes a list one item a line, and everything else in one line.
fn lines(value: &Value) -> String {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<String> = items.iter().map(|item| format!("      {item}")).collect();
            format!("[\n{}\n    ]", items.join(",\n"))
        }
        value => value.to_string(),
    }
}

/// Puts every duration into text.
fn durations_to_text(value: &mut Value) {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    match value {
        Value::Object(fields) if fields.len() == 2 && fields.contains_key("nanos") => {
            if let (Some(seconds), Some(nanos)) =
                (number(fields.get("secs")), number(fields.get("nanos")))
            {
                *value = Value::from(duration_text::write(seconds * 1_000_000_000 + nanos));
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(durations_to_text),
        Value::Array(items) => items.iter_mut().for_each(durations_to_text),
        _ => {}
    }
}

/// Puts every text that is a duration back into what it stands for.
fn durations_from_text(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(nanos) = duration_text::read(text) {
                *value = value_of(&Duration::from_nanos(nanos));
            }
        }
        Value::Object(fields) => fields
            .iter_mut()
            // What a user's command says is no duration, whatever it looks like.
            .filter(|(name, _)| *name != "command")
            .for_each(|(_, value)| durations_from_text(value)),
        Value::Array(items) => items.iter_mut().for_each(durations_from_text),
        _ => {}
    }
}

/// Refuses what cannot be run, or would show nothing.
pub(crate) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    let unfit = |what: String| Err(ScenarioError::Unfit(what));
    let peers = scenario.peers.len();
    if peers == 0 {
        return unfit("a cluster has at least one peer: add one to \"peers\"".to_owned());
    }
    check_founders(&scenario.peers)?;
    let mut machines = BTreeSet::new();
    for (number, plan) in scenario.peers.iter().enumerate() {
        check_peer(number, plan)?;
        let machine = scenario.machine(number);
        if machine >= 1_000 || !machines.insert(machine) {
            return unfit(format!(
                "peers[{number}]: \"machine\" must be one of its own below 1000"
            ));
        }
    }
    check_profile(scenario)?;
    if scenario.network.rate == 0 {
        return unfit("the network's \"rate\" must be at least one byte a second".to_owned());
    }
    check_weather("the network", &scenario.network.weather)?;
    if !scenario.faults.is_sorted_by_key(|fault| fault.at) {
        return unfit("faults must be in order of \"at\"".to_owned());
    }
    if !scenario.operations.is_sorted_by_key(|one| one.at) {
        return unfit("operations must be in order of \"at\"".to_owned());
    }
    let exists = |peer: usize| (peer < peers).then_some(peer);
    check_broken(&scenario.broken, &exists)?;
    for (number, fault) in scenario.faults.iter().enumerate() {
        if renumber(fault, &exists).as_ref() != Some(fault) {
            let name = fault.kind.name();
            return unfit(format!(
                "faults[{number}], {name}, names a peer that is not there: there are 0 to {}",
                peers - 1
            ));
        }
        check_fault(number, fault)?;
    }
    for (number, operation) in scenario.operations.iter().enumerate() {
        check_operation(number, operation, peers)?;
        check_subject(number, operation, scenario.subject.as_deref())?;
    }
    Ok(())
}

/// Refuses peers that stay broken and are not there, or are named twice.
fn check_broken(
    broken: &[StaysBroken],
    exists: &dyn Fn(usize) -> Option<usize>,
) -> Result<(), ScenarioError> {
    let problem = if broken::renumber(broken, exists).len() < broken.len() {
        "\"broken\" names a peer that is not there".to_owned()
    } else if let Some(peer) = broken::twice(broken) {
        format!("\"broken\" names peer {peer} twice: it is broken in one way")
    } else {
        return Ok(());
    };
    Err(ScenarioError::Unfit(problem))
}

/// Refuses a cluster in which the group can never have a quorum.
fn check_founders(peers: &[PeerPlan]) -> Result<(), ScenarioError> {
    let expecting = |plan: &&PeerPlan| matches!(plan.form, Form::Expect(_));
    let together = peers.iter().filter(expecting).count();
    let founds = peers.iter().any(|plan| match plan.form {
        Form::Alone | Form::Auto { .. } => true,
        Form::Expect(count) => (1..=together).contains(&count),
        Form::Join => false,
    });
    if founds {
        return Ok(());
    }
    Err(ScenarioError::NoQuorum(if together == 0 {
        "every peer waits to join, and nobody founds the group; give one the form \"alone\""
            .to_owned()
    } else {
        format!(
            "{} for more founders than there are; write {{\"expect\": {together}}}",
            match together {
                1 => "one peer waits".to_owned(),
                more => format!("{more} peers wait"),
            }
        )
    }))
}

fn check_peer(number: usize, plan: &PeerPlan) -> Result<(), ScenarioError> {
    let limit = |what: &str| Err(ScenarioError::Unfit(format!("peers[{number}]: {what}")));
    if plan.drift.unsigned_abs() > limits::DRIFT.unsigned_abs() {
        return limit("\"drift\" must be within half a million of a million");
    }
    if plan.skew.unsigned_abs() > limits::SKEW.unsigned_abs() {
        return limit("\"skew\" must be within a century");
    }
    if !(4 << 10..=1 << 30).contains(&plan.segment_bytes) {
        return limit("\"segment_bytes\" must be from 4096 to 1073741824");
    }
    Ok(())
}

fn check_profile(scenario: &Scenario) -> Result<(), ScenarioError> {
    let profile = &scenario.profile;
    let unfit = |what: &str| Err(ScenarioError::Unfit(format!("the profile: {what}")));
    let shortest = Duration::from_millis(1);
    if profile.heartbeat < shortest || profile.election_min < profile.heartbeat {
        return unfit("a heartbeat takes at least 1ms and at most the shortest election timeout");
    }
    if profile.election_max < profile.election_min {
        return unfit("\"election_max\" must not be below \"election_min\"");
    }
    if !(1..=limits::PEERS).contains(&profile.voters) {
        return unfit("\"voters\" must be from 1 to 15");
    }
    let waits = [
        profile.request_timeout,
        profile.fetch_timeout,
        profile.snapshot_ttl,
        profile.replace_after,
    ];
    if waits.into_iter().any(|wait| wait < shortest) {
        return unfit("waits and lives of snapshots take at least 1ms");
    }
    if profile.batch_items == 0 || profile.batch_bytes == 0 {
        return unfit("a session asks for at least one item and one byte at once");
    }
    Ok(())
}

fn check_weather(place: &str, weather: &Weather) -> Result<(), ScenarioError> {
    let parts = [weather.loss, weather.duplication, weather.reordering];
    if parts.into_iter().any(|part| part > MILLION) {
        return Err(ScenarioError::Unfit(format!(
            "{place}: chances are parts of a million"
        )));
    }
    Ok(())
}

fn check_fault(number: usize, fault: &Fault) -> Result<(), ScenarioError> {
    match &fault.kind {
        crate::fault::FaultKind::Storm { weather, .. } => {
            check_weather(&format!("faults[{number}]"), weather)
        }
        _ => Ok(()),
    }
}

fn check_operation(number: usize, one: &Operation, peers: usize) -> Result<(), ScenarioError> {
    let unfit = |what: String| {
        let what = format!("operations[{number}]: {what}");
        Err(ScenarioError::Unfit(what))
    };
    if one.peer >= peers {
        let last = peers - 1;
        return unfit(format!(
            "there is no peer {}: there are 0 to {last}",
            one.peer
        ));
    }
    match &one.action {
        Action::Insert { size, .. } | Action::Exchange { size, .. }
            if !(8..=limits::VALUE_BYTES).contains(size) =>
        {
            let most = limits::VALUE_BYTES;
            unfit(format!("a value has from 8 to {most} bytes, not {size}"))
        }
        _ if one.client.is_some_and(|client| client >= 1_024) => {
            unfit("named clients are numbered from 0 to 1023".to_owned())
        }
        _ => Ok(()),
    }
}

/// Refuses commands without a machine to apply them, and writes to a map that is not there.
fn check_subject(
    number: usize,
    one: &Operation,
    subject: Option<&str>,
) -> Result<(), ScenarioError> {
    let what = match (&one.action, subject) {
        (Action::Command { .. }, None) => "a command needs a \"subject\", whose it is".to_owned(),
        (Action::Command { hex, .. }, Some(_)) if hex.len() > COMMAND => {
            format!("a command has at most {COMMAND} bytes")
        }
        (Action::Insert { .. } | Action::Remove { .. } | Action::Exchange { .. }, Some(name)) => {
            format!("\"{name}\" is no map; it takes commands")
        }
        _ => return Ok(()),
    };
    Err(ScenarioError::Unfit(format!(
        "operations[{number}]: {what}"
    )))
}

#[cfg(test)]
mod tests;
