//! Names of variables, and what is made of them.

use std::path::Path;

use super::*;
use crate::import::dotenv::parse;

/// A configuration with these clients, of issuers `acme` and `google`; those of `acme` have a literal identifier.
fn config(clients: &[(&str, &str)]) -> Config {
    let mut text = "[backends.b]\ntype = 'file'\ndirectory = '/d'\nkey_file = '/k'\n".to_owned();
    for issuer in ["acme", "google"] {
        text.extend([format!(
            "[issuers.{issuer}]\nissuer = 'https://{issuer}.example'\n"
        )]);
    }
    for (name, issuer) in clients {
        let id = match *issuer {
            "acme" => "{ literal = 'x' }",
            _ => "'b:id'",
        };
        text.extend([format!(
            "[clients.{name}]\nissuer = '{issuer}'\nid = {id}\n\
             auth = {{ method = 'client_secret_basic', secret = 'b:{name}' }}\n\
             [tokens.{name}-a]\nclient = '{name}'\ngrant = 'client_credentials'\n\
             [tokens.{name}-b]\nclient = '{name}'\ngrant = 'client_credentials'\n"
        )]);
    }
    Config::parse(&text, Path::new("claviger.toml")).unwrap_or_else(|bad| panic!("{bad}"))
}

/// The names of the chosen variables.
fn chosen(
    config: &Config,
    names: &[&str],
    wish: Wish<'_>,
) -> Result<(Option<String>, String), ChoiceFault> {
    let text = names.join("=1\n") + "=1\n";
    let variables = parse(text.as_bytes()).unwrap();
    let choice = choose(config, &variables, &wish)?;
    let name = |at: usize| variables[at].name.clone();
    Ok((choice.id.map(name), name(choice.secret)))
}

#[test]
fn a_credential_is_found_by_the_names_of_its_variables() {
    let one = config(&[("billing-api", "google")]);
    for (names, id, secret) in [
        (
            &["OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"][..],
            Some("OAUTH_CLIENT_ID"),
            "OAUTH_CLIENT_SECRET",
        ),
        (
            &["CLIENT_SECRET", "PORT", "CLIENT_ID"],
            Some("CLIENT_ID"),
            "CLIENT_SECRET",
        ),
        (
            &["client_id", "client_secret"],
            Some("client_id"),
            "client_secret",
        ),
        (
            &["OAUTH_ID", "OAUTH_SECRET"],
            Some("OAUTH_ID"),
            "OAUTH_SECRET",
        ),
        (
            &["OAUTH_X_ID", "OAUTH_X_SECRET", "SESSION_ID"],
            Some("OAUTH_X_ID"),
            "OAUTH_X_SECRET",
        ),
        (
            &["A_CLIENT_SECRET", "SESSION_SECRET"],
            None,
            "A_CLIENT_SECRET",
        ),
        // Of several, the one that is named after the client or its issuer.
        (
            &[
                "GOOGLE_CLIENT_ID",
                "GOOGLE_CLIENT_SECRET",
                "GITHUB_CLIENT_ID",
                "GITHUB_CLIENT_SECRET",
            ],
            Some("GOOGLE_CLIENT_ID"),
            "GOOGLE_CLIENT_SECRET",
        ),
        (
            &[
                "A_CLIENT_SECRET",
                "BILLING_API_CLIENT_ID",
                "BILLING_API_CLIENT_SECRET",
            ],
            Some("BILLING_API_CLIENT_ID"),
            "BILLING_API_CLIENT_SECRET",
        ),
    ] {
        let found = chosen(&one, names, Wish::default());
        assert_eq!(
            found,
            Ok((id.map(str::to_owned), secret.to_owned())),
            "{names:?}"
        );
    }
}

#[test]
fn where_there_is_no_one_answer_the_question_is_asked() {
    use ChoiceFault as F;
    let one = config(&[("billing", "google")]);
    let literal = config(&[("billing", "acme")]);
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (names, fault) in [
        (&["PORT", "SECRET", "SESSION_SECRET"][..], F::NoSecret),
        (
            &["A_CLIENT_SECRET", "B_CLIENT_SECRET", "s3cret"],
            F::WhichSecret(list(&["A_CLIENT_SECRET", "B_CLIENT_SECRET"])),
        ),
        (
            &["A_CLIENT_SECRET", "B_CLIENT_ID"],
            F::WhichId(list(&["B_CLIENT_ID"])),
        ),
        (
            &["OAUTH_CLIENT_SECRET", "OAUTH_CLIENT_ID", "OAUTH_ID"],
            F::WhichId(list(&["OAUTH_CLIENT_ID", "OAUTH_ID"])),
        ),
    ] {
        let found = chosen(&one, names, Wish::default());
        assert_eq!(found, Err(fault), "{names:?}");
    }
    let alone = Wish {
        secret_alone: true,
        ..Wish::default()
    };
    let found = chosen(&one, &["A_CLIENT_SECRET", "B_CLIENT_ID"], alone);
    assert_eq!(found, Ok((None, "A_CLIENT_SECRET".to_owned())));
    let found = chosen(
        &literal,
        &["A_CLIENT_SECRET", "B_CLIENT_ID"],
        Wish::default(),
    );
    assert_eq!(found, Ok((None, "A_CLIENT_SECRET".to_owned())));
}

#[test]
fn what_was_said_is_done() {
    use ChoiceFault as F;
    let two = config(&[("one", "google"), ("two", "acme")]);
    let names = ["KEY", "NAME", "A_CLIENT_SECRET"];
    let wish = Wish {
        client: Some("one"),
        token: Some("one-b"),
        id_variable: Some("NAME"),
        secret_variable: Some("KEY"),
        secret_alone: false,
    };
    let found = chosen(&two, &names, wish);
    assert_eq!(found, Ok((Some("NAME".to_owned()), "KEY".to_owned())));
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let no_token = F::UnknownToken {
        client: "one".to_owned(),
        tokens: list(&["one-a", "one-b"]),
    };
    let clients = || list(&["one", "two"]);
    let changes: [(fn(&mut Wish<'static>), _); 6] = [
        (|wish| wish.client = None, F::WhichClient(clients())),
        (|wish| wish.client = Some("x"), F::UnknownClient(clients())),
        (|wish| wish.token = Some("two-a"), no_token),
        (
            |wish| wish.id_variable = Some("key"),
            F::NotSet("--id-variable"),
        ),
        (
            |wish| wish.secret_variable = Some("X"),
            F::NotSet("--secret-variable"),
        ),
        (|wish| wish.id_variable = Some("KEY"), F::OneForBoth),
    ];
    for (change, fault) in changes {
        let mut wish = wish;
        change(&mut wish);
        assert!(!fault.remedy().is_empty());
        assert_eq!(chosen(&two, &names, wish), Err(fault));
    }
}

#[test]
fn what_the_configuration_lacks_is_not_chosen() {
    use ChoiceFault as F;
    let names = ["A_CLIENT_SECRET"];
    let none = chosen(&config(&[]), &names, Wish::default());
    assert_eq!(none, Err(F::NoClient));
    let mut tokenless = config(&[("one", "google")]);
    tokenless.tokens.clear();
    let none = chosen(&tokenless, &names, Wish::default());
    assert_eq!(none, Err(F::NoToken("one".to_owned())));
}
