//! Where a request to the forward proxy leads: to a configured origin, elsewhere, or nowhere.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, Uri};

use super::{Error, ForwardProxy, HostPort, TunnelPolicy};
use crate::listen::BrowserHeaders;

/// Where a `CONNECT` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectRoute {
    /// To the origin of this number: its TLS ends here.
    Intercept(usize),
    /// To another host, whose bytes are not looked into.
    Tunnel(HostPort),
}

/// Where a target in absolute form leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestRoute {
    /// To the origin of this number.
    Origin(usize),
    /// To another host, over plain HTTP.
    Plain(HostPort),
}

impl ForwardProxy {
    /// Decides where a `CONNECT` leads.
    ///
    /// A browser's `CONNECT` is never intercepted: its pages would call with the owner's session.
    /// The browser reaches a configured origin as it reaches any other host.
    ///
    /// # Errors
    ///
    /// Why it leads nowhere.
    pub fn route_connect(&self, uri: &Uri, headers: &HeaderMap) -> Result<ConnectRoute, Error> {
        // The authority alone: `CONNECT http://host:443/` is none of a client that knows proxies.
        let authority = uri.authority().filter(|_| uri.path_and_query().is_none());
        let authority = authority.map(Authority::as_str).ok_or(Error::Target)?;
        let to = HostPort::parse(authority, None).ok_or(Error::Target)?;
        let has_length = headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
        if has_length || headers.contains_key(TRANSFER_ENCODING) {
            return Err(Error::Body);
        }
        check_host(&to, headers)?;
        let origin = self
            .origins
            .iter()
            .position(|origin| to.host() == origin.host() && to.port() == origin.port());
        if let Some(origin) = self.unless_browser(origin, headers)? {
            return Ok(ConnectRoute::Intercept(origin));
        }
        self.check_other(&to, HTTPS_PORT)?;
        Ok(ConnectRoute::Tunnel(to))
    }

    /// Decides where a target in absolute form leads, for a browser as for a `CONNECT`: `http://HOST/…`, which some clients send for
    /// an `https` URL too, or `https://HOST/…`.
    ///
    /// # Errors
    ///
    /// Why it leads nowhere.
    pub fn route_request(&self, uri: &Uri, headers: &HeaderMap) -> Result<RequestRoute, Error> {
        let authority = uri.authority().map(Authority::as_str).ok_or(Error::NoHost)?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(Error::Target),
            None => return Err(Error::NoHost),
        };
        let port = if is_secure { HTTPS_PORT } else { HTTP_PORT };
        let to = HostPort::parse(authority, Some(port)).ok_or(Error::Target)?;
        let origin = self.origins.iter().position(|origin| {
            let is_port = to.port() == origin.port() || !is_secure && to.port() == HTTP_PORT;
            to.host() == origin.host() && is_port
        });
        if let Some(origin) = self.unless_browser(origin, headers)? {
            // The guard of this origin compares `Host`.
            return Ok(RequestRoute::Origin(origin));
        }
        check_host(&to, headers)?;
        self.check_other(&to, port)?;
        if is_secure {
            return Err(Error::NeedsConnect);
        }
        Ok(RequestRoute::Plain(to))
    }

    /// Returns the origin, but not for a browser. Over plain HTTP, a browser sends none of the headers
    /// by which the guard knows it.
    fn unless_browser(
        &self,
        origin: Option<usize>,
        headers: &HeaderMap,
    ) -> Result<Option<usize>, Error> {
        match (origin, &self.others) {
            (Some(_), TunnelPolicy::Refuse) if is_from_browser(headers) => Err(Error::Browser),
            (Some(_), _) if is_from_browser(headers) => Ok(None),
            (origin, _) => Ok(origin),
        }
    }

    /// Checks what is known of another host before its name is resolved.
    fn check_other(&self, to: &HostPort, usual_port: u16) -> Result<(), Error> {
        match &self.others {
            TunnelPolicy::Refuse => Err(Error::NotConfigured),
            TunnelPolicy::Any => self.dialer.check(to, usual_port),
            TunnelPolicy::Only(hosts) if hosts.contains(to) => self.dialer.check(to, to.port()),
            TunnelPolicy::Only(_) => Err(Error::NotConfigured),
        }
    }
}

/// Says whether a browser has sent a request to its proxy: in a `CONNECT`, only `User-Agent` tells.
pub fn is_from_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map(|agent| agent.as_bytes().trim_ascii_start());
    agent
        .and_then(|agent| agent.get(..BROWSER_AGENT.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(BROWSER_AGENT))
        || BrowserHeaders::find(headers).is_some()
}

/// Compares `Host`, where there is one, with the target (RFC 9112 §3.2.2). The port is left out of
/// it: some clients leave it out too.
fn check_host(to: &HostPort, headers: &HeaderMap) -> Result<(), Error> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else { return Ok(()) };
    if hosts.next().is_some() {
        return Err(Error::TwoHosts);
    }
    let named = host.to_str().ok().and_then(|host| HostPort::parse(host, Some(to.port())));
    let is_same = named.is_some_and(|named| named.host() == to.host());
    if is_same { Ok(()) } else { Err(Error::OtherHost) }
}

/// How every browser begins its `User-Agent`.
const BROWSER_AGENT: &[u8] = b"Mozilla/";

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests;
