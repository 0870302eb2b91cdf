"""Pictures as inline SVG: no library, no network, colours from the page, sizes that are read on a phone."""
