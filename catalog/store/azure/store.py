"""A store in a container of Azure Blob Storage."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn

from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.storage.blob import BlobBlock, BlobPrefix, generate_blob_sas

from catalog.errors import (
    AccessDenied,
    MissingData,
    NotSupported,
    ObjectChanged,
    ObjectExists,
    ObjectImmutable,
    ObjectNotFound,
    ShortRead,
    StoreError,
    StoreUnreachable,
)
from catalog.store.azure.credentials import container_client
from catalog.store.azure.transport import Streamed, Transport
from catalog.store.base import LIST_PAGE, WHOLE, Buffer, Loan, ObjectInfo, Part, Range, Store, pieces
from catalog.store.deadline import Deadline, check, steady
from catalog.store.flow import flow_here
from catalog.store.name import checked_name, is_name
from catalog.store.protection import Fact, Lock

ONE = 2**42  # bytes; larger than any blob, so that each transfer is one request
COPIED_MOST = 256 << 20  # bytes; Azure's limit for Copy Blob From URL
_TRANSIENT = {408, 429, 500, 502, 503, 504}

# Keeps the SDK and what it uses from printing warnings to the terminal: what they report is raised as errors here.
for library in ("azure", "urllib3"):
    logging.getLogger(library).addHandler(logging.NullHandler())


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
        self._transport = Transport(connect_timeout, read_timeout)
        self._copies = True  # until it says that it can't
        self._lent = True  # until Azure refuses to copy an object that can be read
        self._blocks = True  # until the token turns out not to allow Put Block
        self._client = container_client(
            account,
            container,
            os.environ if environ is None else environ,
            sas=self._sas,
            endpoint=endpoint,
            transport=self._transport,
            retry_total=0,
            max_single_put_size=ONE,
            max_single_get_size=ONE,
        )

    def renew(self, token: str) -> None:
        if self._sas is not None:
            self._sas.update(token)
            self._blocks = self._lent = True

    def create(self, name: str, parts: Sequence[Buffer], *, until: Deadline | None = None) -> int:
        blob = self._blob(name)
        data = b"".join(parts)
        with self._creating(name):
            check(until, name)
            # overwrite=False is If-None-Match: *
            return _modified(blob.upload_blob(data, overwrite=False, validate_content=True))

    def take(self, name: str, source: Store, size: int, *, digest: bytes | None = None) -> int:
        """Have Azure copy the object if it is there, too, and no hash is to be checked; else send it by Put Blob.

        Both need no more than the permission to create.
        """
        refused = False
        if self._lent and digest is None and size <= COPIED_MOST:
            loan = source.lend(name)
            if loan is not None:
                modified = self._copy_of(name, loan, size)
                if modified is not None:
                    return modified
                refused = True
        if size <= WHOLE:
            modified = self.create(name, list(pieces(source, name, size, digest)))
        else:
            modified = self._stream(name, source, size, digest)
        self._lent = self._lent and not refused  # since it could be read, Azure will refuse the next, too
        return modified

    def _copy_of(self, name: str, loan: Loan, size: int) -> int | None:
        """Copy Blob From URL. None if Azure refuses: reading the object says why, or there is another way."""
        blob = self._blob(name)
        options = {"source_authorization": loan.authorization} if loan.authorization else {}
        try:
            with self._creating(name):
                answer = blob.start_copy_from_url(
                    loan.url, requires_sync=True, match_condition=MatchConditions.IfMissing, **options
                )
        except ObjectChanged as error:
            raise ObjectExists(f"{name} exists already") from error
        except (ObjectExists, StoreUnreachable):
            raise
        except StoreError:
            return None
        flow = flow_here()
        if flow is not None:
            flow.passing_by(size)
        return _modified(answer)

    def _stream(self, name: str, source: Store, size: int, digest: bytes | None) -> int:
        """One Put Blob of an object that does not fit into memory. It is read twice, as its MD5 is sent first."""
        hashed = hashlib.md5(usedforsecurity=False)
        for piece in pieces(source, name, size, digest):
            hashed.update(piece)
        body = Streamed.of(size, lambda: pieces(source, name, size))
        headers = {"Content-MD5": base64.b64encode(hashed.digest()).decode()}
        blob = self._blob(name)
        with self._creating(name):
            return _modified(blob.upload_blob(body.stream(), length=size, overwrite=False, headers=headers))

    def compose(self, name: str, parts: Sequence[Part]) -> int:
        """Put Block (From URL) for each part, a look at their lengths, and Put Block List, which makes the object.

        Blocks of an attempt that broke off are never seen, and Azure drops them after a week. Azure takes a block
        only with the permission to overwrite: without it, the parts are read and written by one Put Blob.
        """
        if self._blocks:
            try:
                return self._from_blocks(name, parts)
            except AccessDenied as error:
                cause = error.__cause__
                if not isinstance(cause, HttpResponseError) or _code(cause) != "AuthorizationPermissionMismatch":
                    raise
                self._blocks = False
        return super().compose(name, parts)

    def _from_blocks(self, name: str, parts: Sequence[Part]) -> int:
        blob = self._blob(name)
        blocks = [BlobBlock(f"{secrets.token_hex(12)}{number:08x}") for number in range(len(parts))]
        copied: dict[str, Range] = {}
        for block, part in zip(blocks, parts, strict=True):
            if isinstance(part, Range) and self._copied(blob, name, block.id, part):
                copied[block.id] = part
            else:
                data = self.read(*part) if isinstance(part, Range) else bytes(part)
                with self._translated(name):
                    blob.stage_block(block.id, data, validate_content=True)
        if copied:
            self._check_lengths(blob, name, copied)
        with self._creating(name):
            return _modified(blob.commit_block_list(blocks, match_condition=MatchConditions.IfMissing))

    def _copied(self, blob: Any, name: str, block: str, part: Range) -> bool:
        """Whether Azure has copied a range into a new block. If not, reading it says why, or there is another way.

        Azurite and other emulators don't have this call: the answer is 501.
        """
        if not self._copies:
            return False
        url, options = self._source(part.name)
        try:
            with self._translated(name):
                blob.stage_block_from_url(block, url, part.offset, part.length, **options)
        except StoreUnreachable:
            raise
        except StoreError as error:
            cause = error.__cause__
            self._copies = not (isinstance(cause, HttpResponseError) and cause.status_code == 501)
            return False
        return True

    def _check_lengths(self, blob: Any, name: str, copied: Mapping[str, Range]) -> None:
        """Raise ShortRead if a source ended before its range did: Azure would copy what there is."""
        with self._translated(name):
            _committed, new = blob.get_block_list("uncommitted")
        lengths = {block.id: block.size for block in new}
        for block, part in copied.items():
            got = lengths.get(block, 0)
            if got != part.length:
                raise ShortRead(f"{part.name}: {got} of {part.length} bytes arrived from offset {part.offset}")

    def _source(self, name: str) -> tuple[str, dict[str, Any]]:
        """The URL from which Azure itself reads an object, and the options that let it."""
        url = self._blob(name).url.partition("?")[0]
        credential: Any = self._client.credential
        if isinstance(credential, AzureSasCredential):
            return f"{url}?{credential.signature}", {}
        if hasattr(credential, "account_key"):
            account, key = self._client.account_name, credential.account_key
            sas = generate_blob_sas(
                account, self._container_name, self._prefix + name, account_key=key,
                permission="r", expiry=datetime.now(UTC) + timedelta(hours=1),
            )  # fmt: skip
            return f"{url}?{sas}", {}
        token = credential.get_token("https://storage.azure.com/.default").token
        return url, {"source_authorization": f"Bearer {token}"}

    def now(self) -> int:
        told = self._transport.told
        if told is None or not told.is_fresh():
            next(self.list("vault.json"), None)  # for the time in its answer
            told = self._transport.told
        if told is None:
            raise StoreError(f"{self._where}: the answers don't say what time it is")
        return told.time + int((steady() - told.steady) * 1e9)

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

    def get(self, name: str, most: int) -> bytes:
        return self.get_tagged(name, most)[0]

    def get_tagged(self, name: str, most: int) -> tuple[bytes, str]:
        data, size, tag = self._download(name, 0, most, most)
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

    def lend(self, name: str) -> Loan | None:
        url, options = self._source(name)
        return Loan(url, options.get("source_authorization", ""))

    def size(self, name: str) -> int:
        blob = self._blob(name)
        with self._translated(name):
            size: int = blob.get_blob_properties().size
            return size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for row in self._rows(prefix, self._client.list_blobs):
            name = row.name.removeprefix(self._prefix)
            if is_name(name):
                yield ObjectInfo(name, row.size, int(row.last_modified.timestamp()) * 10**9)

    def folders(self, prefix: str) -> Iterator[str]:
        for row in self._rows(prefix, self._client.walk_blobs):
            name = row.name.removeprefix(self._prefix + prefix)
            if isinstance(row, BlobPrefix) and is_name(prefix + name.removesuffix("/")):
                yield name.removesuffix("/")

    def _rows(self, prefix: str, listing: Callable[..., Any]) -> Iterator[Any]:
        rows = iter(listing(name_starts_with=self._prefix + prefix, results_per_page=LIST_PAGE))
        while True:
            with self._translated(prefix):
                row = next(rows, None)
            if row is None:
                return
            yield row

    def delete(self, name: str) -> None:
        blob = self._blob(name)
        try:
            with self._translated(name):
                # Whoever may create blobs may also make snapshots, with which a plain delete is refused.
                blob.delete_blob(delete_snapshots="include")
        except ObjectNotFound:
            pass

    def protection(self, sample: Sequence[str]) -> Sequence[Fact]:
        from catalog.store.azure.protection import container_facts, object_facts, service_facts

        with self._translated(""):
            return [
                *service_facts(self._client, self._transport),
                *container_facts(self._client),
                *object_facts([self._blob(name) for name in sample]),
            ]

    def locks(self, prefix: str) -> Iterator[Lock]:
        from catalog.store.azure.protection import LOCKS, lock_of

        for row in self._rows(prefix, partial(self._client.list_blobs, include=LOCKS)):
            name = row.name.removeprefix(self._prefix)
            if is_name(name):
                yield lock_of(name, row)

    def extend(self, name: str, until: int, *, fixed: bool) -> None:
        from catalog.store.azure.protection import policy

        blob = self._blob(name)
        with self._translated(name):
            blob.set_immutability_policy(policy(until, fixed))

    def close(self) -> None:
        self._client.close()

    def _blob(self, name: str) -> Any:
        return self._client.get_blob_client(self._prefix + checked_name(name))

    def _download(self, name: str, offset: int, length: int, most: int | None = None) -> tuple[bytes, int, str]:
        """The bytes that arrived, the size of the whole object, and its tag.

        Raises ObjectTooLarge if the object has more than `most` bytes.
        """
        blob = self._blob(name)
        with self._translated(name), self._transport.object_of(name, most):
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
    def _creating(self, name: str) -> Iterator[None]:
        try:
            with self._translated(name):
                yield
        except AccessDenied as error:
            # With a token that allows creating but not overwriting, Azure answers "denied" if the object exists.
            try:
                self.size(name)
            except StoreError:
                raise error from None
            raise ObjectExists(f"{name} exists already") from error

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
            # Whoever may create objects may create one there: it concerns this object, not the store.
            raise MissingData(
                f"{name} can't be read: it is in the archive tier", "rehydrate it to the cool or hot tier"
            ) from error
        if status == 404:
            raise ObjectNotFound(f"no object {name} in {self._where}") from error
        if code.startswith("BlobImmutable"):
            raise ObjectImmutable(f"{name} is kept by a policy or a legal hold of {self._where}") from error
        if status == 501:
            raise NotSupported(f"{self._where} can't do this: {code}") from error
        if status in (401, 403):
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


def _modified(answer: Mapping[str, Any]) -> int:
    """The `modified` of an object, from the answer to its creation."""
    return int(answer["last_modified"].timestamp()) * 10**9


def _code(error: HttpResponseError) -> str:
    """Azure's name of the error, e.g. BlobNotFound, or ""."""
    code = getattr(error, "error_code", None) or _headers(error).get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers
