"""The parity matrix: arrays of every format, codec, data type, layout and fill value, read by us and by others."""
