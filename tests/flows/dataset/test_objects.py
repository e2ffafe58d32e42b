"""What an object store refuses is one line with the URL, and what to do about it."""

import pickle
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from prefloom.flows.dataset.objects import asked
from prefloom.flows.dataset.store import Store
from prefloom.schemas.errors import InputError


def test_a_missing_bucket(bucket: str) -> None:
    store = Store("s3://prefloom-has-no-such-bucket/a")
    for ask in (lambda: store.list("x/*"), lambda: store.publish("x", lambda file: file.write(b"1")), lambda: store.create("x", b"1")):
        with pytest.raises(InputError, match=r"s3://prefloom-has-no-such-bucket/a/x.*no such bucket; expected a bucket that exists"):
            ask()


def test_no_credentials(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    store = Store(f"{bucket}/no-credentials")
    store.fs = S3FileSystem(skip_instance_cache=True)
    with pytest.raises(InputError, match="no credentials; expected credentials in the environment: AWS_ACCESS_KEY_ID"):
        store.read("x")


def test_a_server_that_is_gone(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = Store(f"{bucket}/gone")
    store.fs = S3FileSystem(skip_instance_cache=True)
    store.fs.retries = 1
    with pytest.raises(InputError, match=r"Could not connect .* expected an object store that answers there \(AWS_ENDPOINT_URL\)"):
        store.read("x")


def test_no_rights() -> None:
    with pytest.raises(InputError, match=r"s3://b/x: found forbidden; expected credentials with the rights"), asked("s3://b/x"):
        raise PermissionError("Forbidden")


def test_our_own_faults_stay_faults() -> None:
    with pytest.raises(KeyError), asked("s3://b/x"):
        raise KeyError("x")


@pytest.mark.parametrize("url", ["s3://me:hush@b/a", "simplecache::s3://b/a", "zz://b/a", "s3://"])
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InputError, match="expected s3://bucket/prefix") as refused:
        Store(url)
    assert "hush" not in str(refused.value)


def test_a_refusal_crosses_processes() -> None:
    error = InputError("recipe", "limits.spend", found="nothing", expected="some")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.field, again.expected) == (InputError, str(error), "limits.spend", "some")


@pytest.mark.parametrize("url", ["s3://AKIA:hid/den@bucket/p", "s3://AKIA:hid@den@bucket/p", "s3://AKIA:hid?den@bucket/p"])
def test_a_secret_key_in_a_url_is_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="credentials") as refusal:
        Store(url)
    assert "hid" not in str(refusal.value)
    assert "den" not in str(refusal.value).replace("credentials", "")


def test_a_folder_goes_by_its_path() -> None:
    with pytest.raises(InputError, match="its path"):
        Store("file:///tmp/data")


def test_what_is_removed_while_it_is_created_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError

    def taken(*_: object, **__: object) -> None:
        raise FileExistsError

    store = Store("memory://adversary/run")
    monkeypatch.setattr(store.fs, "pipe_file", taken)
    monkeypatch.setattr(store.fs, "cat_file", gone)
    with pytest.raises(FileExistsError):
        store.create(".lock/000001.json", b"mine")
