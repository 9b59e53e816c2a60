# FGVC as DA-VPT's released code reads it: random resized crops, bicubic, batches of 16
# classes with two images each.
_base_ = ['./fgvc_resized_crops.py']

train_dataloader = dict(
    batch_sampler=dict(type='mmvpt.ClassBalancedBatchSampler', samples_per_class=2),
)
