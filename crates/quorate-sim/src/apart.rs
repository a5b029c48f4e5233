//! Groups that are founded apart: by peers that do not see each other, and meet later.
//!
//! One seed in six draws that, on top of everything else. The peers are in two parts from the
//! start, each part has somebody who founds, and after a while the parts see each other. What
//! clients do by then decides what must become of the two histories, so half of these runs are
//! quiet until later, and some are quiet in one part only.

use std::time::Duration;

use quorate_core::Form;

use crate::{
    dice::Dice,
    fault::{Fault, FaultKind},
    scenario::{Scenario, Storage},
};

/// How a group is founded apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Apart {
    /// How each peer opens the group at its first start, and at later ones.
    pub(crate) forms: Vec<Form>,
    pub(crate) again: Vec<Form>,
    /// One of the two parts.
    side: Vec<usize>,
    /// How long they do not see each other.
    lasts: Duration,
    /// When clients of the one part, and of the other, begin.
    quiet: [Duration; 2],
}

impl Apart {
    /// Draws how, if the run is one of those.
    pub(crate) fn draw(
        nodes: usize,
        storage: Storage,
        safety: Duration,
        dice: &mut Dice,
    ) -> Option<Self> {
        if nodes < 2 || safety.is_zero() || dice.below(6) != 0 {
            return None;
        }
        Some(Self::drawn(nodes, storage, safety, dice))
    }

    /// Draws how, with clients that begin about when the two parts meet; for two peers or more.
    pub(crate) fn draw_meeting(
        nodes: usize,
        storage: Storage,
        safety: Duration,
        dice: &mut Dice,
    ) -> Self {
        let lasts = Duration::from_millis(dice.scaled(500, 4_000));
        let mut quiet = || lasts + Duration::from_millis(dice.scaled(1, 1_000));
        let quiet = [quiet(), quiet()];
        Self {
            lasts,
            quiet,
            ..Self::drawn(nodes, storage, safety, dice)
        }
    }

    fn drawn(nodes: usize, storage: Storage, safety: Duration, dice: &mut Dice) -> Self {
        let mut side: Vec<usize> = (0..nodes).collect();
        dice.shuffle(&mut side);
        let rest = side.split_off(1 + dice.index(nodes - 1));
        let forms = draw_forms(nodes, &side, &rest, dice);
        // What a memory peer founded alone it has forgotten when it comes back.
        let again = forms
            .iter()
            .map(|form| match form {
                Form::Alone if storage == Storage::Memory => Form::Join,
                form => *form,
            })
            .collect();
        let whole = u64::try_from(safety.as_millis()).unwrap_or(u64::MAX);
        let lasts = Duration::from_millis(dice.scaled(100, whole.max(200) / 2));
        let late = Duration::from_millis(dice.scaled(500, whole.max(1_000)));
        let none = Duration::ZERO;
        let quiet = [[none, none], [late, none], [late, late], [late, late]][dice.index(4)];
        side.sort_unstable();
        Self {
            forms,
            again,
            side,
            lasts,
            quiet,
        }
    }

    /// Changes what else was drawn to it.
    pub(crate) fn change(self, scenario: &mut Scenario) {
        let Self {
            side, lasts, quiet, ..
        } = self;
        let begins = |peer: usize| quiet[usize::from(side.contains(&peer))];
        scenario
            .operations
            .retain(|operation| operation.at >= begins(operation.peer));
        scenario.faults.insert(
            0,
            Fault {
                at: Duration::ZERO,
                kind: FaultKind::Partition { side, lasts },
            },
        );
    }
}

/// Draws who founds in each of the two parts.
fn draw_forms(nodes: usize, side: &[usize], rest: &[usize], dice: &mut Dice) -> Vec<Form> {
    let how = dice.below(4);
    // Founders that expect each other: as many as the smaller part has, so that each part can.
    let smaller = side.len().min(rest.len());
    let mut forms = vec![Form::Join; nodes];
    match how {
        0 => forms.fill(Form::Auto { locked: false }),
        1 => forms.fill(Form::Expect(smaller)),
        // As many as there are, or fewer: the two parts may expect different numbers.
        2 => {
            for part in [side, rest] {
                let count = 1 + dice.index(part.len());
                for peer in part.iter().take(count) {
                    forms[*peer] = Form::Expect(count);
                }
            }
        }
        _ => {
            for part in [side, rest] {
                forms[part[dice.index(part.len())]] = Form::Alone;
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_somebody_who_founds() {
        let mut drawn = 0;
        for seed in 0..300 {
            let mut dice = Dice::new(seed, "apart", 0);
            let safety = Duration::from_secs(20);
            let Some(apart) = Apart::draw(5, Storage::Memory, safety, &mut dice) else {
                continue;
            };
            drawn += 1;
            for inside in [true, false] {
                let founds = (0..5)
                    .filter(|peer| apart.side.contains(peer) == inside)
                    .any(|peer| apart.forms[peer] != Form::Join);
                assert!(founds, "seed {seed}: {apart:?}");
            }
        }
        assert!((20..100).contains(&drawn), "{drawn} of 300");
    }
}
