"""Weights in shards (FSDP2): each process keeps a part of every tensor; whole ones are made to be saved.

Dimensions: ``r`` processes; a tensor ``(n, ·)`` lies on them in ``r`` runs of rows.

Gradients, AdamW's moments, the moving average and the best weights are shards like the weights they belong
to. Checkpoints hold whole tensors, so they do not depend on how many processes wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from biolm.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["all_finite", "gather", "shard", "spread"]


def shard(module: Any, mesh: DeviceMesh) -> None:
    """Leave each process its part of every weight, in place (Zhao et al. 2023; ``fully_shard`` of torch).

    The layers are gathered one at a time as they are used; embeddings and heads, which are used at both ends
    of a pass, stay together until it has gone back.

    Parameters
    ----------
    module
        The :class:`~biolm.training.run.module.Pretraining`, with whole weights, the same on all processes.
    mesh
        Of one dimension: the processes.

    Raises
    ------
    ConfigError
        If a weight is a single number without a dimension, which cannot be cut.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for name, weight in module.named_parameters():
        if weight.dim() == 0:
            raise ConfigError(f"fsdp cuts no scalar, such as {name}; give it the shape (1,) or use ddp")
    # Layer by layer, so that only one is whole at a time; what is left, heads and embeddings, comes last.
    for layer in module.core.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for step in ("training_step", "validation_step"):
        register_fsdp_forward_method(module, step)
    like = module.state_dict()
    module.average = spread(module.average, like)
    module.best = spread(module.best, like)


def gather(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, on the first process alone where they are in shards; all processes must call it.

    One tensor at a time is whole on the others, and the first keeps them in the memory of its CPU, so that a
    model that does not fit a device can be saved.
    """
    from torch.distributed.tensor import DTensor

    gathered = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            gathered[name] = tensor
            continue
        # A call that all processes make together, so it stands before the question of who keeps the result.
        whole = tensor.full_tensor()
        if dist.get_rank() == 0:
            gathered[name] = whole.cpu()
    return gathered


def spread(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Part of this process of whole tensors that all have, cut like those of the same name in ``like``.

    Parameters
    ----------
    tensors
        Whole ones by name.
    like
        Cut ones by name.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    parts = {}
    for name, tensor in tensors.items():
        model = like[name]
        if isinstance(model, DTensor) and not isinstance(tensor, DTensor) and tensor.shape == model.shape:
            # Nothing is sent: each process cuts its own copy.
            tensor = distribute_tensor(
                tensor.to(model.device), model.device_mesh, model.placements, src_data_rank=None
            )
        parts[name] = tensor
    return parts


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether all numbers are finite, on all processes; each must call it where there are shards."""
    from torch.distributed.tensor import DTensor

    fine = True
    for tensor in tensors.values():
        finite = torch.isfinite(tensor).all()
        fine &= bool(finite.full_tensor() if isinstance(finite, DTensor) else finite)
    return fine
