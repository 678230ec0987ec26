//! One row per kind of fault: a change of the complete file, and the one problem that follows.

use proptest::prelude::*;

use super::{COMPLETE, SAMPLE, parse};

/// The changes, and the problem that each causes.
const FAULTS: &str = include_str!("faults.txt");

/// So many blocks there are at least; fewer mean that they are not read.
const FEWEST_FAULTS: usize = 120;

fn changed(from: &str, to: &str) -> String {
    assert_eq!(
        COMPLETE.matches(from).count(),
        1,
        "{from:?} must occur once"
    );
    COMPLETE.replace(from, to)
}

/// The lines of a block that begin with `mark`, without it.
fn marked(block: &str, mark: &str) -> String {
    let lines: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix(mark))
        .collect();
    lines.join("\n")
}

#[test]
fn each_fault_is_one_problem_at_its_key() {
    let mut faults = 0;
    for block in FAULTS.split("\n\n").filter(|block| block.contains("! ")) {
        let text = changed(&marked(block, "- "), &marked(block, "+ "));
        let Err(problems) = parse(&text) else {
            panic!("accepted: {block}")
        };
        let [problem] = problems.list() else {
            panic!("{block}\n{problems}")
        };
        let expected = marked(block, "! ");
        let (path, says) = expected.split_once(": ").unwrap();
        assert_eq!(problem.path, path, "{block}\n{problem}");
        assert!(problem.to_string().contains(says), "{block}\n{problem}");
        assert!(problem.line.is_some(), "{block}\n{problem}");
        faults += 1;
    }
    assert!(faults >= FEWEST_FAULTS, "{faults}");
}

#[test]
fn a_sockets_path_fits_into_the_kernels_address() {
    for (length, fits) in [(107, true), (108, false)] {
        let path = format!("\"/{}\"", "a".repeat(length - 1));
        let text = changed("\"/run/c/broker.sock\"", &path);
        assert_eq!(parse(&text).is_ok(), fits, "{length}");
    }
    let directory = format!("\"/{}/a\"", "a".repeat(100));
    let problems = parse(&format!("[server]\nsocket = {directory}")).unwrap_err();
    assert!(
        problems.to_string().contains("which follows from `socket`"),
        "{problems}"
    );
}

#[test]
fn five_faults_are_five_messages_with_their_lines() {
    let text = "\
[server]
sokcet = '/run/c/broker.sock'

[backends.local]
type = 'file'
directory = 'relative'
key_file = '/etc/c/key'

[issuers.acme]
issuer = 'http://auth.example.com'

[clients.billing]
issuer = 'amce'
id = 'local:oauth#id'
auth = { method = 'client_secret_basic', secret = 'local:oauth#secret' }

[tokens.billing-api]
client = 'billing'
grnat = 'client_credentials'
grant = 'client_credentials'
";
    let problems = parse(text).unwrap_err();
    assert_eq!(
        problems.to_string().lines().collect::<Vec<_>>(),
        [
            "claviger.toml:2: server.sokcet: unknown key; did you mean \"socket\"?",
            "claviger.toml:6: backends.local.directory: expected an absolute path, beginning with /",
            "claviger.toml:10: issuers.acme.issuer: HTTP OAuth endpoints not allowed in production",
            "claviger.toml:13: clients.billing.issuer: no issuer of this name is configured; did you mean \"acme\"?",
            "claviger.toml:19: tokens.billing-api.grnat: unknown key; did you mean \"grant\"?",
        ]
    );
}

#[test]
fn two_environments_share_no_identity() {
    let literal = "{ literal = \"one\" }";
    let shared = COMPLETE
        .replace("\"local:oauth/billing#client_id\"", literal)
        .replace("{ literal = \"reports client\" }", literal);
    for (text, word) in [
        (shared, "the identifier of client"),
        (
            changed(
                "{ literal = \"reports client\" }",
                "\"local:oauth/billing@3#client_id\"",
            ),
            "the identifier of client",
        ),
        (
            changed(
                "secret = \"local:oauth/billing@7#client_secret\"",
                "secret = \"other:reports\"",
            ),
            "the secret of client",
        ),
        (
            changed("client = \"reports\"", "client = \"billing\""),
            "the identifier of client",
        ),
    ] {
        let problems = parse(&text).unwrap_err();
        let [problem] = problems.list() else {
            panic!("{problems}")
        };
        assert_eq!(problem.path, "tokens.reports.environment");
        assert!(problem.message.contains(word), "{problem}");
        assert!(problem.message.contains("\"billing-api\""), "{problem}");
        let same = text.replace("environment = \"staging\"", "environment = \"prod\"");
        assert!(parse(&same).is_ok(), "within one environment they may");
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let second_pin = ", \"sha256/xFspLNQwQR7NzYxbD0PIXiHcZMyVxFnVZUlYg0BW7U8=\"";
    let spare = "directory = \"/d\"\nkey_file = \"/k\"\n[refresh]";
    let backend = format!("[backends.spare]\ntype = \"file\"\n{spare}");
    let issuer = "[issuers.spare]\nissuer = \"https://a.example\"\n[refresh]";
    let wider = "scopes = [\"read\", \"admin\"]";
    let rows = [
        (second_pin, "", "issuers.acme.pins", "one pin locks"),
        (
            "scopes = [\"read\"]",
            wider,
            "allow[1].scopes",
            "\"billing-api\" does not have",
        ),
        (
            "secrets = [\"database\"]",
            "",
            "secrets.database",
            "no process can request it",
        ),
        (
            "\"billing@1.service\"",
            "\"user@1000.service\"",
            "allow[1].unit",
            "never matches",
        ),
        (
            "\"billing@1.service\"",
            "\"session-1.scope\"",
            "allow[1].unit",
            "never matches",
        ),
        ("[refresh]", issuer, "issuers.spare", "no client names"),
        (
            "[refresh]",
            &backend,
            "backends.spare",
            "no reference names",
        ),
    ];
    for (from, to, path, says) in rows {
        let config = parse(&changed(from, to)).unwrap_or_else(|problems| panic!("{problems}"));
        let (of_executable, others): (Vec<_>, Vec<_>) = config
            .warnings
            .iter()
            .partition(|warning| warning.path == "allow[1].exe");
        assert!(of_executable[0].message.contains("its own user"));
        let [warning] = others.as_slice() else {
            panic!("{others:?}")
        };
        assert_eq!(warning.path, path);
        assert!(warning.message.contains(says), "{warning}");
    }
}

#[test]
fn syntax_faults_have_a_line_a_column_and_a_kind() {
    for (text, expected) in [
        ("[server\n", "claviger.toml:1: column"),
        (
            "mode = production",
            "claviger.toml:1: column 8: a text needs quotes",
        ),
        ("mode = \"production", "claviger.toml:1: column"),
        (
            "\n\nmode = \"dev\"\nmode = \"dev\"",
            "claviger.toml:4: column 1: the key is given twice",
        ),
    ] {
        let problems = parse(text).unwrap_err().to_string();
        assert!(problems.starts_with(expected), "{problems}");
    }
    let both = parse("mode = 'dev'\nmode = 'dev'\nmod = 1").unwrap_err();
    assert_eq!(
        both.list().len(),
        2,
        "a key given twice hides no other fault: {both}"
    );
}

#[test]
fn there_is_an_end_to_problems() {
    let garbage: String = (0..5000)
        .flat_map(|number| ["k".to_owned(), number.to_string(), " = 1\n".to_owned()])
        .collect();
    assert_eq!(parse(&garbage).unwrap_err().list().len(), 200);
    let large = "#".repeat(1024 * 1024 + 1);
    assert!(parse(&large).unwrap_err().to_string().contains("1 MiB"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,300}") {
        drop(parse(&text));
    }

    #[test]
    fn text_that_looks_like_toml_is_read_or_refused(
        lines in proptest::collection::vec(
            "(\\[{1,2}[a-z.\"]{1,12}\\]{1,2}|[a-z_.]{1,9} = (\"[^\"\n]{0,12}\"|-?[0-9x_.e]{1,9}|\\[[\", a-z]{0,9}\\]|\\{ ?[a-z= \"]{0,12}\\}|true))",
            0..30,
        ),
    ) {
        drop(parse(&lines.join("\n")));
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(
        sample in proptest::sample::select(&[COMPLETE, SAMPLE][..]),
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 0..40_usize, "[\\[\\]{}=\"'.,#\\\\a-z0-9\n\u{0}ä]{0,6}"), 1..5),
    ) {
        let mut letters: Vec<char> = sample.chars().collect();
        for (at, length, insert) in cuts {
            let start = at.index(letters.len());
            let end = (start + length).min(letters.len());
            letters.splice(start..end, insert.chars());
        }
        drop(parse(&letters.into_iter().collect::<String>()));
    }

    #[test]
    fn moved_lines_are_read_or_refused(order in Just(COMPLETE.lines().collect::<Vec<_>>()).prop_shuffle()) {
        drop(parse(&order.join("\n")));
    }
}
