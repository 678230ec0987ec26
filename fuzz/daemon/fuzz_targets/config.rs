//! Any text yields a usable configuration or a list of problems.
#![no_main]

use std::path::Path;

use claviger::testing::{Accounts, AccountsUnavailable, Config, Problems};
use claviger_core::policy::Policy;
use libfuzzer_sys::fuzz_target;

/// A machine with one user and one group.
#[derive(Debug)]
struct FixedAccounts;

impl Accounts for FixedAccounts {
    fn user(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable> {
        match name {
            "offline" => Err(AccountsUnavailable),
            _ => Ok((name == "www-data").then_some(33)),
        }
    }

    fn group(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable> {
        Ok((name == "web").then_some(44))
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse_with(text, Path::new("claviger.toml"), &FixedAccounts)
}

fuzz_target!(|text: &str| match parse(text) {
    Ok(config) => {
        // An accepted configuration is usable: it equals itself, lists its references, and builds a policy.
        assert!(config.differences(&config).is_empty());
        assert!(config.check_replaceable_by(&config).is_ok());
        let _references = config.references();
        let _policy = Policy::new(config.rules.clone());
    }
    Err(problems) => {
        assert!(!problems.to_string().is_empty());
    }
});
