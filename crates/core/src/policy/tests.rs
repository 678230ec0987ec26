//! Policy as a table, as properties, and as its explanations.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use crate::peer::{Cgroup, Facts};
use crate::policy::{Action, Denial, Mismatch, Policy, Rights, Rule, ScopeLimit, Selector};
use claviger_oauth_wire::Scopes;

fn scopes(text: &str) -> Scopes {
    Scopes::new(text.split_whitespace()).unwrap()
}

fn names(text: &str) -> Vec<Arc<str>> {
    text.split_whitespace().map(Arc::from).collect()
}

fn cgroup(unit: &str, container: &str) -> Cgroup {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Cgroup {
        path: "/x".into(),
        unit: some(unit),
        container: some(container),
    }
}

/// The peer of most tests: user 1000, groups 100 and 200, in `billing.service`, running `/usr/bin/billing`.
fn billing() -> Facts {
    Facts {
        uid: 1000,
        gid: 100,
        groups: vec![200],
        pid: 7,
        nested: false,
        cgroup: Some(cgroup("billing.service", "")),
        executable: Some("/usr/bin/billing".into()),
    }
}

fn unit(name: &str) -> Selector {
    Selector {
        unit: Some(name.into()),
        ..Selector::default()
    }
}

fn user(uid: u32) -> Selector {
    Selector {
        user: Some(uid),
        ..Selector::default()
    }
}

fn rule(selector: Selector, tokens: &str, limit: Option<&str>) -> Rule {
    Rule {
        selector,
        tokens: names(tokens),
        scopes: limit.map_or(ScopeLimit::Definition, |text| {
            ScopeLimit::Only(scopes(text))
        }),
        secrets: Vec::new(),
    }
}

fn ask(rules: Vec<Rule>, facts: &Facts, token: &str, wanted: &str) -> Result<u32, Denial> {
    let rights = Policy::new(rules).rights(facts);
    let permit = rights.token(token, &scopes(wanted))?;
    Ok(permit.reach().rule())
}

/// The rule that allows a request, or the denial.
fn decide(rights: &Rights, action: Action, name: &str, wanted: &Scopes) -> Result<u32, Denial> {
    match action {
        Action::Token => rights
            .token(name, wanted)
            .map(|permit| permit.reach().rule()),
        Action::Revoke => rights
            .revocation(name, wanted)
            .map(|permit| permit.reach().rule()),
        Action::Secret => rights.secret(name).map(|permit| permit.rule()),
    }
}

/// One row of the tables below: a change of the selector, a change of the peer, and what follows.
type Row = (
    &'static str,
    fn(&mut Selector),
    fn(&mut Facts),
    Option<Mismatch>,
);

fn compare(base: &Selector, peer: &Facts, rows: &[Row]) {
    for (what, change, happen, expected) in rows {
        let mut selector = base.clone();
        let mut facts = peer.clone();
        change(&mut selector);
        happen(&mut facts);
        assert_eq!(selector.mismatch(&facts), *expected, "{what}");
    }
}

/// Each row changes one thing of a selector and a peer that match, so that a comparison that is dropped fails a row.
#[test]
fn every_selector_is_compared() {
    use Mismatch::{Executable, Group, Unit, User};
    let full = Selector {
        user: Some(1000),
        group: Some(200),
        unit: Some("billing.service".into()),
        container: None,
        executable: Some("/usr/bin/billing".into()),
    };
    let rows: &[Row] = &[
        ("all equal", |_| (), |_| (), None),
        ("rule's user", |s| s.user = Some(1001), |_| (), Some(User)),
        ("peer's user", |_| (), |f| f.uid = 1001, Some(User)),
        ("user 0", |s| s.user = Some(0), |_| (), Some(User)),
        ("no user", |s| s.user = None, |f| f.uid = 1001, None),
        ("first group", |s| s.group = Some(100), |_| (), None),
        ("rule's group", |s| s.group = Some(300), |_| (), Some(Group)),
        ("fewer groups", |_| (), |f| f.groups.clear(), Some(Group)),
        ("no group", |s| s.group = None, |f| f.gid = 7, None),
        (
            "rule's unit",
            |s| s.unit = Some("a.service".into()),
            |_| (),
            Some(Unit),
        ),
        (
            "no unit",
            |_| (),
            |f| f.cgroup = Some(cgroup("", "")),
            Some(Unit),
        ),
        ("place unknown", |_| (), |f| f.cgroup = None, Some(Unit)),
        (
            "program",
            |s| s.executable = Some("/bin/sh".into()),
            |_| (),
            Some(Executable),
        ),
        (
            "program unknown",
            |_| (),
            |f| f.executable = None,
            Some(Executable),
        ),
        (
            "any program",
            |s| s.executable = None,
            |f| f.executable = None,
            None,
        ),
    ];
    compare(&full, &billing(), rows);
}

#[test]
fn a_rule_must_say_where_to_match_in_a_container() {
    use Mismatch::{Container, InsideContainer, NothingPrimary};
    let inside = Facts {
        cgroup: Some(cgroup("billing.service", "c0ffee")),
        ..billing()
    };
    let rows: &[Row] = &[
        ("nothing", |_| (), |_| (), Some(NothingPrimary)),
        (
            "nothing, outside",
            |_| (),
            |f| f.cgroup = None,
            Some(NothingPrimary),
        ),
        (
            "program alone",
            |s| s.executable = Some("/usr/bin/billing".into()),
            |_| (),
            Some(NothingPrimary),
        ),
        (
            "user",
            |s| s.user = Some(1000),
            |_| (),
            Some(InsideContainer),
        ),
        (
            "group",
            |s| s.group = Some(200),
            |_| (),
            Some(InsideContainer),
        ),
        (
            "user, outside",
            |s| s.user = Some(1000),
            |f| f.cgroup = None,
            None,
        ),
        (
            "container",
            |s| s.container = Some("c0ffee".into()),
            |_| (),
            None,
        ),
        (
            "beginning",
            |s| s.container = Some("c0ffe".into()),
            |_| (),
            Some(Container),
        ),
        (
            "a unit may hold one",
            |s| s.unit = Some("billing.service".into()),
            |_| (),
            None,
        ),
    ];
    compare(&Selector::default(), &inside, rows);
}

#[test]
fn a_pid_namespace_counts_as_a_container() {
    let nested = Facts {
        nested: true,
        ..billing()
    };
    assert_eq!(
        user(1000).mismatch(&nested),
        Some(Mismatch::InsideContainer)
    );
    assert_eq!(unit("billing.service").mismatch(&nested), None);
}

#[test]
fn a_container_rule_needs_that_container() {
    let rule = Selector {
        container: Some("c0ffee".into()),
        ..Selector::default()
    };
    for place in [None, Some(cgroup("", "")), Some(cgroup("", "c0ffe"))] {
        let facts = Facts {
            cgroup: place,
            ..billing()
        };
        assert_eq!(rule.mismatch(&facts), Some(Mismatch::Container));
    }
}

#[test]
fn root_of_a_container_is_not_root() {
    let facts = Facts {
        cgroup: Some(cgroup("", "c0ffee")),
        ..Facts::default()
    };
    let rules = vec![rule(user(0), "billing-api", None)];
    assert_eq!(ask(rules, &facts, "billing-api", ""), Err(Denial::NoRule));
}

#[test]
fn units_and_names_match_whole_and_exactly() {
    let near_misses = [
        "Billing.service",
        "billing.service ",
        " billing.service",
        "billing",
        "billing.service.evil",
        "billing.service\0",
        "billing.servic",
        "evil-billing.service",
        "billing@.service",
        "*",
        "billing.*",
        "",
        "billing.service/",
        "ｂilling.service",
    ];
    for near in near_misses {
        let rules = vec![rule(unit(near), "billing-api", None)];
        let by_rule = ask(rules, &billing(), "billing-api", "");
        assert_eq!(by_rule, Err(Denial::NoRule), "rule {near:?}");

        let rules = vec![rule(unit("billing.service"), "billing-api", None)];
        let facts = Facts {
            cgroup: Some(cgroup(near, "")),
            ..billing()
        };
        let by_peer = ask(rules, &facts, "billing-api", "");
        assert_eq!(by_peer, Err(Denial::NoRule), "peer {near:?}");
    }
    for near in [
        "Billing-api",
        "billing-ap",
        "billing-api ",
        "billing-api2",
        "",
    ] {
        let rules = vec![rule(unit("billing.service"), "billing-api", None)];
        let answer = ask(rules, &billing(), near, "");
        assert_eq!(answer, Err(Denial::NotInRule), "name {near:?}");
    }
}

#[test]
fn the_first_rule_decides_unless_scopes_need_another() {
    let rules = || {
        vec![
            rule(unit("other.service"), "billing-api", None),
            rule(unit("billing.service"), "billing-api", Some("read")),
            rule(user(1000), "billing-api", Some("read write")),
            rule(user(1000), "billing-api", None),
        ]
    };
    assert_eq!(ask(rules(), &billing(), "billing-api", ""), Ok(2));
    assert_eq!(ask(rules(), &billing(), "billing-api", "read"), Ok(2));
    assert_eq!(ask(rules(), &billing(), "billing-api", "write read"), Ok(3));
    assert_eq!(ask(rules(), &billing(), "billing-api", "delete"), Ok(4));
    let bounded = rules().into_iter().take(3).collect();
    assert_eq!(
        ask(bounded, &billing(), "billing-api", "read delete"),
        Err(Denial::Scope)
    );
}

#[test]
fn a_permit_says_what_was_allowed() {
    let limited = rule(unit("billing.service"), "billing-api", Some("read write"));
    let rights = Policy::new(vec![limited]).rights(&billing());
    let all = rights.token("billing-api", &Scopes::none()).unwrap();
    let again = rights.token("billing-api", &Scopes::none()).unwrap();
    assert!(
        Arc::ptr_eq(all.reach(), again.reach()),
        "made in advance, not per request"
    );
    assert_eq!(all.reach().requested(), &Scopes::none());
    assert_eq!(all.reach().limit(), &ScopeLimit::Only(scopes("read write")));

    let some = rights.revocation("billing-api", &scopes("read")).unwrap();
    assert_eq!(&**some.reach().name(), "billing-api");
    assert_eq!(some.reach().requested(), &scopes("read"));
    assert_eq!(some.reach().rule(), 1);
}

#[test]
fn the_first_rule_that_names_a_secret_decides() {
    let naming = |secrets: &str| Rule {
        secrets: names(secrets),
        ..rule(unit("billing.service"), "", None)
    };
    let rules = vec![naming("other"), naming("database"), naming("database")];
    let rights = Policy::new(rules).rights(&billing());
    let permit = rights.secret("database").unwrap();
    assert_eq!((&**permit.name(), permit.rule()), ("database", 2));
    assert_eq!(rights.secret("databas"), Err(Denial::NotInRule));
}

#[test]
fn a_token_is_no_secret_of_that_name() {
    let mut both = rule(unit("billing.service"), "api", None);
    both.secrets = names("database");
    let rights = Policy::new(vec![both]).rights(&billing());
    for (action, name, allowed) in [
        (Action::Token, "api", true),
        (Action::Revoke, "api", true),
        (Action::Secret, "api", false),
        (Action::Secret, "database", true),
        (Action::Token, "database", false),
        (Action::Revoke, "database", false),
    ] {
        let answer = decide(&rights, action, name, &Scopes::none());
        assert_eq!(answer.is_ok(), allowed, "{} {name}", action.as_str());
    }
}

/// What `explain` says of one rule to a peer in `Billing.service` that wants `billing-api` with `read write`.
fn explained(rule: Rule) -> (bool, bool, String) {
    let facts = Facts {
        cgroup: Some(cgroup("Billing.service", "")),
        ..billing()
    };
    let wanted = scopes("read write");
    let policy = Policy::new(vec![rule]);
    let explanation = policy.explain(&facts, Action::Token, "billing-api", &wanted);
    let verdict = explanation.rules.into_iter().next().unwrap();
    (verdict.selects_peer, verdict.allows, verdict.detail)
}

#[test]
fn explanations_name_the_cause_and_what_nearly_fits() {
    let mut namesake = rule(user(1000), "Billing-api", None);
    namesake.secrets = names("billing-api");
    let far = Selector {
        group: Some(5),
        executable: Some("/bin/sh".into()),
        ..user(7)
    };
    let all = rule(user(1000), "billing-api", None);
    let rows: [(Rule, bool, bool, &[&str]); 6] = [
        (
            rule(unit("billing.service"), "billing-api", None),
            false,
            true,
            &[
                "unit \"billing.service\"",
                "\"Billing.service\" (the case differs)",
            ],
        ),
        (
            rule(unit("Billing"), "billing-api", None),
            false,
            true,
            &["unit \"Billing\"", "`.service` is part"],
        ),
        (
            namesake,
            true,
            false,
            &[
                "it names \"Billing-api\": the case differs",
                "a secret of that name",
            ],
        ),
        (
            rule(user(1000), "billing-api", Some("read")),
            true,
            false,
            &["does not allow the scopes \"write\""],
        ),
        (all, true, true, &["selects the peer by user 1000 and"]),
        (
            rule(far, "biling-api", None),
            false,
            false,
            &[
                "user 7",
                "group 5",
                "\"/bin/sh\"",
                "\"biling-api\": a typing mistake?",
            ],
        ),
    ];
    for (rule, selects, allows, words) in rows {
        let (selects_peer, permits, detail) = explained(rule);
        assert_eq!((selects_peer, permits), (selects, allows), "{detail}");
        assert!(words.iter().all(|word| detail.contains(word)), "{detail}");
    }
}

#[test]
fn explanations_say_why_a_user_rule_ends_at_a_container() {
    let facts = Facts {
        cgroup: Some(cgroup("", "c0ffee")),
        ..billing()
    };
    let policy = Policy::new(vec![rule(user(1000), "billing-api", None)]);
    let explanation = policy.explain(&facts, Action::Token, "billing-api", &Scopes::none());
    assert_eq!(explanation.decision, Err(Denial::NoRule));
    assert!(explanation.rules[0].detail.contains("in a container"));
}

fn any_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(values).prop_map(str::to_owned)
}

const UNITS: &[&str] = &["a.service", "A.service", "a", "b.service"];
const CONTAINERS: &[&str] = &["c0", "c1"];
const NAMES: &[&str] = &["x", "X", "y", "xy"];
const SCOPES: &[&str] = &["r", "w", "d"];

fn any_scopes() -> impl Strategy<Value = Scopes> {
    proptest::sample::subsequence(SCOPES, 0..=SCOPES.len())
        .prop_map(|picked| Scopes::new(picked).unwrap())
}

fn any_names() -> impl Strategy<Value = Vec<Arc<str>>> {
    proptest::sample::subsequence(NAMES, 0..=2)
        .prop_map(|picked| picked.into_iter().map(Arc::from).collect())
}

fn any_executable() -> impl Strategy<Value = Option<PathBuf>> {
    proptest::option::of(any_of(&["/bin/a", "/bin/b"]).prop_map(PathBuf::from))
}

fn any_selector() -> impl Strategy<Value = Selector> {
    (
        proptest::option::of(0..3_u32),
        proptest::option::of(0..3_u32),
        proptest::option::of(any_of(UNITS)),
        proptest::option::of(any_of(CONTAINERS)),
        any_executable(),
    )
        .prop_map(|(user, group, unit, container, executable)| Selector {
            user,
            group,
            unit,
            container,
            executable,
        })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let limit = proptest::option::of(any_scopes());
    (any_selector(), any_names(), limit, any_names()).prop_map(
        |(selector, tokens, limit, secrets)| Rule {
            selector,
            tokens,
            scopes: limit.map_or(ScopeLimit::Definition, ScopeLimit::Only),
            secrets,
        },
    )
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let place = (
        proptest::option::of(any_of(UNITS)),
        proptest::option::of(any_of(CONTAINERS)),
    )
        .prop_map(|(unit, container)| Cgroup {
            path: "/p".into(),
            unit,
            container,
        });
    (
        0..3_u32,
        0..3_u32,
        proptest::collection::vec(0..3_u32, 0..2),
        (any::<bool>(), proptest::option::of(place)),
        any_executable(),
    )
        .prop_map(|(uid, gid, groups, (nested, cgroup), executable)| Facts {
            uid,
            gid,
            groups,
            pid: 1,
            nested,
            cgroup,
            executable,
        })
}

fn any_request() -> impl Strategy<Value = (Action, String, Scopes)> {
    (
        proptest::sample::select(&Action::ALL[..]),
        any_of(NAMES),
        any_scopes(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn explain_decides_as_a_request_would_be_decided(
        rules in proptest::collection::vec(any_rule(), 0..6),
        facts in any_facts(),
        (action, name, scopes) in any_request(),
    ) {
        let policy = Policy::new(rules);
        let rights = policy.rights(&facts);
        let decided = decide(&rights, action, &name, &scopes);
        let explanation = policy.explain(&facts, action, &name, &scopes);
        let explained = explanation.decision.map(|allowed| allowed.rule);
        prop_assert_eq!(explained, decided);
        let first = explanation
            .rules
            .iter()
            .position(|verdict| verdict.selects_peer && verdict.allows)
            .map(|index| u32::try_from(index).unwrap() + 1);
        prop_assert_eq!(first, decided.ok());
        let selected = explanation.rules.iter().any(|verdict| verdict.selects_peer);
        prop_assert_eq!(!selected, decided == Err(Denial::NoRule));
        if let Ok(permit) = rights.token(&name, &scopes) {
            prop_assert_eq!(&**permit.reach().name(), name.as_str());
            prop_assert_eq!(permit.reach().requested(), &scopes);
            prop_assert!(permit.reach().limit().covers(&scopes));
        }
    }

    #[test]
    fn without_a_rule_nothing_is_permitted(facts in any_facts(), request in any_request()) {
        let (action, name, scopes) = request;
        let answer = decide(&Policy::new(Vec::new()).rights(&facts), action, &name, &scopes);
        prop_assert_eq!(answer.unwrap_err(), Denial::NoRule);
    }

    #[test]
    fn another_rule_never_takes_a_right_away(
        rules in proptest::collection::vec(any_rule(), 0..5),
        extra in any_rule(),
        place in any::<proptest::sample::Index>(),
        facts in any_facts(),
        (action, name, scopes) in any_request(),
    ) {
        let before = decide(&Policy::new(rules.clone()).rights(&facts), action, &name, &scopes);
        let mut more = rules;
        more.insert(place.index(more.len() + 1), extra);
        let after = decide(&Policy::new(more).rights(&facts), action, &name, &scopes);
        prop_assert!(before.is_err() || after.is_ok());
    }

    #[test]
    fn an_executable_only_narrows(selector in any_selector(), facts in any_facts()) {
        let without = Selector { executable: None, ..selector.clone() };
        prop_assert!(
            selector.mismatch(&facts).is_some() || without.mismatch(&facts).is_none()
        );
    }

    #[test]
    fn user_and_group_alone_end_at_a_container(selector in any_selector(), facts in any_facts()) {
        let alone = Selector { unit: None, container: None, ..selector };
        let inside = facts.cgroup.as_ref().is_some_and(|cgroup| cgroup.container.is_some());
        prop_assert!(!(inside || facts.nested) || alone.mismatch(&facts).is_some());
    }

    #[test]
    fn every_selector_that_matches_is_equal(selector in any_selector(), facts in any_facts()) {
        if selector.mismatch(&facts).is_none() {
            let place = facts.cgroup.clone().unwrap_or_default();
            prop_assert!(selector.user.is_none_or(|user| user == facts.uid));
            prop_assert!(selector.unit.is_none() || selector.unit == place.unit);
            prop_assert!(selector.container.is_none() || selector.container == place.container);
            prop_assert!(selector.executable.is_none() || selector.executable == facts.executable);
        }
    }
}
