//! The module that an older Node loads before the program: it leads the configured hosts through our
//! proxy.

use crate::config::Origin;

/// Returns the module, for a proxy at this port of the loopback.
pub(super) fn preload(proxy_port: u16, origins: &[Origin]) -> String {
    let places: Vec<String> =
        origins.iter().map(|origin| format!("{}:{}", origin.host(), origin.port())).collect();
    let places = serde_json::to_string(&places).expect("texts are JSON");
    PRELOAD.replacen("PORT", &proxy_port.to_string(), 1).replacen("PLACES", &places, 1)
}

const PRELOAD: &str = include_str!("preload.cjs");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_names_the_proxy_and_the_hosts() {
        let origins = [Origin::nexudus(), Origin::new("::1", 8443)];

        let module = preload(4321, &origins);

        assert!(module.contains("const port = 4321;\n"));
        assert!(module.contains(r#"new Set(["spaces.nexudus.com:443","::1:8443"]);"#));
    }
}
