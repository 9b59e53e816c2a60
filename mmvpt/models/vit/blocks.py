# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The pieces of which the frozen layers of all families are made.

All families have one layout of state keys, to which files are converted; what a family
lacks falls away. C channels, N patches, R registers, h hidden channels of the MLP, p
side of a patch:

===============================================  =====================================
key                                              shape and meaning
===============================================  =====================================
``cls_token``                                    (1, 1, C)
``reg_tokens``                                   (1, R, C), behind CLS, no positions
``pos_embed``                                    (1, 1 + N, C), without CLS (1, N, C)
``patch_embed.projection.{weight,bias}``         (C, 3, p, p), (C,)
``pre_norm.{weight,bias}``                       (C,), before the layers
``layers.i.ln1.*``, ``layers.i.ln2.*``           (C,), before attention and MLP
``layers.i.attn.qkv.{weight,bias}``              (3C, C), (3C,): query, key, value
``layers.i.attn.norm.{weight,bias}``             (C,), before the output projection
``layers.i.attn.proj.{weight,bias}``             (C, C), (C,)
``layers.i.attn.gamma1.weight``                  (C,), LayerScale of the attention
``layers.i.ffn.layers.0.0.{weight,bias}``        (h, C), (h,): plain MLP
``layers.i.ffn.layers.1.{weight,bias}``          (C, h), (C,)
``layers.i.ffn.w12.{weight,bias}``               (2h, C), (2h,): SwiGLU, the gate first
``layers.i.ffn.norm.{weight,bias}``              (h,), within SwiGLU
``layers.i.ffn.w3.{weight,bias}``                (C, h), (C,)
``layers.i.ffn.gamma2.weight``                   (C,), LayerScale of the MLP
``ln1.{weight,bias}``                            (C,), the final norm
``pool.probe``                                   (1, 1, C), query of the attention pool
``pool.{q,kv,proj}.{weight,bias}``               (C, C), (2C, C), (C, C) and biases
``pool.norm.{weight,bias}``                      (C,)
``pool.{fc1,fc2}.{weight,bias}``                 (h, C), (C, h) and biases
===============================================  =====================================

The bias of ``attn.qkv`` always has all three parts, zero where a family has none; with
``qkv_bias=False`` there is no bias at all.
"""
