//! A table of lines as such files have them, and properties of any input.

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "tests look inside")]
fn shown(variable: &Variable) -> String {
    String::from_utf8(variable.value.expose().to_vec()).unwrap()
}

/// Names and values.
fn read(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let variables = parse(text.as_bytes())?;
    let pairs = variables.iter().map(|one| (one.name.clone(), shown(one)));
    Ok(pairs.collect())
}

/// The value of the one variable that `text` sets.
fn value(text: &str) -> String {
    let variables = parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text:?}: {fault}"));
    assert_eq!(variables.len(), 1, "{text:?}");
    shown(&variables[0])
}

#[test]
fn values_are_read_as_people_write_them() {
    for (text, expected) in [
        ("A=b", "b"),
        ("A=b\n", "b"),
        ("A=b\r\n", "b"),
        ("\u{feff}A=b", "b"),
        ("export A=b", "b"),
        ("  export\tA = b  ", "b"),
        ("A=", ""),
        ("A=  ", ""),
        ("A= # all of it is a comment", ""),
        ("A=b=c==", "b=c=="),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A=b c", "b c"),
        ("A=b\"c", "b\"c"),
        (r"A=b\c", r"b\c"),
        ("A=b$", "b$"),
        ("A=b$c", "b$c"),
        ("A=${B}", "${B}"),
        ("A=$(openssl rand -base64 32)", "$(openssl rand -base64 32)"),
        ("A=`id`", "`id`"),
        ("A='b'", "b"),
        ("A=''", ""),
        (r#"A='b "c" \n $D `e` #f'"#, r#"b "c" \n $D `e` #f"#),
        ("A='b' # comment", "b"),
        ("A=\t'b'\t\n", "b"),
        ("A='b\nc'", "b\nc"),
        ("A=\"b c\"", "b c"),
        ("A=\"b#c\" #d", "b#c"),
        ("A=\"b\r\nc\"\r\n", "b\r\nc"),
        (r#"A="b\"c\\d\$e\`f""#, "b\"c\\d$e`f"),
        (r#"A="b\nc\td\re""#, "b\nc\td\re"),
        (r#"A="b\c""#, r"b\c"),
        (r#"A="b$""#, "b$"),
        (r#"A="b$c""#, "b$c"),
        (r#"A="b$$c""#, "b$$c"),
        (r#"A="b`c`""#, "b`c`"),
        ("A=ü", "ü"),
        ("_a1=b", "b"),
        ("export =b", "b"),
    ] {
        assert_eq!(value(text), expected, "{text:?}");
    }
}

#[test]
fn a_file_is_read_line_by_line() {
    let text =
        "# comment\r\n\r\nA=1\r\n\tB='2\n\n3'\n  # another\nexport C=\"4\"\nexporter=5\nexport=6";
    let pairs = [
        ("A", "1"),
        ("B", "2\n\n3"),
        ("C", "4"),
        ("exporter", "5"),
        ("export", "6"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(read(text).unwrap(), pairs);
    let variables = parse(text.as_bytes()).unwrap();
    let lines: Vec<_> = variables.iter().map(|one| one.line).collect();
    assert_eq!(lines, [3, 4, 8, 9, 10]);
    let spans: Vec<_> = variables
        .iter()
        .map(|one| text.get(one.span.clone()).unwrap())
        .collect();
    assert_eq!(
        spans,
        [
            "A=1\r\n",
            "\tB='2\n\n3'\n",
            "export C=\"4\"\n",
            "exporter=5\n",
            "export=6"
        ]
    );
    for nothing in ["", "\n\n", "# A=1", "\u{feff}", "  \t\r\n#"] {
        assert_eq!(read(nothing).unwrap(), [], "{nothing:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told_by_its_line() {
    use FaultKind::{AfterQuote, NotAssignment, NotName, NotText, Twice, Unclosed};
    for (text, line, kind) in [
        ("s3cret", 1, NotAssignment),
        ("A=1\n\ns3cret\n", 3, NotAssignment),
        ("export A", 1, NotAssignment),
        ("s3cret\nA=1", 1, NotAssignment),
        ("=s3cret", 1, NotName),
        ("export A B=1", 1, NotName),
        ("1A=1", 1, NotName),
        ("A-B=1", 1, NotName),
        ("A B=1", 1, NotName),
        ("ü=1", 1, NotName),
        ("A: b=1", 1, NotName),
        ("A='1\nB=2", 1, Unclosed),
        ("B=2\nA=\"1\\\"", 2, Unclosed),
        ("A=\"1\\", 1, Unclosed),
        ("A='1'2", 1, AfterQuote),
        ("A='1'#2", 1, AfterQuote),
        ("A='1' 2", 1, AfterQuote),
        ("A=\"1\"\"2\"", 1, AfterQuote),
        ("A=1\nB=2\nA=3", 3, Twice { first: 1 }),
        ("A='1\n2'\nB=2\nexport A=3", 4, Twice { first: 1 }),
        ("A=1\nB=\0", 2, NotText),
        ("A=1\rB=2", 1, NotText),
        ("A=1\n\u{1b}[2J", 2, NotText),
    ] {
        let fault = parse(text.as_bytes()).err();
        assert_eq!(fault, Some(Fault { line, kind }), "{text:?}");
        assert!(!fault.unwrap().to_string().contains("s3cret"));
    }
    let fault = parse(b"A=1\nB=\xff\n").err();
    let kind = NotText;
    assert_eq!(fault, Some(Fault { line: 2, kind }));
}

#[test]
fn nothing_that_was_read_is_printed() {
    let text = "s3cret_name=s3cret-value";
    let variables = parse(text.as_bytes()).unwrap();
    let said = format!("{variables:?} {variables:#?}");
    assert!(
        !said.contains("s3cret") && said.contains("12 bytes"),
        "{said}"
    );
}

/// One assignment in one of the ways to write it, its name and its value.
fn written() -> impl Strategy<Value = (String, String, String)> {
    let name = "[A-Za-z_][A-Za-z0-9_]{0,9}";
    let head = prop_oneof![Just(""), Just("export "), Just("\texport\t"), Just("  ")];
    let bare = "[A-Za-z0-9/+=._~:-]{0,20}".prop_map(|value| (value.clone(), value));
    let single = "[^'\\p{Cc}]{0,20}".prop_map(|value| (format!("'{value}'"), value));
    let double = "[^\\p{Cc}]{0,20}".prop_map(|value| {
        let escape = |c: char| match c {
            '"' | '\\' | '$' | '`' => format!("\\{c}"),
            other => other.to_string(),
        };
        let escaped = value.chars().map(escape).collect::<String>();
        (format!("\"{escaped}\""), value)
    });
    let tail = prop_oneof![Just(""), Just("  "), Just(" # more"), Just("\t#'\"")];
    let value = prop_oneof![bare, single, double];
    (head, name, value, tail).prop_map(|(head, name, (written, value), tail)| {
        (format!("{head}{name}={written}{tail}"), name, value)
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(lines in proptest::collection::vec((written(), 0..3_usize), 0..12), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = String::new();
        let mut expected = Vec::<(String, String)>::new();
        for ((line, name, value), blank) in lines {
            if expected.iter().any(|(known, _)| *known == name) {
                continue;
            }
            text.push_str(&line);
            text.push_str(end);
            text.push_str(&["", "  # comment 'x\n", "\n"][blank].replace('\n', end));
            expected.push((name, value));
        }
        prop_assert_eq!(read(&text).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(parse(&bytes));
    }

    /// A file without one of its assignments sets the others as before.
    #[test]
    fn spans_are_all_of_a_variable_and_nothing_else(text in "([AB]?[C-E]?( |=|'|\"|#|\\\\|\\$|\n|\r\n|x){0,4}){0,6}") {
        let Ok(variables) = parse(text.as_bytes()) else { return Ok(()) };
        for (index, gone) in variables.iter().enumerate() {
            let before = text.get(..gone.span.start).unwrap();
            let after = text.get(gone.span.end..).unwrap();
            let mut expected = read(&text).unwrap();
            expected.remove(index);
            prop_assert_eq!(read(&format!("{before}{after}")).unwrap(), expected);
        }
    }
}
