import torch

# Two cores at most, and small networks: threads cost more than they bring.
torch.set_num_threads(1)
