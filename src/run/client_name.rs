//! The name of the client of one `run`, and whether that `run` is over.
//!
//! A profile's files and the system's daemon can be shared by containers: there, another `run` has the
//! same process number, and the number of a living one means nothing here. So a name also holds the place
//! in which its number counts, and a random part.

use std::sync::LazyLock;

use aws_lc_rs::{digest, rand};

/// Makes a name that no other `run` has.
pub(super) fn unique_name() -> String {
    let (pid, place) = (std::process::id(), place());
    format!("{PREFIX}{pid}-{place}-{}", random_text())
}

/// Says whether the client of this name is of a `run` that has ended in this place without removing it.
/// What has ended in another one cannot be known.
pub(super) fn is_left_behind(name: &str) -> bool {
    is_left_behind_at(
        name,
        place(),
        i32::try_from(std::process::id()).unwrap_or_default(),
        is_alive,
    )
}

fn is_left_behind_at(name: &str, here: &str, own: i32, is_alive: impl Fn(i32) -> bool) -> bool {
    let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
    let pid = parts.next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0);
    let (Some(pid), Some(place), Some(_), None) = (pid, parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // A process has one `run` at a time, and asks before it makes its name.
    place == here && (pid == own || !is_alive(pid))
}

/// Returns the place in which process numbers count: a start of the machine, and a namespace.
fn place() -> &'static str {
    static PLACE: LazyLock<String> = LazyLock::new(|| {
        // A place that cannot be told is none that another process shares.
        named_place().map_or_else(random_text, |place| {
            let hash = digest::digest(&digest::SHA256, place.as_bytes());
            hex(&hash.as_ref()[..TEXT_BYTES])
        })
    });
    &PLACE
}

#[cfg(target_os = "linux")]
fn named_place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}{}", boot.trim(), namespace.display()))
}

/// Elsewhere all processes of a machine share their numbers.
#[cfg(not(target_os = "linux"))]
fn named_place() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?;
    Some(name.to_string_lossy().into_owned())
}

fn random_text() -> String {
    let mut random = [0; TEXT_BYTES];
    rand::fill(&mut random).expect("the system has random numbers, or TLS would not work either");
    hex(&random)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Says whether a process of this number exists.
fn is_alive(pid: i32) -> bool {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

const PREFIX: &str = "run-";

/// 32 bits: two of a few living `run`s are the same once in a billion times, and then one is refused.
const TEXT_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_run_alone() {
        assert_ne!(unique_name(), unique_name());
        assert!(unique_name().starts_with(&format!("run-{}-{}-", std::process::id(), place())));
        // Of a process with our number that was killed.
        assert!(is_left_behind(&unique_name()));
    }

    #[test]
    fn a_run_is_over_only_where_its_number_counts() {
        let is_left_behind = |name: &str| is_left_behind_at(name, "here", 7, |pid| pid == 8);
        for name in ["run-9-here-0a0b0c0d", "run-7-here-0a0b0c0d"] {
            assert!(is_left_behind(name), "{name}");
        }
        for name in [
            "run-8-here-0a0b0c0d",
            "run-9-there-0a0b0c0d",
            "run-9",
            "run-9-here",
            "run-9-here-0a-0b",
            "run-0-here-0a",
            "run--9-here-0a",
            "run-x-here-0a",
            "running-9-here-0a",
            "backup",
        ] {
            assert!(!is_left_behind(name), "{name}");
        }
    }
}
