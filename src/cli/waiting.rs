//! A note for a person who waits: after a second at a terminal, what the command waits for.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::Printer;

/// Does `work`. If that takes longer than a second and a person looks on, says that the command is
/// waiting for `what`.
pub(super) async fn with_note<T>(print: Printer, what: &str, work: impl Future<Output = T>) -> T {
    let note = || print.note(&format!("waiting for {what}…"));
    // A script's log would only get longer.
    if io::stderr().is_terminal() { with_late_note(note, work).await } else { work.await }
}

async fn with_late_note<T>(note: impl FnOnce(), work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(NOTE_DELAY) => note(),
    }
    work.await
}

/// The host that most commands wait for.
pub(super) const NEXUDUS: &str = "Nexudus";

/// A person takes a shorter pause for the usual speed of a command.
const NOTE_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_work_longer_than_a_second_is_announced_and_once() {
        for (millis, expected) in [(0, 0), (999, 0), (1_001, 1), (60_000, 1)] {
            let notes = Cell::new(0);
            let work = async {
                sleep(Duration::from_millis(millis)).await;
                millis
            };

            let done = with_late_note(|| notes.set(notes.get() + 1), work).await;

            assert_eq!((done, notes.get()), (millis, expected));
        }
    }
}
