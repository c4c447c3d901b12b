"""Files of JSON lines (`docs/export-format.md`): how they are written, read and compressed."""
