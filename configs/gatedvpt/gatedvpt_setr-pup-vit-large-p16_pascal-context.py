# Gated Prompt Tuning on Pascal Context, SETR-PUP, ViT-L/16.
# Published: no figure of this method, decoder and backbone known to us.
# Tokens and gates as the paper has them on ADE20K with ViT-B; decoder and schedule as
# the other methods here.
# Run: bash tools/dist_train.sh configs/gatedvpt/gatedvpt_setr-pup-vit-large-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='GatedPrompt', num_tokens=100, gate_init=10))
)
