//! Rust source as the scans see it: the same lines, with comments and literals blanked out.

/// Returns `text` with everything inside comments, strings and character literals blanked.
///
/// Lines and columns stay where they are, byte for byte.
pub(crate) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = opaque_end(bytes, at);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole characters were blanked")
}

/// Returns where the comment or literal that starts at `at` ends; `at` if none starts there.
fn opaque_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + find(rest, b"\n").unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + string(rest),
        [b'r', b'"' | b'#', ..] if !after_word || is_prefixed(bytes, at) => {
            at + raw_string(rest).unwrap_or(0)
        }
        [b'\'', ..] => at + character(rest),
        _ => at,
    }
}

/// Tells whether the `r` at `at` belongs to `br"` or `cr"`.
fn is_prefixed(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at - 1], b'b' | b'c') && (at < 2 || !is_word(bytes[at - 2]))
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.extend(std::iter::repeat_n(b'#', hashes));
    let body = 2 + hashes;
    Some(find(&rest[body..], &closing).map_or(rest.len(), |end| body + end + closing.len()))
}

/// Returns the length of the character literal at the front; zero if it is a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return find(&rest[3..], b"'").map_or(rest.len(), |end| end + 4);
    }
    let text = std::str::from_utf8(&rest[1..]).unwrap_or_default();
    let width = text.chars().next().map_or(0, char::len_utf8);
    if width > 0 && rest.get(1 + width) == Some(&b'\'') {
        width + 2
    } else {
        0
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns where `word` stands in `code` as a whole word, not as a part of a longer one.
pub(crate) fn occurrences(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let edge = |byte: Option<&u8>, of: u8| !is_word(of) || byte.is_none_or(|byte| !is_word(*byte));
    let (first, last) = (word.as_bytes()[0], word.as_bytes()[word.len() - 1]);
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            edge(before, first) && edge(bytes.get(at + word.len()), last)
        })
        .collect()
}

/// Returns the number of the line, counted from one, that holds the byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// A function as the scan sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// How many lines it takes, from `fn` to its closing brace.
    pub(crate) lines: usize,
}

/// Returns the functions with a body in `code`, which must be blanked already.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    occurrences(code, "fn")
        .into_iter()
        .filter_map(|at| {
            let rest = code[at + 2..].trim_start();
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            // A function pointer's type has no name.
            if name.is_empty() {
                return None;
            }
            let open = body_start(code.as_bytes(), at)?;
            let close = body_end(code.as_bytes(), open);
            let line = line_of(code, at);
            Some(Function {
                name,
                line,
                lines: line_of(code, close) - line + 1,
            })
        })
        .collect()
}

/// Returns where the body of the function at `at` opens; nothing for a declaration.
fn body_start(code: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn body_end(code: &[u8], open: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, byte) in code[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset;
        }
    }
    code.len() - 1
}

#[cfg(test)]
mod tests {
    use super::{code_of, functions, occurrences};

    #[test]
    fn comments_and_literals_are_blanked_and_nothing_else() {
        let source =
            "a /* b /* c */ d */ e // f\n'g' '\\'' 'h \"i \\\" j\" r#\"k \"l\"# m br\"n\" r#fn";
        let code = code_of(source);
        assert_eq!(code.len(), source.len());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "e", "'h", "m", "b", "r#fn"]);
    }

    #[test]
    fn a_brace_in_a_character_or_a_string_opens_nothing() {
        let source = "fn f() -> [u8; 2] {\n    let _ = ('{', \"{{{\", b'}');\n}\nfn g();\n";
        let found = functions(&code_of(source));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].lines), ("f", 3));
    }

    #[test]
    fn a_function_is_measured_from_its_name_to_its_last_brace() {
        let body = "    step();\n".repeat(69);
        let source = format!("// one\nimpl A {{\nfn long(\n) {{\n{body}}}\n}}\n");
        let found = functions(&code_of(&source));
        assert_eq!((found[0].line, found[0].lines), (3, 72));
    }

    #[test]
    fn only_whole_words_count() {
        assert_eq!(
            occurrences("tokio tokios my_tokio ::tokio::x", "tokio").len(),
            2
        );
        assert_eq!(occurrences("todo!() my_todo!()", "todo!").len(), 1);
    }
}
