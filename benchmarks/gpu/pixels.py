"""The two sources of prepared pictures on a GPU: our CPU decoder into pinned memory, and nvImageCodec with DALI.

Photographs at several sizes, prepared for 224 x 224 (bicubic, centre crop): images a second that arrive on the device,
the size from which the GPU is faster, how far its pixels are from the CPU's, and what other ways there would give.
Without a GPU the same runs on the libraries' CPU operators, which only shows that it runs.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image

from imagecurate.backend.gpu_pixels import JpegResizer
from imagecurate.images import DecodePolicy, Decoder, Preprocessing
from imagecurate.images.device_pictures import DevicePictures
from imagecurate.images.header import JpegHeader, jpeg_header

#: Height and width; the first and last are the ones for which the other ways are tried too.
SIZES = ((375, 500), (768, 1024), (1200, 1600), (1800, 2400), (3000, 4000))
PREPROCESSING = Preprocessing((224, 224))
BATCH = 256
#: Threads that ask for device pictures at once: one waits for its turn while another's batch is on the device.
CALLERS = 3
CORES = os.cpu_count() or 1
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print the tables; give their figures."""
    seconds = 0.5 if getattr(options, "quick", False) else 1.5
    pictures = DevicePictures(PREPROCESSING, DecodePolicy(), device=DEVICE, threads=CORES)
    figures: dict[str, Any] = {"device": DEVICE, "cores": CORES, "sizes": []}
    print(f"{CORES} cores; batches of {BATCH}, {CALLERS} callers; images/s (JPEG engines' use, GPU's use)")
    for height, width in SIZES:
        files = photographs(height, width, 16 if height * width > 1_000_000 else 64)
        kilobytes = sum(map(len, files)) / len(files) / 1e3
        cpu = attempt(measure, cpu_source(files), seconds)
        gpu = attempt(measure, device_source(pictures, files), seconds)
        row = {"height": height, "width": width, "kB": round(kilobytes), "cpu": cpu, "gpu": gpu}
        row["kernel_us"] = attempt(kernel_time, pictures, files)
        figures["sizes"].append(row)
        print(f"{width:5} x {height:<5} {kilobytes:6.0f} kB   CPU {shown(cpu)}   GPU {shown(gpu)}   ", end="")
        print(f"kernels {row['kernel_us'] or math.nan:6.1f} us an image", flush=True)
    figures["faster_from_pixels"] = crossing(figures["sizes"])
    print(f"the GPU is faster from {figures['faster_from_pixels']:,.0f} pixels on")
    figures["parity"] = attempt(parity, pictures)
    for height, width in (SIZES[0], SIZES[-1]):
        print(f"other ways at {width} x {height}, images/s")
        files = photographs(height, width, 16 if height * width > 1_000_000 else 64)
        others = {}
        for name, source in other_ways(files):
            figure = attempt(lambda source=source: measure(source(), seconds / 2))
            others[name] = figure
            print(f"  {name:<52} {shown(figure)}", flush=True)
        figures[f"others_{width}x{height}"] = others
    return figures


def photographs(height: int, width: int, count: int) -> list[bytes]:
    """JPEG files of real photographs at a size: mosaics of scikit-image's where that is larger than they are."""
    from skimage import data

    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    zoom = 1 if height * width < 1_000_000 else 2  # large photographs are smoother
    files = []
    for number in range(count):
        photo = Image.fromarray(np.roll(photos[number % 4], 23 * number, axis=1))
        tile = np.asarray(photo.resize((photo.width * zoom, photo.height * zoom), Image.Resampling.BICUBIC))
        block = np.concatenate([np.concatenate([tile, tile[:, ::-1]], 1), np.concatenate([tile[::-1], tile], 1)])
        repeats = (-(-height // block.shape[0]), -(-width // block.shape[1]), 1)
        pixels = np.ascontiguousarray(np.tile(block, repeats)[:height, :width])
        files.append(simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling="420"))
    return files


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; None, and why, where it fails."""
    try:
        return function(*arguments)
    except Exception as error:  # one way that fails leaves the others to be measured
        print(f"  failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return None


def measure(source: tuple[int, Callable[[int], int]], seconds: float) -> dict[str, float]:
    """Images a second of a number of threads that each take one batch after another, and what the GPU's parts did."""
    threads, step = source
    done = [0] * threads
    with ThreadPoolExecutor(threads) as pool, Gauges() as gauges:
        list(pool.map(step, range(threads)))  # warm up
        gauges.clear()
        began = time.perf_counter()

        def work(thread: int) -> None:
            while time.perf_counter() - began < seconds:
                done[thread] += step(thread)

        list(pool.map(work, range(threads)))
        took = time.perf_counter() - began
        return {"images_s": sum(done) / took, **gauges.means()}


def shown(figure: dict[str, float] | None) -> str:
    """Images a second, and the use of the engines and of the GPU where it was read."""
    if figure is None:
        return "failed"
    use = f" ({figure['jpeg_percent']:3.0f} %, {figure['gpu_percent']:3.0f} %)" if "jpeg_percent" in figure else ""
    return f"{figure['images_s']:9,.0f}{use}"


def cpu_source(files: Sequence[bytes]) -> tuple[int, Callable[[int], int]]:
    """Decode and prepare in threads, each into pinned memory of its own that is then copied to the device."""
    size = 64 if len(files) == 64 else 8
    on_gpu = DEVICE == "cuda"
    memory = [torch.empty((size, 224, 224, 3), dtype=torch.uint8, pin_memory=on_gpu) for _ in range(CORES)]
    decoder = Decoder()
    torch.set_num_threads(1)

    def step(thread: int) -> int:
        target = memory[thread].numpy()
        for slot, data in enumerate(itertools.islice(itertools.cycle(files), thread, thread + size)):
            target[slot] = PREPROCESSING.prepare(decoder.decode(data).pixels)
        memory[thread].to(DEVICE)
        return size

    return CORES, step


def device_source(pictures: DevicePictures, files: Sequence[bytes]) -> tuple[int, Callable[[int], int]]:
    """What the package does on a GPU."""
    batch = list(itertools.islice(itertools.cycle(files), BATCH))
    headers = [jpeg_header(data) for data in batch]

    def step(thread: int) -> int:
        _, decoded = pictures.prepare(batch, headers)
        if not decoded.all():
            raise RuntimeError(f"{(~decoded).sum()} of {len(decoded)} files were not decoded")
        return BATCH

    return CALLERS, step


def kernel_time(pictures: DevicePictures, files: Sequence[bytes]) -> float | None:
    """Microseconds of GPU kernels an image: what is taken from the model."""
    if DEVICE == "cpu":
        return None
    step = device_source(pictures, files)[1]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step(0)
    return sum(event.self_device_time_total for event in profile.key_averages() if "mem" not in event.key) / BATCH


def crossing(rows: Sequence[dict[str, Any]]) -> float:
    """Pixels from which the GPU is faster, between two sizes on the logarithmic scale; infinite where it never is."""
    points = [
        (math.log(row["height"] * row["width"]), math.log(row["gpu"]["images_s"] / row["cpu"]["images_s"]))
        for row in rows
        if row["cpu"] and row["gpu"]
    ]
    if points and points[0][1] > 0:
        return math.exp(points[0][0])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y0 <= 0 < y1:
            return math.exp(x0 - y0 * (x1 - x0) / (y1 - y0))
    return math.inf


def parity(pictures: DevicePictures) -> dict[str, float]:
    """Mean grey levels between the device's pictures and the CPU's, by kind of file, and between two decoders."""
    on_cpu = DevicePictures(PREPROCESSING, DecodePolicy(), device="cpu")
    base = photographs(375, 500, 8) + photographs(1200, 1600, 4)
    kinds: dict[str, list[bytes]] = {"baseline 4:2:0": base}
    arrays = [simplejpeg.decode_jpeg(data) for data in base]
    for subsampling in ("444", "422", "440", "411"):
        kinds[f"baseline {subsampling[0]}:{subsampling[1]}:{subsampling[2]}"] = [
            simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling=subsampling) for pixels in arrays
        ]
    kinds["progressive"] = [saved(Image.fromarray(pixels), progressive=True) for pixels in arrays]
    kinds["grey"] = [saved(Image.fromarray(pixels).convert("L")) for pixels in arrays]
    figures: dict[str, float] = {}
    print("mean grey levels: to our CPU path; to the same decoded by libjpeg-turbo; worst picture; decoded")
    with Decoder() as decoder:
        for name, files in kinds.items():
            headers: list[JpegHeader] = [header for data in files if (header := jpeg_header(data))]
            ours, decoded = pictures.prepare(files, headers)
            same, _ = on_cpu.prepare(files, headers)
            exact = np.stack([PREPROCESSING.prepare(decoder.decode(data).pixels) for data in files]).astype(int)
            chosen = ours.cpu().numpy()[decoded]
            apart = np.abs(chosen - exact[decoded]).mean(axis=(1, 2, 3))
            to_same = np.abs(chosen.astype(int) - same.numpy()[decoded]).mean() if decoded.any() else math.nan
            figures[name] = float(apart.mean()) if decoded.any() else math.nan
            worst = apart.max() if decoded.any() else math.nan
            print(f"  {name:<15} {figures[name]:.3f}  {to_same:.3f}  {worst:.3f}  {decoded.sum()} of {len(files)}")
    if DEVICE == "cuda":
        headers = [jpeg_header(data) for data in base]
        results = []
        for kinds_used in (("HW_GPU_ONLY",), ("HYBRID_CPU_GPU",)):
            results.append(attempt(lambda kinds_used=kinds_used: with_backends(kinds_used).prepare(base, headers)[0]))
        if all(each is not None for each in results):
            apart = (results[0].int() - results[1].int()).abs()
            figures["engine_to_kernels_max"] = float(apart.max())
            print(f"  engines against kernels: mean {apart.float().mean():.4f}, at most {apart.max()}")
    return figures


def saved(image: Image.Image, **options: Any) -> bytes:
    """Pillow's JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def with_backends(kinds: Sequence[str], threads: int = CORES) -> DevicePictures:
    """The package's class with another choice of nvImageCodec's decoders."""
    pictures = DevicePictures(PREPROCESSING, DecodePolicy(), device=DEVICE, threads=threads)
    pictures._resizer = JpegResizer(
        device=pictures.device, threads=threads, interpolation=PREPROCESSING.interpolation, backends=kinds
    )
    return pictures


Way = tuple[str, Callable[[], tuple[int, Callable[[int], int]]]]


def other_ways(files: Sequence[bytes]) -> Iterator[Way]:
    """What was not chosen, or another choice of parameters."""
    if DEVICE == "cuda":
        for kinds in (("HW_GPU_ONLY",), ("HYBRID_CPU_GPU",), ("GPU_ONLY",), ("HW_GPU_ONLY", "GPU_ONLY")):
            yield f"nvImageCodec {' + '.join(kinds)}", lambda kinds=kinds: device_source(with_backends(kinds), files)
        yield (
            "the usual, 4 CPU threads",
            lambda: device_source(with_backends(("HW_GPU_ONLY", "HYBRID_CPU_GPU"), 4), files),
        )
    yield "the usual, decode alone", lambda: decode_source(files)
    yield "the usual, resized by torch", lambda: torch_source(files)
    yield "DALI's own decoder, fn.decoders.image", lambda: pipeline_source(files, 0.65)
    yield "DALI's own decoder, all on the engines", lambda: pipeline_source(files, 1.0)
    if DEVICE == "cuda":
        yield "the usual, freed device memory kept by the driver", lambda: kept_memory_source(files)
        keep_memory(0)


def decode_source(files: Sequence[bytes]) -> tuple[int, Callable[[int], int]]:
    """NvImageCodec without what follows, in the parts that the package decodes at once."""
    resizer = DevicePictures(PREPROCESSING, DecodePolicy(), device=DEVICE, threads=CORES)._resizer
    count = BATCH if len(files) == 64 else 44
    batch = list(itertools.islice(itertools.cycle(files), count))

    def step(thread: int) -> int:
        images = resizer._decode(batch)
        return sum(image is not None for image in images)

    return 1, step


def torch_source(files: Sequence[bytes]) -> tuple[int, Callable[[int], int]]:
    """NvImageCodec, then torch's antialiased bicubic on each picture, whole and in single precision."""
    resizer = DevicePictures(PREPROCESSING, DecodePolicy(), device=DEVICE, threads=CORES)._resizer
    count = BATCH if len(files) == 64 else 44
    batch = list(itertools.islice(itertools.cycle(files), count))

    def step(thread: int) -> int:
        pictures = torch.empty((count, 3, 224, 224), dtype=torch.uint8, device=DEVICE)
        for slot, image in enumerate(resizer._decode(batch)):
            pixels = torch.as_tensor(image if DEVICE == "cuda" else np.asarray(image), device=DEVICE)
            placement = PREPROCESSING.placement(tuple(pixels.shape[:2]))
            rows, columns = placement.rows, placement.columns
            planes = pixels.permute(2, 0, 1)[None].float()
            size = [rows.resized, columns.resized]
            resized = torch.ops.aten._upsample_bicubic2d_aa(planes, size, False, None, None)[0]
            kept = resized[:, rows.start : rows.start + rows.count, columns.start : columns.start + columns.count]
            pictures[slot] = kept.round().clamp(0, 255)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return count

    return 1, step


def pipeline_source(files: Sequence[bytes], load: float) -> tuple[int, Callable[[int], int]]:
    """DALI alone, from bytes to resized pictures, two batches in flight; one bad file would cost its batch."""
    from nvidia.dali import Pipeline, fn, types

    count = BATCH if len(files) == 64 else 44
    batch = [np.frombuffer(data, np.uint8) for data in itertools.islice(itertools.cycle(files), count)]
    header = jpeg_header(files[0])
    placement = PREPROCESSING.placement((header.height, header.width))
    spans = (placement.rows, placement.columns)
    pipeline = Pipeline(
        batch_size=count, num_threads=CORES, device_id=0 if DEVICE == "cuda" else None, prefetch_queue_depth=2
    )
    with pipeline:
        encoded = fn.external_source(source=lambda: batch, dtype=types.UINT8, ndim=1)
        extra = {"hw_decoder_load": load} if DEVICE == "cuda" else {}
        images = fn.decoders.image(
            encoded, device="mixed" if DEVICE == "cuda" else "cpu", jpeg_fancy_upsampling=True, **extra
        )
        begin = [span.start * span.scale for span in spans]
        end = [(span.start + span.count) * span.scale for span in spans]
        resized = fn.resize(
            images, size=[224, 224], roi_start=begin, roi_end=end, interp_type=types.INTERP_CUBIC, antialias=True
        )
        pipeline.set_outputs(resized)
    pipeline.build()

    def step(thread: int) -> int:
        pipeline.run()
        return count

    return 1, step


def kept_memory_source(files: Sequence[bytes]) -> tuple[int, Callable[[int], int]]:
    """As the package does, with CUDA's pool told to keep what is freed: nvImageCodec allocates anew for each batch."""
    keep_memory(1 << 34)
    return device_source(DevicePictures(PREPROCESSING, DecodePolicy(), device=DEVICE, threads=CORES), files)


def keep_memory(most: int) -> None:
    """Set how many bytes of freed device memory CUDA's own pool keeps."""
    import cupy

    runtime = cupy.cuda.runtime
    runtime.memPoolSetAttribute(runtime.deviceGetDefaultMemPool(0), runtime.cudaMemPoolAttrReleaseThreshold, most)


class Gauges:
    """Reads how busy the JPEG engines and the GPU are, until it is left; nothing where NVML does not tell."""

    def __init__(self) -> None:
        self._read: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Gauges:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def clear(self) -> None:
        """Forget what was read so far."""
        self._read.clear()

    def means(self) -> dict[str, float]:
        """Mean percentages."""
        read = list(self._read)
        if not read:
            return {}
        return dict(zip(("jpeg_percent", "gpu_percent"), np.mean(read, axis=0).tolist(), strict=True))

    def _watch(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            while not self._over.wait(0.1):
                engines = pynvml.nvmlDeviceGetJpgUtilization(handle)[0]
                self._read.append((engines, pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))
        except Exception:  # no NVML, or one that does not know the JPEG engines: there are no figures of them then
            self._read.clear()


if __name__ == "__main__":
    run(argparse.Namespace(quick=False))
