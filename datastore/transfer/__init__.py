"""Moving data: copies between engines, files in JSONL, and the proof that nothing was lost."""
