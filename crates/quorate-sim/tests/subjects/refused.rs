//! What is no simulation, and scenarios of other machines.

use quorate_sim::{
    Keep, Kinds, ScenarioError, ScenarioFile, Simulation, SimulationError, Subject, World, run_told,
};

use crate::bank::{Bank, kept, subject};

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let of = |subject| Simulation::of(&subject);
    let bank = || of(subject(true));
    let refused = |simulation: Simulation| simulation.run(0..1).unwrap_err();
    assert_eq!(refused(bank().peers(0)), SimulationError::Peers(0));
    assert_eq!(refused(bank().peers(16)), SimulationError::Peers(16));
    assert_eq!(refused(bank().seconds(0)), SimulationError::Length);
    assert_eq!(
        refused(bank().operations(1_000_000)),
        SimulationError::Length
    );
    assert_eq!(bank().run(3..3).unwrap_err(), SimulationError::Seeds(3..3));
    assert_eq!(
        refused(bank().faults(Kinds::only(["crash", "crush"]))),
        SimulationError::Fault("crush")
    );
    for name in ["Money", "money_is", "", "-money", "a--b", "money-is-kept"] {
        let simulation = of(subject(true).invariant(name, kept));
        assert_eq!(refused(simulation), SimulationError::Name(name));
    }
    let silent = of(Subject::new(|| Bank { mended: true }));
    assert_eq!(refused(silent.clone()), SimulationError::NoCommands);
    assert!(silent.operations(0).run(0..1).unwrap().is_clean());
}

#[test]
fn a_scenario_runs_with_its_own_machine_only() {
    let simulation = Simulation::of(&subject(true)).seconds(2);
    let scenario = simulation.scenario(1).unwrap();
    let report = run_told(&scenario);
    assert_eq!(report.violations[0].invariant, "subject-is-there");

    let mut file = ScenarioFile {
        story: String::new(),
        scenario,
    };
    assert!(simulation.replay(&file.to_json()).is_ok());
    file.scenario.subject = Some("test.other".to_owned());
    let refused = simulation.replay(&file.to_json());
    assert!(matches!(refused, Err(ScenarioError::Subject(name)) if name == "test.other"));
    let world = World::of(&subject(true), file.scenario.clone(), Keep::Nothing);
    assert_eq!(world.violation().unwrap().invariant, "subject-is-there");

    file.scenario.subject = None;
    let refused = simulation.replay(&file.to_json()).unwrap_err();
    assert!(
        refused.to_string().contains("needs a \"subject\""),
        "{refused}"
    );
    file.scenario.operations.clear();
    let refused = simulation.replay(&file.to_json()).unwrap_err();
    assert!(
        refused.to_string().contains("names no \"subject\""),
        "{refused}"
    );
}

#[test]
fn commands_in_files_are_read_strictly() {
    let simulation = Simulation::of(&subject(true)).seconds(2);
    let scenario = simulation.scenario(1).unwrap();
    let story = String::new();
    let text = ScenarioFile { story, scenario }.to_json();
    let (head, tail) = text.split_once("\"hex\":\"").unwrap();
    let (_, tail) = tail.split_once('"').unwrap();
    let with = |hex: &str, more: &str| format!("{head}\"hex\":\"{hex}\"{more}{tail}");
    assert!(simulation.replay(&with("010105", "")).is_ok());
    // What people read may look like a duration.
    assert!(
        simulation
            .replay(&with("010105", ",\"text\":\"5ms\""))
            .is_ok()
    );
    for (hex, more) in [("0", ""), ("0G", ""), ("01", ",\"test\":\"\"")] {
        let refused = simulation.replay(&with(hex, more)).unwrap_err();
        assert!(matches!(refused, ScenarioError::Malformed(_)), "{refused}");
        assert!(refused.to_string().contains("operations[0]"), "{refused}");
    }
    let long = "00".repeat((1 << 20) + 1);
    let refused = simulation.replay(&with(&long, "")).unwrap_err();
    assert!(refused.to_string().contains("at most 1048576"), "{refused}");
}
