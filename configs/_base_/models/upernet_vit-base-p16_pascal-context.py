# upernet_vit-base-p16.py for the 60 classes of Pascal Context.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(decode_head=dict(num_classes=60), auxiliary_head=dict(num_classes=60))
