"""Take a long list of addresses into the store, so that what was asked of Common Crawl is an artefact too."""
