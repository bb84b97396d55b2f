//! Which kinds of problems have a hint with a command, and where a test types that command.

use std::collections::BTreeSet;

use nexudus_proxy::problem::ProblemKind as Kind;

/// Each kind, and the table that has its cure: `home` is `tests/cli/hints.rs`, `ground` (a real keyring,
/// a machine with systemd and other users) is `tests/system/hints.rs`.
const TABLES: &[(Kind, &str)] = &[
    (Kind::ForeignUser, "ground"),
    (Kind::KeyNeeded, "home"),
    (Kind::KeyNotChecked, "home"),
    (Kind::KeyRefused, "home"),
    (Kind::RuleDenied, "home"),
    (Kind::ReadOnly, "home"),
    (Kind::SessionLocked, "home"),
    (Kind::NotLoggedIn, "home"),
    (Kind::LoginRefused, "home"),
    (Kind::TotpRequired, "home"),
    (Kind::SessionExpired, "home"),
    (Kind::CredentialsLocked, "ground"),
    (Kind::CredentialsUnavailable, "home"),
    (Kind::SessionUnavailable, "home"),
    (Kind::NoDaemonServes, "home"),
    (Kind::DaemonActivated, "ground"),
    (Kind::DaemonServing, "home"),
    (Kind::DaemonNotRunning, "home"),
    (Kind::ClientMissing, "home"),
    (Kind::ClientExists, "home"),
    // Its hints are those of each error of the configuration.
    (Kind::ConfigInvalid, "home"),
];

/// A kind, and the test that makes its problem, types the hint and sees the problem gone.
pub(crate) type Cure = (Kind, fn());

/// Fails unless a table has every kind that it should have, and every kind with a command is in one of
/// the tables.
pub(crate) fn assert_whole(table: &str, cures: &[Cure]) {
    let names = |kinds: &mut dyn Iterator<Item = Kind>| -> BTreeSet<String> {
        kinds.map(|kind| format!("{kind:?}")).collect()
    };
    let wanted = TABLES.iter().filter(|(_, place)| *place == table).map(|(kind, _)| *kind);
    assert_eq!(names(&mut cures.iter().map(|(kind, _)| *kind)), names(&mut { wanted }));
    let has_command = |kind: &Kind| kind.hint().is_some_and(|hint| !commands(hint).is_empty());
    let with_command = Kind::ALL.iter().copied().filter(has_command);
    let listed = TABLES.iter().map(|(kind, _)| *kind).filter(|kind| *kind != Kind::ConfigInvalid);
    assert_eq!(names(&mut { with_command }), names(&mut { listed }));
}

/// Returns the commands that a sentence advises.
pub(crate) fn commands(said: &str) -> Vec<String> {
    let quoted = said.split('`').skip(1).step_by(2);
    quoted.filter(|it| it.starts_with("nexudus-proxy ")).map(str::to_owned).collect()
}
