"""``requests`` through a tunnel; it has to be installed beside this package.

.. code-block:: python

    with mfagate.blocking.Client(profile) as client:
        client.connect(ask)
        with mfagate.requests.session(client) as session:
            session.get("http://10.9.0.1/").text

The host of a URL is an IP address. Nothing of the session goes past the tunnel: neither the system's
proxies nor a request's own are taken.
"""

from __future__ import annotations

from typing import Any, NoReturn, Union

import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.exceptions

from . import blocking
from ._client import Client
from ._errors import Error

__all__ = ["TunnelAdapter", "session"]


def _open(client: Union[Client, blocking.Client], waits: urllib3.connection.HTTPConnection) -> Any:
    limit = waits.timeout if isinstance(waits.timeout, (int, float)) else None
    try:
        return client.create_connection((waits.host, waits.port), limit)
    except (Error, OSError) as error:
        raise urllib3.exceptions.NewConnectionError(waits, str(error)) from error


class TunnelAdapter(requests.adapters.HTTPAdapter):
    """Sends requests through a client's tunnel, to be mounted in a ``requests.Session`` of your own."""

    def __init__(self, client: Union[Client, blocking.Client], **options: Any) -> None:
        self._client = client
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        client = self._client

        class Connection(urllib3.connection.HTTPConnection):
            def _new_conn(self) -> Any:
                return _open(client, self)

        class SecureConnection(urllib3.connection.HTTPSConnection):
            def _new_conn(self) -> Any:
                return _open(client, self)

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = SecureConnection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

    def proxy_manager_for(self, *_: Any, **__: Any) -> NoReturn:
        raise requests.exceptions.InvalidProxyURL(
            "what goes through the tunnel goes through no proxy: leave `proxies` out"
        )


def session(client: Union[Client, blocking.Client]) -> requests.Session:
    """A session all of whose requests go through the client's tunnel. It blocks its thread."""
    made = requests.Session()
    made.trust_env = False
    adapter = TunnelAdapter(client)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made
