# VPT-shallow on Patch Camelyon of VTAB-1k, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: mean of the 4 Specialized tasks 69.65 (trained on all 1,000 images, mean of
# 5 seeds).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens is that of the supervised ViT, for want of a published one; sweep lr and
# weight_decay on val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_vit-base-p16_mae_vtab-patch-camelyon.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='ShallowPrompt', num_tokens=10),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='fresh-frozen',
    ),
    head=dict(num_classes=2),
)
train_dataloader = dict(batch_size=128, dataset=dict(task='patch_camelyon'))
val_dataloader = dict(dataset=dict(task='patch_camelyon'))
val_evaluator = dict(topk=(1,))
test_dataloader = dict(dataset=dict(task='patch_camelyon'))
test_evaluator = dict(topk=(1,))
