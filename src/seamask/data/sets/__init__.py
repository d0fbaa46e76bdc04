"""The data sets, one file each; `seamask.data.load` knows them all."""
