//! Which scopes a request gets, and so which entry of the cache answers it.
//!
//! Owns the one decision that keeps a peer with a narrow rule away from a wider token. Pure. The answer borrows wherever it
//! can: the common request (no scopes, no limit) costs no allocation.

use std::borrow::Cow;

use crate::policy::ScopeLimit;
use crate::tokens::Error;
use claviger_oauth_wire::Scopes;

/// The scopes to answer a request with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effective<'a> {
    /// Those of the definition.
    Definition,
    /// Others.
    Other(Cow<'a, Scopes>),
}

/// Decides.
///
/// An empty set means "whatever the issuer gives" on the wire, which may be everything; so a cut that leaves nothing is an
/// error, and never an empty set.
///
/// # Errors
/// [`Error::Scopes`] if the request exceeds the definition or the limit, or if the two leave nothing.
pub(super) fn effective<'a>(
    definition: &Scopes,
    requested: &'a Scopes,
    limit: &'a ScopeLimit,
) -> Result<Effective<'a>, Error> {
    let only = match limit {
        ScopeLimit::Definition => None,
        ScopeLimit::Only(limit) => Some(limit),
    };
    if !requested.is_empty() {
        // A definition without scopes vouches for none by name; then the rule must.
        let within = definition.covers(requested) || (definition.is_empty() && only.is_some());
        if !within || only.is_some_and(|limit| !limit.covers(requested)) {
            return Err(Error::Scopes);
        }
        return Ok(if requested == definition {
            Effective::Definition
        } else {
            Effective::Other(Cow::Borrowed(requested))
        });
    }
    let Some(limit) = only else {
        return Ok(Effective::Definition);
    };
    let cut = if definition.is_empty() {
        Cow::Borrowed(limit)
    } else if limit.covers(definition) {
        return Ok(Effective::Definition);
    } else {
        Cow::Owned(definition.intersection(limit))
    };
    if cut.is_empty() {
        return Err(Error::Scopes);
    }
    Ok(Effective::Other(cut))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> Scopes {
        Scopes::new(text.split_whitespace()).unwrap()
    }

    #[test]
    fn every_combination_is_as_the_table_says() {
        // Definition, requested, limit ("*": none), and the answer ("=": the definition, "!": refused).
        for (definition, requested, limit, answer) in [
            ("", "", "*", "="),
            ("", "a", "*", "!"),
            ("", "", "a b", "a b"),
            ("", "a", "a b", "a"),
            ("", "c", "a b", "!"),
            ("", "", "", "!"),
            ("a b", "", "*", "="),
            ("a b", "a", "*", "a"),
            ("a b", "b a", "*", "="),
            ("a b", "c", "*", "!"),
            ("a b", "a c", "*", "!"),
            ("a b", "", "a", "a"),
            ("a b", "", "a b c", "="),
            ("a b", "", "c", "!"),
            ("a b", "", "", "!"),
            ("a b", "a", "a", "a"),
            ("a b", "b", "a", "!"),
            ("a b", "a c", "a c", "!"),
        ] {
            let limit = match limit {
                "*" => ScopeLimit::Definition,
                scopes => ScopeLimit::Only(set(scopes)),
            };
            let requested = set(requested);
            let actual = match effective(&set(definition), &requested, &limit) {
                Ok(Effective::Definition) => "=".to_owned(),
                Ok(Effective::Other(scopes)) => scopes.to_string(),
                Err(_) => "!".to_owned(),
            };
            assert_eq!(actual, answer, "{definition:?} {requested:?} {limit:?}");
        }
    }

    fn any_set() -> impl Strategy<Value = Scopes> {
        proptest::collection::vec("[a-e]", 0..5).prop_map(|scopes| Scopes::new(scopes).unwrap())
    }

    proptest! {
        #[test]
        fn no_request_gets_more_than_definition_and_limit_allow(
            definition in any_set(), requested in any_set(), limit in proptest::option::of(any_set()),
        ) {
            let limited = limit.clone().map_or(ScopeLimit::Definition, ScopeLimit::Only);
            let Ok(answer) = effective(&definition, &requested, &limited) else { return Ok(()) };
            let scopes = match answer {
                Effective::Definition => definition.clone(),
                Effective::Other(scopes) => {
                    prop_assert!(!scopes.is_empty());
                    scopes.into_owned()
                }
            };
            prop_assert!(definition.is_empty() || definition.covers(&scopes));
            if let Some(limit) = limit {
                prop_assert!(limit.covers(&scopes) && !scopes.is_empty());
            }
            prop_assert!(requested.is_empty() || scopes == requested);
        }
    }
}
