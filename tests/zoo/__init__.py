# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
