"""Stage execution: orders out to a venue, reports back."""
