# setr-pup_vit-large-p16.py for the 60 classes of Pascal Context.
_base_ = ['./setr-pup_vit-large-p16.py']

model = dict(
    decode_head=dict(num_classes=60),
    auxiliary_head=[dict(head, num_classes=60) for head in _base_.model.auxiliary_head],
)
