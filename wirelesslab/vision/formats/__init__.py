"""The field's formats on disk, read and written; nothing is downloaded.

Readers refuse what is missing, empty, cut short or of another kind with `data.DataError`: the file, what was found,
and what was wanted. Pixels are whole numbers from 0 to 255 in these files and x / 255 in `Data`.
"""

from wirelesslab.vision.formats.cifar import read_cifar, write_cifar
from wirelesslab.vision.formats.folders import read_folders, write_folders
from wirelesslab.vision.formats.idx import read_idx, read_mnist, write_idx, write_mnist
from wirelesslab.vision.formats.masks import read_masks, write_masks
from wirelesslab.vision.formats.split_files import read_split_files, write_split_files

__all__ = [
    "read_cifar",
    "read_folders",
    "read_idx",
    "read_masks",
    "read_mnist",
    "read_split_files",
    "write_cifar",
    "write_folders",
    "write_idx",
    "write_masks",
    "write_mnist",
    "write_split_files",
]
