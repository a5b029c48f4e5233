//! Which versions were measured, as the lock file says.

/// The lock file that this program was built with.
const LOCK: &str = include_str!("../Cargo.lock");

/// Returns `name` with its version.
pub(crate) fn of(name: &str) -> String {
    let wanted = format!("name = \"{name}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != wanted);
    let version = lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = "))
        .map(|version| version.trim_matches('"'))
        .expect("what is measured is in the lock file");
    format!("{name} {version}")
}
