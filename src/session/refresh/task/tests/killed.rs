//! Killed at any step of a refresh, the next start works.

use super::*;

#[cfg(unix)]
#[tokio::test]
async fn killed_at_any_step_the_next_start_works() {
    use crate::session::refresh::context::FetchStep;

    let during_refresh = [
        FetchStep::Locked,
        FetchStep::SendingRequest,
        FetchStep::ResponseReceived,
        FetchStep::Published,
        FetchStep::Writing,
        FetchStep::Stored,
    ];
    let during_login = [FetchStep::ClientIdStored, FetchStep::AttemptRecorded];
    let first = during_refresh.into_iter().chain(during_login).map(|step| (step, 1));
    for (step, time) in first.chain(during_refresh.map(|step| (step, 2))) {
        let world = World::with_file();
        kill_at(&world, &format!("{step:?} {time}"));
        // Nexudus has rotated the refresh token of an answer that was not kept.
        let lost = time == 2 && !matches!(step, FetchStep::Locked | FetchStep::Stored);
        if lost {
            world.answer(Err(TokenError::Refused));
        }

        let session = world.daemon();
        let refreshed = tokio::spawn({
            let session = session.clone();
            async move {
                while session.wait_ready(BodyKind::Replayable).await.is_err() {
                    tokio::task::yield_now().await;
                }
                session.refresh().await
            }
        });
        while !refreshed.is_finished() {
            // The budget of ambiguous logins, which the killed daemon has drawn on.
            if session.status().state == SessionState::Waiting && !session.status().renewing {
                world.hand.advance(secs(1));
            }
            settle().await;
        }

        assert_eq!(refreshed.await.unwrap(), Ok(()), "{step:?} {time}");
        let passwords = world.grants().iter().filter(|grant| *grant == "password p").count();
        assert!(passwords <= 1, "{step:?} {time}: {:?}", world.grants());
    }
}

/// Starts a daemon in the directory of `world` and has it killed at `step`.
fn kill_at(world: &World, step: &str) {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "session::refresh::task::tests::killed::a_daemon_that_is_killed"])
        .env("KILLED_IN", world.directory())
        .env("KILLED_AT", step)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(9), "{step}");
}

/// The other process of the test above; run by itself it has nothing to do.
#[cfg(unix)]
#[tokio::test]
async fn a_daemon_that_is_killed() {
    use nix::sys::signal::{Signal, raise};
    use std::sync::atomic::{AtomicUsize, Ordering};
    static SEEN: AtomicUsize = AtomicUsize::new(0);

    let Some(directory) = std::env::var_os("KILLED_IN") else { return };
    let world = World::with_file();
    let issuer = ScriptedIssuer(world.script.clone(), NEXUDUS);
    let credentials = Credentials::in_memory(Some(login("p")));
    let (session, task) =
        Session::new(&world.config, Some(directory.into()), credentials, issuer, world.clock);
    let kill = |step| {
        let asked = std::env::var("KILLED_AT").unwrap();
        let (name, time) = asked.split_once(' ').unwrap();
        if name == format!("{step:?}")
            && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == time.parse::<usize>().unwrap()
        {
            raise(Signal::SIGKILL).unwrap();
        }
    };
    tokio::spawn(task.with_step_hook(kill).run());
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    settled(&session).await;
    session.refresh().await.unwrap();
    settled(&session).await;
}
