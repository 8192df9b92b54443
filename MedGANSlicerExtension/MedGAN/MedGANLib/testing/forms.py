"""Form data and files as the test server reads and writes them."""

from __future__ import annotations

import io
import json
import re
import uuid
import zipfile
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from .images import write_nifti_gz, write_nrrd
from .world import Refusal

LABELS = {"anterior": 1, "posterior": 2}


def read_multipart(content_type: str, body: bytes) -> Dict[str, Tuple[str, bytes]]:
    """Reads multipart/form-data; returns (file name, content) by field."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if not boundary:
        raise Refusal(400, "bad_request", "The request has no form data.")
    fields = {}
    for part in body.split(b"--" + boundary.group(1).encode())[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        found = re.search(rb'[; ]name="([^"]*)"', head)
        file_name = re.search(rb'filename="([^"]*)"', head)
        if found:
            fields[found.group(1).decode()] = (file_name.group(1).decode() if file_name else "", content)
    return fields


def write_multipart(parts: Mapping[str, Tuple[str, bytes]]) -> Tuple[bytes, str]:
    """Returns the body and the content type of a multipart/form-data answer."""
    boundary = uuid.uuid4().hex
    body = b""
    for name, (file_name, content) in parts.items():
        extra = f'; filename="{file_name}"' if file_name else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def result_file(extension: str, labels: np.ndarray, affine: np.ndarray, said: Mapping[str, Any]) -> Tuple[str, bytes]:
    """Returns name and content of the file with a label map, in the format that was asked for."""
    if extension == ".zip":
        return "result.zip", _bundle(write_nrrd(labels, affine), said)
    if extension == ".nrrd":
        return "result.nrrd", write_nrrd(labels, affine)
    return "result.nii.gz", write_nifti_gz(labels, affine)


def _bundle(label: bytes, said: Mapping[str, Any]) -> bytes:
    part = {"name": "label", "kind": "labelmap", "file": "label.nrrd", "labels": LABELS, "colors": {}}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"parts": [part], **said}))
        archive.writestr("label.nrrd", label)
    return stream.getvalue()
