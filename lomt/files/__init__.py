"""Files that are whole or not there, that show damage, and that are named when something is wrong with them."""

from lomt.files.cells import cell
from lomt.files.records import DamagedFileError, read_record, write_record
from lomt.files.writing import NotWrittenError, beside, ready, sweep, write_atomically, written

__all__ = [
    "DamagedFileError",
    "NotWrittenError",
    "beside",
    "cell",
    "read_record",
    "ready",
    "sweep",
    "write_atomically",
    "write_record",
    "written",
]
