# default_runtime.py for mmsegmentation: iterations instead of epochs, its pictures and
# its test-time augmentation (the pipeline of which belongs to the data).
_base_ = ['./default_runtime.py']

default_scope = 'mmseg'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16000, save_best='mIoU'),
    # running statistics of rank 0 for all, where norms are not synchronised
    equal_buffers=dict(type='mmvpt.EqualBuffersHook'),
    # tools/test.py --show-dir switches it on
    visualization=dict(_delete_=True, type='SegVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer', alpha=0.6)

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
tta_model = dict(type='SegTTAModel')
