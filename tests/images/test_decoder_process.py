"""A decoder that crashes, hangs or swells costs one picture."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from imagecurate.errors import StageError
from imagecurate.images import DecodePolicy, Decoder, wire
from imagecurate.images.process import ONE_LARGE, DecoderProcess


def large_file(encode) -> bytes:
    """A picture that needs leave before it is decoded."""
    return encode(Image.new("1", (5000, 3400)), "PNG")


def killed_while_waiting(decode, process, number):
    """Start a decode, kill its process while it waits for leave, and give what the decode returned."""
    results = []
    with ONE_LARGE:
        thread = threading.Thread(target=lambda: results.append(decode()))
        thread.start()
        while process.served == 0 or not thread.is_alive():
            time.sleep(0.001)
        time.sleep(0.05)
        os.kill(process._process.pid, number)
    thread.join()
    return results[0]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_a_reason(encode, number):
    """With the signal that ended the process."""
    data = large_file(encode)
    process = DecoderProcess(DecodePolicy())
    decoded = killed_while_waiting(lambda: process.decode(data), process, number)
    assert decoded.pixels is None
    assert decoded.info.error == f"decoder crashed (signal {number.value})"
    assert not process.is_usable


def test_a_crash_after_other_pictures_is_tried_again(make_picture, encode):
    """The picture before may have done the damage, so only a fresh process counts."""
    with Decoder() as decoder:
        decoder.decode(encode(make_picture(5, 5), "PNG"))
        process = decoder._idle[0]
        data = large_file(encode)
        decoded = killed_while_waiting(lambda: decoder.decode(data), process, signal.SIGSEGV)
        assert decoded.info.error is None
        assert decoded.pixels.shape == (3400, 5000, 3)
        assert decoder._idle != [process]


def test_a_process_that_died_idle_is_replaced(make_picture, encode):
    """Nobody but the kernel knows why; no picture is to blame."""
    with Decoder() as decoder:
        data = encode(make_picture(5, 5), "PNG")
        decoder.decode(data)
        os.kill(decoder._idle[0]._process.pid, signal.SIGKILL)
        for _ in range(3):
            assert decoder.decode(data).info.error is None


def test_time_is_limited(encode):
    """The process is ended by the kernel, whatever library it is stuck in; the next picture has a new one."""
    slow = encode(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8), "PNG", compress_level=1)
    with Decoder(DecodePolicy(timeout_s=0.005)) as decoder:
        decoded = decoder.decode(slow)
        assert decoded.info.error == "decoding took longer than 0.005 s"
        assert (decoded.info.width, decoded.info.height, decoded.info.format) == (1500, 1500, "png")
        assert decoder._idle == []


def test_a_jpeg_of_a_thousand_scans_is_ended(make_picture, encode):
    """Each scan of a progressive JPEG may be a few bytes, and costs a pass over all of the picture."""
    data = encode(make_picture(1200, 1200), "JPEG", progressive=True, quality=30)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * 5000 + data[-2:]
    with Decoder(DecodePolicy(timeout_s=0.3)) as decoder:
        assert decoder.decode(bomb).info.error == "decoding took longer than 0.3 s"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to an address space")
def test_memory_is_limited(encode, monkeypatch):
    """A picture whose decoder asks for too much fails by name, and its process goes on."""
    script = "from imagecurate.images import wire; wire.MEMORY = 1 << 20; wire.MEMORY_A_PIXEL = 1; "
    monkeypatch.setattr("imagecurate.images.process._BOOT", _boot_with(script))
    data = encode(np.zeros((3000, 3000, 3), np.uint8), "PNG")
    with Decoder() as decoder:
        decoded = decoder.decode(data)
        assert decoded.info.error == wire.NO_MEMORY
        assert decoded.info.width == 3000
        assert len(decoder._idle) == 1


def _boot_with(script: str) -> str:
    from imagecurate.images.process import _BOOT

    return _BOOT.replace("from imagecurate.images.child", script + "\nfrom imagecurate.images.child")


def test_a_broken_installation_is_no_fault_of_a_picture(monkeypatch):
    """Where Pillow cannot be imported, an error says what to try."""
    monkeypatch.setattr("imagecurate.images.process._BOOT", "raise SystemExit(3)")
    with pytest.raises(StageError, match=r"did not start \(exit status 3\)\n\nHint: try: .*import PIL"):
        Decoder().decode(b"GIF89a")


def test_a_process_that_cannot_be_made_is_no_fault_of_a_picture(monkeypatch):
    """As where the system has no more of them."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(StageError, match=r"did not start: .*No such file"):
        Decoder().decode(b"GIF89a")


def test_large_pictures_take_turns(encode):
    """Threads do not multiply the peak of memory."""
    data = large_file(encode)
    with Decoder() as decoder:
        with ONE_LARGE:
            results = []
            thread = threading.Thread(target=lambda: results.append(decoder.decode(data)))
            thread.start()
            thread.join(0.5)
            assert not results
        thread.join()
        assert results[0].pixels.shape == (3400, 5000, 3)


@pytest.mark.parametrize("ending", ["", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_no_process_outlives_its_caller(ending):
    """Neither a regular end, nor a sudden one, nor a kill leaves a decoder behind."""
    script = (
        "from imagecurate.images import Decoder\n"
        "decoder = Decoder()\n"
        "decoder.decode(b'GIF89a')\n"
        "print(decoder._idle[0]._process.pid, flush=True)\n" + ending
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    child = int(done.stdout)
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "the decoder's process is still there"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")  # nobody may have collected an orphan yet


def test_a_caller_that_ignores_the_alarm_is_not_imitated(encode):
    """Ignored and blocked signals are inherited, and would leave a hanging decoder alive."""
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        test_time_is_limited(encode)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.signal(signal.SIGALRM, before)


def test_a_forked_caller_does_not_share_processes(make_picture, encode):
    """Two callers on one pipe would get each other's pictures."""
    process = DecoderProcess(DecodePolicy())
    assert process.is_usable
    process._owner += 1
    assert not process.is_usable
    process.close()
