# SA2VP's recipe (https://arxiv.org/abs/2312.10376, released code): AdamW, lr 1e-3
# whatever the batch, weight decay 1e-4 but on biases and norms; 10 of 100 epochs of
# warm-up, cosine to zero, per iteration.
_base_ = ['./adapter_adamw_100e.py']

auto_scale_lr = dict(enable=False)
