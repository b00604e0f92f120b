//! What may be done: `resource:action`, with `*` for everything, alone or as the action.
//!
//! A route demands one permission. Keys and users hold some, directly and through roles, which are named sets of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Characters a permission may have.
const CHARACTERS_MAX: usize = 128;

/// Not a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a permission is `resource:action`, `resource:*` or `*`: letters, digits, `_`, `-` and `.`")]
pub struct MalformedPermission;

/// One permission, as it is held or demanded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permission(Arc<str>);

impl Permission {
    /// Reads a permission.
    ///
    /// # Errors
    ///
    /// [`MalformedPermission`].
    pub fn parse(text: &str) -> Result<Self, MalformedPermission> {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        let good = text.len() <= CHARACTERS_MAX
            && match text.split_once(':') {
                None => text == "*",
                Some((resource, action)) => word(resource) && (action == "*" || word(action)),
            };
        if good { Ok(Self(text.into())) } else { Err(MalformedPermission) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says whether whoever holds `held` may do what demands `demanded`. Text that is no permission covers nothing but its
/// like, and nobody can demand its like.
#[must_use]
pub fn covers(held: &str, demanded: &str) -> bool {
    if held == "*" || held == demanded {
        return true;
    }
    match (held.split_once(':'), demanded.split_once(':')) {
        (Some((held, "*")), Some((demanded, _))) => held == demanded,
        _ => false,
    }
}

/// Named sets of permissions.
#[derive(Clone, Debug, Default)]
pub struct Roles(HashMap<String, Vec<Permission>>);

impl Roles {
    /// The sets by name.
    #[must_use]
    pub const fn new(roles: HashMap<String, Vec<Permission>>) -> Self {
        Self(roles)
    }

    /// Says whether whoever holds these permissions and roles may do what demands `demanded`. A role that nobody has
    /// defined grants nothing.
    #[must_use]
    pub fn allow(&self, permissions: &[Arc<str>], roles: &[Arc<str>], demanded: &str) -> bool {
        permissions.iter().any(|held| covers(held, demanded))
            || roles.iter().filter_map(|role| self.0.get(&**role)).flatten().any(|held| covers(held.as_str(), demanded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_alone_and_as_the_action() {
        for (held, demanded, expected) in [
            ("*", "pix:write", true),
            ("pix:*", "pix:write", true),
            ("pix:write", "pix:write", true),
            ("pix:read", "pix:write", false),
            ("pix:*", "pixel:write", false),
            ("*:write", "pix:write", false),
            ("pix", "pix:write", false),
            ("", "pix:write", false),
            ("pix:write", "pix:*", false),
            ("pix:*", "*", false),
        ] {
            assert_eq!(covers(held, demanded), expected, "{held} for {demanded}");
        }
    }

    #[test]
    fn what_is_no_permission_is_refused() {
        for bad in ["", "a", "a:", ":a", "a:b:c", "*:a", "a b:c", "a:b*", "**"] {
            assert!(Permission::parse(bad).is_err(), "{bad}");
        }
        for good in ["*", "a:*", "a:b", "api_keys:write", "v1.orders:read-all"] {
            assert!(Permission::parse(good).is_ok(), "{good}");
        }
    }
}
