# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Baselines that change frozen modules instead of adding prompts."""

from .adapter_plus import AdapterPlus
from .base import Alteration, BaseAdapter
from .lora import LoRA
from .ssf import SSF

__all__ = ['Alteration', 'AdapterPlus', 'BaseAdapter', 'LoRA', 'SSF']
