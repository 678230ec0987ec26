//! What the process was started with.

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// What the process was started with. Only `main` reads the environment.
#[derive(Debug)]
pub struct Surroundings {
    /// The command line, program name first.
    pub arguments: Vec<OsString>,
    /// The program's own file.
    pub executable: Option<PathBuf>,
    /// The names of all environment variables. Never their values.
    pub variables: Vec<String>,
    /// Sockets that a service manager passed, in order; `None` for another kind of descriptor.
    pub listeners: Vec<Option<UnixListener>>,
    /// Their names, separated by colons.
    pub listener_names: String,
}

/// Ends of names that only secrets have.
const SECRET_ENDINGS: [&str; 6] = [
    "_CLIENT_SECRET",
    "_SECRET_KEY",
    "_ACCESS_TOKEN",
    "_REFRESH_TOKEN",
    "_PRIVATE_KEY",
    "_API_KEY",
];

/// Whole names of well-known secrets.
const SECRET_NAMES: [&str; 9] = [
    "CLIENT_SECRET",
    "OAUTH_TOKEN",
    "OAUTH_ENCRYPTION_KEY",
    "REGISTRATION_TOKEN",
    "VAULT_TOKEN",
    "BAO_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
];

impl Surroundings {
    /// The variables whose names suggest a secret. Every child inherits the environment, `ps e` and `docker inspect` show it,
    /// and crash reports contain it.
    pub(crate) fn secret_variables(&self) -> Vec<&str> {
        self.variables
            .iter()
            .map(String::as_str)
            .filter(|name| is_secret(name))
            .collect()
    }
}

/// Whether the name of a variable suggests a secret.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_NAMES.contains(&name) || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name() {
        let names = [
            "PATH",
            "GOOGLE_CLIENT_SECRET",
            "VAULT_TOKEN",
            "CLIENT_ID",
            "HOME",
        ];
        let surroundings = Surroundings {
            arguments: Vec::new(),
            executable: None,
            variables: names.map(str::to_owned).to_vec(),
            listeners: Vec::new(),
            listener_names: String::new(),
        };
        assert_eq!(
            surroundings.secret_variables(),
            ["GOOGLE_CLIENT_SECRET", "VAULT_TOKEN"]
        );
    }
}
