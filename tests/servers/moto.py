"""moto: an S3 with buckets and credentials, from PyPI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from urllib.request import Request, urlopen

from servers.base import HOST, INSTALLED, Server, find_program, free_port

if TYPE_CHECKING:
    from obstore.store import S3Store  # not at run time: most tests do without obstore

ACCESS_KEY_ID, SECRET_ACCESS_KEY = "testing", "testing"
REGION = "us-east-1"


class MotoServer(Server):
    """An S3 endpoint whose objects live in the memory of its process; it takes any credentials.

    What is put here is private: a request without a signature is answered by 403.
    """

    name = "moto"
    ready_path = "/moto-api/data.json"

    def command(self) -> list[str]:
        places = [folder / "moto_server" for folder in (Path(sys.executable).parent, INSTALLED / "moto" / "bin")]
        program = find_program("moto_server", *places, hint="run scripts/install_servers.sh")
        self.port = free_port()
        return [program, "-H", HOST, "-p", str(self.port)]

    @property
    def s3_endpoint(self) -> str:
        return self.base_url

    @property
    def s3_options(self) -> dict[str, object]:
        """What obstore's ``S3Store(bucket, ...)`` needs; for reads without credentials see ``skip_signature``."""
        return {
            "endpoint": self.base_url,
            "region": REGION,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }

    def make_bucket(self, bucket: str) -> None:
        """Makes a bucket; one that is there already stays."""
        self._send("PUT", bucket)

    def put(self, bucket: str, key: str, data: bytes) -> str:
        """Puts an object, in parts where it is large; gives its ``s3://`` URL."""
        self.store(bucket).put(key, data)
        return f"s3://{bucket}/{key}"

    def store(self, bucket: str, **options: object) -> S3Store:
        """obstore's own store for a bucket."""
        from obstore.store import S3Store

        return S3Store(bucket, **{**self.s3_options, **options})  # type: ignore[arg-type]

    def reset(self) -> None:
        """Forgets all buckets."""
        with urlopen(Request(f"{self.base_url}/moto-api/reset", method="POST"), timeout=30):
            pass

    def _send(self, method: str, path: str) -> None:
        """Sends a request that names its credentials; moto does not look at the signature."""
        scope = f"{ACCESS_KEY_ID}/20260101/{REGION}/s3/aws4_request"
        authorization = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"
        request = Request(f"{self.base_url}/{quote(path)}", method=method, headers={"Authorization": authorization})
        with urlopen(request, timeout=30):
            pass
