//! The machine of the consensus rows: sums in a table, one command adds to one of them.
//!
//! Small on purpose: these rows compare how commands are ordered, so what a command does costs a
//! few nanoseconds, and yet a command that is lost, doubled or out of place shows in the sums.

/// Bytes of a command: which sum, and what is added to it.
pub(crate) const COMMAND: usize = 16;

const SUMS: u64 = 1_024;

/// The sums.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sums {
    sums: Vec<u64>,
}

impl Sums {
    /// Starts with nothing but zeros.
    pub(crate) fn new() -> Self {
        Self {
            sums: vec![0; SUMS as usize],
        }
    }

    /// Applies a command; returns the sum that it made.
    pub(crate) fn apply(&mut self, command: [u8; COMMAND]) -> u64 {
        let (which, added) = read_command(command);
        let sum = &mut self.sums[which as usize];
        *sum = added_to(*sum, added);
        *sum
    }
}

/// Checks that the machines of all peers made the sums of the first `commands` commands, once each
/// and in order.
///
/// # Errors
/// If one of them did not.
pub(crate) fn check<'a>(
    commands: u64,
    made: impl IntoIterator<Item = &'a Sums>,
) -> anyhow::Result<()> {
    let mut expected = Sums::new();
    for number in 0..commands {
        expected.apply(command(number));
    }
    let right = made.into_iter().all(|sums| *sums == expected);
    anyhow::ensure!(right, "the sums are not those of the commands");
    Ok(())
}

/// Returns which sum a command means, and what is added to it.
pub(crate) fn read_command(command: [u8; COMMAND]) -> (u64, u64) {
    let (which, added) = command.split_at(8);
    let word = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of a command"));
    (word(which) % SUMS, word(added))
}

/// Returns what a sum becomes; the order of what is added to it shows.
pub(crate) fn added_to(sum: u64, added: u64) -> u64 {
    sum.wrapping_mul(3).wrapping_add(added)
}

/// Makes the `number`th command of a run.
pub(crate) fn command(number: u64) -> [u8; COMMAND] {
    let mut command = [0; COMMAND];
    command[..8].copy_from_slice(&number.to_le_bytes());
    command[8..].copy_from_slice(&(number + 1).to_le_bytes());
    command
}
