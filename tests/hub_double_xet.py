"""The content-addressed store behind Xet uploads and downloads, as far as `hf_xet` asks it.

    POST /v1/xorb-grants/default/<hash>      201: where to put a block of chunks; 200: it is there
    PUT  /xet/upload/<hash>                  the block: chunks, each with a header of 8 bytes
    POST /v1/xorb-commits/default/<hash>/grant/<id>
    POST /v1/shards                          which chunks of which blocks make which file, with the file's sha256
    GET  /v1/reconstructions/<file>          the same the other way round, with addresses and byte ranges

A file of a shard is put together from its chunks at once, and refused unless its sha256 is the stated one: what `hf_xet` sends has to mean
what it was given. Addresses that begin with /v2 are 404, and the client falls back to /v1. Formats: the specification in
huggingface/xet-core, and what the client was seen to send.
"""

import hashlib
import re
import struct
from typing import Any

import pyarrow as pa

END = b"\xff" * 32  # in place of a hash: the section ends
VERIFIED, DESCRIBED = 1 << 31, 1 << 30  # flags of a file: hashes of its ranges follow; its sha256 follows


def name_of(digest: bytes) -> str:
    """A hash as addresses have it: four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def chunks(block: bytes) -> list[tuple[int, int, bytes]]:
    """(start, end, content) of each chunk of a block."""
    found, at = [], 0
    while at < len(block) and block[at] == 0:  # a footer, where there is one, begins with a letter
        packed, scheme = int.from_bytes(block[at + 1 : at + 4], "little"), block[at + 4]
        size, end = int.from_bytes(block[at + 5 : at + 8], "little"), at + 8 + packed
        found.append((at, end, unpacked(block[at + 8 : end], scheme, size)))
        at = end
    return found


def unpacked(data: bytes, scheme: int, size: int) -> bytes:
    """Content of a chunk: as it is, LZ4, or LZ4 of its bytes in four groups."""
    if scheme == 0:
        return data
    plain = pa.decompress(data, size, codec="lz4", asbytes=True)
    if scheme == 1:
        return plain
    grouped, at = bytearray(size), 0
    for lane in range(4):
        count = len(range(lane, size, 4))
        grouped[lane::4] = plain[at : at + count]
        at += count
    return bytes(grouped)


class Xet:
    """Blocks of chunks, and the files that are made of them."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs
        self.blocks: dict[str, bytes] = {}
        self.files: dict[str, list[tuple[str, int, int]]] = {}  # file -> (block, first chunk, last chunk + 1)
        self.files_by_sha: dict[str, str] = {}

    def answers(self, at: Any, path: str) -> bool:
        """Whether the request was for here."""
        for pattern, handle in ROUTES:
            if found := re.fullmatch(pattern, f"{at.command} {path}"):
                handle(self, at, *found.groups())
                return True
        return False

    def allowed(self, at: Any, kind: str) -> bool:
        said = at.headers.get("Authorization")
        if said == "Bearer xet-write" or (kind == "read" and said == "Bearer xet-read"):
            return True
        at.answer({"error": "no token of this kind"}, 401)
        return False

    def grant(self, at: Any, block: str) -> None:
        if not self.allowed(at, "write"):
            return
        if block in self.blocks:
            at.answer({})
            return
        at.answer({"id": block[:16], "method": "PUT", "url": f"{at.hub.url}/xet/upload/{block}", "headers": {}}, 201)

    def put(self, at: Any, block: str) -> None:
        self.blocks[block] = at.body
        at.answer(b"")

    def committed(self, at: Any, block: str, _: str) -> None:
        at.answer({} if block in self.blocks else {"error": "nothing was uploaded"}, 200 if block in self.blocks else 404)

    def post(self, at: Any, block: str) -> None:
        if self.allowed(at, "write"):
            self.blocks[block] = at.body
            at.answer({"was_inserted": True})

    def shard(self, at: Any) -> None:
        """Note the files of a shard, each put together and held against its sha256."""
        if not self.allowed(at, "write"):
            return
        body, offset = at.body, 48
        while body[offset : offset + 32] != END:
            name = name_of(body[offset : offset + 32])
            flags, count = struct.unpack_from("<II", body, offset + 32)
            offset += 48
            terms = []
            for _ in range(count):
                block = name_of(body[offset : offset + 32])
                first, last = struct.unpack_from("<8xII", body, offset + 32)
                terms.append((block, first, last))
                offset += 48
            offset += 48 * count if flags & VERIFIED else 0
            data = b"".join(content for block, first, last in terms for *_, content in chunks(self.blocks[block])[first:last])
            sha256 = name_of(body[offset : offset + 32]) if flags & DESCRIBED else ""
            offset += 48 if flags & DESCRIBED else 0
            if hashlib.sha256(data).hexdigest() != sha256:
                at.answer({"error": f"{name} is not {sha256}"}, 400)
                return
            self.files[name], self.files_by_sha[sha256], self.blobs[sha256] = terms, name, data
        at.answer({"result": 1})

    def plan(self, at: Any, name: str) -> None:
        """How to put a file together, or those of its chunks that a range touches."""
        if not self.allowed(at, "read"):
            return
        if name not in self.files:
            at.answer({"error": "no such file"}, 404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", at.headers.get("Range") or "bytes=0-9223372036854775807")
        assert wanted
        start, stop = int(wanted[1]), int(wanted[2]) + 1
        terms, fetch, skip, at_byte = [], {}, None, 0
        for block, first, last in self.files[name]:
            pieces = chunks(self.blocks[block])
            touched = []
            for index in range(first, last):
                length = len(pieces[index][2])
                if at_byte < stop and at_byte + length > start:
                    touched.append(index)
                    skip = start - at_byte if skip is None else skip
                at_byte += length
            if touched:
                low, high = touched[0], touched[-1] + 1
                size = sum(len(pieces[index][2]) for index in touched)
                terms.append({"hash": block, "unpacked_length": size, "range": {"start": low, "end": high}})
                at_bytes = {"start": pieces[low][0], "end": pieces[high - 1][1] - 1}
                piece = {"range": {"start": low, "end": high}, "url": f"{at.hub.url}/xet/block/{block}", "url_range": at_bytes}
                if piece not in fetch.setdefault(block, []):
                    fetch[block].append(piece)
        if not terms:
            at.answer({"error": "past the end"}, 416)
            return
        at.answer({"offset_into_first_range": skip, "terms": terms, "fetch_info": fetch})

    def block(self, at: Any, name: str) -> None:
        at.ranged(self.blocks[name])

    def unknown(self, at: Any) -> None:
        at.answer({"error": "not here"}, 404)

    def heard(self, at: Any) -> None:
        at.answer({})


ROUTES = [
    (r"POST /v1/xorb-grants/[\w-]+/(\w+)", Xet.grant),
    (r"PUT /xet/upload/(\w+)", Xet.put),
    (r"POST /v1/xorb-commits/[\w-]+/(\w+)/grant/(\w+)", Xet.committed),
    (r"POST /v1/xorbs/[\w-]+/(\w+)", Xet.post),
    (r"POST /v1/shards", Xet.shard),
    (r"GET /v1/reconstructions/(\w+)", Xet.plan),
    (r"GET /xet/block/(\w+)", Xet.block),
    (r"GET /v1/chunks/.*", Xet.unknown),
    (r"\w+ /v2/.*", Xet.unknown),
    (r"POST /v1/telemetry", Xet.heard),
]
