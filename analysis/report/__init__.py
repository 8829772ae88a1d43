"""What a report contains, its sentences, and the page."""
