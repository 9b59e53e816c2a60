# Rates and decays around the one recipe that the adapters have
# (configs/_base_/schedules/adapter_adamw_100e.py), which papers do not search; 12 trials.
space = {
    'optim_wrapper.optimizer.lr': [0.0005, 0.001, 0.005, 0.01],
    'optim_wrapper.optimizer.weight_decay': [0.0001, 0.001, 0.01],
}
start = {
    'optim_wrapper.optimizer.lr': 0.001,
    'optim_wrapper.optimizer.weight_decay': 0.0001,
}
