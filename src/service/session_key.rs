//! The key of the system service's session file: a credential, encrypted to this machine.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::{Reporter, ServiceCommand, ServiceEvent};
use crate::secure_fs;

/// Makes the key of the session file, encrypted to this machine, where there is none: with it a
/// restart resumes the session. Without it the service works, and logs in at each start.
pub(super) fn make(report: Reporter<'_>) {
    let path = Path::new("/etc/credstore.encrypted/nexudus-key");
    if path.exists() {
        return;
    }
    let made = (|| {
        secure_fs::create_dir(path.parent()?).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice()).ok()?;
        let target = path.display().to_string();
        let command =
            ServiceCommand::new(["systemd-creds", "encrypt", "--name=nexudus-key", "-", &target]);
        let quiet = command.command().stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = quiet.ok()?;
        // The command fails by itself if it does not get all of the key.
        let _ = process.stdin.take()?.write_all(key.as_slice());
        process.wait().ok()?.success().then_some(())
    })();
    if made.is_some() {
        report(ServiceEvent::Wrote(path.to_owned()));
    }
}
