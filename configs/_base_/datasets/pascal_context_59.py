# Pascal Context without the background: 59 classes, 1..59 in the masks, and pixels of 0
# do not count.
_base_ = ['./pascal_context.py']

train_pipeline = [
    dict(step, num_classes=59) if step['type'] == 'mmvpt.CheckSegMap' else step
    for step in _base_.train_pipeline  # noqa: F821
]
test_pipeline = [
    dict(step, num_classes=59) if step['type'] == 'mmvpt.CheckSegMap' else step
    for step in _base_.test_pipeline  # noqa: F821
]
train_dataloader = dict(
    dataset=dict(type='PascalContextDataset59', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(type='PascalContextDataset59', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
