"""What an object store refuses, in one line with its URL; credentials and endpoint are the environment's.

    fs, root = connect("s3://bucket/prefix")              # AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE, …
    with asked("s3://bucket/prefix/manifest.json"): …     # InputError: no such bucket, no rights, no server
    expect_conditions(store, "probe")                     # InputError where a server writes over what must not be written twice

Tried with s3fs. Any other fsspec file system whose `pipe_file` has mode="create" should do (gcsfs and adlfs have it); none was tried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefloom.schemas.errors import InputError

if TYPE_CHECKING:
    from prefloom.flows.dataset.store import Store

_NETWORK = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "azure", "asyncio", "fsspec"}  # whose errors are no fault of ours
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412"}  # what a server says to a PUT that was to create
_ADVICE = {
    "NoSuchBucket": "a bucket that exists; create it first",
    "NoCredentialsError": "credentials in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "EndpointConnectionError": "an object store that answers there (AWS_ENDPOINT_URL)",
}


def connect(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path in it. InputError for one that cannot be used."""
    import fsspec

    rest = url.partition("://")[2]
    first = rest.partition("/")[0]
    if "@" in first or (":" in first and "@" in rest) or "::" in url:  # a secret key may hold a slash
        found = "a URL with credentials or a chain in it"
        raise InputError(url.rpartition("@")[2] or url, found=found, expected="s3://bucket/prefix, and keys in AWS_*")
    try:
        # Listings are not remembered: others write here too.
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise InputError(url, found=str(error), expected="pip install 'prefloom[s3]'") from None
    except ValueError as error:
        raise InputError(url, found=str(error), expected="s3://bucket/prefix, or a folder") from None
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        raise InputError(url, found="a folder of this machine by its URL", expected="its path")
    if not root.strip("/"):
        raise InputError(url, found="no bucket", expected="s3://bucket/prefix")
    return fs, root.rstrip("/")


@contextmanager
def asked(url: str) -> Iterator[None]:
    """What a store refuses as an InputError. FileNotFoundError (no such object) and FileExistsError (it was to be created) pass."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        kind, said = _kind(error), " ".join(str(error).split())
        said = {"NoSuchBucket": "no such bucket", "NoCredentialsError": "no credentials"}.get(kind, said or kind)
        if kind in _TAKEN or isinstance(error, FileExistsError):
            raise FileExistsError(url) from None
        if isinstance(error, FileNotFoundError) and kind != "NoSuchBucket":
            raise
        if isinstance(error, PermissionError) and kind != "NoCredentialsError":
            raise InputError(
                url, found=said.lower(), expected="credentials with the rights to list, read, write and delete there"
            ) from None
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in _NETWORK:
            raise InputError(url, found=said, expected=_ADVICE.get(kind, "an object store that answers; try again")) from None
        raise


def _kind(error: BaseException) -> str:
    """The server's name for what went wrong, else the client's."""
    cause = error.__cause__ or error.__context__ or error
    response = getattr(cause, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)


def expect_conditions(store: "Store", taken: str) -> None:
    """InputError if the server creates an object that is there already, as one does which ignores If-None-Match."""
    try:
        store.create(taken, b"nobody's")
    except FileExistsError:
        return
    raise InputError(
        store.url,
        found="an object store that writes over what is to be created",
        expected="one with conditional writes (If-None-Match: *), as S3 and Ceph have: without them two builds could not be kept apart",
    )
