"""A dataset repository on the Hugging Face Hub: what it holds, and how a version gets there whole or not at all.

place = Place("me/prefs", public=False)          # InputError without a token, or where the repository is not what was asked for
head = place.head("main")                        # the commit that a new one has to stand on
place.holds(head, adds, hashes)                  # whether all of these files are there as they are here
place.send(head, "main", adds, gone, "demo-3b9c…", hashes)   # bytes, then one commit, which the Hub refuses if the branch has moved
place.name_it("v1.0.0", commit)

`adds` maps a path in the repository to bytes or to a file here, `hashes` the paths of large files to the sha256 they have to have.

Bytes that were sent once are not sent again, so that the same call goes on after anything that went wrong. What may heal on the way is
tried again by `huggingface_hub`; the commit itself is tried once, because only its parent makes it safe.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from prefloom.schemas.errors import InputError

OTHERS = {".gitattributes", ".gitignore", "LICENSE", "LICENSE.md"}  # what may stand beside a dataset that is not ours
_AGAIN = "the same command, which goes on from here"
Content = Path | bytes


class Place:
    """One repository. It is made, private unless `public`, if it is not there."""

    def __init__(self, repo_id: str, public: bool) -> None:
        disable_progress_bars()
        self.repo_id, self.api = repo_id, HfApi()
        self.where = f"{self.api.endpoint}/datasets/{repo_id}"
        if not get_token():
            raise InputError("HF_TOKEN", found="no token for the Hub", expected="one that may write, or `hf auth login`")
        with self.refusals():
            self.api.create_repo(repo_id, repo_type="dataset", private=not public, exist_ok=True)
            private = bool(self.api.repo_info(repo_id, repo_type="dataset").private)
        if private == public:
            kind, said = ("private", "public") if private else ("public", "private")
            wish = f"a {said} one: change it on its settings page, with all of its history, or {'leave out' if public else 'say'} --public"
            raise InputError(self.where, found=f"a {kind} repository", expected=wish)

    def head(self, branch: str) -> str:
        """The commit that the branch is at."""
        with self.refusals(branch):
            return str(self.api.repo_info(self.repo_id, repo_type="dataset", revision=branch).sha)

    def files(self, commit: str) -> dict[str, tuple[str | None, str]]:
        """Path -> (sha256 if it is in large file storage, git's hash)."""
        with self.refusals():
            rows = self.api.list_repo_tree(self.repo_id, repo_type="dataset", revision=commit, recursive=True)
            return {row.path: (row.lfs.sha256 if row.lfs else None, row.blob_id) for row in rows if isinstance(row, RepoFile)}

    def holds(self, commit: str, adds: Mapping[str, Content], hashes: Mapping[str, str]) -> bool:
        """Whether all of these files are in a commit as they are here."""
        there = self.files(commit)
        return adds.keys() <= there.keys() and all(
            large == hashes.get(path) if (large := there[path][0]) and path in hashes else there[path][1] == git_hash(content)
            for path, content in adds.items()
        )

    def url(self, commit: str) -> str:
        """A commit as the libraries that know fsspec read it."""
        return f"hf://datasets/{self.repo_id}@{commit}"

    def tagged(self, tag: str) -> str | None:
        """The commit that a tag names, None if there is no such tag."""
        with self.refusals():
            refs = self.api.list_repo_refs(self.repo_id, repo_type="dataset").tags
        return next((str(ref.target_commit) for ref in refs if ref.name == tag), None)

    def name_it(self, tag: str, commit: str) -> None:
        """Make a tag."""
        with self.refusals():
            self.api.create_tag(self.repo_id, tag=tag, revision=commit, repo_type="dataset")

    def send(
        self, parent: str, branch: str, adds: Mapping[str, Content], gone: Sequence[str], title: str, hashes: Mapping[str, str]
    ) -> str:
        """One commit with all of `adds` and without `gone`; its name."""
        said: dict[str, Any] = {"repo_type": "dataset", "revision": branch}
        added = [CommitOperationAdd(path, content if isinstance(content, bytes) else str(content)) for path, content in adds.items()]
        with self.refusals(branch):
            self.api.preupload_lfs_files(self.repo_id, added, **said)
            changed = [
                one.path_in_repo
                for one in added
                if one.upload_info.sha256.hex() != hashes.get(one.path_in_repo, one.upload_info.sha256.hex())
            ]
        if changed:
            raise InputError(changed[0], found="a file that changed while it was sent", expected="a run that no build works on")
        operations: list[Any] = [*added, *(CommitOperationDelete(path, is_folder=False) for path in gone)]
        try:
            with self.refusals(branch):
                return str(self.api.create_commit(self.repo_id, operations, commit_message=title, parent_commit=parent, **said).oid)
        except InputError:
            # Whether it came to be is for the branch to say: an answer may be lost on its way back.
            now = self.head(branch)
            if now != parent and self.holds(now, adds, hashes):
                return now
            raise

    @contextmanager
    def refusals(self, branch: str = "main") -> Iterator[None]:
        """What the Hub or the way to it refuses, in one line."""
        try:
            yield
        except HFValidationError as error:
            raise InputError("--repo-id", found=str(error).split(":")[0], expected="owner/name, as on the Hub") from None
        except RevisionNotFoundError:
            raise InputError(self.where, "--revision", found=f"no branch {branch}", expected="a branch that is there") from None
        except RepositoryNotFoundError:
            raise InputError(self.where, found="no such repository for this token", expected="a token of its owner") from None
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", 0)
            raise InputError(self.where, found=_SAID.get(status, f"status {status}"), expected=_WANTED.get(status, _AGAIN)) from None
        except (HTTPError, OSError, RuntimeError) as error:
            if isinstance(error, OSError) and (mended := InputError.of(error)):
                raise mended from None
            cause = error.__cause__ or error
            if "No space left" in str(cause):  # hf_xet, which keeps what it has cut into chunks
                raise InputError("HF_HOME", found="no space left on device", expected="room for the cache of `huggingface_hub`") from None
            found = f"a way that breaks off ({type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''})"
            raise InputError(self.where, found=found, expected=_AGAIN) from None


_SAID = {
    401: "a token that is not valid",
    403: "a token that may not write there",
    409: "another commit at the same moment",
    412: "a branch that has moved since",
    429: "too many requests (429)",
}
_WANTED = {401: "a valid token in HF_TOKEN", 403: "a token with write access to this owner's datasets"}


def git_hash(content: Content) -> str:
    """The hash by which git names a file."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
