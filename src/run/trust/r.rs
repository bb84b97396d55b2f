//! The profile by which R's httr trusts our certificates: httr reads no variable for it, and R's curl package
//! names a list of anchors of its own to its library, so that `SSL_CERT_FILE` counts for nothing.

use std::ffi::OsString;
use std::path::Path;

/// Returns a profile that sets the list of anchors once httr is loaded, and then does what the person's own
/// profile does: R reads one alone, the file of `R_PROFILE_USER` or else `.Rprofile` here or at home.
pub(super) fn profile(environment: &impl Fn(&str) -> Option<OsString>, bundle: &Path) -> String {
    let own = environment("R_PROFILE_USER").filter(|file| !file.is_empty()).map_or_else(
        || "\".Rprofile\", \"~/.Rprofile\"".to_owned(),
        |file| quoted(Path::new(&file)),
    );
    format!(
        "setHook(packageEvent(\"httr\", \"onLoad\"), function(...) {{\n  \
           httr::set_config(httr::config(cainfo = {}))\n\
         }})\n\
         local({{\n  \
           own <- Filter(file.exists, c({own}))\n  \
           if (length(own)) sys.source(own[1], envir = globalenv())\n\
         }})\n",
        quoted(bundle)
    )
}

/// Returns a path as R writes a string.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{path}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_persons_own_profile_is_read_after_ours() {
        let bundle = Path::new("/run/a \"b\"/bundle.pem");
        let plain = profile(&|_| None, bundle);
        let named = profile(&|name| (name == "R_PROFILE_USER").then(|| "/own\\R".into()), bundle);

        assert!(plain.contains("cainfo = \"/run/a \\\"b\\\"/bundle.pem\""), "{plain}");
        assert!(plain.contains("c(\".Rprofile\", \"~/.Rprofile\")"), "{plain}");
        assert!(named.contains("c(\"/own\\\\R\")"), "{named}");
    }
}
