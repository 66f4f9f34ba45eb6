"""How fast a device could multiply, to say what share of it a run reaches (MFU)."""

import torch

PEAK_TFLOPS: dict[str, dict[str, float]] = {
    "A100": {"bfloat16": 312.0, "float32": 19.5},
    "H100 PCIe": {"bfloat16": 756.0, "float32": 51.0},
    "H100": {"bfloat16": 989.0, "float32": 67.0},
    "H200": {"bfloat16": 989.0, "float32": 67.0},
    "B200": {"bfloat16": 2250.0, "float32": 80.0},
    "L40S": {"bfloat16": 362.0, "float32": 91.6},
}
"""Dense peaks in TFLOP/s by a part of the device's name, the vendor's figures; the longest part that fits counts."""


def peak_flops(device: torch.device, precision: str) -> float | None:
    """FLOP/s of the device; None where they are not known, as for CPUs."""
    return None if device.type != "cuda" else peak_of(torch.cuda.get_device_name(device), precision)


def peak_of(name: str, precision: str) -> float | None:
    """FLOP/s of the device of this name; None where they are not known."""
    fitting = [part for part in PEAK_TFLOPS if part in name]
    return 1e12 * PEAK_TFLOPS[max(fitting, key=len)][precision] if fitting else None
