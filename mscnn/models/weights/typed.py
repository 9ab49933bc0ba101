"""What a timm model costs to download, before anything of it is there."""

from __future__ import annotations

from mscnn.models.weights.architecture import check_supported, from_name


def typed_bytes(name: str) -> int:
    """Return the bytes of a timm model's float32 weights, by its name alone.

    Raises:
        UnknownModelError, UnsupportedModelError: the name is unknown, or no map fits the model.
    """
    blueprint = from_name(name)
    check_supported(blueprint)
    state = blueprint.build(device="meta").state_dict()
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())
