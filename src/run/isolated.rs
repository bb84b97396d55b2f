//! Starts a command in an isolation: which names lead to which of our listeners, and what the command
//! finds in its files and variables.

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use crate::ca::LeafIssuer;
    use crate::config::Origin;
    use crate::forward_proxy::{ForwardProxy, HostPort, TunnelPolicy};
    use crate::listen::OwnHosts;
    use crate::run::door::Door;
    use crate::run::isolate::{
        Inside, Isolation, IsolationError, MAX_LISTENERS, Names, Protected, base_url_port,
        check_descriptors, protected_paths,
    };
    use crate::run::trust::TrustFiles;
    use crate::run::{Error, RunProxy, Start, Started, environment, variables};
    use crate::secure_fs;
    use crate::upstream::OwnSockets;

    /// The listeners inside, each with what it stands for.
    struct Listeners {
        names: Names,
        doors: Vec<(SocketAddr, Door)>,
    }

    impl Start<'_> {
        /// Starts the command where it reaches nothing but our listeners.
        pub(in crate::run) async fn isolated(self, also: &[String]) -> Result<Started, Error> {
            let protected = self.protected()?;
            let also = also.iter().map(|text| {
                let host = HostPort::parse(text, Some(HTTPS_PORT));
                host.ok_or_else(|| Error::MalformedHost(text.clone()))
            });
            let also: Vec<HostPort> = also.collect::<Result<_, _>>()?;
            let (files, issuer) = self.authority(0, &room_for_files(&protected))?;
            let others = TunnelPolicy::Only(also.clone());
            let forward = self.forward_proxy(issuer.clone(), others, &also, OwnSockets::default());
            let origins = self.leader.origins();
            let base_port = base_url_port(origins);
            let listeners = Listeners::new(base_port, origins, &issuer)?.with(&also, &forward)?;
            let hosts = files.directory().join("hosts");
            secure_fs::create_new(&hosts, listeners.names.hosts_file(&host_name()).as_bytes())
                .map_err(Error::Files)?;
            let inside = Inside {
                listen: listeners.doors.iter().map(|(address, _)| *address).collect(),
                replaced: replaced(&files, &hosts),
                protected,
            };
            // Past us there is no way, so that no failed login of the account can come of it.
            let email = self.leader.account().await;
            let email = email.as_deref().unwrap_or(variables::PLACEHOLDER_EMAIL);
            let base_url = format!("http://127.0.0.1:{base_port}");
            let key = &self.client.key;
            let begun = Isolation::begin(inside, files.directory(), self.argv, |command| {
                environment::set_names(command, &base_url, email, key);
                environment::remove_proxies(command);
                environment::remove_sessions(command);
                command.envs(environment::trust_variables(&files, None));
            });
            let (isolation, sockets) = begun.await.map_err(|error| self.error(error))?;
            let mut proxy = RunProxy::new(self.leader.clone(), key)?;
            for (socket, (_, door)) in sockets.into_iter().zip(listeners.doors) {
                proxy.serve_inside(socket, door)?;
            }
            let child = isolation.start().await.map_err(|error| self.error(error))?;
            Ok(Started { child, proxy, _files: Some(files) })
        }

        /// Returns the files that the command does not reach, and refuses what would lead to them.
        fn protected(&self) -> Result<Protected, Error> {
            let environment = |name: &str| std::env::var_os(name);
            let working_directory = std::env::current_dir().unwrap_or_default();
            let protected =
                protected_paths(self.config, self.paths, environment, &working_directory)
                    .map_err(|shared| Error::SharedAuditDirectory(shared.0))?;
            check_descriptors(&protected).map_err(|fault| Error::Descriptor(fault.to_string()))?;
            Ok(protected)
        }

        fn error(&self, error: IsolationError) -> Error {
            match error {
                IsolationError::Refused { step, source } => Error::Isolation { step, source },
                IsolationError::Command(source) => {
                    let program = self.argv.first().map(|it| it.to_string_lossy().into_owned());
                    Error::Command { program: program.unwrap_or_default(), source }
                }
            }
        }
    }

    impl Listeners {
        fn new(
            base_port: u16,
            origins: &[Origin],
            issuer: &Arc<LeafIssuer>,
        ) -> Result<Self, Error> {
            let base = SocketAddr::from((Ipv4Addr::LOCALHOST, base_port));
            let hosts = OwnHosts::new(&[base], &[]);
            let own = Door::Own { users: None, hosts, forward: None };
            let mut listeners = Self { names: Names::default(), doors: vec![(base, own)] };
            for (number, origin) in origins.iter().enumerate() {
                let door = || Door::origin(number, origin, Some(issuer.clone()));
                if listeners.add(origin.host(), origin.port(), door) == 0 {
                    return Err(Error::AddressOrigin(origin.to_string()));
                }
                // A program that begins with `http://` would be sent on to `https://`, or is
                // answered at once.
                if origin.port() == HTTPS_PORT {
                    listeners.add(origin.host(), HTTP_PORT, || Door::origin(number, origin, None));
                }
            }
            Ok(listeners)
        }

        /// Listens for other hosts too.
        fn with(mut self, also: &[HostPort], forward: &Arc<ForwardProxy>) -> Result<Self, Error> {
            for host in also {
                let door = || Door::Other { forward: forward.clone(), host: host.clone() };
                let is_taken = |address| self.doors.iter().any(|(taken, _)| *taken == address);
                // A configured host stays what it is.
                let addresses = self.names.addresses(host.host(), host.port());
                if !addresses.iter().copied().any(is_taken)
                    && self.add(host.host(), host.port(), door) == 0
                {
                    return Err(Error::AddressOrigin(host.to_string()));
                }
            }
            let is_few = self.doors.len() <= MAX_LISTENERS;
            if is_few { Ok(self) } else { Err(Error::TooManyHosts(MAX_LISTENERS)) }
        }

        /// Listens where the host is found; returns at how many addresses that is.
        fn add(&mut self, host: &str, port: u16, door: impl Fn() -> Door) -> usize {
            let addresses = self.names.addresses(host, port);
            let count = addresses.len();
            self.doors.extend(addresses.into_iter().map(|address| (address, door())));
            count
        }
    }

    /// Returns where the files of the run may be: the command must see them, so that none of the
    /// places is one that is hidden from it.
    fn room_for_files(protected: &Protected) -> Vec<PathBuf> {
        let temporary = std::env::temp_dir();
        let usual = TEMPORARY.iter().map(PathBuf::from);
        [temporary].into_iter().chain(usual).filter(|place| !protected.covers(place)).collect()
    }

    /// Returns the files that the command sees in place of the system's.
    fn replaced(files: &TrustFiles, hosts: &Path) -> Vec<(PathBuf, PathBuf)> {
        let existing = |names: &[&str]| {
            let mut found: Vec<_> =
                names.iter().filter_map(|it| Path::new(it).canonicalize().ok()).collect();
            found.sort();
            found.dedup();
            found
        };
        let bundles = existing(&BUNDLES).into_iter().map(|theirs| (files.bundle(), theirs));
        let stores = existing(&JAVA_STORES).into_iter().map(|theirs| (files.java_store(), theirs));
        let hosts = (hosts.to_owned(), PathBuf::from("/etc/hosts"));
        [hosts].into_iter().chain(bundles).chain(stores).collect()
    }

    fn host_name() -> String {
        let name =
            nix::unistd::gethostname().ok().and_then(|name: OsString| name.into_string().ok());
        name.unwrap_or_default()
    }

    /// Where systems keep the trust anchors of all programs: Debian, Fedora, SUSE, Alpine, FreeBSD's
    /// layout, Arch.
    const BUNDLES: [&str; 7] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/ca-bundle.pem",
        "/var/lib/ca-certificates/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    ];

    /// The same for Java.
    const JAVA_STORES: [&str; 3] = [
        "/etc/ssl/certs/java/cacerts",
        "/etc/pki/ca-trust/extracted/java/cacerts",
        "/var/lib/ca-certificates/java-cacerts",
    ];

    /// The directories for temporary files that every system has, where `TMPDIR` names none that
    /// serves.
    const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

    const HTTPS_PORT: u16 = 443;
    const HTTP_PORT: u16 = 80;
}

/// Runs a stage of an isolation, if this process was started as one, and returns how to exit. Called
/// before anything else: a process with a second thread can make no namespace of users.
#[cfg(target_os = "linux")]
pub fn run_stage(args: &[std::ffi::OsString]) -> Option<u8> {
    super::isolate::run_stage(args)
}

/// Other systems have no stages.
#[cfg(not(target_os = "linux"))]
pub fn run_stage(_: &[std::ffi::OsString]) -> Option<u8> {
    None
}

#[cfg(not(target_os = "linux"))]
impl super::Start<'_> {
    /// No other system isolates a process without privileges.
    pub(super) async fn isolated(self, _: &[String]) -> Result<super::Started, super::Error> {
        Err(super::Error::NotLinux)
    }
}
