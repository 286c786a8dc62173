"""What all tests share."""

import os

import torch

# One thread: repeatable to the last bit, and fast for images this small. Programs that tests start
# inherit the variable.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
