//! The named pipe of Windows: what the admin socket is elsewhere.
//!
//! Its name is random, and stands in a file where the socket would be: in a directory of this user's.
//! So no other user can make a pipe of that name first. The pipe's usual rights let only this user,
//! administrators and the system write to it; connections from other machines are refused.

#![cfg(windows)]

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use uuid::Uuid;

use super::Error;
use crate::peer::Peer;
use crate::secure_fs;

/// The file with the pipe's name. Dropping it removes the file, never a successor's.
#[derive(Debug)]
pub struct PipeFile {
    path: PathBuf,
    name: String,
}

impl PipeFile {
    /// Chooses the name of a pipe that commands find at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::SocketPlace`] when the directory cannot be made.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let made = path.parent().map_or(Ok(()), secure_fs::create_dir);
        made.map_err(|source| Error::SocketPlace {
            path: path.to_owned(),
            what: "its directory cannot be made",
            source: Some(source),
        })?;
        let name = format!(r"\\.\pipe\nexudus-proxy-{}", Uuid::new_v4());
        Ok(Self { path: path.to_owned(), name })
    }

    /// Returns where the name stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the pipe, and then the file: a command that finds the file finds the pipe too.
    pub(super) fn listen(self) -> io::Result<PipeListener> {
        let waiting = ServerOptions::new().first_pipe_instance(true).create(&self.name)?;
        secure_fs::atomic_write_nosync(&self.path, self.name.as_bytes())?;
        Ok(PipeListener { waiting, file: self })
    }
}

impl Drop for PipeFile {
    fn drop(&mut self) {
        if std::fs::read(&self.path).is_ok_and(|name| name == self.name.as_bytes()) {
            // Failing leaves a stale file, which the next start replaces.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// A pipe that connections are accepted from.
#[derive(Debug)]
pub struct PipeListener {
    /// The end that the next client gets.
    waiting: NamedPipeServer,
    file: PipeFile,
}

impl PipeListener {
    pub(super) async fn accept(&mut self) -> io::Result<(NamedPipeServer, Peer)> {
        self.waiting.connect().await?;
        // Where this fails, the connected end stays, and the next call returns it.
        let next = ServerOptions::new().create(&self.file.name)?;
        let connected = std::mem::replace(&mut self.waiting, next);
        // Windows has no such numbers: who can write to the pipe is the user, or an administrator.
        Ok((connected, Peer::Unix { uid: 0, pid: None }))
    }
}
