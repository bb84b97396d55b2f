"""The proxies that are compared: how each is configured and started.

Each gets one thread of work, injects a bearer, verifies the upstream's certificate and keeps
connections to it open. Anything else is the program's default, but for access logs (off) and
temporary files (none): both would be measured as proxying.
"""

import os
import shutil
import sys
import textwrap
from pathlib import Path

TOKEN = "t" * 300


class Proxy:
    """One program, ready to be started."""

    def __init__(self, name, command, port, environment=None, version=None):
        self.name, self.command, self.port = name, command, port
        self.environment = {**os.environ, **(environment or {})}
        self.version = version or [command[0], "--version"]


def found(work, upstream, authority, ours, port):
    """Returns every proxy that is installed here, each on a port of its own."""
    makers = [nexudus_proxy, nginx, haproxy, envoy, caddy, kubectl, mitmproxy]
    proxies = []
    for number, maker in enumerate(makers):
        proxy = maker(work, upstream, authority, ours, port + number)
        if proxy is None or not shutil.which(proxy.command[0]):
            print(f"not installed: {maker.__name__}", file=sys.stderr)
        else:
            proxies.append(proxy)
    return proxies


def nexudus_proxy(work, upstream, authority, ours, port):
    home = work / "nexudus-proxy"
    home.mkdir(exist_ok=True)
    config = write(home / "config.toml", f"""
        [listen]
        tcp = ["127.0.0.1:{port}"]
        unix = "off"
    """)
    command = [
        str(ours), "serve", "--config", str(config), "--upstream", f"https://localhost:{upstream}",
        "--ca-file", str(authority), "--session-store", "file",
    ]
    # As under systemd: the first round logs in, the others find the session.
    secrets = home / "credentials"
    secrets.mkdir(exist_ok=True)
    for name, secret in [("email", "ada@example.com"), ("password", "correct horse"),
                         ("key", "0123456789abcdef0123456789abcdef")]:
        (secrets / f"nexudus-{name}").write_text(secret)
    environment = {
        "CREDENTIALS_DIRECTORY": str(secrets),
        "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "XDG_STATE_HOME": str(home),
    }
    return Proxy("nexudus-proxy", command, port, environment)


def nginx(work, upstream, authority, _ours, port):
    config = write(work / "nginx-proxy.conf", f"""
        daemon off; worker_processes 1; pid {work}/nginx-proxy.pid; error_log stderr warn;
        events {{ worker_connections 16384; }}
        http {{
            access_log off; client_body_temp_path {work}/a; proxy_temp_path {work}/b;
            fastcgi_temp_path {work}/c; uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
            keepalive_requests 1000000000;
            upstream up {{ server 127.0.0.1:{upstream}; keepalive 2048; keepalive_requests 1000000000; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass https://up; proxy_http_version 1.1;
                    proxy_set_header Connection ""; proxy_set_header Host localhost:{upstream};
                    proxy_set_header Authorization "Bearer {TOKEN}";
                    proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority};
                    proxy_ssl_name localhost; proxy_ssl_server_name on;
                    proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_max_temp_file_size 0;
                }}
            }}
        }}
    """)
    return Proxy("nginx", ["nginx", "-c", str(config), "-e", "stderr"], port, version=["nginx", "-v"])


def haproxy(work, upstream, authority, _ours, port):
    config = write(work / "haproxy.cfg", f"""
        global
            nbthread 1
            maxconn 8192
        defaults
            mode http
            timeout connect 10s
            timeout client 120s
            timeout server 120s
            http-reuse always
        frontend local
            bind 127.0.0.1:{port}
            default_backend up
        backend up
            http-request set-header Authorization "Bearer {TOKEN}"
            http-request set-header Host localhost:{upstream}
            server up 127.0.0.1:{upstream} ssl verify required ca-file {authority} sni str(localhost) verifyhost localhost
    """)
    return Proxy("HAProxy", ["haproxy", "-f", str(config)], port, version=["haproxy", "-v"])


def envoy(work, upstream, authority, _ours, port):
    config = write(work / "envoy.yaml", f"""
        static_resources:
          listeners:
          - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
            filter_chains:
            - filters:
              - name: envoy.filters.network.http_connection_manager
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                  stat_prefix: local
                  stream_idle_timeout: 0s
                  route_config:
                    virtual_hosts:
                    - name: all
                      domains: ["*"]
                      request_headers_to_add:
                      - {{ header: {{ key: authorization, value: "Bearer {TOKEN}" }}, append_action: OVERWRITE_IF_EXISTS_OR_ADD }}
                      routes:
                      - match: {{ prefix: / }}
                        route: {{ cluster: up, timeout: 0s, host_rewrite_literal: "localhost:{upstream}" }}
                  http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          clusters:
          - name: up
            type: STATIC
            load_assignment:
              cluster_name: up
              endpoints:
              - lb_endpoints:
                - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }} }}
            transport_socket:
              name: envoy.transport_sockets.tls
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                sni: localhost
                common_tls_context:
                  tls_params: {{ tls_maximum_protocol_version: TLSv1_3 }}
                  validation_context:
                    trusted_ca: {{ filename: {authority} }}
                    match_typed_subject_alt_names:
                    - {{ san_type: DNS, matcher: {{ exact: localhost }} }}
    """)
    command = ["envoy", "-c", str(config), "--concurrency", "1", "-l", "error",
               "--use-dynamic-base-id"]
    return Proxy("Envoy", command, port)


def caddy(work, upstream, authority, _ours, port):
    config = write(work / "Caddyfile", f"""
        {{
            admin off
            auto_https off
            persist_config off
        }}
        http://127.0.0.1:{port} {{
            reverse_proxy https://localhost:{upstream} {{
                header_up Authorization "Bearer {TOKEN}"
                header_up Host localhost:{upstream}
                transport http {{
                    tls_trust_pool file {authority}
                    versions 1.1
                }}
            }}
        }}
    """)
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    environment = {"GOMAXPROCS": "1", "HOME": str(work)}
    return Proxy("Caddy", command, port, environment, version=["caddy", "version"])


def kubectl(work, upstream, authority, _ours, port):
    config = write(work / "kubeconfig", f"""
        apiVersion: v1
        kind: Config
        current-context: up
        contexts: [{{ name: up, context: {{ cluster: up, user: up }} }}]
        clusters:
        - name: up
          cluster: {{ server: "https://localhost:{upstream}", certificate-authority: {authority} }}
        users: [{{ name: up, user: {{ token: {TOKEN} }} }}]
    """)
    command = ["kubectl", "--kubeconfig", str(config), "proxy", f"--port={port}",
               "--accept-paths=.*", "--reject-paths=^$"]
    environment = {"GOMAXPROCS": "1", "HOME": str(work), "DISABLE_HTTP2": "true"}
    return Proxy("kubectl proxy", command, port, environment, version=["kubectl", "version", "--client"])


def mitmproxy(work, upstream, authority, _ours, port):
    command = [
        "mitmdump", "--quiet", "--mode", f"reverse:https://localhost:{upstream}",
        "--listen-host", "127.0.0.1", "--listen-port", str(port),
        "--set", f"confdir={work}/mitmproxy", "--set", "stream_large_bodies=1m",
        "--set", f"ssl_verify_upstream_trusted_ca={authority}",
        "--set", f"modify_headers=/~q/Authorization/Bearer {TOKEN}",
    ]
    return Proxy("mitmproxy", command, port)


def write(path, text):
    path.write_text(textwrap.dedent(text))
    return path
