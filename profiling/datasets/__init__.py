"""Loaders of the built-in data sets.

A loader is registered in the entry-point group ``sweetgrad.datasets`` and called as ``loader(data_dir, *, seed, download) ->
Examples``: the folder with the files (None if none was given), the seed of a data set that is generated, and whether missing
files may be downloaded. Every loader takes all three and ignores those that it does not need. It raises FileNotFoundError for
missing files, with every place where it looked, and ValueError for files that are damaged.
"""
