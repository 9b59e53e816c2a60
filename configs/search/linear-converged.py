# The strengths of configs/_base_/schedules/probe_lbfgs.py, one for each trial, so that
# the final training needs no validation images; 13 trials.
space = {
    'train_cfg.l2': [
        [1e-6],
        [1e-5],
        [1e-4],
        [3e-4],
        [1e-3],
        [3e-3],
        [0.01],
        [0.03],
        [0.1],
        [0.3],
        [1.0],
        [3.0],
        [10.0],
    ]
}
start = {'train_cfg.l2': [0.01]}
