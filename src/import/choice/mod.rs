//! Which variables are whose credential.
//!
//! Owns the choice of the client, of the token that proves its credential, and of the two variables of a file that hold it:
//! by their names, or as it was said. Guesses only where there is one answer; otherwise it says between which to choose.
//! Pure. Names of variables are repeated only where they are named like a credential, or were given.

use crate::config::Config;
use crate::import::dotenv::Variable;
use claviger_oauth::{ClientId, ClientSettings, TokenSettings};

/// What was said of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The name of the client.
    pub client: Option<&'a str>,
    /// The name of the token by which the credential is proved.
    pub token: Option<&'a str>,
    /// The variable with the identifier.
    pub id_variable: Option<&'a str>,
    /// The variable with the secret.
    pub secret_variable: Option<&'a str>,
    /// Whether the identifier is none of the file's.
    pub secret_alone: bool,
}

/// Why there is no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceFault {
    /// There is no client.
    #[error("the configuration has no client whose credential it could be")]
    NoClient,
    /// There are several.
    #[error("more than one client is configured: {}", .0.join(", "))]
    WhichClient(Vec<String>),
    /// There is no such client.
    #[error("there is no such client; there are: {}", .0.join(", "))]
    UnknownClient(Vec<String>),
    /// Nothing is asked for in the name of the client.
    #[error("client \"{0}\" has no token, so its credential cannot be proved")]
    NoToken(String),
    /// There is no such token of the client.
    #[error("there is no such token of client \"{client}\"; there are: {}", .tokens.join(", "))]
    UnknownToken {
        /// The client.
        client: String,
        /// Its tokens.
        tokens: Vec<String>,
    },
    /// The file does not set the variable that was given.
    #[error("the file does not set the variable that {0} gives")]
    NotSet(&'static str),
    /// No variable is named like a client secret.
    #[error(
        "no variable of the file is named like a client secret: …_CLIENT_SECRET or OAUTH_…_SECRET"
    )]
    NoSecret,
    /// Several are.
    #[error("more than one variable is named like a client secret: {}", .0.join(", "))]
    WhichSecret(Vec<String>),
    /// None of those that are named like an identifier fits the secret.
    #[error("it is not clear which of these is the client's identifier: {}", .0.join(", "))]
    WhichId(Vec<String>),
    /// One variable cannot be both.
    #[error("the identifier and the secret are two variables")]
    OneForBoth,
}

impl ChoiceFault {
    /// Whether the configuration must change, and not the command line.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::NoClient | Self::NoToken(_))
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoClient => "Add the client, with the references that the credential shall have.",
            Self::NoToken(_) => {
                "Add a token of the client, for example the one that programs are to ask for."
            }
            Self::WhichClient(_) | Self::UnknownClient(_) => {
                "Say whose credential it is with --client NAME."
            }
            Self::UnknownToken { .. } => "Say by which token it is proved with --token NAME.",
            Self::NotSet(_) => "Compare the name with the file.",
            Self::NoSecret | Self::WhichSecret(_) => {
                "Say which variable is the secret with --secret-variable NAME."
            }
            Self::WhichId(_) => {
                "Say which variable is the identifier with --id-variable NAME, or --secret-alone if none of them is."
            }
            Self::OneForBoth => "Give --id-variable and --secret-variable different names.",
        }
    }
}

/// What was chosen. Variables are numbers in the list of the file.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) client: &'a ClientSettings,
    pub(super) token: &'a TokenSettings,
    /// `None` if the file does not set it.
    pub(super) id: Option<usize>,
    pub(super) secret: usize,
}

/// Chooses.
pub(super) fn choose<'a>(
    config: &'a Config,
    variables: &[Variable],
    wish: &Wish<'_>,
) -> Result<Choice<'a>, ChoiceFault> {
    let client = client(config, wish.client)?;
    let token = token(config, client, wish.token)?;
    let secret = match wish.secret_variable {
        Some(name) => given(variables, name, "--secret-variable")?,
        None => named_secret(variables, client)?,
    };
    let id = match wish.id_variable {
        _ if wish.secret_alone => None,
        Some(name) => Some(given(variables, name, "--id-variable")?),
        None => named_id(variables, client, secret)?,
    };
    if id == Some(secret) {
        return Err(ChoiceFault::OneForBoth);
    }
    Ok(Choice {
        client,
        token,
        id,
        secret,
    })
}

fn client<'a>(config: &'a Config, wish: Option<&str>) -> Result<&'a ClientSettings, ChoiceFault> {
    let clients = config.clients.iter();
    let names = || {
        clients
            .clone()
            .map(|client| client.name.to_string())
            .collect()
    };
    match (wish, config.clients.as_slice()) {
        (_, []) => Err(ChoiceFault::NoClient),
        (Some(wish), _) => clients
            .clone()
            .find(|client| *client.name == *wish)
            .map(AsRef::as_ref)
            .ok_or_else(|| ChoiceFault::UnknownClient(names())),
        (None, [client]) => Ok(client),
        (None, _) => Err(ChoiceFault::WhichClient(names())),
    }
}

/// The token that was wished for, or the first of the client's.
fn token<'a>(
    config: &'a Config,
    client: &ClientSettings,
    wish: Option<&str>,
) -> Result<&'a TokenSettings, ChoiceFault> {
    let mut tokens = config
        .tokens
        .iter()
        .filter(|token| token.client.name == client.name)
        .peekable();
    if tokens.peek().is_none() {
        return Err(ChoiceFault::NoToken(client.name.to_string()));
    }
    let names = tokens.clone().map(|token| token.name.to_string());
    let found = match wish {
        Some(wish) => tokens.find(|token| *token.name == *wish),
        None => tokens.next(),
    };
    found.ok_or_else(|| ChoiceFault::UnknownToken {
        client: client.name.to_string(),
        tokens: names.collect(),
    })
}

fn given(variables: &[Variable], name: &str, option: &'static str) -> Result<usize, ChoiceFault> {
    let mut all = variables.iter();
    all.position(|variable| variable.name == name)
        .ok_or(ChoiceFault::NotSet(option))
}

/// The one variable that is named like a client secret; of several the one that is named after the client or its issuer.
fn named_secret(variables: &[Variable], client: &ClientSettings) -> Result<usize, ChoiceFault> {
    let all = named_like(variables, "SECRET");
    let own: Vec<_> = all
        .iter()
        .filter(|(_, stem)| is_named_after(stem, client))
        .collect();
    match (all.as_slice(), own.as_slice()) {
        ([], _) => Err(ChoiceFault::NoSecret),
        ([(one, _)], _) | (_, [(one, _)]) => Ok(*one),
        _ => Err(ChoiceFault::WhichSecret(names(variables, &all))),
    }
}

/// The variable with the identifier that belongs to the secret: it is named as the secret is.
fn named_id(
    variables: &[Variable],
    client: &ClientSettings,
    secret: usize,
) -> Result<Option<usize>, ChoiceFault> {
    let all = named_like(variables, "ID");
    let stem = variables
        .get(secret)
        .and_then(|secret| stem(&secret.name, "SECRET"));
    let mut fitting = all.iter().filter(|(_, of_id)| Some(of_id) == stem.as_ref());
    match (fitting.next(), &client.id) {
        (Some((one, _)), _) if fitting.next().is_none() => Ok(Some(*one)),
        // The configuration has it, so the file need not.
        (None, ClientId::Literal(_)) => Ok(None),
        _ if all.is_empty() => Ok(None),
        _ => Err(ChoiceFault::WhichId(names(variables, &all))),
    }
}

/// The variables that are named like a client's `part`, each with the rest of its name.
fn named_like(variables: &[Variable], part: &str) -> Vec<(usize, String)> {
    let named = variables.iter().enumerate();
    named
        .filter_map(|(at, variable)| Some((at, stem(&variable.name, part)?)))
        .collect()
}

/// What is left of a name without what says that it is a client's `part`: `GOOGLE` of `GOOGLE_CLIENT_SECRET`.
fn stem(name: &str, part: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let whole = name.strip_suffix(part)?;
    if whole == "CLIENT_" {
        return Some(String::new());
    }
    if let Some(stem) = whole.strip_suffix("_CLIENT_") {
        return Some(stem.to_owned());
    }
    let stem = whole.strip_suffix('_')?;
    let is_oauth = stem == "OAUTH" || stem.starts_with("OAUTH_");
    is_oauth.then(|| stem.to_owned())
}

fn is_named_after(stem: &str, client: &ClientSettings) -> bool {
    let word = |name: &str| name.to_ascii_uppercase().replace(['-', '.'], "_");
    let bare = stem.strip_prefix("OAUTH_").unwrap_or(stem);
    bare == word(&client.name) || bare == word(&client.issuer.name)
}

fn names(variables: &[Variable], which: &[(usize, String)]) -> Vec<String> {
    let names = which.iter().filter_map(|(at, _)| variables.get(*at));
    names.map(|variable| variable.name.clone()).collect()
}

#[cfg(test)]
mod tests;
