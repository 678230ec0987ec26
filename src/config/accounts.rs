//! Users and groups by name.
//!
//! Owns [`Accounts`], the lookup that reading a configuration needs, and [`SystemAccounts`], which uses the account database.
//! A name is looked up once, when the configuration is read: a user whose id changes later needs a reload. May block on the
//! network where the database is remote, so no request reads a configuration.

use std::fmt::Debug;

use nix::unistd::{Group, User};

/// The account database is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account database is not available")]
pub struct AccountsUnavailable;

/// Looks up the ids of users and groups.
pub trait Accounts: Debug {
    /// The id of the user `name`, or `None` if there is no such user.
    ///
    /// # Errors
    /// If the database is not available.
    fn user(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable>;

    /// The id of the group `name`, or `None` if there is no such group.
    ///
    /// # Errors
    /// If the database is not available.
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
