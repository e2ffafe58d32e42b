"""One page that shows a dataset to people: `report.html`, self-contained, without scripts, without network."""
