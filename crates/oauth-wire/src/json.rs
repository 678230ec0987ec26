//! What every JSON document from outside must pass before it is parsed.
//!
//! Owns the bound on depth, which the parser itself sets higher, and the byte order mark that some servers send. Never
//! looks at a value.

/// How deep arrays and objects may nest. Real answers have three levels.
const MAX_DEPTH: usize = 32;

/// `body` without the byte order mark and the white space around it.
pub(super) fn trimmed(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(body)
        .trim_ascii()
}

/// Whether `body` nests deeper than is accepted. Counts brackets outside of strings; whether they match is for the parser.
pub(super) fn too_deep(body: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in body {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let deep = |n: usize| [b"[".repeat(n), b"]".repeat(n)].concat();
        assert!(!too_deep(&deep(32)) && too_deep(&deep(33)));
        let text = [b"\"\\\"".to_vec(), deep(99), b"\"".to_vec()].concat();
        assert!(!too_deep(&text));
        assert!(!too_deep(&b"[]".repeat(99)));
        assert!(too_deep(
            &[b"\"\\\\\"".to_vec(), b"{".repeat(33).clone()].concat()
        ));
    }

    #[test]
    fn marks_and_white_space_go() {
        assert_eq!(trimmed(b"\xEF\xBB\xBF \r\n{} "), b"{}");
        assert_eq!(trimmed(b" \n"), b"");
    }
}
