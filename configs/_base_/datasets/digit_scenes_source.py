# Scenes of the digits 0-4 upright and turned left, with pixel labels, 600 to train; what the
# segmentation demo's ViT is pretrained on. Written with digit_scenes.py's.
_base_ = ['./digit_scenes.py']

_source = dict(
    metainfo=dict(
        classes=(
            'background',
            *'01234',
            *(f'{digit} turned' for digit in range(5)),
        ),
        palette=[[0, 0, 0], *([25 * i, 255 - 25 * i, 128] for i in range(10))],
    ),
    data_root='data/digit-scenes-source',
)
train_dataloader = dict(batch_size=16, dataset=_source)
val_dataloader = dict(dataset=_source)
test_dataloader = dict(
    dataset=dict(
        **_source,
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
    ),
)
