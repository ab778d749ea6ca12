"""azurite: Azure's blob service as Microsoft emulates it, from npm."""

from __future__ import annotations

import base64
import hashlib
import hmac
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from servers.base import HOST, INSTALLED, Server, find_program, free_port

if TYPE_CHECKING:
    from obstore.store import AzureStore

# The account that azurite has; its key is in Microsoft's documentation.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"


class AzuriteServer(Server):
    """A blob service with one account; its blobs live in the memory of its process."""

    name = "azurite"

    def command(self) -> list[str]:
        node = find_program("node", hint="install Node.js 18 or newer, then run scripts/install_servers.sh")
        installed = INSTALLED / "azurite" / "node_modules" / ".bin" / "azurite-blob"
        program = find_program("azurite-blob", installed, hint="run scripts/install_servers.sh")
        self.port = free_port()
        options = ["--blobHost", HOST, "--blobPort", str(self.port)]
        # obstore may speak a newer version of the protocol than azurite knows.
        options += ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
        return [node, program, *options]

    @property
    def endpoint(self) -> str:
        return f"{self.base_url}/{ACCOUNT}"

    @property
    def azure_options(self) -> dict[str, object]:
        """What obstore's ``AzureStore(container, ...)`` needs to read and write here."""
        return {
            "endpoint": self.endpoint,
            "account_name": ACCOUNT,
            "account_key": KEY,
            "client_options": {"allow_http": True},
        }

    def make_container(self, container: str, *, public: bool = False) -> None:
        """Makes a container; the blobs of a public one can be read without credentials."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
        if public:
            headers["x-ms-blob-public-access"] = "container"
        # https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key; the account's name stands
        # twice because it is in the emulator's path as well.
        canonical_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        text = "PUT" + "\n" * 12 + canonical_headers + resource
        digest = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        url = f"{self.endpoint}/{container}?restype=container"
        with urlopen(Request(url, method="PUT", headers=headers), timeout=30):
            pass

    def put(self, container: str, path: str, data: bytes) -> str:
        """Puts a blob; gives its ``az://`` URL."""
        self.store(container).put(path, data)
        return f"az://{container}/{path}"

    def store(self, container: str, **options: object) -> AzureStore:
        """obstore's own store for a container."""
        from obstore.store import AzureStore

        return AzureStore(container, **{**self.azure_options, **options})  # type: ignore[arg-type]
