"""The server behind every proxy: nginx over TLS, with a small answer, a large one, a list and a token."""

import http.client
import ssl
import subprocess
import textwrap

SMALL = 1100
LARGE = 256 << 20
# Bodies of /api/sized/BYTES.
SIZES = [1, 1 << 10, 16 << 10, 256 << 10, 4 << 20, 64 << 20, 1 << 30]

# A member with six personal values of its own.
COWORKER = (
    '{"BusinessId":1415125,"BusinessName":"Demo","CoworkerType":1,"FullName":"Ada Lovelace %(nth)d",'
    '"Email":"ada.%(nth)d@example.com","Active":true,"MobilePhone":"+44 7700 9%(nth)06d",'
    '"Address":"%(nth)d St James\'s Square","CityName":"Town %(nth)d","Notes":"Likes desk %(nth)d by the window",'
    '"RegistrationDate":"2025-03-04T10:11:12Z","TariffName":"Hot desk","NextInvoice":"2026-01-01T00:00:00Z",'
    '"Archived":false,"UtcOffset":60,"TeamIds":null,"Id":%(nth)d,"UniqueId":"5a9df2e1-7a11-4d94-a1f2-%(nth)012x",'
    '"CreatedOn":"2025-03-04T10:11:12Z","UpdatedOn":"2025-11-04T10:11:12Z","IsNew":false,"SystemId":null}'
)


def prepare(work, port, coworkers=100):
    """Writes certificates, files and configuration; returns the command and the authority."""
    certificates(work)
    root = work / "files"
    root.mkdir(exist_ok=True)
    with open(root / "large.bin", "wb") as file:
        for _ in range(LARGE >> 20):
            file.write(b"\x5a" * (1 << 20))
    (root / "sized").mkdir(exist_ok=True)
    for size in SIZES:
        with open(root / "sized" / str(size), "wb") as file:
            file.truncate(size)
    record = '{"Id":1,"FullName":"Ada Lovelace","Active":true},'
    (root / "small.json").write_text(('{"Records":[' + record * 40)[:SMALL - 2] + "]}")
    with open(root / "coworkers.json", "w", encoding="utf-8") as file:
        file.write('{"Records":[')
        file.writelines(("," if nth else "") + COWORKER % {"nth": nth} for nth in range(coworkers))
        file.write('],"CurrentPage":1,"HasNextPage":false}')
    token = '{"access_token":"%s","token_type":"bearer","expires_in":604799,"refresh_token":"r"}'
    config = work / "upstream.conf"
    config.write_text(textwrap.dedent(f"""
        daemon off; worker_processes 1; pid {work}/upstream.pid; error_log stderr error;
        events {{ worker_connections 16384; }}
        http {{
            access_log off; client_body_temp_path {work}/ua; proxy_temp_path {work}/ub;
            fastcgi_temp_path {work}/uc; uwsgi_temp_path {work}/ud; scgi_temp_path {work}/ue;
            default_type application/json; keepalive_requests 1000000000; keepalive_timeout 300s;
            open_file_cache max=10 inactive=300s; open_file_cache_valid 300s;
            ssl_certificate {work}/leaf.pem; ssl_certificate_key {work}/leaf.key;
            ssl_protocols TLSv1.2 TLSv1.3;
            server {{
                listen 127.0.0.1:{port} ssl backlog=4096;
                root {root};
                location = /count {{ stub_status; }}
                location = /api/token {{ return 200 '{token % ("t" * 300)}'; }}
                location = /api/small {{ alias {root}/small.json; }}
                location = /api/large {{ alias {root}/large.bin; }}
                location /api/sized/ {{ alias {root}/sized/; }}
                location /api/each/ {{ rewrite ^ /small.json break; }}
                location = /api/spaces/coworkers {{ alias {root}/coworkers.json; }}
            }}
        }}
    """))
    return ["nginx", "-c", str(config), "-e", "stderr"], work / "authority.pem"


class Counter:
    """Counts the requests that the server has had, on a connection that was there before the load."""

    def __init__(self, port):
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting)
        self.served()

    def served(self):
        self.connection.request("GET", "/count")
        return int(self.connection.getresponse().read().split(b"\n")[2].split()[2])


def certificates(work):
    """Makes an authority and a certificate for localhost."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=work, capture_output=True)

    (work / "leaf.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", "/CN=benchmark", "-keyout", "authority.key",
            "-out", "authority.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=localhost", "-keyout", "leaf.key", "-out", "leaf.csr")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
            "-CAcreateserial", "-days", "2", "-extfile", "leaf.ext", "-out", "leaf.pem")
