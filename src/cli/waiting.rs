//! A note for a person who waits, and for the log of a script that waits longer: what the command
//! waits for.

use std::time::Duration;

use super::Printer;

/// Does `work`, and says what the command waits for: after a second where a person watches, else after
/// five. With `--quiet` nothing is said.
pub(super) async fn say_waiting<T>(print: Printer, what: &str, work: impl Future<Output = T>) -> T {
    let after = if print.is_watched() { SHORT_SILENCE } else { MAX_SILENCE };
    let note = || {
        if !print.is_quiet() {
            print.note(&format!("waiting for {what}…"));
        }
    };
    with_late_note(after, note, work).await
}

async fn with_late_note<T>(
    after: Duration,
    note: impl FnOnce(),
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(after) => note(),
    }
    work.await
}

/// The host that most commands wait for.
pub(super) const NEXUDUS: &str = "Nexudus";

/// The process that the other commands wait for.
pub(super) const DAEMON: &str = "the daemon";

/// Longest silence on a terminal: a person takes a shorter pause for the usual speed of a command.
const SHORT_SILENCE: Duration = Duration::from_secs(1);

/// Longest silence elsewhere: the log of a script needs no note about a usual pause.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_work_longer_than_the_silence_is_announced_and_once() {
        for silence in [SHORT_SILENCE, MAX_SILENCE] {
            let lengths = [Duration::ZERO, silence - TICK, silence + TICK, 60 * silence];
            for (length, expected) in lengths.into_iter().zip([0, 0, 1, 1]) {
                let notes = Cell::new(0);
                let work = async {
                    sleep(length).await;
                    length
                };

                let done = with_late_note(silence, || notes.set(notes.get() + 1), work).await;

                assert_eq!((done, notes.get()), (length, expected));
            }
        }
    }

    /// The finest step of the timers.
    const TICK: Duration = Duration::from_millis(1);
}
