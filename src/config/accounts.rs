//! Users and groups by name.
//!
//! Owns [`Accounts`], the question that reading a configuration asks the system, and [`SystemAccounts`], which answers from
//! the account database. The answer is asked for once, when the configuration is read: a user that is renumbered later
//! needs a reload. May block on the network where the database is remote, so a configuration is not read on a request.

use std::fmt::Debug;

use nix::unistd::{Group, User};

/// The account database could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account database cannot be asked")]
pub struct AccountsUnavailable;

/// Tells the numbers of users and groups.
pub trait Accounts: Debug {
    /// The id of the user `name`, or `None` if there is no such user.
    ///
    /// # Errors
    /// If the database cannot be asked.
    fn user(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable>;

    /// The id of the group `name`, or `None` if there is no such group.
    ///
    /// # Errors
    /// If the database cannot be asked.
    fn group(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable>;
}

/// The accounts of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn user(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable> {
        match User::from_name(name) {
            Ok(user) => Ok(user.map(|user| user.uid.as_raw())),
            Err(_errno) => Err(AccountsUnavailable),
        }
    }

    fn group(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable> {
        match Group::from_name(name) {
            Ok(group) => Ok(group.map(|group| group.gid.as_raw())),
            Err(_errno) => Err(AccountsUnavailable),
        }
    }
}
