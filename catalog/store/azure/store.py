"""A store in a container of Azure Blob Storage."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import requests
from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter

from catalog.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ShortRead,
    StoreError,
    StoreUnreachable,
)
from catalog.store.azure.credentials import container_client
from catalog.store.base import LIST_PAGE, Buffer, ObjectInfo, Store
from catalog.store.name import checked_name

CONNECTIONS = 32  # kept open; more threads than that make new ones
WHOLE = 2**42  # bytes; larger than any blob, so that each transfer is one request
_TRANSIENT = {408, 429, 500, 502, 503, 504}

# Keeps the SDK from printing warnings to the terminal: what they report is raised as errors here.
logging.getLogger("azure").addHandler(logging.NullHandler())


class AzureStore(Store):
    """One block blob per object, each written by one Put Blob with Content-MD5, which Azure verifies.

    Every method sends one request (`list`: one per page; create and replace: one more when refused) and repeats
    none: that is RetryingStore's task. Timeouts are in seconds: `connect_timeout` also limits the sending of
    each piece, `read_timeout` the wait for the next bytes of the answer. `token`, a SAS, and `endpoint`, the URL
    where it is valid, are used if the environment holds no credentials.
    """

    def __init__(
        self,
        account: str,
        container: str,
        prefix: str = "",
        *,
        environ: Mapping[str, str] | None = None,
        token: str | None = None,
        endpoint: str | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
    ) -> None:
        self.url = "/".join(filter(None, ["azure:/", account, container, prefix]))
        self._where = f"{account}/{container}"
        self._container_name = container
        self._prefix = f"{checked_name(prefix)}/" if prefix else ""
        self._sas = AzureSasCredential(token) if token else None
        self._client = container_client(
            account,
            container,
            os.environ if environ is None else environ,
            sas=self._sas,
            endpoint=endpoint,
            transport=_Transport(connect_timeout, read_timeout),
            retry_total=0,
            max_single_put_size=WHOLE,
            max_single_get_size=WHOLE,
        )

    def renew(self, token: str) -> None:
        if self._sas is not None:
            self._sas.update(token)

    def create(self, name: str, parts: Sequence[Buffer]) -> None:
        blob = self._blob(name)
        try:
            with self._translated(name):
                # overwrite=False is If-None-Match: *
                blob.upload_blob(b"".join(parts), overwrite=False, validate_content=True)
        except AccessDenied as error:
            # With a token that allows creating but not overwriting, Azure answers "denied" if the object exists.
            try:
                self.size(name)
            except StoreError:
                raise error from None
            raise ObjectExists(f"{name} exists already") from error

    def replace(self, name: str, data: Buffer, tag: str) -> None:
        blob = self._blob(name)
        try:
            with self._translated(name):
                blob.upload_blob(
                    bytes(data),
                    overwrite=True,
                    validate_content=True,
                    etag=tag,
                    match_condition=MatchConditions.IfNotModified,
                )
        except ObjectChanged:
            self.size(name)  # raises ObjectNotFound if the object is gone: Azure gives the same answer then
            raise

    def get(self, name: str) -> bytes:
        return self.get_tagged(name)[0]

    def get_tagged(self, name: str) -> tuple[bytes, str]:
        data, size, tag = self._download(name, 0, WHOLE)
        if len(data) < size:
            raise ShortRead(f"{name}: {len(data)} of {size} bytes arrived")
        return data, tag

    def read(self, name: str, offset: int, length: int, *, up_to: bool = False) -> bytes:
        data, size, _ = self._download(name, offset, length)
        if len(data) < length and (offset + len(data) < size or not up_to):
            raise ShortRead(
                f"{name}: {len(data)} of {length} bytes arrived from offset {offset}; the object has {size}"
            )
        return data

    def size(self, name: str) -> int:
        blob = self._blob(name)
        with self._translated(name):
            size: int = blob.get_blob_properties().size
            return size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        blobs = iter(self._client.list_blobs(name_starts_with=self._prefix + prefix, results_per_page=LIST_PAGE))
        while True:
            with self._translated(prefix):
                blob = next(blobs, None)
            if blob is None:
                return
            modified = int(blob.last_modified.timestamp()) * 10**9
            yield ObjectInfo(blob.name.removeprefix(self._prefix), blob.size, modified)

    def delete(self, name: str) -> None:
        blob = self._blob(name)
        try:
            with self._translated(name):
                blob.delete_blob()
        except ObjectNotFound:
            pass

    def close(self) -> None:
        self._client.close()

    def _blob(self, name: str) -> Any:
        return self._client.get_blob_client(self._prefix + checked_name(name))

    def _download(self, name: str, offset: int, length: int) -> tuple[bytes, int, str]:
        """The bytes that arrived, the size of the whole object, and its tag."""
        blob = self._blob(name)
        with self._translated(name):
            try:
                stream = blob.download_blob(offset, length)
            except HttpResponseError as error:
                if error.status_code != 416:
                    raise
                # The object ends at or before `offset`. The answer does not always say where.
                headers = _headers(error)
                end = headers.get("Content-Range", "").rpartition("/")[2]
                return b"", int(end) if end.isdigit() else 0, headers.get("ETag", "")
            data: bytes = stream.readall()
            size = int(stream.properties.content_range.rpartition("/")[2])
            return data, size, str(stream.properties.etag)

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except ClientAuthenticationError as error:
            raise self._denied(error) from error
        except HttpResponseError as error:
            self._raise_answered(error, name)
        except AzureError as error:  # no answer: name resolution, connections, timeouts
            raise self._unreachable(name, self._silence(error)) from error
        except ValueError as error:  # an answer that is not Blob Storage's: a captive portal, a proxy
            raise self._unreachable(name, "the answer is not from Azure Blob Storage") from error

    def _raise_answered(self, error: HttpResponseError, name: str) -> NoReturn:
        code = _code(error)
        status = error.status_code
        if code == "ContainerNotFound":
            raise StoreError(
                f"Azure account {self._where.partition('/')[0]} has no container {self._container_name}",
                f"check --vault, or create it: az storage container create --name {self._container_name}",
            ) from error
        if code == "BlobAlreadyExists":
            raise ObjectExists(f"{name} exists already") from error
        if code == "BlobArchived":
            raise StoreError(
                f"{name} is in the archive tier", "rehydrate the container's blobs to the cool or hot tier"
            ) from error
        if status == 404:
            raise ObjectNotFound(f"no object {name} in {self._where}") from error
        if status in (401, 403) or code == "BlobImmutableDueToPolicy":
            raise self._denied(error) from error
        if status == 412:
            raise ObjectChanged(f"{name} was changed meanwhile") from error
        if status is None or status < 400 or status in _TRANSIENT or code == "Md5Mismatch":
            raise self._unreachable(name, code or f"status {status}") from error
        raise StoreError(f"{name}: {self._where} answered {status} {code}".rstrip()) from error

    def _denied(self, error: HttpResponseError) -> AccessDenied:
        code = _code(error) or "the sign-in failed"
        return AccessDenied(
            f"Azure refused the credentials or the operation on {self._where}: {code}",
            "check the key or token, its expiry, its permissions and this machine's clock (docs/azure.md)",
        )

    def _silence(self, error: AzureError) -> str:
        # Without the SDK's message: it quotes the request's URL, which contains the SAS token.
        host = self._client.primary_hostname
        if isinstance(error, ServiceRequestError):
            return f"no connection to {host}"
        if isinstance(error, ServiceResponseTimeoutError):
            return f"{host} did not answer in time"
        return f"the connection to {host} was lost"

    def _unreachable(self, name: str, why: str) -> StoreUnreachable:
        return StoreUnreachable(f"{self._where}/{self._prefix}{name}: {why}")


class _Transport(RequestsTransport):  # type: ignore[misc]
    """Fetches each answer whole, within the request.

    By default the SDK reads the body later, and sends up to two more requests if the transfer breaks.
    """

    def __init__(self, connect_timeout: float, read_timeout: float) -> None:
        session = requests.Session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS))
        super().__init__(
            session=session,
            connection_timeout=connect_timeout,
            read_timeout=read_timeout,
            connection_data_block_size=2**20,
        )

    def send(self, request: Any, **options: Any) -> Any:
        response = super().send(request, **options)
        try:
            _ = response.internal_response.content
        except requests.exceptions.ChunkedEncodingError as error:
            raise ShortRead(f"{request.method}: the transfer broke off") from error
        except requests.exceptions.RequestException as error:
            raise StoreUnreachable(f"{request.method}: the answer stopped midway") from error
        return response


def _code(error: HttpResponseError) -> str:
    """Azure's name of the error, e.g. BlobNotFound, or ""."""
    code = getattr(error, "error_code", None) or _headers(error).get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers
