//! `ca trust --system` with the real `update-ca-certificates`, in mounts of the test's own.

use std::process::Command;

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};

#[test]
fn root_adds_the_localhost_root_to_the_systems_store_and_takes_it_back() {
    assert!(nix::unistd::geteuid().is_root(), "mounts take root: `sudo -E make test`");
    let nexudus = Simulator::start().unwrap();
    let place = tempfile::tempdir().unwrap();
    nexudus.write_ca(&place.path().join("ca.pem")).unwrap();
    let program = env!("CARGO_BIN_EXE_nexudus-proxy");

    let output = Command::new("unshare")
        .args(["--mount", "--propagation=private", "bash", "-c", SCRIPT])
        .env("T", place.path())
        .env("PROGRAM", program)
        .env("ORIGIN", nexudus.origin())
        .env("NEXUDUS_EMAIL", DEMO_EMAIL)
        .env("NEXUDUS_PASSWORD", DEMO_PASSWORD)
        .output()
        .expect("the test needs unshare");

    let said = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{err}");
    let (before, rest) = said.split_once("== trusted\n").expect("it got there");
    let (trusted, untrusted) = rest.split_once("== untrusted\n").expect("it got there");
    assert!(before.contains("error: only root may change the system's trust store"), "{said}{err}");
    assert!(before.contains("in bundle: 0"), "{said}{err}");
    assert!(
        trusted
            .contains("trusted by the system's trust store (/usr/local/share/ca-certificates)\n"),
        "{said}{err}"
    );
    assert!(trusted.contains("file: nexudus-proxy-localhost-"), "{said}{err}");
    assert!(trusted.contains("mode: 644") && trusted.contains("in bundle: 1"), "{said}{err}");
    assert!(
        trusted.contains("root.pem: OK"),
        "OpenSSL believes it by the system's store: {said}{err}"
    );
    assert!(trusted.contains("trusted  the system's trust store"), "{said}{err}");
    assert!(untrusted.contains("no longer trusted by the system's trust store"), "{said}{err}");
    assert!(untrusted.contains("in bundle: 0"), "{said}{err}");
    assert!(untrusted.contains("left: other.crt\n"), "what others have added stays: {said}{err}");
}

/// Nothing of it is seen outside of these mounts: the sockets of the system's daemon, its anchors and
/// the bundle that they are made into.
const SCRIPT: &str = r#"
set -eu
store=/usr/local/share/ca-certificates
chmod 755 "$T" && cp "$PROGRAM" "$T/nexudus-proxy"
mount -t tmpfs tmpfs /run && mkdir /run/nexudus-proxy
mount -t tmpfs tmpfs "$store"
cp -a /etc/ssl/certs "$T/certs" && mount --bind "$T/certs" /etc/ssl/certs
mkdir "$T/state" "$T/config"
p="$T/nexudus-proxy"
HOME="$T" STATE_DIRECTORY="$T/state" RUNTIME_DIRECTORY=/run/nexudus-proxy \
  CONFIGURATION_DIRECTORY="$T/config" "$p" serve --listen 127.0.0.1:0 --upstream "$ORIGIN" \
  --ca-file "$T/ca.pem" --session-key-command '["printf", "sixteen bytes ok"]' 2>"$T/log" &
daemon=$!
trap 'kill "$daemon"' EXIT
"$p" --system wait
"$p" --system ca export localhost > "$T/root.pem"
line=$(sed -n 4p "$T/root.pem")
bundle() { echo "in bundle: $(grep -cxF -- "$line" /etc/ssl/certs/ca-certificates.crt || true)"; }
setpriv --reuid=65534 --clear-groups "$p" --system ca trust --yes 2>&1 || true
# One that an administrator has put there.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -days 2 \
  -keyout /dev/null -out "$store/other.crt" 2>/dev/null
bundle
echo '== trusted'
"$p" --system ca trust --yes
echo "file: $(ls "$store" | grep nexudus)"
echo "mode: $(stat -c %a "$store"/nexudus*)"
bundle
openssl verify -CApath /etc/ssl/certs "$T/root.pem" | sed 's,.*/,,'
"$p" --system ca show
echo '== untrusted'
"$p" --system ca untrust
bundle
echo "left: $(ls "$store")"
"#;
