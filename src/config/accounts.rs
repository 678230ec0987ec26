//! Users and groups.
//!
//! Owns the keys `user` and `group` wherever they occur, [`Accounts`], the lookup that they need, and [`SystemAccounts`], which
//! uses the account database. A number is used as it is; a name is looked up once, when the configuration is read, and must
//! exist then: a user whose id changes later needs a reload. May block on the network where the database is remote, so no
//! request reads a configuration.

use std::fmt::Debug;

use nix::unistd::{Group, User};
use toml::de::DeValue;

use crate::config::Context;
use crate::config::reader::{Found, Section};

/// The largest id: the one above means "no id" to the kernel.
const LARGEST_ID: u32 = u32::MAX - 1;

/// Longer names cannot exist, and are not looked up.
const LONGEST_ACCOUNT: usize = 256;

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

/// The user of `key`.
pub(super) fn user(context: &Context<'_>, section: &Section<'_>, key: &'static str) -> Option<u32> {
    let found = section.any(key)?;
    read(context, &found, "user", |name| context.accounts.user(name))
}

/// The group of `key`.
pub(super) fn group(
    context: &Context<'_>,
    section: &Section<'_>,
    key: &'static str,
) -> Option<u32> {
    let found = section.any(key)?;
    read(context, &found, "group", |name| {
        context.accounts.group(name)
    })
}

fn read(
    context: &Context<'_>,
    found: &Found<&DeValue<'_>>,
    kind: &str,
    look_up: impl Fn(&str) -> Result<Option<u32>, AccountsUnavailable>,
) -> Option<u32> {
    let refuse = |message: String| {
        context.report.problem(&found.place, message);
        None
    };
    if let Some(integer) = found.value.as_integer() {
        let id = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        return id
            .filter(|id| *id <= LARGEST_ID)
            .or_else(|| refuse(format!("a {kind} id is between 0 and {LARGEST_ID}")));
    }
    let Some(name) = found.value.as_str() else {
        return refuse(format!("expected the name or the id of a {kind}"));
    };
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse(format!("write the id of a {kind} without quotes"));
    }
    if name.is_empty() || name.len() > LONGEST_ACCOUNT || name.contains(char::is_control) {
        return refuse(format!("expected the name or the id of a {kind}"));
    }
    match look_up(name) {
        Ok(Some(id)) => Some(id),
        Ok(None) => refuse(format!("this machine has no {kind} of this name")),
        Err(error) => refuse(format!("{error}: give the id instead of the name")),
    }
}
