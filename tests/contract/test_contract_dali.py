"""Every name, argument and option of DALI and nvImageCodec that is used exists in the installed versions."""

from __future__ import annotations

import inspect

import pytest

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def nvimgcodec():
    """NvImageCodec, which imports without a GPU."""
    return pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed")


def test_operators_have_the_arguments():
    """Resize at explicit sizes and parts; external sources on both devices."""
    backend = pytest.importorskip("nvidia.dali.backend")
    arguments = set(backend.GetSchema("Resize").GetArgumentNames())
    assert {"size", "roi_start", "roi_end", "interp_type", "antialias", "dtype"} <= arguments
    assert "flipped" in backend.GetSchema("Resize").GetArgumentDox("roi_start")
    decoder = set(backend.GetSchema("decoders__Image").GetArgumentNames())
    assert {"jpeg_fancy_upsampling", "hw_decoder_load", "output_type"} <= decoder


def test_pipeline_takes_the_arguments():
    """And runs on a stream that is given."""
    from nvidia.dali import Pipeline, fn, types

    parameters = inspect.signature(Pipeline.__init__).parameters
    assert {"batch_size", "num_threads", "device_id", "prefetch_queue_depth", "exec_dynamic"} <= set(parameters)
    assert {"data", "layout", "cuda_stream"} <= set(inspect.signature(Pipeline.feed_input).parameters)
    assert "cuda_stream" in inspect.signature(Pipeline.run).parameters
    source = inspect.signature(fn.external_source).parameters
    assert {"name", "device", "dtype", "ndim", "layout"} <= set(source)
    assert {"INTERP_CUBIC", "INTERP_LINEAR", "UINT8", "FLOAT"} <= set(dir(types))


@pytest.mark.parametrize("name", ["TensorListCPU", "TensorListGPU"])
def test_results_go_to_torch(name):
    """Sample by sample, through DLPack."""
    from nvidia.dali import tensors

    assert hasattr(getattr(tensors, name), "__getitem__")
    sample = getattr(tensors, name.replace("List", ""))
    assert "stream" in sample.__dlpack__.__doc__
    assert hasattr(sample, "__dlpack_device__")


def test_gpu_arrays_are_taken_with_a_device():
    """NvImageCodec's pictures go in by their ``__cuda_array_interface__``, on the device that is named."""
    from nvidia.dali import tensors

    assert "device_id" in tensors.TensorGPU.__init__.__doc__


def test_decoder_takes_the_arguments(nvimgcodec):
    """One decoder, its kinds of backends, its parameters, a stream."""
    for name in ("device_id", "max_num_cpu_threads", "backends", "options"):
        assert name in nvimgcodec.Decoder.__init__.__doc__
    assert "fancy_upsampling" in nvimgcodec.Decoder.__init__.__doc__
    assert "load_hint" in nvimgcodec.Backend.__init__.__doc__
    assert {"CPU_ONLY", "HYBRID_CPU_GPU", "HW_GPU_ONLY"} <= set(nvimgcodec.BackendKind.__members__)
    assert isinstance(nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY, int)
    parameters = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
    assert not parameters.apply_exif_orientation
    assert "cuda_stream" in nvimgcodec.Decoder.decode.__doc__
    assert "There is None in returned list" in nvimgcodec.Decoder.decode.__doc__


def test_pictures_are_arrays_on_both_devices(nvimgcodec):
    """What is read of a decoded picture."""
    assert {"shape", "__array_interface__", "__cuda_array_interface__"} <= set(dir(nvimgcodec.Image))


def test_the_benchmark_can_read_the_engines():
    """NVML tells how busy the JPEG engines are."""
    pynvml = pytest.importorskip("pynvml")
    assert {"nvmlDeviceGetJpgUtilization", "nvmlDeviceGetUtilizationRates"} <= set(dir(pynvml))
