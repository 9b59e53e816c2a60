# The linear probe, fitted to frozen features until it has converged, in float64. The
# strength of the L2 penalty is chosen on the validation split.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(
        type='LBFGS',
        lr=1.0,
        max_iter=200,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=0.0,
        line_search_fn='strong_wolfe',
    ),
)
param_scheduler = None

train_cfg = dict(
    type='mmvpt.ConvergedProbeLoop',
    l2=[10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6],
)
val_cfg = dict()
test_cfg = dict()
