//! The files by which programs trust the certificates of one `run`: in a directory of its own, gone
//! with the command.
//!
//! The authority's key stays in the memory of this process. A program that replaces its list of
//! anchors gets a whole one: those that it had, and ours.

mod anchors;
mod java;
mod node;
mod r;

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::config::Origin;
use crate::secure_fs;

/// The files of one `run`, or of the shells of a daemon.
#[derive(Debug)]
pub(super) struct TrustFiles {
    directory: PathBuf,
    _temporary: Option<TempDir>,
}

impl TrustFiles {
    /// Writes the files of a `run`, into a directory that ends with this value. `root` is the
    /// authority's, in PEM; `proxy_port` is that of our forward proxy, and `origins` are those that it
    /// answers itself. The first of `places` that takes a directory has them.
    pub(super) fn temporary(
        places: &[PathBuf],
        root: &str,
        proxy_port: u16,
        origins: &[Origin],
    ) -> io::Result<Self> {
        let only_owner = Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        builder.prefix("nexudus-run-").permissions(only_owner);
        let mut made = places.iter().map(|place| builder.tempdir_in(place));
        let first = made.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
        let temporary = first.or_else(|error| made.find_map(Result::ok).ok_or(error))?;
        let directory = temporary.path().to_owned();
        Self { directory, _temporary: Some(temporary) }.write(root, proxy_port, origins)
    }

    /// Writes the files into a directory that stays.
    pub(super) fn kept(
        directory: PathBuf,
        root: &str,
        proxy_port: u16,
        origins: &[Origin],
    ) -> io::Result<Self> {
        secure_fs::create_dir(&directory)?;
        Self { directory, _temporary: None }.write(root, proxy_port, origins)
    }

    fn write(self, root: &str, proxy_port: u16, origins: &[Origin]) -> io::Result<Self> {
        let own = self.directory.clone();
        // What an earlier call has named is ours already, and would come in twice.
        let environment =
            |name: &str| std::env::var_os(name).filter(|value| !Path::new(value).starts_with(&own));
        let write = |path: &Path, content: &[u8]| secure_fs::atomic_write_nosync(path, content);
        let root_der = CertificateDer::from_pem_slice(root.as_bytes());
        let root_der = root_der.map_err(|error| io::Error::other(error.to_string()))?;
        let anchors = anchors::Anchors::load(&environment);
        write(&self.bundle(), &anchors.bundle(root))?;
        write(&self.additions(), &anchors.additions(root, &environment))?;
        let store = java::trust_store(anchors.certificates().chain([&root_der]));
        write(&self.java_store(), &store)?;
        write(&self.wget_settings(), &wget_settings(&environment, &self.bundle()))?;
        write(&self.r_profile(), r::profile(&environment, &self.bundle()).as_bytes())?;
        write(&self.node_preload(), node::preload(proxy_port, origins).as_bytes())?;
        secure_fs::create_dir(&self.php_directory())?;
        let bundle = self.bundle();
        let ini = format!("curl.cainfo=\"{0}\"\nopenssl.cafile=\"{0}\"\n", bundle.display());
        write(&self.php_directory().join("nexudus-proxy.ini"), ini.as_bytes())?;
        Ok(self)
    }

    /// Returns the directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
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

    /// Returns the settings of wget.
    pub(super) fn wget_settings(&self) -> PathBuf {
        self.directory().join("wgetrc")
    }

    /// Returns the profile of R.
    pub(super) fn r_profile(&self) -> PathBuf {
        self.directory().join("profile.R")
    }

    /// Returns a directory of PHP's settings.
    pub(super) fn php_directory(&self) -> PathBuf {
        self.directory().join("php")
    }
}

/// Returns the person's settings of wget, with ours behind them: the last one counts.
fn wget_settings(environment: &impl Fn(&str) -> Option<OsString>, bundle: &Path) -> Vec<u8> {
    let own = || environment("HOME").map(|home| Path::new(&home).join(".wgetrc"));
    let before = environment("WGETRC").map(PathBuf::from).or_else(own);
    let mut settings = before.and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
    settings.extend(format!("\nca_certificate = {}\n", bundle.display()).into_bytes());
    settings
}
