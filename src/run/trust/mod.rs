//! The files by which programs trust the certificates of one `run`: in a directory of its own, gone
//! with the command.
//!
//! The authority's key stays in the memory of this process. A program that replaces its list of
//! anchors gets a whole one: those that it had, and ours.

mod anchors;
mod java;
mod node;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::ca::Authority;
use crate::config::Origin;
use crate::secure_fs;

/// The files of one `run`.
#[derive(Debug)]
pub(super) struct TrustFiles {
    directory: TempDir,
}

impl TrustFiles {
    /// Writes the files, for programs that `environment` was made for. `proxy_port` is that of our
    /// forward proxy, and `origins` are those that it answers itself.
    pub(super) fn write(
        authority: &Authority,
        environment: impl Fn(&str) -> Option<OsString>,
        proxy_port: u16,
        origins: &[Origin],
    ) -> io::Result<Self> {
        // Only the owner can enter it.
        let files = Self { directory: tempfile::Builder::new().prefix("nexudus-run-").tempdir()? };
        let anchors = anchors::Anchors::load(&environment);
        let root = authority.root_pem();
        secure_fs::create_new(&files.bundle(), &anchors.bundle(&root))?;
        secure_fs::create_new(&files.additions(), &anchors.additions(&root, &environment))?;
        let store = java::trust_store(anchors.certificates().chain([authority.root_der()]));
        secure_fs::create_new(&files.java_store(), &store)?;
        let preload = node::preload(proxy_port, origins);
        secure_fs::create_new(&files.node_preload(), preload.as_bytes())?;
        std::fs::create_dir(files.php_directory())?;
        let bundle = files.bundle();
        let ini = format!("curl.cainfo=\"{0}\"\nopenssl.cafile=\"{0}\"\n", bundle.display());
        secure_fs::create_new(&files.php_directory().join("nexudus-proxy.ini"), ini.as_bytes())?;
        Ok(files)
    }

    /// Returns the directory.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the anchors of the system and ours, in PEM.
    pub(super) fn bundle(&self) -> PathBuf {
        self.directory().join("bundle.pem")
    }

    /// Returns our anchor alone, and what the person has added to those of Node.
    pub(super) fn additions(&self) -> PathBuf {
        self.directory().join("additions.pem")
    }

    /// Returns the bundle as Java reads it.
    pub(super) fn java_store(&self) -> PathBuf {
        self.directory().join("bundle.p12")
    }

    /// Returns the module that Node loads first.
    pub(super) fn node_preload(&self) -> PathBuf {
        self.directory().join("preload.cjs")
    }

    /// Returns a directory of PHP's settings.
    pub(super) fn php_directory(&self) -> PathBuf {
        self.directory().join("php")
    }
}
