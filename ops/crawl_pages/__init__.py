"""Pages of one bucket of a crawl: the HTML responses in its WARC files, or its records by ranged reads, decoded."""
