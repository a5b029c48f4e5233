use std::collections::BTreeMap;

use super::*;
use crate::{dice::Dice, fault::FaultKind};

fn file(seed: u64) -> ScenarioFile {
    ScenarioFile {
        story: format!("seed {seed}, as it was \"drawn\""),
        scenario: Scenario::draw(seed, 1 + seed as usize % 7, 5),
    }
}

/// Changes the scenario of a good file, and returns why it is refused.
fn refused(change: impl FnOnce(&mut Value)) -> ScenarioError {
    let mut value: Value = serde_json::from_str(&file(3).to_json()).unwrap();
    change(&mut value);
    ScenarioFile::parse(&value.to_string()).unwrap_err()
}

fn refused_with(text: &str, change: impl FnOnce(&mut Value)) {
    let error = refused(change).to_string();
    assert!(error.contains(text), "'{text}' is not in '{error}'");
}

#[test]
fn every_drawn_scenario_is_written_and_read_back() {
    for seed in 0..60 {
        let file = file(seed);
        let text = file.to_json();
        assert_eq!(ScenarioFile::parse(&text).unwrap(), file, "seed {seed}");
    }
}

#[test]
fn a_fault_is_written_under_its_name() {
    let mut dice = Dice::new(1, "faults", 0);
    for name in FaultKind::NAMES {
        let kind = FaultKind::draw(name, 5, &mut dice);
        let value = value_of(&kind);
        let written = match &value {
            Value::String(name) => name,
            value => value.as_object().unwrap().keys().next().unwrap(),
        };
        assert_eq!(written, name);
    }
}

/// A field whose draws are exactly the numbers of peers holds one: it must be listed, or else
/// peers out of range are not refused, and shrinking leaves wrong ones behind.
#[test]
fn no_field_of_a_fault_names_peers_without_being_listed() {
    let mut largest: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for name in FaultKind::NAMES {
        for (place, peers) in [4, 9].into_iter().enumerate() {
            let mut dice = Dice::new(2, "faults", peers as u64);
            for _ in 0..400 {
                let value = value_of(&FaultKind::draw(name, peers, &mut dice));
                for (field, value) in value.as_object().into_iter().flatten().flat_map(|(_, v)| {
                    v.as_object()
                        .into_iter()
                        .flatten()
                        .map(|(field, v)| (field.clone(), v.clone()))
                }) {
                    let numbers: Vec<u64> = match &value {
                        Value::Array(list) => list.iter().filter_map(Value::as_u64).collect(),
                        value => value.as_u64().into_iter().collect(),
                    };
                    let seen = largest.entry((name.to_owned(), field)).or_default();
                    for number in numbers {
                        let most = if place == 0 { &mut seen.0 } else { &mut seen.1 };
                        *most = number.max(*most);
                    }
                }
            }
        }
    }
    for ((name, field), most) in largest {
        let names_peers = most == (3, 8);
        let listed = PEER_FIELDS.contains(&field.as_str());
        assert!(listed || !names_peers, "{name}.{field} names peers");
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    for text in ["", "{", "[]", "7", "{\"format\": 1}", "{\"format\": \"1\"}"] {
        let error = ScenarioFile::parse(text).unwrap_err();
        assert!(
            matches!(error, ScenarioError::Malformed(_)),
            "{text}: {error}"
        );
    }
    refused_with("expected one of", |file| {
        file["scenario"]["faults"][2]["kind"] = serde_json::json!({"crush": {"peer": 0}});
    });
    refused_with("faults[2]", |file| {
        file["scenario"]["faults"][2]["kind"] = serde_json::json!({"crush": {"peer": 0}});
    });
    refused_with("unknown field `lst`", |file| {
        let pause = serde_json::json!({"pause": {"peer": 0, "lst": "1s"}});
        file["scenario"]["faults"][0]["kind"] = pause;
    });
    refused_with("unknown field `sed`", |file| {
        file["scenario"]["sed"] = 1.into()
    });
    refused_with("unknown field `shape`", |file| file["shape"] = 1.into());
    refused_with("peers[1]", |file| {
        file["scenario"]["peers"][1]["start"] = "soon".into()
    });
    refused_with("a duration such as \"50ms\"", |file| {
        file["scenario"]["profile"]["heartbeat"] = 50.into();
    });
    refused_with("no range of durations", |file| {
        file["scenario"]["network"]["delay"] = "2ms..1ms".into();
    });
}

#[test]
fn a_newer_format_is_refused_as_such() {
    assert_eq!(
        refused(|file| file["format"] = 2.into()),
        ScenarioError::Newer(2)
    );
    assert!(matches!(
        refused(|file| file["format"] = 0.into()),
        ScenarioError::Malformed(_)
    ));
}

#[test]
fn what_names_no_peer_or_is_out_of_bounds_is_refused() {
    let crash = serde_json::json!({"crash": {"peer": 4, "away": "1s"}});
    refused_with("there are 0 to 3", |file| {
        file["scenario"]["faults"][0]["kind"] = crash
    });
    let cut = serde_json::json!({"partition": {"side": [1, 9], "lasts": "1s"}});
    refused_with("there are 0 to 3", |file| {
        file["scenario"]["faults"][0]["kind"] = cut
    });
    refused_with("no peer 77", |file| {
        file["scenario"]["operations"][0]["peer"] = 77.into()
    });
    refused_with("in order", |file| {
        file["scenario"]["faults"][0]["at"] = "4999ms".into()
    });
    refused_with("bytes, not", |file| {
        let insert = serde_json::json!({"insert": {"key": 1, "size": 4_000_000_000_u32}});
        file["scenario"]["operations"][0]["action"] = insert;
    });
    refused_with("election_min", |file| {
        file["scenario"]["profile"]["election_max"] = "1ms".into();
    });
    refused_with("at least one peer", |file| {
        file["scenario"]["peers"] = Value::Array(vec![])
    });
    refused_with("too many", |file| {
        let peer = file["scenario"]["peers"][0].clone();
        file["scenario"]["peers"] = vec![peer; 16].into();
    });
    refused_with("tell less", |file| file["story"] = "x".repeat(5_000).into());
}

#[test]
fn who_stays_broken_is_there_and_named_once() {
    let broken = |list: Value| move |value: &mut Value| value["scenario"]["broken"] = list;
    let one = serde_json::json!({"peer": 0, "how": "deaf"});
    let missing = serde_json::json!([{"peer": 90, "how": "down"}]);
    refused_with("a peer that is not there", broken(missing));
    refused_with("peer 0 twice", broken(Value::from(vec![one.clone(), one])));
    let unknown = serde_json::json!([{"peer": 0, "how": "tired"}]);
    refused_with("tired", broken(unknown));
}

#[test]
fn a_cluster_that_nobody_founds_has_no_quorum() {
    let with_form = |form: Value| {
        refused(move |file| {
            for peer in file["scenario"]["peers"].as_array_mut().unwrap() {
                peer["form"] = form.clone();
            }
        })
    };
    let error = with_form("join".into());
    assert!(matches!(error, ScenarioError::NoQuorum(_)), "{error}");
    let error = with_form(serde_json::json!({"expect": 5}));
    assert!(matches!(error, ScenarioError::NoQuorum(_)), "{error}");
}

#[test]
fn renumbering_drops_what_cannot_do_without_a_peer() {
    let gone = |peer: usize| match peer {
        1 => None,
        peer => Some(peer - usize::from(peer > 1)),
    };
    let at = Duration::from_secs(1);
    let fault = |kind| Fault { at, kind };
    let lasts = at;
    let crash = |peer| fault(FaultKind::Crash { peer, away: lasts });
    assert_eq!(renumber(&crash(2), &gone), Some(crash(1)));
    assert_eq!(renumber(&crash(1), &gone), None);
    let cut = |side| fault(FaultKind::Partition { side, lasts });
    assert_eq!(renumber(&cut(vec![0, 1, 3]), &gone), Some(cut(vec![0, 2])));
    assert_eq!(renumber(&cut(vec![1]), &gone), None);
}
