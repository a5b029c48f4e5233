//! Names of networks and groups as users give them.

use crate::limits::NAME;

/// Reads a name: it stands in file names and on cards, so it has only plain letters.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > NAME || text.starts_with('.') || !text.chars().all(plain) {
        return Err(format!(
            "expected 1 to {NAME} of the characters a-z A-Z 0-9 - _ . and no dot in front"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_its_directory() {
        for good in ["default", "kv", "A-1_b.c"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "\u{e9}", &"x".repeat(NAME + 1)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
