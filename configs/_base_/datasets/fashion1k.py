# Fashion-MNIST in VTAB-1k layout: 800 + 200 images to tune, 2,000 to test, 10 classes.
# As the digits but for size and normalisation.
_base_ = ['./digits.py']

data_root = 'data/fashion_1k'
# ImageNet mean and std, as the backbone was pretrained
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
)

train_dataloader = dict(batch_size=32, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=200, dataset=dict(data_root=data_root))
test_dataloader = dict(batch_size=200, dataset=dict(data_root=data_root))
