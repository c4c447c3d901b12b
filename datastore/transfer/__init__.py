"""Moving data: copies between engines, files in JSONL, and the proof that nothing was lost."""

from datastore.transfer.copying import copy
from datastore.transfer.exporting import ExportedTable, ExportReport, export_jsonl
from datastore.transfer.importing import CheckedFile, check_jsonl, import_jsonl
from datastore.transfer.loading.load import IncompleteLoadError
from datastore.transfer.loading.options import LoadOptions
from datastore.transfer.loading.troubles import Trouble
from datastore.transfer.progress import Progress
from datastore.transfer.report import LoadReport, SearchComparison, TableReport
from datastore.transfer.verifying.comparing import VerifyReport, verify
from datastore.transfer.verifying.differences import Difference

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
