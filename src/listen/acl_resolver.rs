//! Builds the list of allowed users from the users and groups of the configuration.

use super::Error;
use crate::peer::{UserAcl, gid_by_name, uid_by_name};

/// Allows our own user, `users` and the members of `groups`, by name or number; with `exposed` also
/// peers from beyond this machine.
///
/// # Errors
///
/// [`Error::NoSuchUser`] or [`Error::NoSuchGroup`].
pub fn user_acl(users: &[String], groups: &[String], exposed: bool) -> Result<UserAcl, Error> {
    let users = users.iter().map(|name| {
        let uid = name.parse().ok().or_else(|| uid_by_name(name));
        uid.ok_or_else(|| Error::NoSuchUser { name: name.clone() })
    });
    let groups = groups.iter().map(|name| {
        let gid = name.parse().ok().or_else(|| gid_by_name(name));
        gid.ok_or_else(|| Error::NoSuchGroup { name: name.clone() })
    });
    Ok(UserAcl::new(users.collect::<Result<_, _>>()?, groups.collect::<Result<_, _>>()?, exposed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_or_group_that_does_not_exist_is_an_error() {
        let missing = ["no-such-name".to_owned()];

        assert!(matches!(user_acl(&missing, &[], false), Err(Error::NoSuchUser { .. })));
        assert!(matches!(user_acl(&[], &missing, false), Err(Error::NoSuchGroup { .. })));
        assert!(user_acl(&["12345".to_owned()], &["67890".to_owned()], false).is_ok());
    }
}
