//! Which commands may open the files of the state.

use crate::complaints;

/// A command that opened a file of the state by itself would act behind the back of the daemon that
/// serves, which may be another user's.
#[test]
fn commands_reach_state_through_the_daemon_or_say_whose_it_is() {
    let wrong = complaints(|source, wrong| {
        let is_command = source.name.starts_with("cli/") && !source.is_test();
        let is_owner = STATE_OWNERS.iter().any(|owner| source.name.starts_with(owner));
        for what in STATE_FILES.iter().filter(|what| is_command && source.code.contains(**what)) {
            if !is_owner {
                wrong.push(format!("`{what}` belongs into {STATE_OWNERS:?}"));
            }
        }
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What opens files of the state, or a daemon of one's own choice.
const STATE_FILES: &[&str] = &[
    ".profile_state()",
    ".admin_socket()",
    "AdminClient::find(",
    "clients::add(",
    "clients::list(",
    "clients::revoke(",
    "Clients::new(",
    "lock_profile(",
    "OfflineSession::",
    "StandaloneSession::",
    "session::remove_all(",
    "session::set_locked(",
    "session::self_test_keychain(",
    "session::origins_with_login(",
];

/// The commands that may: `login` stores what it has proved, and tells the daemon; `service` looks for
/// a daemon of the same user before it starts another; `wait` watches one daemon end and the next start.
const STATE_OWNERS: &[&str] = &[
    "cli/daemon_client",
    "cli/login.rs",
    "cli/login/",
    "cli/service.rs",
    "cli/service/",
    "cli/wait.rs",
];
