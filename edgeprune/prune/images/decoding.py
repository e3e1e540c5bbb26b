"""Image files decoded to pixels: once, in parallel threads, and kept in a cache on disk."""

import hashlib
import io
import logging
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from platformdirs import user_cache_path

from edgeprune.arrays import Pixels
from edgeprune.errors import InputError, MachineError
from edgeprune.files import write_whole
from edgeprune.progress import Progress, silent
from edgeprune.prune.images.splits import Listing

Size = tuple[int, int]  # height and width in pixels
Shape = tuple[int, int, int]  # of an image: channels, height, width

_log = logging.getLogger(__name__)
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_CACHE_VERSION = 2
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # what an image file can be served as, by channels
_CHUNK = 256  # images a thread decodes between two words of progress
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def allowed_cores() -> int:
    """Number of cores this process may use: its own set, within the quota of its container."""
    of_process = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    cores = len(of_process) or os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text().split())
    except (OSError, ValueError):  # another system, or "max": no quota
        return cores
    return max(1, min(cores, math.ceil(quota / period)))


def open_image(path: Path, channels: int = 3) -> Image.Image:
    """Decode one image file, upright as its EXIF record says.

    Args:
        path: The file.
        channels: 1 for grey, 3 for RGB, 4 for RGB and opacity.

    Raises:
        InputError: The file cannot be read as an image, or holds more than 8 bits a channel,
            which a conversion would cut off at white; the line names it.
    """
    try:
        with Image.open(path) as image:
            if image.mode[0] not in "IF":
                return ImageOps.exif_transpose(image).convert(MODES[channels])
            mode = image.mode
    except _UNREADABLE as error:
        raise InputError(
            f"cannot read the image {path}; replace or remove it ({type(error).__name__})"
        ) from error
    raise InputError(
        f"{path} holds more than 8 bits a channel ({mode}); convert the images to 8 bits, the way "
        "those were that the model was trained on"
    )


def fitted(image: Image.Image, size: Size) -> Image.Image:
    """Scale until both sides reach ``size``, height and width, and cut the middle out."""
    wanted = size[::-1]
    if image.size == wanted:
        return image
    scale = max(side / own for side, own in zip(wanted, image.size, strict=True))
    width, height = (
        max(side, round(own * scale)) for side, own in zip(wanted, image.size, strict=True)
    )
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - wanted[0]) // 2, (height - wanted[1]) // 2
    return scaled.crop((left, top, left + wanted[0], top + wanted[1]))


def fingerprint(splits: Mapping[str, Listing], root: Path) -> str:
    """A short hash of the names, sizes and times of every file, the same after a move.

    Args:
        splits: Which files.
        root: Folder that they lie in, or list that names them; a list's own words count too.
    """
    digest = hashlib.sha256()
    if root.is_file():
        digest.update(root.read_bytes())
        root = root.parent
    for split, listing in splits.items():
        for path in listing.paths:
            stat = path.stat()
            relative = Path(os.path.relpath(path, root)).as_posix()
            digest.update(f"{split}\0{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def decode(
    splits: Mapping[str, Listing],
    shape: Shape,
    key: str,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Pixels]:
    """Pixels of every split, from the cache where an intact copy lies there.

    Args:
        splits: What to decode.
        shape: Of an image, (C, H, W).
        key: From :func:`fingerprint`.
        cache: Folder of the copies; the user's cache folder without one.
        progress: Called with the number of images done.

    Returns:
        For each split, uint8 of shape (N, C, H, W).

    Raises:
        InputError: An image cannot be read; the line names it.
    """
    folder = cache or user_cache_path("edgeprune") / "images"
    path = folder / f"v{_CACHE_VERSION}-{key}-{'x'.join(map(str, shape))}.npz"
    shapes = {name: (len(listing), *shape) for name, listing in splits.items()}
    cached = _read(path, shapes)
    if cached is not None:
        return cached
    listed = [file for listing in splits.values() for file in listing.paths]
    pixels = _decode_all(listed, shape, progress)
    borders = np.cumsum([len(listing) for listing in splits.values()])[:-1]
    decoded = dict(zip(splits, np.split(pixels, borders), strict=True))
    _write(path, decoded)
    return decoded


def _decode_all(paths: Sequence[Path], shape: Shape, progress: Progress) -> Pixels:
    channels, *size = shape
    pixels = np.empty((len(paths), *shape), dtype=np.uint8)

    def decode_chunk(start: int) -> int:
        for index in range(start, min(start + _CHUNK, len(paths))):
            image = fitted(open_image(paths[index], channels), (size[0], size[1]))
            pixels[index] = np.asarray(image).reshape(*size, channels).transpose(2, 0, 1)
        return min(start + _CHUNK, len(paths))

    with ThreadPoolExecutor(max_workers=allowed_cores() + 1) as threads:
        try:
            for done in threads.map(decode_chunk, range(0, len(paths), _CHUNK)):
                progress("decoding images", done, len(paths))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return pixels


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Pixels] | None:
    """The cached pixels, or None; the zip format's own checksums find a damaged file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            pixels: dict[str, Pixels] = {name: stored[name] for name in shapes}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("image cache %s is damaged (%s) and is made again", path, error)
        return None
    fits = all(
        pixels[name].shape == shape and pixels[name].dtype == np.uint8
        for name, shape in shapes.items()
    )
    return pixels if fits else None


def _write(path: Path, pixels: dict[str, Pixels]) -> None:
    """Keep a copy; a cache that cannot be written costs time at the next start, no more."""
    content = io.BytesIO()
    np.savez(content, **pixels)  # type: ignore[arg-type]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    except (OSError, MachineError) as error:
        _log.warning("image cache not kept: %s", error)
