"""nginx: a folder over HTTP and as a read-only S3 endpoint, with a few locations that are unlike the others."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

from servers.base import HOST, HOST_IPV6, INSTALLED, Server, find_program, free_port, has_ipv6

# `master_process off` would be simpler, but then a second worker and a clean stop are not to be had.
CONFIGURATION = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile {file_limit};
pid nginx.pid;
error_log "{log}" warn;
{user}
events {{ worker_connections 4096; }}

http {{
    client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
    log_format ranges '$request_method $request_uri $status "$http_range" $body_bytes_sent';
    access_log {access_log};
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush off;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    server_name_in_redirect off;
    root "{root}";
    gzip_min_length 1; gzip_types *; gzip_http_version 1.0;

    server {{
        listen {host}:{port} backlog=4096;
        {listen_ipv6}
        {listen_tls}
        {redirects}
        location /gzip/      {{ alias "{root}/"; gzip on; }}
        location /encoded/   {{ alias "{root}/"; add_header Content-Encoding gzip; }}
        location /no-ranges/ {{ alias "{root}/"; max_ranges 0; }}
        location /forbidden/ {{ return 403; }}
        location /broken/    {{ return 500; }}
    }}

    server {{
        listen {host}:{s3_port} backlog=4096;
        default_type binary/octet-stream;
        error_page 403 @denied;
        error_page 404 @missing;
        location /          {{ limit_except GET {{ deny all; }} }}
        location @denied    {{ default_type application/xml; return 403 '{denied}'; }}
        location @missing   {{ default_type application/xml; return 404 '{missing}'; }}
    }}
}}
"""
# $request_uri is as it was asked for; $uri is decoded, and would lose a %2F or a %20.
REDIRECT = (
    'location /redirect-{status}/ {{ if ($request_uri ~ "^/redirect-{status}/(.*)$") {{ return {status} {to}/$1; }} }}'
)
ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
# -subj alone would do for most clients; rustls wants the address, too.
NEW_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost "
    f"-addext subjectAltName=IP:{HOST},DNS:localhost -addext basicConstraints=critical,CA:FALSE"
)


class NginxServer(Server):
    """Serves ``root``, which is ``folder/root`` and is made here.

    ===================  ==========================================================================================
    ``/path``            the file, with byte ranges (suffix ranges, too), ``ETag`` and ``Last-Modified``
    ``/gzip/path``       gzip on the fly for who accepts it: then no ranges, no length
    ``/encoded/path``    the file's bytes said to be gzip, as of an object that was uploaded so; with ranges
    ``/no-ranges/path``  always 200 and the whole file
    ``/redirect-302/``   to ``/path`` on the same host, likewise 301, 303, 307 and 308
    ``/elsewhere/``      302 to the same path on another port
    ``/redirect-loop/``  302 to itself
    ``/forbidden/``      403
    ``/broken/``         500
    ===================  ==========================================================================================
    """

    name = "nginx"

    def __init__(self, folder: Path, *, workers: int = 1, access_log: bool = True) -> None:
        super().__init__(folder)
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.workers = workers
        self.access_log = access_log
        self.s3_port = 0
        self.tls_port = 0
        self.certificate_path = folder / "certificate.pem"  # that nobody has signed; not there without openssl
        self.ipv6 = has_ipv6()

    def command(self) -> list[str]:
        hint = "install nginx, or run scripts/install_servers.sh"
        program = find_program("nginx", INSTALLED / "nginx" / "usr" / "sbin" / "nginx", hint=hint)
        self.port, self.s3_port, self.tls_port = free_port(), free_port(), free_port()
        (self.folder / "temp").mkdir(exist_ok=True)
        self.make_certificate()
        path = self.folder / "nginx.conf"
        path.write_text(self.configuration())
        return [program, "-p", str(self.folder), "-c", str(path), "-e", str(self.log_path)]

    def make_certificate(self) -> None:
        """Makes a key and a certificate, where openssl is installed."""
        if shutil.which("openssl") is None or self.certificate_path.exists():
            return
        files = ["-keyout", str(self.folder / "key.pem"), "-out", str(self.certificate_path)]
        subprocess.run([*NEW_CERTIFICATE.split(), *files], check=True, capture_output=True)

    def listen_tls(self) -> str:
        """The part of the configuration about HTTPS."""
        if not self.certificate_path.exists():
            return ""
        key = self.folder / "key.pem"
        files = f'ssl_certificate "{self.certificate_path}"; ssl_certificate_key "{key}";'
        return f"listen {HOST}:{self.tls_port} ssl; {files}"

    def configuration(self) -> str:
        """The text of the configuration file."""
        _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        elsewhere = f"http://{HOST}:{self.s3_port}"
        redirects = [REDIRECT.format(status=status, to="") for status in (301, 302, 303, 307, 308)]
        redirects.append(REDIRECT.format(status=302, to=elsewhere).replace("redirect-302", "elsewhere"))
        redirects.append("location /redirect-loop/ { return 302 $request_uri; }")
        return CONFIGURATION.format(
            workers=self.workers,
            file_limit=65536 if hard_limit == resource.RLIM_INFINITY else hard_limit,
            # The temporary folders of root are closed to nginx's own user.
            user="user root;" if os.geteuid() == 0 else "",
            log=self.log_path,
            access_log="access.log ranges" if self.access_log else "off",
            root=self.root,
            host=HOST,
            port=self.port,
            s3_port=self.s3_port,
            listen_ipv6=f"listen [{HOST_IPV6}]:{self.port};" if self.ipv6 else "",
            listen_tls=self.listen_tls(),
            redirects="\n        ".join(redirects),
            denied=ERROR.format(code="AccessDenied", message="Access Denied"),
            missing=ERROR.format(code="NoSuchKey", message="The specified key does not exist."),
        )

    def put(self, path: str, data: bytes) -> str:
        """Writes a file below ``root``, whole or not at all; gives its URL."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".new")
        temporary.write_bytes(data)
        temporary.replace(target)
        return self.url(path)

    def url(self, path: str, *, ipv6: bool = False) -> str:
        """The URL of a path below ``root``, percent-encoded where needed."""
        return f"http://{f'[{HOST_IPV6}]' if ipv6 else HOST}:{self.port}/{quote(path)}"

    def https_url(self, path: str) -> str:
        """The URL over TLS; its certificate is that of ``certificate_path``."""
        return f"https://{HOST}:{self.tls_port}/{quote(path)}"

    @property
    def s3_endpoint(self) -> str:
        """The S3 endpoint: path style, unsigned, ``GET`` and ``HEAD``; each folder in ``root`` is a bucket."""
        return f"http://{HOST}:{self.s3_port}"

    @property
    def s3_options(self) -> dict[str, object]:
        """What obstore's ``S3Store(bucket, ...)`` needs to read from here."""
        return {
            "endpoint": self.s3_endpoint,
            "region": "us-east-1",
            "skip_signature": True,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }

    def requests(self) -> list[str]:
        """The access log: ``GET /path 206 "bytes=0-9" 10`` a line, in the order of completion."""
        path = self.folder / "access.log"
        return path.read_text().splitlines() if path.exists() else []
