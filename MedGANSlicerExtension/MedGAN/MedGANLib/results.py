"""What a model gave: from the server's answer to files and words."""

from __future__ import annotations

import json
import secrets
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from .errors import CannotProcess, Disconnected, NotAMedGANServer
from .multipart import MultipartReader, boundary_of, suffix_of
from .records import InferResult, ResultPart
from .transport import Reply, save_blocks

MAX_PART = 8 * 1024**3
"""Bytes that one unpacked file of a bundle may have."""


def receive_result(reply: Reply, model: str, folder: Path, progress: Callable[[float], None]) -> InferResult:
    """Stream the answer of `/infer/{model}` into `folder`.

    Raises:
        Disconnected: The answer is incomplete or damaged.
        CannotProcess: The server gave no image.
        NotAMedGANServer: It is no answer of that kind at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    params, path = _receive_parts(reply, folder, progress)
    if path is None:
        raise CannotProcess("The model gave no image.", "Look at the model's description for what it needs.")
    if path.suffix == ".zip":
        return _from_bundle(path, model, folder)
    return _from_file(path, model, params)


def _receive_parts(
    reply: Reply, folder: Path, progress: Callable[[float], None]
) -> Tuple[Dict[str, Any], Optional[Path]]:
    boundary = boundary_of(reply.content_type)
    if not boundary:
        return _plain_json(reply), None
    params: Dict[str, Any] = {}
    path = None
    for part in MultipartReader(_counted(reply, progress), boundary).parts():
        if part.filename:
            path = folder / f"{secrets.token_hex(8)}{suffix_of(part.filename)}"
            save_blocks(part.blocks, path)
        elif part.name == "params":
            params = _parse(b"".join(part.blocks))
    return params, path


def _plain_json(reply: Reply) -> Dict[str, Any]:
    document = reply.json()
    return document if isinstance(document, dict) else {}


def _counted(reply: Reply, progress: Callable[[float], None]) -> Callable[[], bytes]:
    def read() -> bytes:
        block = reply.read()
        progress(reply.received / reply.length if reply.length else -1.0)
        return block

    return read


def _parse(content: bytes) -> Dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise NotAMedGANServer("The server's answer cannot be read.", "Check the address.") from error
    return document if isinstance(document, dict) else {}


def _from_file(path: Path, model: str, params: Mapping[str, Any]) -> InferResult:
    labels = params.get("label_names") or {}
    kind = "labelmap" if labels else "volume"
    names = {str(name): int(value) for name, value in labels.items()} if isinstance(labels, Mapping) else {}
    part = ResultPart("label" if labels else "image", kind, path, names)
    return _result(model, params, (part,))


def _from_bundle(path: Path, model: str, folder: Path) -> InferResult:
    try:
        with zipfile.ZipFile(path) as bundle:
            manifest = _parse(bundle.read("manifest.json"))
            parts = tuple(_unpack(bundle, entry, folder) for entry in manifest.get("parts") or ())
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise Disconnected("The result arrived damaged.", "Run the model again.") from error
    finally:
        path.unlink()
    return _result(model, manifest, parts)


def _unpack(bundle: zipfile.ZipFile, entry: Mapping[str, Any], folder: Path) -> ResultPart:
    """Unpack one part under a name of our own, so that no name in the bundle can lead out of the folder."""
    member = bundle.getinfo(str(entry["file"]))
    if member.file_size > MAX_PART:
        raise Disconnected("A part of the result is impossibly large.", "Tell the administrator.")
    target = folder / f"{secrets.token_hex(8)}{suffix_of(member.filename)}"
    with bundle.open(member) as source:
        save_blocks(iter(lambda: source.read(1 << 20), b""), target)
    return ResultPart(
        name=str(entry.get("name") or "result"),
        kind=str(entry.get("kind") or "volume"),
        path=target,
        labels={str(name): int(value) for name, value in (entry.get("labels") or {}).items()},
        colors={str(name): (float(c[0]), float(c[1]), float(c[2])) for name, c in (entry.get("colors") or {}).items()},
        units=str(entry.get("units") or ""),
        sample=int(entry.get("sample") or 0),
        seed=None if entry.get("seed") is None else int(entry["seed"]),
        class_name=str(entry.get("class") or ""),
        altered=bool(entry.get("altered")),
        strength=float(entry.get("strength") or 0.0),
    )


def _result(model: str, words: Mapping[str, Any], parts: Tuple[ResultPart, ...]) -> InferResult:
    return InferResult(
        model=str(words.get("model") or model),
        version=str(words.get("version") or ""),
        checksum=str(words.get("checksum") or ""),
        parts=parts,
        warnings=tuple(str(warning) for warning in words.get("warnings") or ()),
        latencies={str(name): float(value) for name, value in (words.get("latencies") or {}).items()},
        params=words,
    )
