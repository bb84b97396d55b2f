//! Waits for Enter on the terminal, without a thread that could not be ended.

/// Waits until Enter is pressed. Waits for ever where there is no terminal, or while another job has it.
#[cfg(unix)]
pub(super) async fn enter() {
    use std::io::{IsTerminal as _, stdin};
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::unistd::{getpgrp, read, tcgetpgrp};

    let stdin = stdin();
    if !stdin.is_terminal() {
        return std::future::pending().await;
    }
    loop {
        // A background job that reads from its terminal is stopped.
        let has_terminal = tcgetpgrp(&stdin) == Ok(getpgrp());
        let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if has_terminal && poll(&mut asked, PollTimeout::ZERO) == Ok(1) {
            match read(&stdin, &mut [0; 256]) {
                Ok(count) if count > 0 => return,
                // The terminal is gone.
                Ok(_) | Err(_) => return std::future::pending().await,
            }
        }
        tokio::time::sleep(KEY_INTERVAL).await;
    }
}

#[cfg(not(unix))]
pub(super) async fn enter() {
    std::future::pending().await
}

/// How often the terminal is looked at: less than a person notices.
#[cfg(unix)]
const KEY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(200);
