"""Pages: one file per subject. Views hold HTTP only."""
