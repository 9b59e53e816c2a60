# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The engine of DA-VPT: labels, class means, clustering, metric losses."""
