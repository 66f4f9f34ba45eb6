"""What belongs to a crawl: its WARC files, or the records that a selection finds in Common Crawl's columnar index, each
with the bucket that will read it."""
