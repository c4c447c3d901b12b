"""Moving data: copies between engines, files in JSONL, and the proof that nothing was lost."""

from datastore.transfer.comparing import VerifyReport, verify
from datastore.transfer.copying import copy
from datastore.transfer.exporting import ExportedTable, ExportReport, export_jsonl
from datastore.transfer.importing import CheckedFile, check_jsonl, import_jsonl
from datastore.transfer.loading import IncompleteLoadError
from datastore.transfer.options import LoadOptions
from datastore.transfer.progress import Progress
from datastore.transfer.report import LoadReport, SearchComparison, TableReport
from datastore.transfer.troubles import Trouble
from datastore.transfer.verification import Difference

__all__ = [
    "CheckedFile",
    "Difference",
    "ExportReport",
    "ExportedTable",
    "IncompleteLoadError",
    "LoadOptions",
    "LoadReport",
    "Progress",
    "SearchComparison",
    "TableReport",
    "Trouble",
    "VerifyReport",
    "check_jsonl",
    "copy",
    "export_jsonl",
    "import_jsonl",
    "verify",
]
