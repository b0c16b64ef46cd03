"""A data set for DataLoader's workers, which import it by its name."""

import torch

import lapsum


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return lapsum.soft_rank(torch.arange(6.0, dtype=torch.float64) * (i + 1), 0.3)
