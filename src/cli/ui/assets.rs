//! The files of the page, in the binary; sent compressed where the browser takes that.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A file of the page.
pub(super) struct Asset {
    /// The path.
    pub(super) path: &'static str,
    /// The media type.
    pub(super) kind: &'static str,
    /// The content.
    pub(super) plain: &'static [u8],
    compressed: LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>,
}

impl Asset {
    fn new(path: &'static str, plain: &'static [u8]) -> Self {
        let kind = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some(_) | None => "text/html; charset=utf-8",
        };
        let compress: Box<dyn FnOnce() -> Bytes + Send> = Box::new(|| compressed(plain));
        Self { path, kind, plain, compressed: LazyLock::new(compress) }
    }

    /// Returns the content as gzip.
    pub(super) fn gzip(&self) -> Bytes {
        self.compressed.clone()
    }
}

fn compressed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    // Writing into memory cannot fail.
    encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap_or_default().into()
}

/// Returns the file at a path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// Every file.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        Asset::new("/", include_bytes!("assets/index.html")),
        Asset::new("/style.css", include_bytes!("assets/style.css")),
        Asset::new("/api.js", include_bytes!("assets/api.js")),
        Asset::new("/app.js", include_bytes!("assets/app.js")),
        Asset::new("/approvals.js", include_bytes!("assets/approvals.js")),
        Asset::new("/charts.js", include_bytes!("assets/charts.js")),
        Asset::new("/clients.js", include_bytes!("assets/clients.js")),
        Asset::new("/detail.js", include_bytes!("assets/detail.js")),
        Asset::new("/dom.js", include_bytes!("assets/dom.js")),
        Asset::new("/filter.js", include_bytes!("assets/filter.js")),
        Asset::new("/format.js", include_bytes!("assets/format.js")),
        Asset::new("/overview.js", include_bytes!("assets/overview.js")),
        Asset::new("/policy.js", include_bytes!("assets/policy.js")),
        Asset::new("/requests.js", include_bytes!("assets/requests.js")),
        Asset::new("/store.js", include_bytes!("assets/store.js")),
        Asset::new("/uPlot.min.css", include_bytes!("assets/vendor/uPlot.min.css")),
        Asset::new("/uPlot.iife.min.js", include_bytes!("assets/vendor/uPlot.iife.min.js")),
    ]
});

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn the_whole_page_is_small_as_it_is_sent() {
        let sent: usize = ASSETS.iter().map(|asset| asset.gzip().len()).sum();

        assert!(sent <= 80 << 10, "{sent} bytes");
    }

    #[test]
    fn no_script_reads_a_text_as_html_or_as_code() {
        let own = ASSETS.iter().filter(|asset| asset.path.ends_with(".js"));
        for asset in own {
            let text = std::str::from_utf8(asset.plain).unwrap();
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "DOMParser",
                "srcdoc",
            ] {
                assert!(!text.contains(way), "{} in {}", way, asset.path);
            }
        }
    }

    #[test]
    fn every_module_that_a_script_imports_is_served() {
        for asset in ASSETS.iter() {
            let text = std::str::from_utf8(asset.plain).unwrap();
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let name = line.split('"').nth(1).unwrap().trim_start_matches('.');
                assert!(find(name).is_some(), "{name} of {}", asset.path);
            }
        }
    }

    #[test]
    fn what_others_wrote_is_as_they_published_it() {
        for (path, expected) in [
            (
                "/uPlot.iife.min.js",
                "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
            ),
            ("/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ] {
            let digest = digest(&SHA256, find(path).unwrap().plain);
            let text: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, expected, "{path}");
        }
    }
}
