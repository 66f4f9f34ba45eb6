"""WARC files (ISO 28500) as crawls have them: records with exact offsets, damage reported, nothing skipped silently."""
