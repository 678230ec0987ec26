//! Chooses the client and the two variables of its credential.
//!
//! Owns the choice of the client, of the token that proves its credential, and of the two variables of a file that hold it:
//! `…SECRET` and `…ID` with the same prefix. Needs no option where only one choice is possible. Pure. Errors name a
//! variable only if its name looks like that of a credential, or was given.

use crate::config::Config;
use crate::import::dotenv::Variable;
use crate::import::error::Error;
use claviger_oauth::{ClientSettings, TokenSettings};

/// The options of the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    pub(crate) client: Option<&'a str>,
    /// The token by which the credential is proved.
    pub(crate) token: Option<&'a str>,
    /// What the names of both variables begin with, before `ID` and `SECRET`.
    pub(crate) prefix: Option<&'a str>,
}

/// What was chosen.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) client: &'a ClientSettings,
    pub(crate) token: &'a TokenSettings,
    /// `None` if the file does not set it.
    pub(crate) id: Option<Variable>,
    pub(crate) secret: Variable,
    /// Whether the file sets anything else.
    pub(crate) has_others: bool,
}

impl Choice<'_> {
    /// The variables that hold the credential.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.id.iter().chain([&self.secret])
    }
}

/// Chooses.
pub(super) fn choose<'a>(
    config: &'a Config,
    mut variables: Vec<Variable>,
    wish: &Wish<'_>,
) -> Result<Choice<'a>, Error> {
    let client = client(config, wish.client)?;
    let token = token(config, client, wish.token)?;
    let prefix = match wish.prefix {
        Some(prefix) => prefix.to_owned(),
        None => prefix(&variables)?,
    };
    let mut take = |name: &str| {
        let of_name = |variable: &Variable| variable.name.eq_ignore_ascii_case(name);
        let at = variables.iter().position(of_name)?;
        Some(variables.swap_remove(at))
    };
    let secret = format!("{prefix}SECRET");
    Ok(Choice {
        client,
        token,
        id: take(&format!("{prefix}ID")),
        secret: take(&secret).ok_or(Error::NotSet(secret))?,
        has_others: !variables.is_empty(),
    })
}

/// The requested client, or the only one.
fn client<'a>(config: &'a Config, wish: Option<&str>) -> Result<&'a ClientSettings, Error> {
    let found = match (wish, config.clients.as_slice()) {
        (None, [client]) => Some(client),
        (None, _) => None,
        (Some(wish), clients) => clients.iter().find(|client| *client.name == *wish),
    };
    let names = config.clients.iter().map(|client| client.name.to_string());
    found
        .map(AsRef::as_ref)
        .ok_or_else(|| Error::Client(names.collect()))
}

/// The requested token, or the first of the client's.
fn token<'a>(
    config: &'a Config,
    client: &ClientSettings,
    wish: Option<&str>,
) -> Result<&'a TokenSettings, Error> {
    let mut tokens = config
        .tokens
        .iter()
        .filter(|token| token.client.name == client.name);
    let names = tokens.clone().map(|token| token.name.to_string());
    tokens
        .find(|token| wish.is_none_or(|wish| *token.name == *wish))
        .ok_or_else(|| Error::Token {
            client: client.name.to_string(),
            tokens: names.collect(),
        })
}

/// The prefix of the one variable whose name looks like that of a client secret.
fn prefix(variables: &[Variable]) -> Result<String, Error> {
    let prefixes = variables
        .iter()
        .filter_map(|variable| prefix_of_secret(&variable.name))
        .collect::<Vec<_>>();
    match prefixes.as_slice() {
        [] => Err(Error::NotSet("…CLIENT_SECRET or OAUTH_…SECRET".to_owned())),
        [prefix] => Ok((*prefix).to_owned()),
        several => {
            let names = several.iter().map(|prefix| format!("{prefix}SECRET"));
            Err(Error::WhichSecret(names.collect()))
        }
    }
}

/// `GOOGLE_CLIENT_` of `GOOGLE_CLIENT_SECRET`; `None` for a name that does not look like that of a client secret.
fn prefix_of_secret(name: &str) -> Option<&str> {
    let (prefix, ending) = name.split_at_checked(name.len().checked_sub("SECRET".len())?)?;
    let folded = prefix.to_ascii_uppercase();
    let is_like = folded.ends_with("CLIENT_") || folded.starts_with("OAUTH_");
    (ending.eq_ignore_ascii_case("SECRET") && is_like).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::import::dotenv::parse;

    /// A configuration with these clients.
    fn config(clients: &[&str]) -> Config {
        let mut text = "[backends.b]\ntype = 'file'\ndirectory = '/d'\nkey_file = '/k'\n\
             [issuers.acme]\nissuer = 'https://acme.example'\n"
            .to_owned();
        for name in clients {
            text.extend([format!(
                "[clients.{name}]\nissuer = 'acme'\nid = 'b:id'\n\
                 auth = {{ method = 'client_secret_basic', secret = 'b:{name}' }}\n\
                 [tokens.{name}-a]\nclient = '{name}'\ngrant = 'client_credentials'\n\
                 [tokens.{name}-b]\nclient = '{name}'\ngrant = 'client_credentials'\n"
            )]);
        }
        Config::parse(&text, Path::new("claviger.toml")).unwrap_or_else(|bad| panic!("{bad}"))
    }

    /// The names of the chosen token and variables.
    fn chosen(config: &Config, names: &[&str], wish: Wish<'_>) -> Result<[String; 3], String> {
        let text = names.join("=1\n") + "=1\n";
        let variables = parse(text.as_bytes()).unwrap();
        let choice = choose(config, variables, &wish).map_err(|error| {
            assert!(!error.remedy().is_empty());
            error.to_string()
        })?;
        assert_eq!(
            choice.has_others,
            names.len() > 1 + usize::from(choice.id.is_some())
        );
        let id = choice.id.map_or_else(|| "-".to_owned(), |id| id.name);
        Ok([choice.token.name.to_string(), id, choice.secret.name])
    }

    #[test]
    fn a_credential_is_found_by_the_names_of_its_variables() {
        let one = config(&["one"]);
        for (names, id, secret) in [
            (
                &["OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"][..],
                "OAUTH_CLIENT_ID",
                "OAUTH_CLIENT_SECRET",
            ),
            (
                &["CLIENT_SECRET", "PORT", "CLIENT_ID"],
                "CLIENT_ID",
                "CLIENT_SECRET",
            ),
            (
                &["client_id", "client_secret"],
                "client_id",
                "client_secret",
            ),
            (
                &["OAUTH_X_ID", "OAUTH_X_SECRET", "SESSION_ID"],
                "OAUTH_X_ID",
                "OAUTH_X_SECRET",
            ),
            (
                &["A_CLIENT_SECRET", "SESSION_SECRET", "B_CLIENT_ID"],
                "-",
                "A_CLIENT_SECRET",
            ),
        ] {
            let expected = ["one-a", id, secret].map(str::to_owned);
            assert_eq!(
                chosen(&one, names, Wish::default()),
                Ok(expected),
                "{names:?}"
            );
        }
    }

    #[test]
    fn the_requested_names_are_chosen() {
        let two = config(&["one", "two"]);
        let names = [
            "APP_ID",
            "APP_SECRET",
            "A_CLIENT_SECRET",
            "B_CLIENT_SECRET",
            "s3cret",
        ];
        let wish = Wish {
            client: Some("one"),
            token: Some("one-b"),
            prefix: Some("APP_"),
        };
        let expected = ["one-b", "APP_ID", "APP_SECRET"].map(str::to_owned);
        assert_eq!(chosen(&two, &names, wish), Ok(expected));
        for (wish, fault) in [
            (
                Wish {
                    client: None,
                    ..wish
                },
                "clients: one, two",
            ),
            (
                Wish {
                    client: Some("x"),
                    ..wish
                },
                "clients: one, two",
            ),
            (
                Wish {
                    token: Some("two-a"),
                    ..wish
                },
                "tokens of client \"one\": one-a, one-b",
            ),
            (
                Wish {
                    prefix: Some("X_"),
                    ..wish
                },
                "does not set X_SECRET",
            ),
            (
                Wish {
                    prefix: None,
                    ..wish
                },
                "A_CLIENT_SECRET, B_CLIENT_SECRET",
            ),
        ] {
            let refused = chosen(&two, &names, wish).unwrap_err();
            assert!(
                refused.contains(fault) && !refused.contains("s3cret"),
                "{refused}"
            );
        }
    }

    #[test]
    fn without_a_name_like_a_client_secret_nothing_is_chosen() {
        let none = chosen(
            &config(&["one"]),
            &["PORT", "SECRET", "SESSION_SECRET"],
            Wish::default(),
        );
        assert!(none.unwrap_err().contains("does not set …CLIENT_SECRET"));
    }

    #[test]
    fn what_the_configuration_lacks_is_not_chosen() {
        let names = ["A_CLIENT_SECRET"];
        let none = chosen(&config(&[]), &names, Wish::default()).unwrap_err();
        assert!(none.contains("clients: none"), "{none}");
        let mut tokenless = config(&["one"]);
        tokenless.tokens.clear();
        let none = chosen(&tokenless, &names, Wish::default()).unwrap_err();
        assert!(none.contains("tokens of client \"one\": none"), "{none}");
    }
}
