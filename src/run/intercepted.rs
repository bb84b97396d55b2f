//! Starts a command whose requests come through a proxy: its variables name that, and the files by which
//! programs trust what it shows them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Handle;

use super::run_proxy::RunListener;
use super::trust::TrustFiles;
use super::{Error, Start, Started, command, environment, variables};
use crate::ca::{AuthorityKind, LeafIssuer, LiveAuthorities};
use crate::clock::Clock;
use crate::config::Proxy;
use crate::forward_proxy::{Dialer, ForwardProxy, HostPort, TunnelPlaces, TunnelPolicy};
use crate::upstream::{OwnSockets, Resolver};

impl Start<'_> {
    /// Starts the command with the base URL, a proxy and a certificate authority of its own.
    pub(super) fn intercepted(self) -> Result<Started, Error> {
        let listener = RunListener::bind()?;
        let (port, origins) = (listener.port(), self.leader.origins());
        // Without a directory for temporary files, as in a bare container, the state directory has room.
        let places = [std::env::temp_dir(), self.paths.profile_state()];
        let (files, issuer) = self.authority(port, &places)?;
        let own = OwnSockets::new(listener.addresses().iter().copied());
        let forward = self.forward_proxy(issuer, TunnelPolicy::Any, &[], own);
        let mut command = command::new(self.argv);
        let base_url = format!("http://127.0.0.1:{port}");
        // A program that reads no proxy would make failed logins on the real account.
        let email = variables::PLACEHOLDER_EMAIL;
        environment::set_names(&mut command, &base_url, email, &self.client.key);
        command.envs(environment::proxy_variables(&base_url, origins));
        command.envs(environment::trust_variables(&files, Some(port)));
        let proxy = listener.serve(self.leader.clone(), &self.client.key, Some(forward))?;
        Ok(Started { child: command::spawn(command)?, proxy, _files: Some(files) })
    }

    /// Makes the authority of this run: in memory, for the configured hosts, until the command ends.
    /// The first of `places` that can be written has its files.
    pub(super) fn authority(
        &self,
        port: u16,
        places: &[PathBuf],
    ) -> Result<(TrustFiles, Arc<LeafIssuer>), Error> {
        let authority = AuthorityKind::Intercept.create(self.config, SystemTime::now())?;
        let files =
            TrustFiles::temporary(places, &authority.root_pem(), port, self.leader.origins());
        let issuer = LeafIssuer::new(authority, Clock::system());
        Ok((files.map_err(Error::Files)?, Arc::new(issuer)))
    }

    /// Makes what decides where requests to a proxy lead. `named` hosts are not checked.
    pub(super) fn forward_proxy(
        &self,
        issuer: Arc<LeafIssuer>,
        others: TunnelPolicy,
        named: &[HostPort],
        own: OwnSockets,
    ) -> Arc<ForwardProxy> {
        let authorities = LiveAuthorities::default();
        authorities.set(AuthorityKind::Intercept, issuer);
        let configured = self.config.forward_proxy.allow.iter().cloned();
        let allow: Vec<_> = named.iter().map(ToString::to_string).chain(configured).collect();
        let resolver = Resolver::new(Handle::current()).without(own);
        // The way that the command would have gone without us.
        let parent = Proxy::System;
        let timeout = self.config.upstream.connect_timeout;
        let dialer = Dialer::new(resolver, parent, &allow, timeout);
        let places = TunnelPlaces::among(self.config.limits.connections);
        let origins = self.leader.origins().to_vec();
        Arc::new(ForwardProxy::new(origins, others, authorities, dialer, places))
    }
}
